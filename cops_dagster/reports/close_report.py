"""The close report: one self-contained page per period, stored as evidence.

Belongs here: gathering the figures, rendering them with the template beside, keeping the page. Does not
belong here: what stands in its tables (`reports/close_tables.py`), how a chart is drawn
(`reports/charts.py`).

The same books give the same bytes, so making it again stores nothing; no clock stands in it. Amounts are
exact in its CSV; on the page they are rounded to cents such that what stands beside each other adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.errors import unknown_month
from cops_dagster.evidence import chain
from cops_dagster.evidence.chain import Piece
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, footing
from cops_dagster.period import Period
from cops_dagster.policy import Coverage
from cops_dagster.reconciliation import record
from cops_dagster.reports.close_tables import Table, bridge, coverage, tables
from cops_dagster.stores import faults

if TYPE_CHECKING:
    from cops_dagster.reports.charts import Chart

KIND = "close_report"

_COUNTS = ("rows", "journal", "number", "months_off", "change_pct", "margin_pct")
_PROSE = ("what", "decision", "target", "measured", "note")
_TEMPLATE = Path(__file__).with_name("close_report.html.j2")


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
            raise unknown_month(
                period, expected="a reconciled month", found="none", subject=f"close report of {period}"
            )
        months = coverage(con, period)
        return Report(
            period,
            lock.state_of(con, period),
            recon,
            _facts(recon, months),
            bridge_chart(con, recon.recon_seq).svg(),
            coverage_chart(con, books.policy.coverage, period).svg(),
            tables(con, books, recon, period),
        )


def bridge_chart(con: sa.Connection, recon_seq: int) -> Chart:
    """From AWS's bill to our invoices, as one reconciliation saw it."""
    from cops_dagster.reports import charts

    return charts.waterfall(bridge(con, recon_seq))


def coverage_chart(con: sa.Connection, limits: Coverage, period: Period) -> Chart:
    """Tag coverage over the months up to this one."""
    from cops_dagster.reports import charts

    return charts.trend(coverage(con, period), limits.target_pct, limits.floor_pct)


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
