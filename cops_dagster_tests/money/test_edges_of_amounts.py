"""Amounts at the edges of decimal(38,18), percentages, and what a digest takes for the same."""

from __future__ import annotations

from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.money.split import split

ATTOS = st.integers(-(10**38) + 1, 10**38 - 1)


def parsed(text: str) -> str:
    """The amount in atto-dollars, or the code of its refusal."""
    try:
        return str(amount.parse(text))
    except CopsError as refusal:
        return refusal.code


TEXTS = """
# written                                    atto-dollars, or the code
0                                            0
-0.0                                         0
-0.000000000000000001                        -1
.5                                           500000000000000000
5.                                           5000000000000000000
0000000000000000000000001.0                  1000000000000000000
1.5000000000000000000000                     1500000000000000000
99999999999999999999.999999999999999999      99999999999999999999999999999999999999
-99999999999999999999.999999999999999999     -99999999999999999999999999999999999999
100000000000000000000                        E-COST-RANGE
-100000000000000000000                       E-COST-RANGE
0.0000000000000000001                        E-COST-SCALE
1.1234567890123456789                        E-COST-SCALE
1e-19                                        E-COST-PARSE
1E+30                                        E-COST-PARSE
1e20                                         E-COST-PARSE
0x1                                          E-COST-PARSE
1,234.5                                      E-COST-PARSE
1_000                                        E-COST-PARSE
$1                                           E-COST-PARSE
１２                                         E-COST-PARSE
٣                                            E-COST-PARSE
−1                                           E-COST-PARSE
NaN                                          E-COST-PARSE
Infinity                                     E-COST-PARSE
+-1                                          E-COST-PARSE
1-                                           E-COST-PARSE
-                                            E-COST-PARSE
.                                            E-COST-PARSE
"""


@pytest.mark.parametrize("row", [row for row in TEXTS.strip().splitlines() if not row.startswith("#")])
def test_an_amount_is_read_exactly_or_refused_with_its_code(row: str) -> None:
    text, expected = row.split()
    assert parsed(text) == expected


@pytest.mark.parametrize(
    "text",
    ["1." + "0" * 85 + "1", "0.1" + "9" * 85, "1" * 19 + "." + "0" * 61 + "1"],
    ids=["one far away", "nines without end", "full width"],
)
def test_an_amount_with_more_digits_than_any_context_is_refused_not_rounded(text: str) -> None:
    assert parsed(text) == "E-COST-SCALE"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("NaN", "E-COST-NAN"),
        ("sNaN", "E-COST-NAN"),
        ("Infinity", "E-COST-NAN"),
        ("-Infinity", "E-COST-NAN"),
        ("1E+20", "E-COST-RANGE"),
        ("1E+30", "E-COST-RANGE"),
        ("1E+999990", "E-COST-RANGE"),
        ("1E-19", "E-COST-SCALE"),
        ("1E-999990", "E-COST-SCALE"),
    ],
)
def test_a_decimal_that_the_ledger_cannot_hold_is_refused_with_its_code(value: str, code: str) -> None:
    with pytest.raises(CopsError) as refusal:
        amount.from_decimal(Decimal(value))
    assert refusal.value.code == code


@pytest.mark.parametrize("value", ["-0", "1E+19", "1E-18", "12.3400E+1", "-99999999999999999999"])
def test_a_decimal_that_the_ledger_can_hold_is_allowed(value: str) -> None:
    assert amount.to_decimal(amount.from_decimal(Decimal(value))) == Decimal(value)


@given(ATTOS)
def test_the_whole_range_goes_through_text_and_decimal_and_back(atto: int) -> None:
    text = amount.to_text(atto)
    assert amount.parse(text) == atto == amount.from_decimal(Decimal(text))
    assert Decimal(text) == amount.to_decimal(atto)


@given(ATTOS)
def test_canonical_text_has_18_decimals_no_plus_and_no_negative_zero(atto: int) -> None:
    text = amount.to_text(atto)
    assert len(text.partition(".")[2]) == 18
    assert text.startswith("-") == (atto < 0)
    assert text.lstrip("-").partition(".")[0] == str(abs(atto) // amount.ATTO)


def test_a_refusal_of_an_amount_names_its_subject() -> None:
    with pytest.raises(CopsError, match="invoice I-1"):
        amount.parse("x", subject="invoice I-1")


@given(ATTOS, st.integers(-20_000, 20_000))
def test_basis_points_are_the_exact_product_rounded_half_even(atto: int, bps: int) -> None:
    assert amount.basis_points(atto, bps) == round(Fraction(atto * bps, 10_000))


@pytest.mark.parametrize(
    ("atto", "bps", "found"), [(1, 5_000, 0), (3, 5_000, 2), (-1, 5_000, 0), (-3, 5_000, -2), (5, 5_000, 2)]
)
def test_half_an_atto_goes_to_the_even_neighbour(atto: int, bps: int, found: int) -> None:
    assert amount.basis_points(atto, bps) == found


@given(ATTOS, ATTOS.filter(bool))
def test_a_percentage_is_the_exact_quotient_to_six_places(part: int, whole: int) -> None:
    found = amount.percent(part, whole)
    assert found is not None
    assert abs(Fraction(found) - Fraction(100 * part, whole)) <= Fraction(1, 2 * 10**6)


def test_a_percentage_of_nothing_is_none_and_nothing_of_something_is_zero() -> None:
    assert amount.percent(1, 0) is None
    assert amount.percent(0, 1) == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [("1234567.005", "1,234,567.00"), ("1234567.015", "1,234,567.02"), ("-1", "-1.00"), ("0", "0.00")],
)
def test_people_see_cents_rounded_half_even_with_thousands(text: str, shown: str) -> None:
    assert amount.show(amount.parse(text)) == shown


@given(ATTOS, st.integers(0, 8))
def test_what_people_see_is_the_amount_rounded_and_nothing_else(atto: int, places: int) -> None:
    context = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[])
    rounded = amount.to_decimal(atto).quantize(Decimal(1).scaleb(-places), context=context)
    assert Decimal(amount.show(atto, places).replace(",", "")) == rounded


# --- splitting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": 0, "b": 0}, {"a": -1}, {"a": 3, "b": -1}])
def test_a_split_without_a_positive_weight_or_with_a_negative_one_is_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="non-negative with a positive sum"):
        split(10, weights)


def test_a_split_with_one_positive_weight_is_allowed() -> None:
    assert split(10, {"a": 0, "b": 1}) == {"a": 0, "b": 10}


def test_atto_dollars_left_over_go_to_the_largest_remainders_then_by_name() -> None:
    assert split(2, {"c": 1, "b": 1, "a": 1}) == {"a": 1, "b": 1, "c": 0}
    assert split(1, {"a": 1, "b": 2}) == {"a": 0, "b": 1}


def test_weights_of_any_size_and_any_number_of_tenants_add_up() -> None:
    weights = {f"t{index}": 10**18 if index == 7 else 1 for index in range(50_000)}
    shares = split(-(10**37) - 1, weights)
    assert sum(shares.values()) == -(10**37) - 1
    assert min(shares.values()) == shares["t7"]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_split_of_a_sum_may_differ_from_the_sum_of_splits_by_atto_dollars_only(one: int, two: int) -> None:
    weights = {"a": 3, "b": 5, "c": 7}
    whole, parts = split(one + two, weights), (split(one, weights), split(two, weights))
    assert all(abs(whole[name] - parts[0][name] - parts[1][name]) <= 2 for name in weights)


# --- digests ------------------------------------------------------------------------------------------

DAY = date(2025, 9, 1)
DIFFERENT = [
    (["ab", "c"], ["a", "bc"]),
    (["a", "b"], ["ab"]),
    (["1"], [1]),
    ([1], [True]),
    ([0], [False]),
    ([""], [None]),
    ([], [None]),
    ([[]], [None]),
    ([["a"], ["b"]], [["a", "b"]]),
    ([["a", "b"]], ["a", "b"]),
    ([DAY], [datetime(2025, 9, 1)]),
    ([DAY], ["2025-09-01"]),
    ([Decimal(1)], [1]),
    ([Decimal("0.1")], ["0.100000000000000000"]),
    ([-1], [1]),
    (["a", None], ["a"]),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_lists_of_fields_that_differ_have_different_digests(one: list, other: list) -> None:
    assert digest(*one) != digest(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([Decimal("1.5")], [Decimal("1.500")]),
        ([Decimal("-0.0")], [Decimal(0)]),
        ([["a", 1]], [("a", 1)]),
        ([["a", 1]], [iter(["a", 1])]),
    ],
)
def test_two_spellings_of_one_value_have_one_digest(one: list, other: list) -> None:
    assert digest(*one) == digest(*other)


@pytest.mark.parametrize("field", [{"a": 1}, 1.5, object()])
def test_a_field_without_an_order_or_an_exact_value_is_refused(field: object) -> None:
    with pytest.raises(TypeError):
        digest(field)  # type: ignore[arg-type]


def test_a_decimal_that_is_no_amount_is_refused_in_a_digest() -> None:
    with pytest.raises(CopsError, match="E-COST-NAN"):
        digest(Decimal("NaN"))


FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def _typed(field: object) -> object:
    return [_typed(item) for item in field] if isinstance(field, tuple) else [type(field).__name__, field]


@given(st.lists(FIELDS, max_size=4), st.lists(FIELDS, max_size=4))
def test_digests_are_equal_exactly_when_the_typed_fields_are(one: list, other: list) -> None:
    assert (digest(*one) == digest(*other)) == (_typed(tuple(one)) == _typed(tuple(other)))


GOLDEN = {
    "nothing": ((), "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"),
    "every type": (
        ("ä\ud800", -7, False, DAY, datetime(2025, 9, 1, 3, 4, 5), Decimal("-12.5"), None, [1, ["x"]]),
        "15f2e789219baabf60d17d49bfce1e28ee2a997f86c0d2455e9fc922b6d6893f",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_digests_are_what_earlier_releases_wrote_into_ids(name: str) -> None:
    fields, expected = GOLDEN[name]
    assert digest(*fields) == expected
