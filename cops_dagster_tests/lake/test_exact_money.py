"""The decimal of a delivered double, computed by the engine, against Python's own shortest decimal."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from cops_dagster.lake import statements
from cops_dagster.lake.duck import DuckDB
from cops_dagster_tests.examples import examples

SQL = """
SELECT IS_EXACT_USD(x) AS is_exact, CASE WHEN IS_EXACT_USD(x) THEN EXACT_USD(x) END AS usd,
    IS_FINITE(x) AS is_finite
FROM given_doubles ORDER BY n
"""


@cache
def engine() -> DuckDB:
    made = DuckDB()
    made.run("CREATE TABLE given_doubles (n BIGINT, x DOUBLE)")
    return made


def judged(values: list[float | None]) -> list[tuple[bool, Decimal | None, bool | None]]:
    """(is exact, its decimal, is finite) of each value, all of them in one scan."""
    given_values: dict[str, Any] = {"n": list(range(len(values))), "x": values}
    engine().run("DELETE FROM given_doubles")
    engine().run("INSERT INTO given_doubles SELECT unnest($n), unnest(CAST($x AS DOUBLE[]))", given_values)
    return list(engine().fetch(sqlglot.parse_one(SQL, read=statements.SOURCE_DIALECT)).rows)


def expected(value: float) -> Decimal | None:
    """Python's shortest decimal of a double, if decimal(38,18) holds it."""
    if not math.isfinite(value):
        return None
    decimal = Decimal(repr(value))
    places = -int(decimal.normalize().as_tuple().exponent)
    return decimal if places <= 18 and abs(decimal) < 10**20 else None


def agrees(values: list[float]) -> None:
    for value, (is_exact, usd, is_finite) in zip(values, judged([*values]), strict=True):
        wanted = expected(value)
        assert (is_exact, usd) == (wanted is not None, wanted), repr(value)
        assert is_finite == math.isfinite(value)


EDGES = [
    0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1e-19, 1e-18, 1.5e-18, 9e-19, 1.1e-17, 1e-10, 1e-11, 0.1, 0.3,
    0.1 + 0.2, 1 / 3, 123456789.123, 99999.9999999999, 99999.99999999999, 100000.0, 100000.00000000001,
    12345678901234567.0, 0.12345678901234567, 0.012345678901234567, 2**53 - 1.0, 2.0**53, 2**53 + 2.0,
    1e15, 1e16, 1e19, 9.999999999999999e19, 99999999999999983222.0, 1e20, 1e22, 1.7976931348623157e308,
    9007199254740993.0, 8.41e21, 4.35, 0.5, 1e23, 2.5e-05, math.nan, math.inf, -math.inf,
]  # fmt: skip


def test_doubles_at_the_edges_are_exact_or_known_not_to_be() -> None:
    agrees([*EDGES, *(-value for value in EDGES)])


def test_negative_zero_is_stored_as_zero() -> None:
    ((_, usd, _),) = judged([-0.0])
    assert str(usd) == "0E-18"
    assert not usd.is_signed()


def test_an_absent_cost_is_no_inexact_one() -> None:
    assert judged([None]) == [(True, None, None)]


def test_a_neighbour_of_a_round_amount_is_not_taken_for_it() -> None:
    """Two different doubles never become one amount."""
    values = [0.1, 4.35, 99999.5, 123456.7, 1e9 + 0.1]
    near = [math.nextafter(value, towards) for value in values for towards in (-math.inf, math.inf)]
    amounts = [usd for is_exact, usd, _ in judged([*values, *near]) if is_exact]
    assert len(set(amounts)) == len(amounts) >= len(values)
    agrees(near)


BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0])
WRITTEN = st.builds(
    lambda digits, places: float(Decimal(digits).scaleb(-places)),
    st.integers(-(10**17) + 1, 10**17 - 1), st.integers(-4, 22),
)  # fmt: skip
NEAR = st.builds(math.nextafter, WRITTEN, st.sampled_from([-math.inf, math.inf]))
SUMS = st.builds(lambda one, two: one + two, WRITTEN, WRITTEN)


@pytest.mark.long
@settings(max_examples=examples(120))
@given(st.lists(st.one_of(WRITTEN, NEAR, SUMS, BITS, st.floats()), min_size=1, max_size=60))
def test_a_double_is_exact_when_18_decimals_hold_it_and_then_to_the_last_digit(values: list[float]) -> None:
    agrees(values)


@settings(max_examples=examples(50))
@given(
    st.lists(st.tuples(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 18)), min_size=1, max_size=60)
)
def test_every_amount_of_15_digits_comes_back_as_it_was_written(written: list[tuple[int, int]]) -> None:
    amounts = [Decimal(digits).scaleb(-places) for digits, places in written]
    assert [usd for _, usd, _ in judged([float(one) for one in amounts])] == amounts


@pytest.mark.parametrize("expression", ["a - b", "-a"])
def test_an_argument_may_be_an_expression(expression: str) -> None:
    tree = sqlglot.parse_one(
        f"SELECT EXACT_USD({expression}) AS usd"
        " FROM (SELECT CAST(0.5 AS DOUBLE) AS a, CAST(0.25 AS DOUBLE) AS b)",
        read=statements.SOURCE_DIALECT,
    )
    assert engine().fetch(tree).rows == [({"a - b": Decimal("0.25"), "-a": Decimal("-0.5")}[expression],)]
