"""Drafts of documents: what brings a tenant's documents of a month to what its statement says. Pure.

Belongs here: which invoice is credited and issued anew, at which amount, under which id. Does not belong
here: reading documents and statements, writing files (`exports/drafts.py`).

    missing = (expected − documents at another rate) ÷ rate, in whole units − documents at the month's rate

An invoice stays as it is: it is credited in full and issued anew, and both name it. Amounts are atto-units of
their currency; a rate is atto-USD for one unit; the target is rounded as the statement is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from cops_dagster.money import currency, footing
from cops_dagster.money.amount import ATTO

_OURS = re.compile(r"(?:CN|RE)\d+-")


@dataclass(frozen=True)
class Document:
    """One row of a tenant's documents of the month; `usd` in atto-USD at the rate that it was booked at."""

    invoice_id: str
    kind: str
    amount: int
    currency: str
    usd: int
    corrects: str | None = None


@dataclass(frozen=True)
class Owed:
    """What a tenant's documents should come to: exact atto-USD, and the currency they are written in."""

    tenant_id: str
    usd: int
    currency: str


class NothingToCredit(Exception):
    """Less than nothing is owed, and no invoice of the month could be named by a credit note."""


def missing(owed: Owed, documents: Sequence[Document], rates: Mapping[str, int]) -> int:
    """What the documents lack: whole minor units of the tenant's currency in atto-units; below 0: too much.

    With every document in that currency and at the month's rate it is the statement's total − their sum.
    """
    rate, unit = rates[owed.currency], currency.unit(owed.currency)
    plain = other = 0
    for one in documents:
        if _is_plain(one, owed.currency, rate):
            plain += one.amount
        else:
            other += one.usd
    return footing.nearest((owed.usd - other) * ATTO, rate * unit) * unit - plain


def _is_plain(one: Document, code: str, rate: int) -> bool:
    """In the tenant's currency and whole units of it, at the month's rate."""
    if one.currency != code or one.amount % currency.unit(code):
        return False
    return one.usd == footing.nearest(one.amount * rate, ATTO)


def drafted(
    owed: Owed, documents: Sequence[Document], rates: Mapping[str, int], taken: Collection[str], month: str
) -> list[Document]:
    """The documents that are to be issued, in order; none when nothing is missing.

    Args:
        documents: the tenant's of the month, stored.
        rates: atto-USD for one unit of each currency in the month.
        taken: ids that documents have already.

    Raises:
        NothingToCredit: a credit note is needed, and there is no invoice that it could name.
    """
    if not missing(owed, documents, rates):
        return []
    names = _Names({*taken, *(one.invoice_id for one in documents)})
    made: list[Document] = []
    if not any(one.kind == "invoice" for one in documents):
        _first(made, owed, documents, rates, names, month)
    else:
        _corrected(made, owed, documents, rates, names)
    assert missing(owed, [*documents, *made], rates) == 0
    return made


def _first(
    made: list[Document],
    owed: Owed,
    documents: Sequence[Document],
    rates: Mapping[str, int],
    names: _Names,
    month: str,
) -> None:
    lacks = missing(owed, documents, rates)
    if lacks < 0:
        raise NothingToCredit
    made.append(_document("invoice", names.first(month, owed.tenant_id), lacks, owed.currency, rates))


def _corrected(
    made: list[Document],
    owed: Owed,
    documents: Sequence[Document],
    rates: Mapping[str, int],
    names: _Names,
) -> None:
    lacks = missing(owed, documents, rates)
    standing = _standing(owed, documents, rates)
    twins = [one for one in standing if (one.currency, one.amount) == (owed.currency, -lacks)]
    named = ""
    for one in twins[:1] or standing:
        made.append(_document("credit_note", names.credit(one), -one.amount, one.currency, rates, one))
        named = named or one.invoice_id
        lacks = missing(owed, [*documents, *made], rates)
        if lacks >= 0:
            break
    if not lacks:
        return
    # credited to the last of them, or never standing: what is named is an invoice all the same
    origin = next(
        one for one in documents if one.kind == "invoice" and (one.invoice_id == named or not named)
    )
    if lacks > 0:
        made.append(_document("invoice", names.anew(origin), lacks, owed.currency, rates, origin))
    elif made and made[-1].currency == owed.currency:
        more = made.pop()
        origin = next(one for one in documents if one.invoice_id == more.corrects and one.kind == "invoice")
        made.append(
            _document("credit_note", more.invoice_id, more.amount + lacks, owed.currency, rates, origin)
        )
    else:
        made.append(_document("credit_note", names.credit(origin), lacks, owed.currency, rates, origin))


def _standing(owed: Owed, documents: Sequence[Document], rates: Mapping[str, int]) -> list[Document]:
    """Invoices with what is left of each: those in the tenant's currency first, the largest first."""
    left: list[Document] = []
    for one in documents:
        if one.kind != "invoice" or one.currency not in rates:
            continue
        against = [
            each
            for each in documents
            if each.kind == "credit_note" and (each.corrects, each.currency) == (one.invoice_id, one.currency)
        ]
        amount = one.amount + sum(each.amount for each in against)
        if amount > 0:
            left.append(Document(one.invoice_id, one.kind, amount, one.currency, one.usd, one.corrects))
    return sorted(left, key=lambda one: (one.currency != owed.currency, -one.amount, one.invoice_id))


def _document(
    kind: str, name: str, amount: int, code: str, rates: Mapping[str, int], of: Document | None = None
) -> Document:
    usd = footing.nearest(amount * rates[code], ATTO)
    return Document(name, kind, amount, code, usd, of.invoice_id if of else None)


class _Names:
    """Ids of new documents: counted from the invoice that they correct, and free."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def first(self, month: str, tenant_id: str) -> str:
        """Of a tenant's first invoice of a month."""
        name = f"INV-{month}-{tenant_id}"
        return self._free(name if at == 1 else f"{name}-{at}" for at in count(1))

    def credit(self, of: Document) -> str:
        """Of a credit note."""
        return self._counted("CN", of)

    def anew(self, of: Document) -> str:
        """Of an invoice issued anew."""
        return self._counted("RE", of)

    def _counted(self, prefix: str, of: Document) -> str:
        root = of.invoice_id
        # only of what corrects another: RE2025-17 may be anybody's first invoice
        while of.corrects is not None and (ours := _OURS.match(root)):
            root = root[ours.end() :]
        return self._free(f"{prefix}{at}-{root}" for at in count(1))

    def _free(self, names: Iterator[str]) -> str:
        name = next(one for one in names if one not in self._taken)
        self._taken.add(name)
        return name
