"""A run whose processes are killed under the daemon: a new daemon frees its month, and people are told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cops_dagster.alerts import board
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import MONTH, home, lines, run, write
from cops_dagster_tests.graph import instance
from cops_dagster_tests.graph.instance import running, until
from cops_dagster_tests.shown import by_tenant

PERIOD = {"dagster/partition": "2025-09"}


def told_of_failure(books: Books) -> bool:
    with books.admin.read() as con:
        return any(one.rule == "run_failed" and one.state == "firing" for one in board.alerts(con))


@pytest.mark.long
def test_a_run_killed_with_everything_frees_its_month_within_a_minute_and_the_next_one_is_green(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """H2: the old run was STARTED for 24 hours, the next one queued behind it, and nobody heard of it."""
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    settings = {
        "COPS_CUR": str(tmp_path / "cur"), "COPS_ACTOR": "daemon", "COPS_WATCH__EVERY_SECONDS": "2",
        "COPS_FIRST_PERIOD": "2025-08",
    }  # fmt: skip
    with running(tmp_path / "home", **settings) as dagster:
        killed = until(lambda: dagster.runs(**PERIOD))[0]["runId"]
        worker = dagster.process_of(killed)
        until(lambda: dagster.runs(**PERIOD)[0]["status"] == "STARTED")
        os.killpg(os.getpgid(worker), signal.SIGKILL)  # daemon, code server and run are one group
        with instance._process(
            ["dagster._daemon", "run", "-m", "cops_dagster.definitions"], dagster.env,
            tmp_path / "home" / "daemon-2",
        ):  # fmt: skip
            began = time.monotonic()
            assert dagster.ended(killed) == "FAILURE"
            freed = time.monotonic() - began
            until(lambda: told_of_failure(books))
            write(tmp_path / "cur", [lines(MONTH)], assembly="b2")
            again = until(lambda: found if len(found := dagster.runs(**PERIOD)) > 1 else None)
            assert dagster.ended(again[0]["runId"]) == "SUCCESS"
    record_property("seconds until the month was free, with the start of a daemon", round(freed))
    calm = home(tmp_path / "calm")
    write(tmp_path / "calm" / "cur", [lines(MONTH)])
    run(calm)
    assert by_tenant(books) == by_tenant(calm)
    books.admin.close()
