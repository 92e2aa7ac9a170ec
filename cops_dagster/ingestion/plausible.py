"""When a new delivery of a month is plausible enough to be taken without a person looking at it. Pure.

Belongs here: the comparison of two deliveries by their figures. Every delivery is
cumulative (CUR guide): a month may shrink a little (a credit, a negation), but a day long past does not
lose or double its usage, and zero never replaces a month that had cost. Does not belong here: figures
(`ingestion/first_sight.py`), approvals (`closing/approve.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

SETTLING_DAYS = 3
"""Services report with different delays, so the newest days of a delivery still grow (CUR guide)."""
UNPRICED = ("E-COST-NAN", "E-COST-PARSE", "E-COST-RANGE", "E-COST-SCALE")
"""Faults after which nobody knows what a line costs, so that the sum of its delivery is unknown too."""
DAY_ROWS_MIN = 20
"""A day of fewer lines says nothing: one moved line would look like a day lost."""


@dataclass(frozen=True)
class Bounds:
    """How far a month may move unseen, in percent, and below which amount nothing is worth a look.

    Attributes:
        shrink_pct: a total or a settled day may lose this share of cost or rows.
        growth_pct: a settled day, or a month that is over, may gain this share of cost.
        least_usd: days whose cost moves by less are never a reason.
    """

    shrink_pct: Decimal
    growth_pct: Decimal
    least_usd: Decimal


@dataclass(frozen=True)
class Figures:
    """A delivery as it is compared: totals, and usage rows and cost per usage day.

    `delivered_on` is needed of the earlier one: days well before it were settled when it was made.
    """

    rows: int
    cost_usd: Decimal
    days: Mapping[date, tuple[int, Decimal]] = field(default_factory=dict)
    delivered_on: date | None = None

    @property
    def settled_until(self) -> date | None:
        """The last day whose usage every service had reported."""
        known = [max(self.days)] if self.days else []
        known += [self.delivered_on - timedelta(days=1)] if self.delivered_on else []
        return max(known) - timedelta(days=SETTLING_DAYS) if known else None


@dataclass(frozen=True)
class Hold:
    """A reason to wait for a person: the code, what was expected and what was found."""

    code: str
    expected: str
    found: str


def hold(new: Figures, before: Figures | None, bounds: Bounds, month_end: date) -> Hold | None:
    """The first reason why a person must look at a delivery, or `None`.

    Without a delivery before it there is nothing to compare with: a first, even empty, month is taken.

    Args:
        month_end: first day of the next month. A month that was over and settled in the earlier delivery
            grows no more; a running one does, so only its settled days are held against each other.
    """
    if before is None or before.rows == 0:
        return None
    if new.rows == 0:
        return Hold(
            "E-EMPTY",
            "lines, as the delivery before had",
            f"0 lines; before {before.rows} with {before.cost_usd} USD",
        )
    keep = 100 - bounds.shrink_pct
    fallen = before.cost_usd - new.cost_usd
    if before.cost_usd > 0 and fallen >= bounds.least_usd and 100 * new.cost_usd < keep * before.cost_usd:
        return Hold(
            "E-SHRINK",
            f"at least {keep} % of the cost of the delivery before",
            f"{new.cost_usd} USD after {before.cost_usd} USD",
        )
    if 100 * new.rows < keep * before.rows:
        return Hold(
            "E-SHRINK",
            f"at least {keep} % of the lines of the delivery before",
            f"{new.rows} after {before.rows}",
        )
    settled = before.settled_until
    if settled is None:
        return None
    most = 100 + bounds.growth_pct
    grown = new.cost_usd - before.cost_usd >= bounds.least_usd
    if settled >= month_end and grown and 100 * new.cost_usd > most * before.cost_usd > 0:
        return Hold(
            "E-GROWTH",
            f"at most {most} % of the cost of the delivery before, which was made after the month",
            f"{new.cost_usd} USD after {before.cost_usd} USD",
        )
    return _day(new, before, bounds, settled)


def _day(new: Figures, before: Figures, bounds: Bounds, settled: date) -> Hold | None:
    for day, (rows, cost) in sorted(before.days.items()):
        if day > settled or rows < DAY_ROWS_MIN:
            continue
        rows_now, cost_now = new.days.get(day, (0, Decimal(0)))
        moved = abs(cost_now - cost) >= bounds.least_usd
        if cost > 0 and moved and 100 * cost_now < (100 - bounds.shrink_pct) * cost:
            return Hold(
                "E-SHRINK",
                f"at least {100 - bounds.shrink_pct} % of the usage cost of {day}",
                f"{cost_now} USD after {cost} USD",
            )
        if cost > 0 and moved and 100 * cost_now > (100 + bounds.growth_pct) * cost:
            return Hold(
                "E-GROWTH",
                f"at most {100 + bounds.growth_pct} % of the usage cost of {day}, a day long past",
                f"{cost_now} USD after {cost} USD",
            )
        if rows_now == 0 and rows > 0 and moved:
            return Hold("E-SHRINK", f"usage lines on {day}", f"none after {rows}")
    return None
