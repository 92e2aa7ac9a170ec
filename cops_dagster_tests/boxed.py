"""Tests within a box of time: those worth most first, and none begun when the time is up.

Belongs here: their order, and telling by name which were not run. `.ci/run` says how many minutes there are
(`COPS_TEST_MINUTES`); without them nothing here does anything.
"""

from __future__ import annotations

import os
import time

import pytest

WORTH = (
    "engines/test_conformance", "engines/test_cluster", "ledger/test_kill", "ledger/test_races",
    "ledger/test_postgres", "graph/test_browser", "graph/test_door_browser", "graph/test_daemon",
    "graph/test_dead_runs", "docs/", "adjustments/test_story", "closing/", "adjustments/", "golden/", "cli/",
    "graph/", "ingestion/", "reconciliation/", "allocation/", "tagging/", "lake/", "stores/",
)  # fmt: skip
"""On a real Trino every statement, then a month. Of the long tests kills, races of processes, people's pages
and commands, whole months; then room by room."""

NEVER = ("ledger/test_history", "ledger/test_any_month", "alerts/test_timelines")
"""Random campaigns: one test of them may take longer than the box."""

_ENDS = "COPS_TEST_ENDS"
_not_run: list[str] = []


def begin() -> None:
    """The box begins with the session; workers find its end by the environment."""
    if minutes := os.environ.get("COPS_TEST_MINUTES"):
        os.environ[_ENDS] = str(time.time() + 60 * float(minutes))


def order(items: list[pytest.Item]) -> None:
    """Sorts by worth, the tests of one file staying together."""
    if _ENDS in os.environ:
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    places = [place for place, prefix in enumerate(WORTH) if _within(item).startswith(prefix)]
    return places[0] if places else len(WORTH)


def _within(item: pytest.Item) -> str:
    return item.nodeid.partition("cops_dagster_tests/")[2]


def stop_when_time_is_up(item: pytest.Item) -> None:
    """Skips the test that would begin after the end, and what never fits."""
    if _ENDS in os.environ and (time.time() > float(os.environ[_ENDS]) or _within(item).startswith(NEVER)):
        pytest.skip("the box of time was full")


def note(report: pytest.TestReport) -> None:
    """Keeps the name of a test that was not begun."""
    if report.skipped and "the box of time was full" in str(report.longrepr):
        _not_run.append(report.nodeid)


def tell(write: pytest.TerminalReporter) -> None:
    """Every test that was not run, by name, before the closing line."""
    if _not_run:
        write.section(f"{len(_not_run)} tests were not run, the time was up")
        for name in sorted(_not_run):
            write.line(name)
