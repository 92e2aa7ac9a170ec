"""When the checks of an allocated month hold, on figures alone."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cops_dagster.allocation.verdicts import operator_share_steady


def test_our_own_share_is_compared_without_rounding() -> None:
    """Percents of six decimals were compared: 5.0000001 points were 5."""
    before = Fraction(10, 100)
    five, more = before + Fraction(5, 100), before + Fraction(50_000_001, 1_000_000_000)
    assert operator_share_steady(five, before).passed is True
    assert operator_share_steady(more, before).passed is False
    assert operator_share_steady(before, more).passed is False
    assert operator_share_steady(more, None).passed is None
    assert operator_share_steady(five, before).figures == {
        "operator_share_pct": Decimal(15), "previous_operator_share_pct": Decimal(10),
    }  # fmt: skip
