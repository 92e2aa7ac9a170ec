"""A table of the close report, and how it foots as it is displayed.

Belongs here: exact rows, what the page shows of them, its totals and the rounding between the two. Does not
belong here: what stands in the tables (`reports/close_tables.py`, `reports/close_record.py`), HTML.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cops_dagster.money import amount, currency, footing
from cops_dagster.money.footing import Kind
from cops_dagster.reconciliation import bridge
from cops_dagster.stores import csv_cells
from cops_dagster.words import OPERATOR, UNALLOCATED

LABELS: Mapping[str, str] = {
    "amount_usd": "amount, USD",
    "total_usd": "total, USD",
    "adjustments_usd": "prior-period adjustments",
    "expected_usd": "billable",
    "charged_usd": "billable",
    "variance_usd": "over-billed",
    "margin_pct": "margin %",
    "change_pct": "change %",
    "months_off": "months off tolerance",
    "at_utc": "at (UTC)",
    "run_id": "run",
    "of": "of what",
}
"""What a column is called on the page where its name does not say it; amounts without their `_usd`."""
_IN_CURRENCY = ("amount", "total")
_NOBODYS = {OPERATOR: bridge.told("operator"), UNALLOCATED: bridge.told("unallocated")}
ROUNDING = "rounding"
"""The row that holds what rounded rows leave to their total."""


@dataclass(frozen=True)
class Cell:
    """What stands in one place of the page: one line, or several of one kind each."""

    column: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table of the report: columns as in its CSV; `rows` hold exact values.

    Attributes:
        foots: columns that add up along a row, in the order of the sum: levels, and changes between.
        total: the last row of the page, exact, or as text where another table shows the same figures.
        page: columns of the page where it shows several of the CSV's in one: name and what it holds.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    foots: Sequence[tuple[Kind, str]] = ()
    total: Sequence[object] | None = None
    page: Sequence[tuple[str, Sequence[str]]] = ()

    @property
    def shown(self) -> Sequence[Sequence[object]]:
        """The rows as the page shows them."""
        return [self._footed(row) for row in self.rows]

    @property
    def foot(self) -> Sequence[Sequence[object]]:
        """The total as displayed; before it, where rounded rows come to something else, the difference."""
        if self.total is None:
            return []
        total = self._footed(self.total)
        left = [
            self._left(at, total[at]) if name.endswith("_usd") and total[at] not in (None, "") else ""
            for at, name in enumerate(self.columns)
        ]
        return [[ROUNDING, *left[1:]], total] if any(left) else [total]

    @property
    def heads(self) -> Sequence[tuple[str, str]]:
        """The page's columns: name, and what they are called."""
        return [(name, LABELS.get(name, _words(name.removesuffix("_usd")))) for name, _ in self._page]

    def cells(self, row: Sequence[object]) -> Sequence[Cell]:
        """A row of `shown` or `foot` as the page's cells."""
        return [
            Cell(name, [(column, text) for column in held if (text := self._text(row, column))])
            for name, held in self._page
        ]

    def csv(self) -> str:
        """The rows as CSV that a spreadsheet may open."""
        made = io.StringIO()
        csv_cells.write(made, self.columns, self.rows)
        return made.getvalue()

    @property
    def href(self) -> str:
        """The CSV as a link that needs no server."""
        return "data:text/csv;base64," + base64.b64encode(self.csv().encode()).decode()

    @property
    def _page(self) -> Sequence[tuple[str, Sequence[str]]]:
        return self.page or [(name, (name,)) for name in self.columns]

    def _footed(self, row: Sequence[object]) -> list[object]:
        cells = list(row)
        at = [self.columns.index(column) for _, column in self.foots]
        steps = [(kind, row[place]) for (kind, _), place in zip(self.foots, at, strict=True)]
        if all(value is None or isinstance(value, Decimal) for _, value in steps):
            for place, usd in zip(at, footing.told(steps), strict=True):  # type: ignore[arg-type]
                cells[place] = usd
        return cells

    def _left(self, at: int, total: object) -> str:
        """What the rows of a column, as displayed, leave to its total."""
        left = _number(total) - sum((_number(row[at]) for row in self.shown), Decimal(0))
        return amount.shown(left) if left else ""

    def _text(self, row: Sequence[object], column: str) -> str:
        value = row[self.columns.index(column)]
        if column in _IN_CURRENCY and isinstance(value, Decimal) and "currency" in self.columns:
            code = str(row[self.columns.index("currency")])
            return f"{currency.told(value, code)} {code}"
        return text(value)


def text(value: object) -> str:
    """A value as people read it: an amount in cents, a count in thousands, what no tenant bears in words."""
    if isinstance(value, Decimal):
        return amount.shown(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else _NOBODYS.get(str(value), str(value))


def _number(value: object) -> Decimal:
    """What a displayed amount comes to; one that is not there is part of no sum."""
    return Decimal(text(value).replace(",", "") or 0)


def _words(name: str) -> str:
    return name.replace("_", " ")
