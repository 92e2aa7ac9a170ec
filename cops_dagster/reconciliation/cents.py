"""The tenant statement: what a billing system writes an invoice from. Pure.

Belongs here: direct, shared, adjustments and markup of a tenant in USD, the same in minor units of the
tenant's currency, and the rounding between the two. Amounts are atto units; a rate is USD for one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from cops_dagster.money import footing
from cops_dagster.money.amount import ATTO


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
    """A statement in the tenant's currency. `rounding` = total − exact total, shown apart."""

    parts: Parts
    rounding: int


def present(usd: Parts, rate: int, unit: int) -> Presented:
    """The statement in whole minor units, at `rate` atto-USD for one unit of the tenant's currency.

    The total is rounded half-even; its parts by largest remainder, so that they add up to it exactly.

    Args:
        unit: the currency's minor unit in atto-units (`money/currency.py`): a cent, a yen, a fils.

    Raises:
        ValueError: a rate of 0 or less; callers refuse a missing rate before.
    """
    if rate <= 0:
        raise ValueError("a rate is positive")
    units = footing.parts([part * ATTO for part in usd.each()], rate * unit)
    exact = footing.nearest(usd.total * ATTO, rate)
    return Presented(Parts(*(count * unit for count in units)), sum(units) * unit - exact)
