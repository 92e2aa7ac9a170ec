"""What a run shows: figures as Dagster metadata, exact.

Belongs here: text for figures, numbers only for those that move from month to month, tables for lists. Does
not belong here: the figures themselves (the steps), small charts (`graph/bars.py`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

import dagster as dg

from cops_dagster.evidence import sweep
from cops_dagster.graph import bars
from cops_dagster.graph.host import Host
from cops_dagster.graph.lineage import column_lineage
from cops_dagster.graph.resources import act
from cops_dagster.lake import bill
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, footing
from cops_dagster.operations.diagnosis import of_verdict
from cops_dagster.period import Period
from cops_dagster.reconciliation import bridge
from cops_dagster.reports.charts import Chart
from cops_dagster.verdict import Figure, Verdict

ROWS_MAX = 50
"""Rows of a table in metadata: it goes into the event log, which is no place for volume."""
PLOTTED = frozenset(
    {
        "delivered_usd", "cost_usd", "quarantined_usd", "missing_usd", "unclaimed_usd", "aws_total_usd",
        "invoiced_total_usd", "variance_usd", "margin_usd", "margin_pct", "tag_coverage_pct",
        "dagster/partition_row_count",
    }
)  # fmt: skip
"""Figures that move from month to month. Dagster draws every number, so all others are text."""


def metadata(
    figures: Mapping[str, Figure], *, plotted: AbstractSet[str] = frozenset()
) -> dict[str, dg.MetadataValue]:
    """Figures as texts, amounts exact; tables for lists.

    Args:
        plotted: those that are numbers instead, to the cent, which Dagster draws over the months.
    """
    made: dict[str, dg.MetadataValue] = {}
    for name, value in figures.items():
        if isinstance(value, Decimal | int) and not isinstance(value, bool) and name in plotted:
            made[name] = _number(value)
        elif isinstance(value, Decimal):
            text = amount.plain(value)
            made[name] = dg.MetadataValue.text(_short(text) if name.endswith("_pct") else text)
        elif isinstance(value, int | str):
            made[name] = dg.MetadataValue.text(f"{value}")
        elif value:
            made[name] = table(value)
    return made


def _short(text: str) -> str:
    """A percentage without the zeros that say nothing: `98.0`, `96.920868`."""
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0') or '0'}"


def _number(value: Decimal | int) -> dg.MetadataValue:
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    return dg.MetadataValue.float(float(amount.shown(value).replace(",", "")))


def picture(chart: Chart) -> dg.MetadataValue:
    """A chart within the page: Dagster shows Markdown, and Markdown shows pictures that it carries itself."""
    encoded = base64.b64encode(chart.png()).decode()
    return dg.MetadataValue.md(f"![{chart.title}](data:image/png;base64,{encoded})")


def steps(of: Sequence[tuple[str, footing.Kind, Decimal, Decimal]]) -> dg.MetadataValue:
    """A bridge at a glance, in finance's words and to the cent, so that it adds up as it is read."""
    exact = {name: usd for name, _, usd, _ in of}
    read = [step for step in of if bridge.is_shown(step[0], exact)]
    texts = footing.told([(kind, usd) for _, kind, usd, _ in read])
    named = zip(read, texts, strict=True)
    return bars.bars("USD", [(bridge.told(name, usd), text, usd) for (name, _, usd, _), text in named])


def totals(of: Sequence[tuple[str, Decimal | None]]) -> dg.MetadataValue:
    """A few amounts at a glance."""
    return bars.bars("USD", [(name, amount.shown(usd), usd) for name, usd in of if usd is not None])


def months(of: Sequence[tuple[str, Decimal | None]]) -> dg.MetadataValue:
    """A percentage by month at a glance."""
    return bars.bars("%", [(month, amount.shown(one), one) for month, one in of if one is not None])


def table(rows: Sequence[Mapping[str, object]]) -> dg.MetadataValue:
    """A small table; amounts keep their digits as text."""
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    name: value
                    if isinstance(value, (int, str))
                    else amount.plain(value)
                    if isinstance(value, Decimal)
                    else ""
                    if value is None
                    else f"{value}"
                    for name, value in row.items()
                }
            )
            for row in rows[:ROWS_MAX]
        ]
    )


def materialized(
    host: Host, name: str, figures: dict[str, Any], version: str, **pictures: dg.MetadataValue
) -> dg.MaterializeResult[Any]:
    """An asset as it was made: pictures, figures to the cent, the exact ones, lineage, data version."""
    decimals = {of: value for of, value in figures.items() if isinstance(value, Decimal)}
    read = figures | {of: _shown(of, value) for of, value in decimals.items() if of not in PLOTTED}
    rows = [{"figure": of, "exact": value} for of, value in decimals.items()]
    exact = {"exact": table(rows)} if rows else {}
    return dg.MaterializeResult(
        metadata={
            **pictures,
            **metadata(read, plotted=PLOTTED),
            **billed(),
            **exact,
            **column_lineage(name, host.key),
        },
        data_version=dg.DataVersion(version[:60]),
    )


def _shown(name: str, value: Decimal) -> str:
    return amount.shown(value, 4 if name.endswith("_pct") else 2)


def billed() -> dict[str, dg.MetadataValue]:
    """What the step asked of other machines: statements, bytes scanned, USD; nothing with DuckDB alone."""
    return metadata(bill.of_step())


def published(
    host: Host,
    books: Books,
    period: Period,
    name: str,
    wrote: bool,
    reversed_run_id: str | None = None,
) -> dg.MaterializeResult[Any]:
    """A table of the ledger as its heads have it, once the lake shows them too."""
    act(lambda: sweep.project(books))
    with books.admin.read() as con:
        rows = month.runs(con, period, name)
    return materialized(
        host,
        name,
        {
            "dagster/partition_row_count": sum(row.row_count for row in rows),
            "cost_usd": sum((row.cost_usd for row in rows), Decimal(0)),
            "run_id": ", ".join(row.run_id for row in rows),
            "outcome": "published" if wrote else "unchanged: the head was made from the same inputs",
            "reversed_run_id": reversed_run_id,
        },
        ",".join(row.inputs_id for row in rows),
    )


def shown(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Some columns of a row, amounts rounded for people."""
    return {name: amount.shown(row[name]) if isinstance(row[name], Decimal) else row[name] for name in names}


def result(verdict: Verdict, period: Period) -> dg.AssetCheckResult:
    """A verdict as Dagster shows it: of which month, what to look at, what to do.

    Nothing to judge is no failure, and says so.
    """
    figures = metadata(verdict.figures)
    if verdict.passed is None:
        figures["verdict"] = dg.MetadataValue.text("nothing to judge in this period")
    return dg.AssetCheckResult(
        check_name=verdict.check,
        passed=verdict.passed is not False,
        severity=dg.AssetCheckSeverity[verdict.severity],
        metadata=figures,
        description=in_words(verdict, str(period)),
    )


def in_words(verdict: Verdict, period: str) -> str:
    """A verdict as a person reads it in a list: the month, how it stands, what to look at, what to do."""
    if verdict.passed is None:
        return f"{period}: nothing to judge"
    if verdict.passed:
        return f"{period}: holds. {verdict.of.sentence}"
    found = of_verdict("scope", verdict, period)
    grave = "stops the month" if verdict.refuses else "wrong" if verdict.severity == "ERROR" else "a warning"
    told = (
        f"{period}: does not hold, {grave}. Should be: {verdict.of.sentence} Found: {found.found}."
        f" Look: {found.look}. Do: {found.next_step}"
    )
    return re.sub(r"(?<!`)__\w+?__", r"`\g<0>`", told)  # which Markdown would show as a word in bold


def texts_of(evaluation: dg.AssetCheckEvaluation) -> dict[str, str]:
    """The figures of an evaluation as short texts; of a list its length and first row."""
    figures = {}
    for name, value in evaluation.metadata.items():
        if isinstance(value, dg.TableMetadataValue):
            first = ", ".join(str(cell) for cell in value.records[0].data.values())
            figures[name] = f"{len(value.records)} ({first}{', …' if len(value.records) > 1 else ''})"
        elif isinstance(value.value, str):
            figures[name] = value.value
    return figures
