"""The close report: one self-contained page per period, stored as evidence.

Belongs here: gathering the figures, rendering them with the template beside, keeping the page. Does not
belong here: what stands in its tables (`reports/close_tables.py`: money; `reports/close_record.py`: people,
proof), how a table foots (`reports/sheet.py`), how a chart is drawn (`reports/charts.py`).

The same books give the same bytes, so making it again stores nothing; no clock stands in it. Amounts are
exact in its CSV; on the page they are rounded to cents such that what stands beside each other adds up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from cops_dagster.money.footing import Kind
from cops_dagster.period import Period
from cops_dagster.policy import Coverage
from cops_dagster.reconciliation import bridge, record
from cops_dagster.reports import close_brief, close_record, close_tables
from cops_dagster.reports.close_record import SignOff
from cops_dagster.reports.close_tables import bridge_told, coverage, steps_of
from cops_dagster.reports.sheet import Table
from cops_dagster.stores import faults

if TYPE_CHECKING:
    from cops_dagster.reports.charts import Chart

KIND = "close_report"

_COUNTS = ("rows", "journal", "months_off", "change_pct", "margin_pct", "rate", "total", "before_tax", "tax",
           "amount")  # fmt: skip
_SOLID = ("number", "corrects", "at_utc", "payer", "period")
"""Columns of names and times, which no phone breaks: what is broken can be neither read nor copied."""
_PROSE = ("about", "decision_and_evidence", "target", "measured", "note", "why", "must_hold", "control")
_TEMPLATE = Path(__file__).with_name("close_report.html.j2")


@dataclass(frozen=True)
class Bar:
    """A step of the bridge on the page: its amount as displayed, and where its bar lies, of 1000."""

    told: str
    kind: Kind
    usd: str
    left: int
    width: int


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    period: Period
    state: str
    recon: Any
    signed: SignOff
    facts: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    coverage: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class Kept:
    """Where a report lies: number of its evidence entry, digest, size, the page to open; and it in short."""

    evidence_seq: int
    sha256: str
    size_bytes: int
    path: Path
    brief: str

    @property
    def url(self) -> str:
        """The page as a link for a browser on this machine; pages from a server may not lead to it."""
        return self.path.as_uri()


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
        signed = close_record.sign_off(con, books, recon, period)
        steps = steps_of(con, recon.recon_seq)
        return Report(
            period,
            lock.state_of(con, period),
            recon,
            signed,
            _facts(recon, bridge_told(steps), coverage(con, period)),
            _bars(steps),
            coverage_chart(con, books.policy.coverage, period).svg(),
            [
                *close_tables.tables(con, books, recon, period),
                *close_record.tables(con, books, period, signed.closed_at),
            ],
        )


def bridge_chart(con: sa.Connection, recon_seq: int) -> Chart:
    """From AWS's bill to our invoices, as one reconciliation saw it."""
    from cops_dagster.reports import charts

    return charts.waterfall(steps_of(con, recon_seq))


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
    environment.tests["numeric"] = lambda column: column.endswith("_usd") or column in _COUNTS
    environment.tests["solid"] = lambda column: column in _SOLID
    environment.tests["prose"] = lambda column: column in _PROSE
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(report=report)
    return page.encode()


def keep(books: Books, period: Period) -> Kept:
    """Makes the report and stores it as evidence; an unchanged one is the one that is there.

    The page to open is a copy in the home, `reports/close_report_PERIOD.html`: evidence is named by its
    digest, and no browser knows what to do with such a name.
    """
    report = gather(books, period)
    page = render(report)
    (kept,) = chain.store(books, [Piece(KIND, "period", str(period), "text/html", data=page)])
    with books.admin.write() as con:
        (number,) = chain.index(con, books, [kept])
    shown = books.settings.home / "reports" / f"close_report_{period}.html"
    shown.parent.mkdir(parents=True, exist_ok=True)
    partial = shown.with_suffix(".partial")
    partial.write_bytes(page)
    partial.replace(shown)
    return Kept(number, kept.sha256, len(page), shown, brief(report))


def brief(report: Report) -> str:
    """What the page begins with, as Markdown."""
    stands = "SEALED" if report.signed.seal else "DRAFT, these amounts may still change"
    return close_brief.brief(
        f"{report.period}: {stands}; reconciliation {report.recon.status}, period {report.state}",
        report.signed.lines,
        [(bar.told, bar.usd) for bar in report.bars],
        report.tables,
    )


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


def _facts(
    recon: Any, told: Mapping[str, str], months: Sequence[tuple[str, Decimal | None]]
) -> list[tuple[str, str]]:
    """The cards: the same figures as the bridge shows."""
    coverage, off = months[-1][1] if months else None, recon.variance_usd
    names = ("aws_billed", "expected", "invoiced", "variance")
    return [
        *((bridge.told(name, off), told.get(name, "")) for name in names),
        ("in % of billable", _percent(recon.variance_pct)),
        ("tag coverage, %", "" if coverage is None else f"{coverage:.2f}"),
    ]


def _percent(pct: Decimal | None) -> str:
    if pct is None:
        return ""
    told = amount.shown(pct)
    return "below 0.01" if pct and not told.strip("-0.") else told


def _bars(found: Sequence[tuple[str, Kind, Decimal, Decimal]]) -> list[Bar]:
    """The bridge as it is read, with bars between 0 and the largest amount that it comes to."""
    exact = {name: usd for name, _, usd, _ in found}
    shown = [step for step in found if bridge.is_shown(step[0], exact)]
    told = footing.told([(kind, usd) for _, kind, usd, _ in shown])
    reach = max((abs(amount.from_decimal(end)) for _, _, _, end in shown), default=0) or 1
    made, part_at = [], 0
    for (name, kind, usd, end), text in zip(shown, told, strict=True):
        size, stop = amount.from_decimal(usd), amount.from_decimal(end)
        start = {"level": 0, "part": part_at}.get(kind, stop - size)
        part_at = start + size if kind == "part" else 0
        sign = "+" if kind == "change" and text.strip("-0.") and size > 0 else ""
        left, right = (min(max(at, 0) * 1000 // reach, 1000) for at in sorted((start, start + size)))
        made.append(Bar(bridge.told(name, usd), kind, sign + text, left, right - left))
    return made
