"""How much goes where between the pools of a month, in whole atto-dollars of which none is lost. Pure.

Belongs here: the flow that a graph's shares make of the pools' cost. Does not belong here: the shares
(`allocation/chain.py`), what tenants bear of it (`allocation/chained.py`), showing it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from cops_dagster.allocation import chain
from cops_dagster.allocation.chain import Place, Step
from cops_dagster.words import OPERATOR, UNALLOCATED

TENANTS = "tenants"


class Arrow(NamedTuple):
    """From a place to another, or to `tenants`, `__operator__` or `__unallocated__`."""

    tail: Place
    head: Place | str


def flows(own: Mapping[Place, int], steps: Mapping[Place, Step]) -> dict[Arrow, int]:
    """What goes along each arrow when places have this cost; what goes round is counted each time.

    What leaves a place is what it has and what comes in, exactly; each amount is less than one atto-dollar
    from the exact one.
    """
    through = passing(own, steps)
    exact: dict[Arrow, Fraction] = {}
    for at, step in steps.items():
        for place, share in step.onward.items():
            exact[Arrow(at, place)] = through[at] * share
        for end, share in _ends(step).items():
            exact[Arrow(at, end)] = through[at] * share
    return whole(exact)


def passing(own: Mapping[Place, int], steps: Mapping[Place, Step]) -> dict[Place, Fraction]:
    """What passes each place: its own, and what the others send it."""
    fed: dict[Place, dict[Place, Fraction]] = {at: {} for at in steps}
    for at, step in steps.items():
        for following, share in step.onward.items():
            fed[following][at] = share
    solved = chain.solve(fed, {at: {"cost": Fraction(own.get(at, 0))} for at in steps})
    return {at: found["cost"] for at, found in solved.items()}


def _ends(step: Step) -> dict[str, Fraction]:
    if not step.weights:
        return {UNALLOCATED: step.kept} if step.kept else {}
    ours = step.kept * Fraction(step.weights.get(OPERATOR, 0), sum(step.weights.values()))
    return {name: part for name, part in ((TENANTS, step.kept - ours), (OPERATOR, ours)) if part}


def whole(exact: Mapping[Arrow, Fraction]) -> dict[Arrow, int]:
    """Whole flows that balance where the exact ones do; each is the exact one rounded down or up.

    While some are broken, those make a circle, since a place that balances has two of them or none; all ends
    count as one place. Moving along the circle until one is whole changes no balance and breaks no other.
    """
    flow = dict(exact)
    while broken := [arrow for arrow, amount in flow.items() if amount.denominator != 1]:
        at_place: defaultdict[Place | None, list[Arrow]] = defaultdict(list)
        for arrow in broken:
            for end in _sides(arrow):
                at_place[end].append(arrow)
        circle = _circle(broken[0], at_place)
        step = min(
            math.ceil(flow[arrow]) - flow[arrow] if along else flow[arrow] - math.floor(flow[arrow])
            for arrow, along in circle
        )
        for arrow, along in circle:
            flow[arrow] += step if along else -step
    return {arrow: int(amount) for arrow, amount in flow.items()}


def _sides(arrow: Arrow) -> tuple[Place, Place | None]:
    return arrow.tail, arrow.head if isinstance(arrow.head, Place) else None


def _circle(start: Arrow, at_place: Mapping[Place | None, list[Arrow]]) -> list[tuple[Arrow, bool]]:
    """Arrows that lead from a place back to it, each with whether it is gone along or against."""
    at: Place | None = start.tail
    path: list[tuple[Arrow, bool]] = []
    came: dict[Place | None, int] = {}
    arrow = start
    while at not in came:
        came[at] = len(path)
        if path:
            arrow = next(one for one in at_place[at] if one != path[-1][0])
        tail, head = _sides(arrow)
        path.append((arrow, at == tail))
        at = head if at == tail else tail
    return path[came[at] :]
