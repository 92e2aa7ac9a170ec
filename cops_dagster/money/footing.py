"""Rounding amounts that stand beside each other, so that what is displayed adds up.

Belongs here: the largest-remainder rounding that statement, bridge, report and tables share. Does not
belong here: exact splits (`money/split.py`), what an amount looks like (`money/amount.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from cops_dagster.money.amount import ATTO, from_decimal, show

Kind = Literal["level", "change", "part"]
"""A level stands by itself; changes lead from the level before to the next; parts make up the one before."""


def nearest(number: int, unit: int) -> int:
    """How many units a number is, rounded half-even."""
    whole, rest = divmod(number, unit)
    return whole + (2 * rest > unit or (2 * rest == unit and whole % 2 == 1))


def parts(exact: Sequence[int], unit: int, total: int | None = None) -> list[int]:
    """Amounts in whole units that add up to `total`, by default to their exact sum rounded half-even.

    Each amount is cut down to a whole unit; the units left over go one each to the largest remainders,
    ties to the earlier one. So each is within one unit of its exact value, and an exact 0 stays 0.

    Raises:
        ValueError: a total that lies further from the exact sum than one unit.
    """
    cut = [divmod(one, unit) for one in exact]
    wanted = nearest(sum(exact), unit) if total is None else total
    if abs(wanted * unit - sum(exact)) > unit:
        raise ValueError("a total within one unit of the exact sum")
    shown = [whole for whole, _ in cut]
    order = sorted((at for at, one in enumerate(exact) if one), key=lambda at: (-cut[at][1], at))
    left = wanted - sum(shown)
    for at in order[:left] if left > 0 else order[left:] if left < 0 else ():
        shown[at] += 1 if left > 0 else -1
    return shown


def chain(steps: Sequence[tuple[Kind, int]], unit: int) -> list[int]:
    """Levels, the changes between them and their parts in whole units, such that all of them add up.

    A level is its exact value rounded half-even; the changes before it add up to the difference of the
    displayed levels, and the parts after it to itself. Steps that do not add up exactly, such as a change
    that no level follows, are rounded each for itself.
    """
    shown = [nearest(amount, unit) for _, amount in steps]
    before_exact, before_shown = 0, 0
    for run, level in _runs(steps):
        exact = [steps[at][1] for at in run]
        if level is None:  # parts of the level before
            wanted_exact, wanted = before_exact, before_shown
        else:
            wanted_exact, wanted = steps[level][1] - before_exact, shown[level] - before_shown
        if run and sum(exact) == wanted_exact:
            for at, units in zip(run, parts(exact, unit, wanted), strict=True):
                shown[at] = units
        if level is not None:
            before_exact, before_shown = steps[level][1], shown[level]
    return shown


def _runs(steps: Sequence[tuple[Kind, int]]) -> list[tuple[list[int], int | None]]:
    """Positions of consecutive changes with the level that they lead to, and of consecutive parts."""
    found: list[tuple[list[int], int | None]] = []
    changes: list[int] = []
    pieces: list[int] = []
    for at, (kind, _) in enumerate(steps):
        if kind != "part" and pieces:
            found.append((pieces, None))
            pieces = []
        if kind == "part":
            pieces.append(at)
        elif kind == "change":
            changes.append(at)
        else:
            found.append((changes, at))
            changes = []
    if pieces:
        found.append((pieces, None))
    return found


def told(steps: Sequence[tuple[Kind, Decimal | None]], places: int = 2) -> list[str]:
    """`chain` as text for people; an amount that is missing stays empty and takes no part."""
    unit = ATTO // 10**places
    units = iter(chain([(kind, from_decimal(value)) for kind, value in steps if value is not None], unit))
    return ["" if value is None else show(next(units) * unit, places) for _, value in steps]


def told_parts(total: Decimal, rows: Sequence[Sequence[Decimal]], places: int = 2) -> list[list[str]]:
    """Rows of which the first amounts make up `total`, and the others each row's first, as text."""
    unit = ATTO // 10**places
    exact = [[from_decimal(value) for value in row] for row in rows]
    whole: list[tuple[Kind, int]] = [("level", from_decimal(total)), *(("part", row[0]) for row in exact)]
    made = []
    for first, (amount, *others) in zip(chain(whole, unit)[1:], exact, strict=True):
        adds_up = sum(others) == amount
        rest = parts(others, unit, first) if adds_up else [nearest(one, unit) for one in others]
        made.append([show(units * unit, places) for units in (first, *rest)])
    return made
