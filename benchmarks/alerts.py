"""How long `cops alerts list` and a tick take with many alerts: nothing due, all due, one due.

    python benchmarks/alerts.py --alerts 100000 --work FOLDER [--postgres]

A quarter of the alerts fires, over twelve months; every alert has a history in the log. Two consoles
listen, their output thrown away. `--postgres` starts the PostgreSQL of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.alerts.lifecycle import fingerprint
from cops_dagster.alerts.receivers import open_receivers
from cops_dagster.alerts.telling import REPEAT
from cops_dagster.alerts.tick import tick
from cops_dagster.evidence.home import open_books
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

MONTHS = [Period(2025, month) for month in range(1, 13)]
NOW = now().replace(microsecond=0)
_COPS = "from cops_dagster.cli.start import main; main()"
RECEIVERS = ("everybody", "pager")


def fill(books: Books, alerts: int) -> None:
    """A quarter fires, the rest is over; all were told within the last hour, after a history of repeats."""
    states, log = [], []
    for number in range(alerts):
        period, fires = MONTHS[number // 4 % 12], number % 4 == 0
        severity = "P1" if number % 4000 == 0 else ("P2", "P3", "P3")[number // 4 % 3]
        name = fingerprint("budget_level", f"tenant-{number}", period)
        began = NOW - timedelta(days=2, seconds=number % 50_000)
        states.append(
            {
                "fingerprint": name, "alert_rule": "budget_level", "scope": f"tenant-{number}",
                "period_start": period.start, "state": "firing" if fires else "resolved",
                "severity": severity, "episode": 1, "step": 0, "title": f"budget {number} is critical",
                "measured": "95 %", "detail": "actual 950 of 1,000 USD", "next_step": "cops budgets list",
                "dagster_run_id": None, "since": began, "since_data": began, "fired_at": began,
                "resolved_at": None if fires else NOW - timedelta(hours=1),
                "resolved_because": None if fires else "the budget is ok",
                "last_data_at": NOW, "last_evaluated_at": NOW, "acked_by": None, "ack_expires_at": None,
            }
        )  # fmt: skip
        for receiver in RECEIVERS if severity != "P3" else RECEIVERS[:1]:
            told = [("FIRST", began), ("REPEAT", began + timedelta(days=1))]
            told.append(("REPEAT", NOW - timedelta(minutes=10)) if fires else ("RESOLVED", NOW))
            log += [
                {
                    "fingerprint": name, "episode": 1, "receiver": receiver, "reason": reason,
                    "retried_reason": None, "severity": severity, "step": 0, "status": "accepted",
                    "detail": "printed", "sent_at": at,
                }
                for reason, at in told
            ]  # fmt: skip
    with books.admin.write() as con:
        for rows, table in ((states, t.alert_state), (log, t.notification_log)):
            for first in range(0, len(rows), 10_000):
                con.execute(sa.insert(table), rows[first : first + 10_000])


def timed(what: str, act: Callable[[], Any]) -> None:
    """Runs once and prints seconds, of which the processor worked, and the outcome."""
    before, cpu_before = time.perf_counter(), sum(os.times()[:4])
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        done = act()
    seconds, cpu = time.perf_counter() - before, sum(os.times()[:4]) - cpu_before
    print(f"{what:52} {seconds:8.2f} s, {cpu:6.2f} s CPU   {done}", flush=True)


def listed(home: Path, *more: str) -> int:
    """`cops alerts list` from a cold process; lines printed."""
    done = subprocess.run(
        [sys.executable, "-c", _COPS, "alerts", "list", *more], capture_output=True, text=True, check=False,
        cwd=home,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return len(done.stdout.splitlines())


def main() -> None:
    """Fills a home once, then measures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--alerts", type=int, default=100_000)
    asked.add_argument("--work", type=Path, required=True)
    asked.add_argument("--postgres", action="store_true")
    given = asked.parse_args()
    home = given.work / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "cops.toml").write_text(
        '[notify.receivers.everybody]\nkind = "console"\n'
        '[notify.receivers.pager]\nkind = "console"\npriorities = ["P1", "P2"]\n'
    )
    os.environ |= {"COPS_HOME": str(home), "COPS_CONFIG": str(home / "cops.toml"), "COPS_ACTOR": "bench"}
    if given.postgres:
        from cops_dagster_tests import postgres

        os.environ["COPS_ADMIN_DB"] = postgres.database()
    books = open_books(settings.current())
    timed(f"filled with {given.alerts} alerts", lambda: fill(books, given.alerts))
    receivers = open_receivers(books.settings)
    rounds = 1 + given.alerts // 5_000
    timed(f"first ticks ({rounds}): everything is looked at once", lambda: [
        tick(books, receivers, {}, at=NOW) for _ in range(rounds)
    ][-1])  # fmt: skip
    timed("a tick, nothing due", lambda: tick(books, receivers, {}, at=NOW + timedelta(minutes=1)))
    timed("a tick, nothing due", lambda: tick(books, receivers, {}, at=NOW + timedelta(minutes=2)))
    timed("cops alerts list", lambda: listed(home))
    timed("cops alerts list --json", lambda: listed(home, "--json"))
    later = NOW + REPEAT["P3"]
    for number in range(3):
        timed(
            f"a tick, all that fires is due ({number + 1})",
            lambda: tick(books, receivers, {}, at=later + timedelta(minutes=number)),  # noqa: B023
        )
    books.admin.close()


if __name__ == "__main__":
    main()
