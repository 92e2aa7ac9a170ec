"""`cops focus export`: one side of a month in one version of FOCUS, as a folder of Parquet and CSV.

Belongs here: the act, its outcome and its record. Does not belong here: what the charges are
(`exports/focus_cost.py`, `exports/focus_sell.py`), the documents beside them (`exports/focus_documents.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.evidence.adoption import require_policy
from cops_dagster.exports import (
    files,
    focus_columns,
    focus_cost,
    focus_documents,
    focus_sell,
    focus_services,
    ready,
    record,
)
from cops_dagster.exports.files import Columns
from cops_dagster.exports.focus_columns import Version
from cops_dagster.exports.focus_services import Services
from cops_dagster.exports.ready import Ready
from cops_dagster.lake import focus_rows, guarded_csv
from cops_dagster.lake.views import read_parquet, view
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents
from cops_dagster.stores import tables as t

Side = Literal["cost", "sell"]
ALGORITHM = "focus-1"
CHARGES = "cost-and-usage"


@dataclass(frozen=True)
class Exported:
    """A written export.

    Attributes:
        sha256: over the names and digests of its files.
        rows: charges in Cost and Usage.
        apart: direct entries that left as a whole, since today's register does not tell their lines.
        unknown_commitments: commitments that the bill does not say enough of.
        is_news: no export with these bytes was recorded last.
    """

    period: Period
    name: str
    folder: Path
    sha256: str
    rows: int
    apart: Sequence[str] = ()
    unknown_commitments: Sequence[str] = ()
    is_draft: bool = False
    is_news: bool = False


def name_of(side: Side, version: Version) -> str:
    """The name of an export in the record: `focus_cost_1_2`."""
    return f"focus_{side}_{version.replace('.', '_')}"


def _made_from(
    books: Books, con: sa.Connection, month: Ready, side: Side, version: Version, services: Services
) -> str:
    # documents come for a closed month as well, which no run and no reconciliation tells
    issued = [tuple(row) for row in documents.invoices(con, month.period)] if side == "sell" else []
    corrects = sorted((one, other) for one, other in _corrects(con, side).items() if other)
    given = (services.digest, books.settings.exports.issuer, issued, corrects)
    return ready.made_from(con, month, name_of(side, version), ALGORITHM, *given)


def _corrects(con: sa.Connection, side: Side) -> dict[str, str | None]:
    """Document → the one that it corrects, of AWS's or of ours."""
    table = t.aws_invoices if side == "cost" else t.invoice_detail
    asked = sa.select(table.c.invoice_id, table.c.corrects_invoice_id)
    return {row.invoice_id: row.corrects_invoice_id for row in con.execute(asked)}


def export(
    books: Books, period: Period, out: Path, *, side: Side, version: Version, draft: bool = False
) -> Exported:
    """Writes an export and records it; a draft marks every row, and is not recorded.

    Raises:
        CopsError: what `ready.require` raises; `E-FOCUS-MAP`, `E-FOCUS-UNMAPPED`; `E-EXPORT-SUM`; `E-OUT`;
            `E-EXPORT-DIFFERS`.
    """
    require_policy(books)
    name = name_of(side, version)
    with books.admin.read() as con:
        month = ready.require(books, con, period, draft=draft)
        services = focus_services.read(books.settings.exports.focus_services)
        source = _made_from(books, con, month, side, version, services)
        with files.swapped(out, f"{name} of {period}") as folder:
            (folder / "parquet").mkdir()
            (folder / "csv").mkdir()
            done = _written(books, con, month, side, version, services, folder)
            sha256 = files.digest_of(folder)
            news = not draft and record.record(books, name, period, source, sha256)
    return Exported(period, name, out, sha256, *done, is_draft=draft, is_news=news)


def export_all(books: Books, period: Period) -> list[Exported]:
    """Both sides in both versions, into `exports/focus` of the home. Raises as `export`."""
    place = books.settings.home / "exports" / "focus" / str(period)
    return [
        export(books, period, place / f"{side}-{version}", side=side, version=version)
        for side in _SIDES
        for version in _VERSIONS
    ]


_SIDES: tuple[Side, ...] = ("cost", "sell")
_VERSIONS: tuple[Version, ...] = ("1.2", "1.4")


def _written(
    books: Books,
    con: sa.Connection,
    month: Ready,
    side: Side,
    version: Version,
    services: Services,
    folder: Path,
) -> tuple[int, Sequence[str], Sequence[str]]:
    target = folder / "parquet" / f"{CHARGES}.parquet"
    if side == "cost":
        made = focus_cost.write(books, con, month, version, services, folder, target)
        rows, apart, found, issuer = made.rows, made.apart, made.commitments, focus_cost.ISSUER
    else:
        issuer, apart, found = books.settings.exports.issuer, (), ()
        rows = _sold(books, con, month, version, services, issuer, target)
    columns = _columns_of(target, version)
    with books.engine() as engine:
        guarded_csv.write(engine, target, columns, folder / "csv" / f"{CHARGES}.csv")
    unknown: list[str] = []
    if version == "1.4":
        unknown = beside(books, con, month, side, issuer, found, target, folder)
    return rows, apart, unknown


def _columns_of(target: Path, version: Version) -> Columns:
    from pyarrow import parquet

    there = set(parquet.read_schema(target).names)
    wanted = focus_columns.cost_and_usage(version, has_commitments=True)
    return [(name, kind) for name, _, kind in wanted if name in there]


def _sold(
    books: Books,
    con: sa.Connection,
    month: Ready,
    version: Version,
    services: Services,
    issuer: str,
    target: Path,
) -> int:
    start: dict[str, Any] = {"period_start": month.period.start, "run_id": month.head.run_id}
    with books.engine() as engine:
        books.namespace(engine, con, month.period).provide(focus_cost.ENTRIES)
        mapped = focus_services.require(services, focus_cost.costs(engine, start), draft=month.is_draft)
        by_service = {(service, charge_class): rest for service, charge_class, *rest in mapped}
        found = list(focus_sell.charges(books, con, engine, month, by_service))
        focus_rows.provide_entries(engine, focus_cost.COLUMNS, map(focus_cost.row, found))
        columns = focus_columns.cost_and_usage(version, has_commitments=version == "1.4")
        given = focus_cost.given(month, issuer)
        return focus_rows.stage(engine, [focus_rows.ENTRIES], columns, given, target)


def beside(
    books: Books,
    con: sa.Connection,
    month: Ready,
    side: Side,
    issuer: str,
    found: Sequence[dict[str, Any]],
    target: Path,
    folder: Path,
) -> list[str]:
    """Writes the other datasets; the commitments that are not among them."""
    changed_at = _changed_at(month)
    corrects = _corrects(con, side)
    lines = focus_documents.invoice_lines(month, issuer, _sums(books, target), corrects, changed_at)
    agreed, unknown = focus_documents.commitments(month, issuer, found, changed_at)
    periods = focus_documents.periods(month, issuer, changed_at)
    for name, columns, rows in (
        ("invoice-detail", focus_columns.INVOICE_DETAIL, lines),
        ("billing-period", focus_columns.BILLING_PERIOD, periods),
        ("contract-commitment", focus_columns.CONTRACT_COMMITMENT, agreed),
    ):
        if rows:
            parquet = folder / "parquet" / f"{name}.parquet"
            files.parquet(parquet, columns, [[row.get(column) for column, _ in columns] for row in rows])
            with books.engine() as engine:
                guarded_csv.write(engine, parquet, columns, folder / "csv" / f"{name}.csv")
    return unknown


def _sums(books: Books, target: Path) -> list[dict[str, Any]]:
    named = {
        "invoice_detail_id": "InvoiceDetailId", "invoice_id": "InvoiceId",
        "billing_account_id": "BillingAccountId", "billing_currency": "BillingCurrency",
        "charge_category": "ChargeCategory", "billed_usd": "BilledCost",
    }  # fmt: skip
    with books.engine() as engine:
        columns = [exp.alias_(exp.column(name, quoted=True), alias) for alias, name in named.items()]
        view(engine, "focus_charges", exp.select(*columns).from_(read_parquet([target]).subquery("f")))
        rows = engine.fetch("focus_invoice_sums").dicts()
    return [{named[alias]: value for alias, value in row.items()} for row in rows]


def _changed_at(month: Ready) -> datetime:
    """When the books last decided about the month: its reconciliation, or its newest move."""
    times = [month.moved_at, month.recon.reconciled_at if month.recon else None]
    newest = max(one for one in (*times, focus_documents.at(month.period.start)) if one is not None)
    return newest.replace(microsecond=0)
