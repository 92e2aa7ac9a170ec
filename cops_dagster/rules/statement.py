"""The tenant statement: what a billing system writes an invoice from. Pure.

Belongs here: direct, shared, adjustments and markup of a tenant in USD, the same in cents of the tenant's
currency, and the rounding between the two. Amounts are atto units; a rate is USD for one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from cops_dagster.money.amount import ATTO

CENT = ATTO // 100


@dataclass(frozen=True)
class Parts:
    """Four amounts that make a total, all in one currency."""

    direct: int
    shared: int
    adjustments: int
    markup: int

    @property
    def total(self) -> int:
        """What the tenant owes."""
        return self.direct + self.shared + self.adjustments + self.markup

    def each(self) -> tuple[int, int, int, int]:
        """In the order they stand on a statement."""
        return self.direct, self.shared, self.adjustments, self.markup


@dataclass(frozen=True)
class Presented:
    """A statement in cents of the tenant's currency. `rounding` = total − exact total, shown apart."""

    parts: Parts
    rounding: int


def present(usd: Parts, rate: int = ATTO) -> Presented:
    """The statement in cents, at `rate` atto-USD for one unit of the tenant's currency.

    The total is rounded half-even; its parts by largest remainder, so that they add up to it exactly.

    Raises:
        ValueError: a rate of 0 or less; callers refuse a missing rate before.
    """
    if rate <= 0:
        raise ValueError("a rate is positive")
    per_cent = rate * CENT  # atto-USD per unit × atto-units per cent, to be divided out of usd × ATTO
    floors = [divmod(part * ATTO, per_cent) for part in usd.each()]
    total = _half_even(usd.total * ATTO, per_cent)
    left = total - sum(whole for whole, _ in floors)
    order = sorted(range(len(floors)), key=lambda at: (-floors[at][1], at))
    cents = [whole + (at in order[:left]) for at, (whole, _) in enumerate(floors)]
    exact = _half_even(usd.total * ATTO, rate)
    return Presented(Parts(*(cent * CENT for cent in cents)), total * CENT - exact)


def _half_even(number: int, by: int) -> int:
    whole, rest = divmod(number, by)
    return whole + (2 * rest > by or (2 * rest == by and whole % 2 == 1))
