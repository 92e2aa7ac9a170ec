"""When a delivery is taken without a person, at the bounds; and where a month stands, day by day."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.ingestion.plausible import Bounds, Figures, hold
from cops_dagster.ledger.states import phase
from cops_dagster.period import Period

BOUNDS = Bounds(Decimal(20), Decimal(100), Decimal(1))
SEPTEMBER = Period(2025, 9)
END = SEPTEMBER.end


def month(rows: int, cost: str, **days: str) -> Figures:
    """`d05="10 3.5"`: 10 lines and 3.5 USD on the fifth."""
    by_day = {
        date(2025, 9, int(day[1:])): (int(text.split()[0]), Decimal(text.split()[1]))
        for day, text in days.items()
    }
    return Figures(rows, Decimal(cost), by_day)


@pytest.mark.parametrize(
    ("new", "before", "code"),
    [
        (month(0, "0"), None, None),
        (month(0, "0"), month(0, "0"), None),
        (month(0, "0"), month(1, "0"), "E-EMPTY"),
        (month(10, "80"), month(10, "100"), None),
        (month(10, "79.999999999999999999"), month(10, "100"), "E-SHRINK"),
        (month(10, "1"), month(10, "1.9"), None),
        (month(8, "100"), month(10, "100"), None),
        (month(7, "100"), month(10, "100"), "E-SHRINK"),
        (month(99, "9999"), month(10, "100"), None),
        (month(10, "-50"), month(10, "-40"), None),
        (month(10, "100", d01="50 10", d09="50 90"), month(10, "100", d01="50 20", d09="50 80"), "E-SHRINK"),
        (month(10, "100", d01="50 40", d09="50 60"), month(10, "100", d01="50 20", d09="50 80"), None),
        (
            month(10, "100", d01="50 40.01", d09="50 60"),
            month(10, "100", d01="50 20", d09="50 80"),
            "E-GROWTH",
        ),
        (month(10, "100", d01="19 10", d09="50 90"), month(10, "100", d01="19 20", d09="50 80"), None),
        (month(10, "100", d08="50 90", d09="50 10"), month(10, "100", d08="50 20", d09="50 80"), None),
    ],
)
def test_a_delivery_is_held_beyond_its_bounds_and_taken_at_them(
    new: Figures, before: Figures | None, code: str | None
) -> None:
    found = hold(new, before, BOUNDS, END)
    assert (found.code if found else None) == code


@pytest.mark.parametrize(
    ("delivered_on", "cost", "code"),
    [
        ("2025-10-05", "200.01", "E-GROWTH"),
        ("2025-10-05", "200", None),
        ("2025-10-04", "200.01", None),
        ("2025-09-15", "900", None),
    ],
)
def test_a_month_that_was_over_grows_no_more_and_a_running_one_does(
    delivered_on: str, cost: str, code: str | None
) -> None:
    before = Figures(10, Decimal(100), {}, date.fromisoformat(delivered_on))
    found = hold(Figures(20, Decimal(cost)), before, BOUNDS, END)
    assert (found.code if found else None) == code


def test_every_day_is_settled_in_a_delivery_made_long_after_the_month() -> None:
    before = Figures(10, Decimal(100), {date(2025, 9, 30): (50, Decimal(50))}, date(2026, 1, 1))
    found = hold(month(10, "100", d30="50 101"), before, BOUNDS, END)
    assert found is not None
    assert found.code == "E-GROWTH"


@given(st.integers(0, 10**6), st.decimals(-(10**9), 10**9, places=2))
def test_the_same_figures_again_are_never_held(rows: int, cost: Decimal) -> None:
    assert hold(Figures(rows, cost), Figures(rows, cost), BOUNDS, END) is None


@pytest.mark.parametrize(
    ("today", "invoiced", "waiting", "state", "expected"),
    [
        ("2025-09-30", False, False, "open", "open"),
        ("2025-10-01", False, False, "open", "provisional"),
        ("2025-10-07", True, False, "open", "provisional"),
        ("2025-10-08", True, False, "open", "final candidate"),
        ("2025-10-08", False, False, "open", "provisional"),
        ("2025-10-08", True, True, "open", "delayed"),
        ("2025-09-15", False, True, "open", "delayed"),
        ("2025-10-08", True, False, "delayed", "delayed"),
        ("2025-10-08", True, False, "provisional", "provisional"),
        ("2025-10-08", True, True, "closed", "closed"),
        ("2025-09-15", True, False, "final", "final"),
    ],
)
def test_a_month_stands_where_calendar_invoices_and_people_put_it(
    today: str, invoiced: bool, waiting: bool, state: str, expected: str
) -> None:
    day = date.fromisoformat(today)
    assert phase(SEPTEMBER, day, state, waiting=waiting, invoiced=invoiced) == expected
