"""The whole demo in one folder: three months of CUR, the inputs that fit them, the expected totals.

Belongs here: the folder's layout (`cur/`, `inputs/`, `expected.json`). Does not belong here: what the
months hold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cops_dagster.demo import cur, expected, inputs
from cops_dagster.demo.totals import MonthTotals
from cops_dagster.period import Period

PERIODS: tuple[Period, ...] = (Period(2025, 7), Period(2025, 8), Period(2025, 9))


def write_demo(
    folder: Path, *, lines: int = 20_000, periods: Sequence[Period] = PERIODS
) -> dict[Period, MonthTotals]:
    """Writes `folder/cur` (the report root), `folder/inputs/*.csv` and `folder/expected.json`.

    Args:
        lines: lines of each month, at least 1,000; amounts are most realistic from 5,000 on.
    """
    months = {period: cur.write_month(folder / "cur", period, lines=lines) for period in periods}
    inputs.write_inputs(folder / "inputs", months)
    (folder / "expected.json").write_text(expected.as_text(months) + "\n", encoding="utf-8")
    return months


def lines_of(folder: Path) -> int | None:
    """Lines of each month of the demo that a folder holds already, if it holds one."""
    written = folder / "expected.json"
    if not written.is_file():
        return None
    months = json.loads(written.read_text(encoding="utf-8"))
    return int(next(iter(months.values()))["rows"])
