"""Amounts, splitting and digests: the promises that every sum rests on."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.money.split import split
from cops_dagster_tests.examples import examples

AMOUNTS = st.integers(min_value=-(10**30), max_value=10**30)
WEIGHTS = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 10**24), min_size=1, max_size=30)


@given(AMOUNTS)
def test_text_and_back_is_the_same_amount(atto: int) -> None:
    assert amount.parse(amount.to_text(atto)) == atto == amount.from_decimal(amount.to_decimal(atto))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.1234567890123456789", "E-COST-SCALE"),
        ("1e-19", "E-COST-PARSE"),
        ("1E+30", "E-COST-PARSE"),
        ("0x1", "E-COST-PARSE"),
        ("1,234.5", "E-COST-PARSE"),
        ("\uff11\uff12", "E-COST-PARSE"),
        ("NaN", "E-COST-PARSE"),
        ("", "E-COST-PARSE"),
        ("1.2.3", "E-COST-PARSE"),
        ("100000000000000000000", "E-COST-RANGE"),
    ],
)
def test_what_is_no_exact_amount_is_refused(text: str, code: str) -> None:
    with pytest.raises(CopsError) as refusal:
        amount.parse(text)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "text", ["0.123456789012345678", "-0", "99999999999999999999.999999999999999999", "+1"]
)
def test_what_is_an_exact_amount_is_allowed(text: str) -> None:
    assert amount.to_decimal(amount.parse(text)) == Decimal(text)


@given(AMOUNTS, st.integers(-20_000, 20_000))
def test_basis_points_are_exact_to_half_an_atto(atto: int, bps: int) -> None:
    found = amount.basis_points(atto, abs(bps))
    assert abs(Fraction(atto * abs(bps), 10_000) - found) <= Fraction(1, 2)


def keeps_its_promises(pool: int, weights: dict[str, int]) -> bool:
    """Σ exact, each share less than an atto-dollar off, whatever the order, scale or sign."""
    total, shares = sum(weights.values()), split(pool, weights)
    return (
        sum(shares.values()) == pool
        # |share − pool × weight ÷ total| < 1, multiplied out: no quotient is rounded
        and all(abs(shares[name] * total - pool * weight) < total for name, weight in weights.items())
        and all(weight or shares[name] == 0 for name, weight in weights.items())
        and split(pool, dict(reversed(weights.items()))) == shares
        and split(pool, {name: 7 * weight for name, weight in weights.items()}) == shares
        and split(-pool, weights) == {name: -share for name, share in shares.items()}
    )


@settings(max_examples=examples(3000))
@given(AMOUNTS, WEIGHTS)
def test_shares_add_up_to_the_amount_exactly(pool: int, weights: dict[str, int]) -> None:
    if sum(weights.values()) == 0:
        with pytest.raises(ValueError, match="positive sum"):
            split(pool, weights)
        return
    assert keeps_its_promises(pool, weights)


SIZES = (0, 1, 3, 6, 12, 18, 24, 30)
"""Powers of ten of amounts and weights: few digits meet ties, many meet remainders of every length."""


@pytest.mark.parametrize(
    "count", [3_000, pytest.param(1_000_000, marks=pytest.mark.long)], ids=["3000", "million"]
)
def test_random_splits_add_up_to_the_amount_exactly(count: int) -> None:
    chance = random.Random(20250901)
    for _ in range(count):
        weights = {
            f"t{number}": chance.randrange(10 ** chance.choice(SIZES))
            for number in range(chance.randint(1, chance.choice((2, 4, 12))))
        }
        weights[f"t{chance.randrange(len(weights))}"] += 1  # a sum of 0 is another test
        pool = chance.choice((1, -1)) * chance.randrange(10 ** chance.choice(SIZES))
        assert keeps_its_promises(pool, weights), (pool, weights)


def test_more_to_split_may_give_a_tenant_less() -> None:
    """The Alabama paradox: the reason why a reversal copies stored lines."""
    weights = {"a": 6, "b": 6, "c": 2}
    assert (split(10, weights)["c"], split(11, weights)["c"]) == (2, 1)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        split(10, {"a": 2, "b": -1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        ((1,), ("1",)),
        ((True,), (1,)),
        ((None,), ("",)),
        ((["a"], "b"), (["a", "b"],)),
    ],
)
def test_different_fields_never_share_a_digest(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert digest(*one) != digest(*other)  # type: ignore[arg-type]


def test_a_digest_does_not_change_between_releases() -> None:
    assert digest("a", 1, Decimal("1.5"), None, [True]) == GOLDEN


GOLDEN = "279038ab8969231685e9d12c266677d8949645086a53f7e950ef9157e2c21013"
