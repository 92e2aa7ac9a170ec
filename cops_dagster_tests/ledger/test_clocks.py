"""Whether something is recent, by clocks that may be wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from cops_dagster.alerts import escalation
from cops_dagster.clocks import is_within

NOW = datetime(2025, 10, 1)


@pytest.mark.parametrize(
    ("minutes_ago", "expected"),
    [(0, True), (60, True), (61, False), (-5, True), (-6, False), (-525_600, False)],
    ids=["now", "exactly", "longer", "clocks apart", "ahead", "a year ahead"],
)
def test_a_time_that_lies_ahead_is_not_recent(minutes_ago: int, expected: bool) -> None:
    assert is_within(NOW - timedelta(minutes=minutes_ago), timedelta(hours=1), NOW) is expected


def test_what_never_was_is_not_recent() -> None:
    assert not is_within(None, timedelta(hours=1), NOW)


def test_an_evaluation_a_year_ahead_watches_nothing() -> None:
    seen = escalation.of_silence(NOW + timedelta(days=365), NOW)
    assert seen
    assert seen.holds
