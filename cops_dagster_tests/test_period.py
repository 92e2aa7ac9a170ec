"""A billing month: one spelling from outside, half-open dates, calendar order."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.period import Period

PERIODS = st.builds(Period, st.integers(2000, 9998), st.integers(1, 12))


@given(PERIODS)
def test_a_period_is_read_back_from_its_own_spelling(period: Period) -> None:
    assert Period.parse(str(period)) == period


@pytest.mark.parametrize("text", ["2000-01", "2025-09", "2024-12", "9998-12"])
def test_a_month_since_2000_is_allowed(text: str) -> None:
    assert str(Period.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "2025", "2025-9", "25-09", "2025-00", "2025-13", "2025-09-01", "2025/09", "202509", " 2025-09",
     "2025-09\n", "2025-09 ", "1999-12", "0000-01", "-2025-09", "٢٠٢٥-٠٩", "２０２５-０９", "2025-0９",
     "2025–09"],
)  # fmt: skip
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(CopsError) as refusal:
        Period.parse(text)
    assert refusal.value.code == "E-PERIOD"


@given(PERIODS)
def test_a_period_ends_where_the_next_one_starts(period: Period) -> None:
    assert period.end == period.next().start
    assert period.start.day == period.end.day == 1
    assert Period.of(period.start) == period == Period.of(period.end - timedelta(days=1))


@given(PERIODS)
def test_the_month_before_the_next_is_the_month_itself(period: Period) -> None:
    assert period.next().previous() == period == period.previous().next()


@given(st.lists(PERIODS, max_size=8))
def test_periods_sort_like_their_spellings_and_their_dates(periods: list[Period]) -> None:
    assert [str(one) for one in sorted(periods)] == sorted(str(one) for one in periods)
    assert sorted(periods) == sorted(periods, key=lambda one: one.start)


def test_the_last_month_of_a_year_is_followed_by_the_first_of_the_next() -> None:
    assert str(Period(2024, 12).next()) == "2025-01"
    assert str(Period(2025, 1).previous()) == "2024-12"
    assert Period(2024, 2).end - Period(2024, 2).start == timedelta(days=29)


def test_every_period_that_parses_has_an_end_or_is_refused() -> None:
    """9999-12 would end in the year 10000, which no date can hold."""
    with suppress(CopsError):
        assert Period.parse("9999-12").end > date(9999, 12, 1)
