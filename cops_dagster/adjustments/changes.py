"""What a late delivery changed: each difference line with the class of change that people read. Pure.

Belongs here: classifying differences between a restated and a posted month, in atto-dollars. Does not
belong here: computing the differences (`adjustments/late.py`), booking them (`adjustments/proposals.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cops_dagster.allocation.rules import Costs

ChangeClass = Literal[
    "late_usage", "refund", "credit", "support", "tax", "tag_backfill", "reamortization", "one_time_rule"
]

_BY_CHARGE_CLASS: dict[str, ChangeClass] = {
    "refund": "refund", "credit": "credit", "support": "support", "tax": "tax",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One difference at the grain of entries: restated − posted."""

    service: str
    service_component: str | None
    charge_class: str
    tenant_id: str
    plan_id: str | None
    allocation_method: str
    rule_id: str | None
    rule_version: int | None
    costs: Costs


def classify(lines: Sequence[Line]) -> list[ChangeClass]:
    """The class of each line, in order.

    Refunds, credits, support and tax are known by their charge class. Within one service and charge class
    the rest is *late usage* when cost came in or left; a *re-amortisation* when no unblended cost moved at
    all; a *tag backfill* when cost moved between tenants. Pooled cost that only moved because what it is
    split by has changed follows the change that caused it.
    """
    moved: defaultdict[tuple[str, str], Costs] = defaultdict(Costs)
    unblended: defaultdict[tuple[str, str], bool] = defaultdict(bool)
    direct: defaultdict[tuple[str, str], bool] = defaultdict(bool)
    for line in lines:
        place = line.service, line.charge_class
        moved[place] = moved[place].plus(line.costs)
        unblended[place] |= line.costs.unblended != 0
        direct[place] |= line.allocation_method == "direct"

    def of(place: tuple[str, str]) -> ChangeClass | None:
        known = _BY_CHARGE_CLASS.get(place[1])
        if known:
            return known
        if not any(moved[place]):
            return "tag_backfill" if direct[place] else None
        return "late_usage" if unblended[place] else "reamortization"

    causes = {place: of(place) for place in moved}
    backfilled = "tag_backfill" in causes.values() and "late_usage" not in causes.values()
    followed: ChangeClass = "tag_backfill" if backfilled else "late_usage"
    return [causes[line.service, line.charge_class] or followed for line in lines]


def effects(
    lines: Sequence[Line], classes: Sequence[ChangeClass]
) -> dict[tuple[ChangeClass, str], tuple[int, Costs]]:
    """(class of change, tenant) → number of lines and cost: what a proposal means for each tenant."""
    found: dict[tuple[ChangeClass, str], tuple[int, Costs]] = {}
    for line, change in zip(lines, classes, strict=True):
        count, costs = found.get((change, line.tenant_id), (0, Costs()))
        found[change, line.tenant_id] = (count + 1, costs.plus(line.costs))
    return dict(sorted(found.items()))
