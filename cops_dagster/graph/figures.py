"""Exact figures as Dagster metadata: text for money, numbers only for plotted trends, tables for lists."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from decimal import Decimal

import dagster as dg

from cops_dagster.money import amount
from cops_dagster.reports.charts import Chart
from cops_dagster.verdict import Figure, Verdict

ROWS_MAX = 50
"""Rows of a table in metadata: it goes into the event log, which is no place for volume."""


def metadata(figures: Mapping[str, Figure], *, trends: Sequence[str] = ()) -> dict[str, dg.MetadataValue]:
    """Amounts as exact text, percentages as numbers, which Dagster plots over periods.

    Args:
        trends: amounts that stand there as a number too, to be plotted beside the percentages.
    """
    made: dict[str, dg.MetadataValue] = {}
    for name, value in figures.items():
        if value is None:
            continue
        if isinstance(value, Decimal):
            if name.endswith("_pct"):
                made[name] = dg.MetadataValue.float(float(value))
            else:
                made[name] = dg.MetadataValue.text(amount.plain(value))
                if name in trends:
                    made[f"{name} (trend)"] = dg.MetadataValue.float(float(value))
        elif isinstance(value, int):
            made[name] = dg.MetadataValue.int(value)
        elif isinstance(value, str):
            made[name] = dg.MetadataValue.text(value)
        elif value:
            made[name] = table(value)
    return made


def picture(chart: Chart) -> dg.MetadataValue:
    """A chart within the page: Dagster shows Markdown, and Markdown shows pictures that it carries itself."""
    encoded = base64.b64encode(chart.png()).decode()
    return dg.MetadataValue.md(f"![{chart.title}](data:image/png;base64,{encoded})")


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


def result(verdict: Verdict) -> dg.AssetCheckResult:
    """A verdict as Dagster shows it. Nothing to judge is no failure, and says so."""
    figures = metadata(verdict.figures)
    if verdict.passed is None:
        figures["verdict"] = dg.MetadataValue.text("nothing to judge in this period")
    return dg.AssetCheckResult(
        check_name=verdict.check,
        passed=verdict.passed is not False,
        severity=dg.AssetCheckSeverity[verdict.severity],
        metadata=figures,
    )


def texts_of(evaluation: dg.AssetCheckEvaluation) -> dict[str, str]:
    """The figures of an evaluation as short texts; of a list its length and first row."""
    figures = {}
    for name, value in evaluation.metadata.items():
        if isinstance(value, dg.TableMetadataValue):
            first = ", ".join(str(cell) for cell in value.records[0].data.values())
            figures[name] = f"{len(value.records)} ({first}{', …' if len(value.records) > 1 else ''})"
        elif not name.endswith("(trend)") and isinstance(value.value, (str, int, float)):
            figures[name] = str(value.value)
    return figures
