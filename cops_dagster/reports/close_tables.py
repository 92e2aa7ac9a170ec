"""The tables of the close report: what a month consists of, row by row.

Belongs here: which rows and columns, and which of them add up. The same books give the same rows; no clock
stands in them. Does not belong here: the page (`reports/close_report.py`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, footing
from cops_dagster.money.footing import Kind
from cops_dagster.operations import controls
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions, margin_cells, reconcile, record
from cops_dagster.reconciliation.bridge import WHOLE_MONTH
from cops_dagster.stores import csv_cells
from cops_dagster.stores import tables as t

if TYPE_CHECKING:
    pass

TREND_MONTHS = 12


MOVERS = 10


_VARIANCE: Sequence[tuple[Kind, str]] = (
    ("level", "expected_usd"),
    ("change", "variance_usd"),
    ("level", "invoiced_usd"),
)


@dataclass(frozen=True)
class Table:
    """A table of the report: columns as on the page; `rows` hold exact values.

    `foots` names columns that add up along a row, in the order of the sum: levels, and changes between.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    foots: Sequence[tuple[Kind, str]] = ()

    @property
    def shown(self) -> Sequence[Sequence[object]]:
        """The rows as the page shows them."""
        if self.name == "bridge":
            amounts = footing.told([(kind, usd) for _, kind, usd in self.rows])  # type: ignore[misc]
            return [(*row[:2], usd) for row, usd in zip(self.rows, amounts, strict=True)]
        at = [self.columns.index(column) for _, column in self.foots]
        made = []
        for row in self.rows:
            cells = list(row)
            steps = [(kind, row[place]) for (kind, _), place in zip(self.foots, at, strict=True)]
            for place, usd in zip(at, footing.told(steps), strict=True):  # type: ignore[arg-type]
                cells[place] = usd
            made.append(cells)
        return made

    def csv(self) -> str:
        """The table as CSV that a spreadsheet may open."""
        made = io.StringIO()
        csv_cells.write(made, self.columns, self.rows)
        return made.getvalue()

    @property
    def href(self) -> str:
        """The CSV as a link that needs no server."""
        return "data:text/csv;base64," + base64.b64encode(self.csv().encode()).decode()


def tables(con: sa.Connection, books: Books, recon: Any, period: Period) -> list[Table]:
    """Every table of a period's report, in the order of the page."""
    return [
        _tenants(con, recon, period),
        _margin(con, books, period),
        Table(
            "bridge",
            "From AWS's bill to our invoices",
            ("step", "kind", "amount_usd"),
            [(name, kind, usd) for name, kind, usd, _ in bridge(con, recon.recon_seq)],
        ),
        _movers(con, recon, period),
        _exceptions(con, period),
        _reconciliations(con, period),
        _controls(con),
        _runs(con, period),
        _proof(con, period),
    ]


def bridge(con: sa.Connection, seq: int) -> list[tuple[str, Kind, Decimal, Decimal]]:
    """The steps from AWS's bill to our invoices, as one reconciliation saw them."""
    steps = t.recon_run_bridge
    rows = con.execute(
        sa.select(steps)
        .where(steps.c.recon_seq == seq, steps.c.tenant_id == WHOLE_MONTH)
        .order_by(steps.c.position)
    )
    return [(row.step, row.kind, row.amount_usd, row.cumulative_usd) for row in rows]


def coverage(con: sa.Connection, period: Period) -> list[tuple[str, Decimal | None]]:
    """Tag coverage of the months up to this one, the oldest first."""
    measured = t.tag_coverage
    rows = con.execute(
        sa.select(measured.c.period_start, measured.c.tag_coverage_pct)
        .where(measured.c.period_start <= period.start)
        .order_by(measured.c.period_start.desc())
        .limit(TREND_MONTHS)
    ).all()
    return [(f"{row.period_start:%Y-%m}", row.tag_coverage_pct) for row in reversed(rows)]


def _tenants(con: sa.Connection, recon: Any, period: Period) -> Table:
    tenants, statements = t.recon_run_tenant, t.recon_run_statement
    stated = {
        row.tenant_id: row
        for row in con.execute(sa.select(statements).where(statements.c.recon_seq == recon.recon_seq))
    }
    off = reconcile.months_off(con, period)
    rows = []
    for row in con.execute(
        sa.select(tenants).where(tenants.c.recon_seq == recon.recon_seq).order_by(tenants.c.tenant_id)
    ):
        one = stated.get(row.tenant_id)
        rows.append(
            (
                row.tenant_id,
                one.direct_usd if one else row.allocated_usd,
                one.shared_usd if one else None,
                row.adjustments_usd,
                row.markup_usd,
                row.expected_usd,
                row.invoiced_usd,
                row.variance_usd,
                row.status,
                off.get(row.tenant_id, 0) or None,
            )
        )
    return Table(
        "tenants", "Tenants: allocation and reconciliation",
        ("tenant", "direct_usd", "shared_usd", "adjustments_usd", "markup_usd", "expected_usd",
         "invoiced_usd", "variance_usd", "status", "months_off"),
        rows, "months off: how many reconciled months in a row the tenant was off tolerance",
        (("change", "direct_usd"), ("change", "shared_usd"), ("change", "adjustments_usd"),
         ("change", "markup_usd"), *_VARIANCE),
    )  # fmt: skip


def _margin(con: sa.Connection, books: Books, period: Period) -> Table:
    """What is left of what tenants are charged; empty where the reconciliation is not of what stands now."""
    rows, note = [], "own cost and cost that nobody bears have lines of their own"
    try:
        made = margin_cells.read(books, con, period)
    except CopsError as refusal:
        if refusal.code != "E-NOT-RECONCILED":
            raise
        made, note = None, f"not shown: {refusal.found}"
    for line in [*made.lines("tenant"), made.total] if made else ():
        charged, cost, left = (amount.to_decimal(one) for one in (line.charged, line.cost, line.margin))
        unused, pct = amount.to_decimal(line.unused), line.margin_pct
        told = (cost, left, charged) if line.is_priced else (cost, None, None)
        rows.append((line.name, *told, "" if pct is None else amount.shown(pct), unused))
    return Table(
        "margin", "Margin: what is left of what tenants are charged",
        ("tenant", "cost_usd", "margin_usd", "charged_usd", "margin_pct", "unused_commitments_usd"),
        rows, note,
        (("level", "cost_usd"), ("change", "margin_usd"), ("level", "charged_usd")),
    )  # fmt: skip


def _movers(con: sa.Connection, recon: Any, period: Period) -> Table:
    """Tenants whose expected charge moved most since the month before."""
    tenants = t.recon_run_tenant
    before = record.newest(con, period.previous())
    sides: list[dict[str, Decimal]] = []
    for one in (before, recon):
        rows = con.execute(sa.select(tenants).where(tenants.c.recon_seq == (one.recon_seq if one else None)))
        sides.append({row.tenant_id: row.expected_usd for row in rows})
    moved = []
    for name in {*sides[0], *sides[1]}:
        was, now = (side.get(name, Decimal(0)) for side in sides)
        pct = amount.percent(amount.from_decimal(now - was), amount.from_decimal(abs(was)), 2)
        moved.append((name, was, now, now - was, "" if pct is None else f"{pct:f}"))
    moved.sort(key=lambda row: (-abs(row[3]), row[0]))
    return Table(
        "movers", f"Top movers since {period.previous()}",
        ("tenant", "before_usd", "now_usd", "change_usd", "change_pct"),
        [row for row in moved if row[3]][:MOVERS] if before else [],
        "" if before else f"{period.previous()} was never reconciled here",
        (("level", "before_usd"), ("change", "change_usd"), ("level", "now_usd")),
    )  # fmt: skip


def _exceptions(con: sa.Connection, period: Period) -> Table:
    rows = [
        (
            one.exception_id[:16],
            one.status,
            one.stage,
            one.subject_id or one.tenant_id,
            one.kind,
            one.amount_usd,
            one.owner,
            one.note,
            one.decision,
            one.evidence,
            one.decided_by,
            one.resolved_by,
        )
        for one in exceptions.current(con, period)
        if one.kind != "rounding"
    ]
    return Table(
        "exceptions", "Exceptions",
        ("id", "status", "stage", "subject", "class", "amount_usd", "owner", "what", "decision", "evidence",
         "decided_by", "approved_by"),
        rows, "rounding of cents is left out here",
    )  # fmt: skip


def _reconciliations(con: sa.Connection, period: Period) -> Table:
    recons = t.recon_run
    rows = con.execute(
        sa.select(recons).where(recons.c.period_start == period.start).order_by(recons.c.recon_seq)
    ).all()
    return Table(
        "reconciliations", "Reconciliations of this month, oldest first",
        ("number", "at_utc", "by", "expected_usd", "invoiced_usd", "variance_usd", "status", "worst_tenant",
         "note"),
        [
            (
                row.recon_seq, f"{row.reconciled_at:%Y-%m-%d %H:%M}", row.actor, row.expected_usd,
                row.invoiced_total_usd, row.variance_usd, row.status, row.worst_tenant_id, row.note,
            )
            for row in rows
        ],
        foots=_VARIANCE,
    )  # fmt: skip


def _controls(con: sa.Connection) -> Table:
    return Table(
        "controls", "Preventive controls, as last judged",
        ("control", "status", "target", "measured", "owner"),
        [
            (row.control.replace("_", " "), row.status, row.target, row.measured, row.owner)
            for row in controls.newest(con)
        ],
    )  # fmt: skip


def _runs(con: sa.Connection, period: Period) -> Table:
    runs = sorted(month.runs(con, period), key=lambda run: run.journal_seq)
    return Table(
        "runs", "Runs that this month consists of",
        ("table", "source", "run_id", "rows", "cost_usd", "journal"),
        [
            (run.table_name, run.source_id, run.run_id, run.row_count, run.cost_usd, run.journal_seq)
            for run in runs
        ],
    )  # fmt: skip


def _proof(con: sa.Connection, period: Period) -> Table:
    """Deliveries, the certificate of the head run, the seal: with the digests that evidence is found by."""
    entries, stands = t.evidence_index, month.read(con, period)
    rows: list[tuple[object, ...]] = [("delivery", row.source_id, row.delivery_id) for row in stands.shown]
    heads = [run.run_id for run in stands.runs]
    subjects = sa.or_(
        sa.and_(entries.c.subject_type == "run", entries.c.subject_id.in_(heads)),
        sa.and_(
            entries.c.subject_type == "period", entries.c.subject_id == str(period), entries.c.kind == "seal"
        ),
    )
    rows += [
        (row.kind.replace("_", " "), f"entry {row.evidence_seq}", row.sha256)
        for row in con.execute(sa.select(entries).where(subjects).order_by(entries.c.evidence_seq))
    ]
    return Table(
        "proof", "Proof", ("what", "of", "sha256"), rows,
        "the run certificate holds pool, posted and difference 0 per service and charge class",
    )  # fmt: skip
