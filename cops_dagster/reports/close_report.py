"""The close report: one self-contained page per period, stored as evidence.

Belongs here: which figures stand in it, gathered from the books, rendered with the template beside, kept.
The same books give the same bytes, so making it again stores nothing; no clock stands in it. Amounts are
exact in its CSV; on the page they are rounded to cents such that what stands beside each other adds up.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain
from cops_dagster.evidence.chain import Piece
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, footing
from cops_dagster.money.footing import Kind
from cops_dagster.operations import controls
from cops_dagster.period import Period
from cops_dagster.policy import Coverage
from cops_dagster.reconciliation import exceptions, reconcile, record
from cops_dagster.reconciliation.bridge import WHOLE_MONTH
from cops_dagster.stores import csv_cells, faults
from cops_dagster.stores import tables as t

if TYPE_CHECKING:
    from cops_dagster.reports.charts import Chart

KIND = "close_report"
TREND_MONTHS = 12
MOVERS = 10

_COUNTS = ("rows", "journal", "number", "months_off", "change_pct")
_PROSE = ("what", "decision", "target", "measured", "note")
_VARIANCE: Sequence[tuple[Kind, str]] = (
    ("level", "expected_usd"),
    ("change", "variance_usd"),
    ("level", "invoiced_usd"),
)
_TEMPLATE = Path(__file__).with_name("close_report.html.j2")


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


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    period: Period
    state: str
    recon: Any
    facts: Sequence[tuple[str, str]]
    waterfall: str
    coverage: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class Kept:
    """Where a report lies: number of its evidence entry, digest, size, and the page to open."""

    evidence_seq: int
    sha256: str
    size_bytes: int
    url: str


def gather(books: Books, period: Period) -> Report:
    """The figures of a period's report.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when it was never reconciled.
    """
    with books.admin.read() as con:
        recon = record.newest(con, period)
        if recon is None:
            raise CopsError(
                "E-PERIOD-UNKNOWN",
                f"close report of {period}",
                expected="a reconciled month",
                found="none",
                next_step=f"run `cops materialize {period}`",
            )
        bridge = _bridge(con, recon.recon_seq)
        months = _coverage(con, period)
        return Report(
            period,
            lock.state_of(con, period),
            recon,
            _facts(recon, months),
            bridge_chart(con, recon.recon_seq).svg(),
            coverage_chart(con, books.policy.coverage, period).svg(),
            [
                _tenants(con, recon, period),
                Table(
                    "bridge",
                    "From AWS's bill to our invoices",
                    ("step", "kind", "amount_usd"),
                    [(name, kind, usd) for name, kind, usd, _ in bridge],
                ),
                _movers(con, recon, period),
                _exceptions(con, period),
                _reconciliations(con, period),
                _controls(con),
                _runs(con, period),
                _proof(con, period),
            ],
        )


def bridge_chart(con: sa.Connection, recon_seq: int) -> Chart:
    """From AWS's bill to our invoices, as one reconciliation saw it."""
    from cops_dagster.reports import charts

    return charts.waterfall(_bridge(con, recon_seq))


def coverage_chart(con: sa.Connection, limits: Coverage, period: Period) -> Chart:
    """Tag coverage over the months up to this one."""
    from cops_dagster.reports import charts

    return charts.trend(_coverage(con, period), limits.target_pct, limits.floor_pct)


def render(report: Report) -> bytes:
    """The page: HTML with its styles, charts and CSV inside. Every text from data is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = _shown
    environment.tests["numeric"] = lambda column: column.endswith("_usd") or column in _COUNTS
    environment.tests["prose"] = lambda column: column in _PROSE
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(report=report)
    return page.encode()


def keep(books: Books, period: Period) -> Kept:
    """Makes the report and stores it as evidence; an unchanged one is the one that is there.

    The page to open is a copy in the home, `reports/close_report_PERIOD.html`: evidence is named by its
    digest, and no browser knows what to do with such a name.
    """
    page = render(gather(books, period))
    (kept,) = chain.store(books, [Piece(KIND, "period", str(period), "text/html", data=page)])
    with books.admin.write() as con:
        (number,) = chain.index(con, books, [kept])
    shown = books.settings.home / "reports" / f"close_report_{period}.html"
    shown.parent.mkdir(parents=True, exist_ok=True)
    partial = shown.with_suffix(".partial")
    partial.write_bytes(page)
    partial.replace(shown)
    return Kept(number, kept.sha256, len(page), shown.as_uri())


def write(books: Books, period: Period, folder: Path) -> list[Path]:
    """Writes the page and every table as CSV into a folder; the files, the page first."""
    report = gather(books, period)
    pages = {f"close_report_{period}.html": render(report)}
    pages |= {f"{table.name}_{period}.csv": table.csv().encode() for table in report.tables}
    with faults.writing_to(folder, "give another with --out"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pages.items():
            (folder / name).write_bytes(content)
    return [folder / name for name in pages]


def _shown(value: object) -> str:
    if isinstance(value, Decimal):
        return amount.shown(value)
    return "" if value is None else str(value)


def _facts(recon: Any, months: Sequence[tuple[str, Decimal | None]]) -> list[tuple[str, str]]:
    coverage = months[-1][1] if months else None
    expected, variance, invoiced = footing.told(
        [("level", recon.expected_usd), ("change", recon.variance_usd), ("level", recon.invoiced_total_usd)]
    )
    return [
        ("AWS billed", _shown(recon.aws_total_usd)),
        ("expected", expected),
        ("invoiced", invoiced),
        ("variance", variance),
        ("variance %", "" if recon.variance_pct is None else f"{recon.variance_pct.normalize():f}"),
        ("tag coverage %", "" if coverage is None else f"{coverage:.2f}"),
    ]


def _bridge(con: sa.Connection, seq: int) -> list[tuple[str, Kind, Decimal, Decimal]]:
    bridge = t.recon_run_bridge
    rows = con.execute(
        sa.select(bridge)
        .where(bridge.c.recon_seq == seq, bridge.c.tenant_id == WHOLE_MONTH)
        .order_by(bridge.c.position)
    )
    return [(row.step, row.kind, row.amount_usd, row.cumulative_usd) for row in rows]


def _coverage(con: sa.Connection, period: Period) -> list[tuple[str, Decimal | None]]:
    coverage = t.tag_coverage
    rows = con.execute(
        sa.select(coverage.c.period_start, coverage.c.tag_coverage_pct)
        .where(coverage.c.period_start <= period.start)
        .order_by(coverage.c.period_start.desc())
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
