"""What is displayed adds up, and every currency ends where ISO 4217 says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.money import amount, currency, footing
from cops_dagster.money.amount import ATTO
from cops_dagster.money.footing import Kind

D = Decimal
CENT = ATTO // 100
AMOUNTS = st.one_of(
    st.integers(-(10**24), 10**24),
    st.integers(-(10**6), 10**6).map(lambda halves: halves * CENT // 2),  # ties
    st.integers(-3, 3),
    st.just(0),
)
UNITS = st.sampled_from([ATTO, ATTO // 10, CENT, ATTO // 1000, 7])


@given(st.lists(AMOUNTS, max_size=9), UNITS)
def test_parts_add_up_to_their_rounded_sum_each_within_one_unit(exact: list[int], unit: int) -> None:
    shown = footing.parts(exact, unit)
    assert sum(shown) == footing.nearest(sum(exact), unit)
    assert all(abs(units * unit - one) <= unit for units, one in zip(shown, exact, strict=True))
    assert all(units == 0 for units, one in zip(shown, exact, strict=True) if one == 0)


def test_parts_refuse_a_total_that_is_none_of_theirs() -> None:
    with pytest.raises(ValueError, match="total"):
        footing.parts([10, 10], 10, 5)


STEPS = st.lists(
    st.tuples(st.lists(AMOUNTS, min_size=1, max_size=4), st.lists(AMOUNTS, max_size=3)),
    min_size=1, max_size=5,
)  # fmt: skip


@given(AMOUNTS, STEPS, UNITS)
def test_a_bridge_adds_up_as_displayed_whatever_its_steps(
    start: int, runs: list[tuple[list[int], list[int]]], unit: int
) -> None:
    steps: list[tuple[Kind, int]] = [("level", start)]
    at = start
    for changes, pieces in runs:
        steps += [("change", one) for one in changes]
        at += sum(changes)
        steps += [("level", at)]
        if pieces:
            steps += [("part", one) for one in (*pieces, at - sum(pieces))]
    shown = footing.chain(steps, unit)
    here = level = pieces_sum = 0
    in_parts = False
    for (kind, exact), units in [*zip(steps, shown, strict=True), (("level", at), shown_level(steps, shown))]:
        assert abs(units * unit - exact) <= unit
        assert kind != "level" or abs(2 * (units * unit - exact)) <= unit
        if in_parts and kind != "part":
            assert pieces_sum == level
            pieces_sum, in_parts = 0, False
        if kind == "change":
            here += units
        elif kind == "level":
            assert not here or here == units or (kind, exact) == steps[0]
            here = level = units
        else:
            pieces_sum, in_parts = pieces_sum + units, True


def shown_level(steps: list[tuple[Kind, int]], shown: list[int]) -> int:
    return [units for (kind, _), units in zip(steps, shown, strict=True) if kind == "level"][-1]


BRIDGES = {
    "July, a cent off before": (
        "level 51516.0541 change -121.9149 level 51394.1392",
        ["51,516.05", "-121.91", "51,394.14"],
    ),
    "a variance between two displayed levels": (
        "level 54293.3896 change 6.0052 level 54299.3948", ["54,293.39", "6.00", "54,299.39"],
    ),
    "a loss of less than a cent is no -0.00": ("level 1 change -0.004 level 0.996", ["1.00", "0.00", "1.00"]),
    "two ties in a row": ("level 0.015 change 0.01 level 0.025", ["0.02", "0.00", "0.02"]),
    "parts of a level": ("level 0.03 part 0.015 part 0.015", ["0.03", "0.02", "0.01"]),
    "what does not add up stands for itself": ("level 1 change 1 level 5", ["1.00", "1.00", "5.00"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BRIDGES)
def test_a_bridge_is_told_such_that_it_adds_up(name: str) -> None:
    text, expected = BRIDGES[name]
    words = iter(text.split())
    steps: list[tuple[Kind, Decimal | None]] = [(kind, D(next(words))) for kind in words]  # type: ignore[misc]
    assert footing.told(steps) == expected


def test_whole_dollars_add_up_too() -> None:
    assert footing.told([("level", D("10.4")), ("change", D("0.4")), ("level", D("10.8"))], 0) == [
        "10", "1", "11",
    ]  # fmt: skip


def test_an_amount_that_is_missing_stays_empty() -> None:
    assert footing.told([("level", D(1)), ("change", None), ("level", None)]) == ["1.00", "", ""]


def test_rows_make_up_a_total_and_their_cells_each_row() -> None:
    rows = [(D("0.335"), D("0.1675"), D("0.1675")), (D("0.665"), D("0.665"), D(0))]
    assert footing.told_parts(D(1), rows) == [["0.34", "0.17", "0.17"], ["0.66", "0.66", "0.00"]]


@given(st.decimals(-1, 1, places=9), st.integers(0, 6))
def test_no_amount_is_minus_nothing(value: Decimal, places: int) -> None:
    for text in (amount.shown(value, places), amount.plain(value)):
        assert not text.startswith("-") or text.strip("-0.")


@pytest.mark.parametrize(
    ("code", "places"),
    [("JPY", 0), ("KRW", 0), ("CLP", 0), ("ISK", 0), ("XOF", 0), ("USD", 2), ("EUR", 2), ("HUF", 2),
     ("MGA", 2), ("KWD", 3), ("BHD", 3), ("TND", 3), ("IQD", 3), ("CLF", 4), ("UYW", 4), ("HRK", 2)],
)  # fmt: skip
def test_a_currency_ends_where_iso_4217_says(code: str, places: int) -> None:
    assert currency.places(code) == places
    assert currency.unit(code) * 10**places == ATTO


def test_every_code_stands_in_one_list_only() -> None:
    assert len(currency.PLACES) == 188
    assert all(len(code) == 3 and code.isupper() for code in currency.PLACES)


@pytest.mark.parametrize("code", ["JPX", "usd", "XXX", "XAU", "XTS", "", "US"])
def test_an_unknown_code_is_refused_with_those_that_look_like_it(code: str) -> None:
    with pytest.raises(CopsError, match="E-CCY-UNKNOWN") as refused:
        currency.unit(code)
    assert ("JPY" in refused.value.next_step) == (code == "JPX")
