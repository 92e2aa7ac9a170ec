"""The entries of a month: who bore what AWS billed, what tenants were charged, each balanced to 0. Pure.

Belongs here: the lines of an entry from priced cells and documents, their accounts, opposites, amounts in
minor units. Does not belong here: reading a month, which entries were given out before
(`exports/journal.py`), their text (`exports/journal_text.py`).

    cost       recharge_cost + own_cost + suspense + correction_cost − prepaid        = what AWS billed
    recharge   recharge_income + markup_income + correction_income (+ what differs)   = what a tenant owes

An amount is a debit when it is positive. Amounts are exact: the sum over an account is what the ledger says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from cops_dagster.errors import CopsError
from cops_dagster.inputs.account_map import PURPOSES, Account, AccountMap, NoAccount
from cops_dagster.money import amount, currency, footing
from cops_dagster.money.digest import digest
from cops_dagster.reconciliation.margin import Cell
from cops_dagster.words import OPERATOR, UNALLOCATED

Kind = Literal["accrual", "reversal", "actual", "document", "undo"]
USD = "USD"
AWS = ""
"""Stands for AWS where a document names its tenant."""
_ORDER = list(PURPOSES)
_NOWHERE = Account("", "", "")


@dataclass(frozen=True)
class Line:
    """One line. `usage` is the closed month that a correction is about; `amount` in atto-units, debit > 0."""

    purpose: str
    amount: int
    currency: str = USD
    tenant_id: str = ""
    service: str = ""
    usage: date | None = None
    document_id: str = ""
    account: Account = _NOWHERE


@dataclass(frozen=True)
class Entry:
    """Lines that add up to 0 in each currency.

    Attributes:
        subject: what it is about, the same for every version of it.
    """

    subject: str
    kind: Kind
    posted: date
    lines: tuple[Line, ...]

    @property
    def digest(self) -> str:
        """Of its lines alone: an entry with the same lines need not be made again."""
        return digest("journal-lines-1", self.kind, [_fields(line) for line in self.lines])

    def opposite(self, kind: Kind, posted: date) -> Entry:
        """The same lines with the other sign."""
        turned = tuple(replace(line, amount=-line.amount) for line in self.lines)
        return Entry(self.subject, kind, posted, turned)

    def id_after(self, period: str, before: str | None) -> str:
        """Its id: of what it says and of the entry that it takes the place of, or takes back."""
        return digest("journal-1", period, self.subject, self.posted, before, self.digest)


@dataclass(frozen=True)
class Document:
    """One amount of a document, in its currency and in USD, atto-units; a credit note is negative."""

    document_id: str
    amount: int
    currency: str
    usd: int
    tenant_id: str = AWS
    usage: date | None = None


def cost(cells: Iterable[Cell], documents: Sequence[Document] | None, known: Mapping[str, int]) -> list[Line]:
    """What AWS billed, by who bears it; without `documents` as an accrual.

    Args:
        documents: AWS's own of the month; an empty list means that none was loaded, and the ledger's total
            is owed.
        known: of what they differ from the report, how much is `rounding` and how much `fx_difference`.
    """
    made: list[Line] = []
    billed = prepaid = 0
    for cell in cells:
        made.append(_borne(cell))
        billed += cell.unblended
        prepaid += cell.unblended - cell.basis
    made.append(Line("prepaid", prepaid))
    if documents is None:
        made.append(Line("aws_accrual", -billed))
    elif not documents:
        made.append(Line("aws_payable", -billed))
    else:
        made += [line for one in documents for line in _owed("aws_payable", one, -1)]
        made += _differing("aws_difference", sum(one.usd for one in documents) - billed, known, 1)
    return made


def _borne(cell: Cell) -> Line:
    if cell.usage is not None:
        return Line("correction_cost", cell.basis, USD, cell.tenant_id, cell.service, cell.usage)
    if cell.tenant_id in (OPERATOR, UNALLOCATED):
        purpose = "own_cost" if cell.tenant_id == OPERATOR else "suspense"
        return Line(purpose, cell.basis, service=cell.service)
    return Line("recharge_cost", cell.basis, USD, cell.tenant_id, cell.service)


def recharge(
    tenant: str, cells: Iterable[Cell], documents: Sequence[Document] | None, known: Mapping[str, int]
) -> list[Line]:
    """What a tenant is charged; without `documents` as an accrual. `known` as for `cost`."""
    made: list[Line] = []
    for cell in cells:
        income = "recharge_income" if cell.usage is None else "correction_income"
        made.append(Line(income, -cell.basis, USD, tenant, cell.service, cell.usage))
        made.append(Line("markup_income", -(cell.markup or 0), USD, tenant, cell.service, cell.usage))
    expected = -sum(line.amount for line in made)
    if documents is None:
        return [*made, Line("income_accrual", expected, USD, tenant)]
    made += [line for one in documents for line in _owed("receivable", one, 1)]
    return made + _differing(
        "billing_difference", sum(one.usd for one in documents) - expected, known, -1, tenant
    )


def late(document: Document) -> list[Line]:
    """A document about a closed month: it was not expected, so all of it is what differs."""
    is_aws = document.tenant_id == AWS
    sign = -1 if is_aws else 1
    rest = Line(
        "aws_difference" if is_aws else "billing_difference", -sign * document.usd, USD, document.tenant_id,
        usage=document.usage, document_id=document.document_id,
    )  # fmt: skip
    return [*_owed("aws_payable" if is_aws else "receivable", document, sign), rest]


def _owed(purpose: str, one: Document, sign: int) -> list[Line]:
    """A document as it is owed; in another currency with its counterpart there, and that one's in USD."""
    about = Line(purpose, sign * one.amount, one.currency, one.tenant_id, "", one.usage, one.document_id)
    if one.currency == USD:
        return [about]
    return [
        about,
        replace(about, purpose="fx", amount=-sign * one.amount),
        replace(about, purpose="fx", amount=sign * one.usd, currency=USD),
    ]


def _differing(purpose: str, usd: int, known: Mapping[str, int], sign: int, tenant: str = "") -> list[Line]:
    parts = {name: known.get(name, 0) for name in ("rounding", "fx_difference")}
    parts[purpose] = usd - sum(parts.values())
    return [Line(name, sign * part, USD, tenant) for name, part in parts.items()]


def entry(
    subject: str, kind: Kind, posted: date, lines: Iterable[Line], accounts: AccountMap
) -> Entry | None:
    """An entry of these lines under their accounts, in one order; `None` where nothing is left of them.

    Raises:
        CopsError: `E-GL-UNMAPPED` with the money that has no account; `E-EXPORT-BALANCE` for lines that do
            not add up to 0, which none of ours do.
    """
    sums: defaultdict[Line, int] = defaultdict(int)
    for line in lines:
        sums[replace(line, amount=0)] += line.amount
    left = [replace(line, amount=usd) for line, usd in sums.items() if usd]
    mapped = [replace(line, account=_account(line, left, accounts)) for line in left]
    made = Entry(subject, kind, posted, tuple(sorted(mapped, key=_place)))
    for code, rest in balance(made.lines).items():
        if rest:
            raise CopsError(
                "E-EXPORT-BALANCE",
                f"journal entry {subject}",
                expected=f"lines that add up to 0 {code}",
                found=amount.to_text(rest),
                next_step="nothing was written; keep the home and report it",
            )
    return made if made.lines else None


def _account(line: Line, lines: Sequence[Line], accounts: AccountMap) -> Account:
    try:
        return accounts.account(line.purpose, line.tenant_id, line.service)
    except NoAccount as problem:
        waits = sum(abs(one.amount) for one in lines if one.purpose == line.purpose and one.currency == USD)
        raise CopsError(
            "E-GL-UNMAPPED",
            f"account map on {accounts.day}",
            expected=f"an account for {line.purpose} ({PURPOSES[line.purpose]})",
            found=f"none for {' → '.join(problem.way)}; {amount.show(waits)} USD wait for it",
            next_step="`cops journal accounts --default > gl_accounts.csv`, look through it, then"
            " `cops admin load gl_accounts.csv`",
        ) from None


def balance(lines: Iterable[Line]) -> dict[str, int]:
    """The sum of the lines in each currency."""
    sums: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        sums[line.currency] += line.amount
    return dict(sums)


def in_minor_units(lines: Sequence[Line]) -> list[int]:
    """The amounts in whole minor units, as atto-units: each within one of its exact amount, and in balance.

    What ends in a minor unit already, as documents do, stays as it is.
    """
    shown = [0] * len(lines)
    for code in {line.currency for line in lines}:
        unit, at = currency.unit(code), [at for at, line in enumerate(lines) if line.currency == code]
        for place, units in zip(at, footing.parts([lines[one].amount for one in at], unit, 0), strict=True):
            shown[place] = units * unit
    return shown


def _place(line: Line) -> tuple[object, ...]:
    return (_ORDER.index(line.purpose), *map(str, _fields(line)[1:]))


def _fields(line: Line) -> tuple[str | int | date | None, ...]:
    account = line.account
    return (
        line.purpose, line.tenant_id, line.service, line.usage, line.document_id, line.currency, line.amount,
        account.code, account.name, account.kind,
    )  # fmt: skip
