"""What may become of rows that a seal binds: nothing, but that others come after them. Pure.

Belongs here: comparing sealed rows with those that stand now, and which additions are no news. Does not
belong here: which tables a seal binds (`evidence/binding.py`), what becomes of them (`closing/proof.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Later = Literal["never", "explained", "told", "free"]
"""Rows that come after a close. `never`: none may; `explained`: an exception must name it; `told`: it has no
effect on the month and is shown; `free`: such rows are written after a close by right."""
Row = Mapping[str, Any]

SHOWN = 20
"""Rows of one table that are named; the others are counted."""


@dataclass(frozen=True)
class Change:
    """One row that is not as it was sealed. `is_warning`: it changes nothing of the month."""

    row: str
    expected: str
    found: str
    is_warning: bool = False


def compare(
    sealed: Sequence[Row],
    there: Sequence[Row],
    key: Sequence[str],
    later: Later,
    is_explained: Callable[[Row], bool] = lambda _: False,
) -> list[Change]:
    """Every sealed row must be there, unchanged in every column that was sealed.

    Args:
        key: columns that name a row.
        is_explained: of a row that came later, whether something says why; asked for `explained` only.
    """
    before, now = {_key(row, key): row for row in sealed}, {_key(row, key): row for row in there}
    found = []
    for name, row in before.items():
        other = now.get(name)
        if other is None:
            found.append(Change(_name(row, key), "the row as it was sealed", "no such row"))
        elif changed := [column for column in row if _value(other, column) != row[column]]:
            found.append(Change(_name(row, key), _values(row, changed, row), _values(other, changed, row)))
    for name, row in now.items():
        if name in before or later == "free" or (later == "explained" and is_explained(row)):
            continue
        found.append(
            Change(_name(row, key), "no row beside the sealed ones", "a row that came later", later == "told")
        )
    wrong = [one for one in found if not one.is_warning]
    warnings = [one for one in found if one.is_warning]
    return [*_few(wrong), *_few(warnings)]


def _few(found: list[Change]) -> list[Change]:
    rest = len(found) - SHOWN
    if rest <= 0:
        return found
    more = Change(f"{rest} more rows", "as they were sealed", "not so", found[0].is_warning)
    return [*found[:SHOWN], more]


def _key(row: Row, key: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in key)


def _name(row: Row, key: Sequence[str]) -> str:
    told = [str(row.get(name)) for name in key]
    return ", ".join(one if len(one) <= 40 else f"{one[:16]}…" for one in told)


def _value(row: Row, column: str) -> object:
    return row.get(column, "no such column")


def _values(row: Row, columns: Sequence[str], beside: Row) -> str:
    told = [f"{column} {_short(_value(row, column))}" for column in columns[:4]]
    more = len(columns) - len(told)
    return ", ".join(told) + (f" and {more} more columns" if more and row is beside else "")


def _short(value: object) -> str:
    text = "NULL" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
