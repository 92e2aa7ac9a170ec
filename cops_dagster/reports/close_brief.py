"""The close report in short, as Markdown, for places that cannot open its page: Dagster's.

Belongs here: which of the report's parts, and how a cell is written. Does not belong here: the figures, which
are those of the page (`reports/close_report.py`, `reports/sheet.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cops_dagster.reports.sheet import Table

TABLES = ("tenants", "exceptions")
"""Tables of the page that are shown, behind the sign-off and the bridge."""
ROWS_MAX = 50
"""Rows of a table: the text goes into Dagster's event log, which is no place for volume."""


def brief(
    heading: str,
    signed: Sequence[tuple[str, str]],
    bridge: Sequence[tuple[str, str]],
    tables: Iterable[Table],
) -> str:
    """The report's first page as Markdown; every text from data is escaped.

    Args:
        heading: how the month stands.
        signed: who stands behind it: name and text.
        bridge: steps from AWS's bill to our invoices, as displayed.
    """
    parts = [
        f"### {_cell(heading)}",
        _table(["", ""], [*signed]),
        "#### From AWS's bill to our invoices",
        _table(["step", "USD"], bridge, numbers=(1,)),
    ]
    shown = {table.name: table for table in tables}
    for table in (shown[name] for name in TABLES if name in shown):
        parts += [f"#### {_cell(table.title)}", _sheet(_unsettled(table))]
    return "\n\n".join(parts) + "\n"


def _unsettled(table: Table) -> Table:
    """Of exceptions those that somebody must still do something about; any other table as it is."""
    if "status" not in table.columns or table.foot:
        return table
    at = table.columns.index("status")
    rows = [row for row in table.rows if row[at] != "resolved"]
    settled = len(table.rows) - len(rows)
    return replace(table, rows=rows, note=f"{settled} resolved, on the page" if settled else "")


def _sheet(table: Table) -> str:
    if not table.rows:
        return f"none; {table.note}" if table.note else "none"
    left = len(table.rows) - ROWS_MAX
    rows = [*table.shown[:ROWS_MAX], *table.foot]
    told = [[", ".join(text for _, text in cell.lines) for cell in table.cells(row)] for row in rows]
    notes = [f"{left} more on the page" if left > 0 else "", _cell(table.note)]
    more = "".join(f"\n\n{note}" for note in notes if note)
    numbers = [
        at for at, (name, _) in enumerate(table.heads) if name.endswith("_usd") or name in ("amount", "total")
    ]
    return _table([said for _, said in table.heads], told, numbers=numbers) + more


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    lines = [heads, *rows]
    ruled = ["-:" if at in numbers else "-" for at in range(len(heads))]
    written = ["| " + " | ".join(map(_cell, line)) + " |" for line in lines]
    return "\n".join([written[0], "| " + " | ".join(ruled) + " |", *written[1:]])


def _cell(text: str) -> str:
    """A text as itself: no markup, no row or column of its own."""
    return re.sub(r"([\\`*_\[\]<>|#~&!])", r"\\\1", " ".join(text.split()))
