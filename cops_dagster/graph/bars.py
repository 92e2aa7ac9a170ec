"""Small charts of text: Dagster shows Markdown below a thousand characters at once, a picture after a click.

Belongs here: drawing them. Does not belong here: the figures, and pictures (`reports/charts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import dagster as dg

SHOWN_AT_ONCE = 999
"""Characters of Markdown up to which Dagster's pages show it without a click."""
_WIDTH = 12


def bars(heading: str, rows: Sequence[tuple[str, str, Decimal]]) -> dg.MetadataValue:
    """A table with a bar in each row; of more rows than fit the last ones, which are the newest months.

    Args:
        heading: what the second column is, such as `USD`.
        rows: name, figure as people read it, and its size.
    """
    head = f"| | {heading} | |\n|-|-:|-|\n"
    reach = max((abs(size) for *_, size in rows), default=Decimal(0))
    lines = [f"| {name} | {text} | {_bar(size, reach)} |\n" for name, text, size in rows]
    while len(head) + sum(map(len, lines)) > SHOWN_AT_ONCE:
        del lines[0]
    return dg.MetadataValue.md(head + "".join(lines))


def _bar(size: Decimal, reach: Decimal) -> str:
    return "▇" * int(abs(size) * _WIDTH // reach) if reach else ""
