"""Drafts of a month's documents, read from the books and written as `cops admin load` takes them.

Belongs here: the documents and statements of one month, who is refused a draft, the file. Does not belong
here: which documents are drafted (`reconciliation/drafting.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.exports import files, settled
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, currency
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents, drafting, freeze, statement
from cops_dagster.reconciliation.drafting import Document, NothingToCredit, Owed
from cops_dagster.stores import tables as t

COLUMNS = (
    "invoice_id", "tenant_id", "period_start", "amount", "currency", "status", "document_type",
    "corrects_invoice_id",
)  # fmt: skip
"""Columns of the file, as `cops admin load` reads `invoice_detail.csv`."""


@dataclass(frozen=True)
class Correction:
    """One tenant whose documents are not what its statement says; amounts in `currency`.

    Attributes:
        stated: the statement's total. invoiced: the sum of the documents in that currency.
        difference: what the drafts add to the documents.
    """

    tenant_id: str
    currency: str
    stated: Decimal
    invoiced: Decimal
    difference: Decimal
    rows: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Drafts:
    """What is to be issued for a month. `status` is that of its reconciliation; `frozen`: which freeze."""

    period: Period
    status: str
    frozen: str
    corrections: Sequence[Correction]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every drafted document, by the columns of `COLUMNS`."""
        return [row for one in self.corrections for row in one.rows]


def first_invoices(books: Books, period: Period) -> Drafts:
    """The invoices of tenants that have no document of the month yet. Raises as `corrections`."""
    return _drafts(books, period, is_first=True)


def corrections(books: Books, period: Period, tenant_id: str | None = None) -> Drafts:
    """What brings every tenant's documents of an open month, or one tenant's, to its statement.

    Raises:
        CopsError: `E-POLICY`; what `settled.require` and `statement.statement` raise; `E-PERIOD-CLOSED`;
            what `settled.require_tenant` raises; `E-INV-LINK` when a credit note has no invoice that it could
            name.
    """
    return _drafts(books, period, tenant_id)


def csv_of(drafts: Drafts) -> str:
    """The drafts as `invoice_detail.csv`: its header alone when nothing is to be issued."""
    return _csv(drafts).decode()


def write(drafts: Drafts, out: Path) -> Path:
    """Writes `drafts_PERIOD/invoice_detail.csv` below a folder, whole or not at all; the folder to load.

    Raises:
        CopsError: what `files.swapped` raises.
    """
    folder = out / f"drafts_{drafts.period}"
    with files.swapped(folder, f"drafts of {drafts.period}") as made:
        (made / "invoice_detail.csv").write_bytes(_csv(drafts))
    return folder


def _csv(drafts: Drafts) -> bytes:
    return files.csv_bytes(COLUMNS, [[row[name] for name in COLUMNS] for row in drafts.rows])


def _drafts(books: Books, period: Period, tenant_id: str | None = None, *, is_first: bool = False) -> Drafts:
    require_policy(books)
    with books.admin.read() as con:
        month = settled.require(books, con, period)
        stated = statement.stated(con, period)
        if lock.is_sealed(con, period):
            raise CopsError(
                "E-PERIOD-CLOSED",
                f"drafts of {period}",
                expected="an open month",
                found=f"{period} is {lock.state_of(con, period)}: its documents stay as it was closed on",
                next_step="correct it in the open month that bears its adjustments: cops adjust list",
            )
        stored = _documents(con, period)
        taken = set(con.execute(sa.select(t.invoice_detail.c.invoice_id).distinct()).scalars())
        rates, frozen = documents.fx_rates(con, period), freeze.in_force(con, period)
    by_tenant = {row["tenant_id"]: row for row in stated.rows}
    settled.require_tenant(f"drafts of {period}", period, tenant_id, by_tenant)
    made = []
    for name, row in by_tenant.items():
        # every tenant is drafted, whoever is asked for: ids must not depend on the question
        found = [] if is_first and stored[name] else _of_tenant(row, stored[name], rates, taken, period)
        if found is None and tenant_id in (None, name):
            raise _nothing_to_credit(period, row)
        if found and tenant_id in (None, name):
            made.append(_correction(row, stored[name], found, period))
    return Drafts(period, month.recon.status, frozen[0].reason if frozen else "", made)


def _documents(con: sa.Connection, period: Period) -> dict[str, list[Document]]:
    found: defaultdict[str, list[Document]] = defaultdict(list)
    for row in documents.invoices(con, period):
        found[row.tenant_id].append(
            Document(
                row.invoice_id,
                row.document_type,
                documents.atto(row.amount),
                row.currency,
                documents.atto(row.amount_usd),
                row.corrects_invoice_id,
            )
        )
    return found


def _of_tenant(
    row: dict[str, Any], stored: list[Document], rates: dict[str, int], taken: set[str], period: Period
) -> list[Document] | None:
    """Drafts of one tenant, whose ids are taken from then on; `None` where nothing could be credited."""
    owed = Owed(row["tenant_id"], amount.from_decimal(row["total_usd"]), row["currency"])
    try:
        made = drafting.drafted(owed, stored, rates, taken, str(period))
    except NothingToCredit:
        return None
    taken.update(one.invoice_id for one in made)
    return made


def _correction(
    row: dict[str, Any], stored: list[Document], made: list[Document], period: Period
) -> Correction:
    def sum_of(some: Sequence[Document]) -> Decimal:
        atto = sum(one.amount for one in some if one.currency == row["currency"])
        return _in_units(atto, row["currency"])

    return Correction(
        row["tenant_id"],
        row["currency"],
        row["total"],
        sum_of(stored),
        sum_of(made),
        [
            {
                "invoice_id": one.invoice_id,
                "tenant_id": row["tenant_id"],
                "period_start": period.start,
                "amount": _in_units(one.amount, one.currency),
                "currency": one.currency,
                "status": "issued",
                "document_type": one.kind,
                "corrects_invoice_id": one.corrects,
            }
            for one in made
        ],
    )


def _in_units(atto: int, code: str) -> Decimal:
    """An amount with as many decimals as its currency has."""
    value = amount.to_decimal(atto)
    unit = Decimal(1).scaleb(-currency.places(code))
    return value.quantize(unit) if value % unit == 0 else value


def _nothing_to_credit(period: Period, row: dict[str, Any]) -> CopsError:
    return CopsError(
        "E-INV-LINK",
        f"drafts of {period}, tenant {row['tenant_id']}",
        expected="an invoice of the month that a credit note can name",
        found=f"a statement of {amount.plain(row['total'])} {row['currency']}, and no invoice",
        next_step="pay it out, or let finance decide: cops exceptions list; draft others with --tenant",
    )
