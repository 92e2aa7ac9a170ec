"""The forecast of a running month: the run rate of its complete days, with a stated error. Pure.

Belongs here: the arithmetic on atto-dollars. Only usage grows with the days; fees, tax, credits and refunds
stand as they are. The newest delivered day is still being written by AWS and is left out of the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

DAYS_LEAST = 2
"""Complete days below which there is no rate and no spread."""


@dataclass(frozen=True)
class Profile:
    """How usage runs over the days of a month, in total.

    Attributes:
        days: usage cost of each complete day, atto-dollars.
        usage: usage cost of all delivered days, the incomplete one included.
        days_in_month: 28 to 31.
    """

    days: Sequence[int]
    usage: int
    days_in_month: int

    @property
    def growth(self) -> Fraction | None:
        """Whole month's usage ÷ usage so far; `None` when there is nothing to carry on."""
        if len(self.days) < DAYS_LEAST or self.usage <= 0 or sum(self.days) <= 0:
            return None
        return Fraction(sum(self.days) * self.days_in_month, len(self.days) * self.usage)

    @property
    def error(self) -> int:
        """Standard deviation of a day × √(days to come), atto-dollars: one sigma, days independent."""
        count = len(self.days)
        total = sum(self.days)
        spread = sum((count * day - total) ** 2 for day in self.days)  # count² × Σ(day − mean)²
        left = max(0, self.days_in_month - count)
        return isqrt(spread * left // (count * count * (count - 1)))


@dataclass(frozen=True)
class Forecast:
    """Cost at the end of the month ± one standard error, atto-dollars."""

    amount: int
    error: int


def forecast(actual: int, usage: int, profile: Profile) -> Forecast | None:
    """Where a scope's cost ends up when its usage follows the month's run rate.

    Args:
        actual: cost of the scope so far; usage: the part of it that grows with the days.
    """
    growth = profile.growth
    if growth is None:
        return None
    grown = Fraction(usage) * growth
    share = Fraction(abs(usage), profile.usage)
    return Forecast(actual - usage + _whole(grown), _whole(profile.error * share))


def _whole(value: Fraction) -> int:
    return round(value)  # half-even, to one atto-dollar
