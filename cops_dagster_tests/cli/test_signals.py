"""Ctrl-C and SIGTERM at any moment: one line, 130 or 143, nothing left running, and a rerun that heals."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cops_dagster_tests.deliveries import MONTH, home, lines, write

CHILD = """
import os, signal, sys
from cops_dagster.cli import start

def at(point, name):
    from cops_dagster.closing import current  # as the command imports them
    from cops_dagster.evidence import sweep
    from cops_dagster.ingestion import look
    module, _, attribute = point.rpartition(".")
    owner = __import__(module, fromlist=["x"])
    real = getattr(owner, attribute)
    def wrapped(*given, **named):
        os.kill(os.getpid(), getattr(signal, name))
        return real(*given, **named)
    setattr(owner, attribute, wrapped)

def load():
    from cops_dagster.cli.main import app
    if sys.argv[1] == "imports":
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    elif sys.argv[1] == "query":
        from cops_dagster.lake.duck import DuckDB
        real, number = DuckDB.fetch, getattr(signal, sys.argv[2])
        def slow(self, *given, **named):
            import threading
            threading.Timer(0.2, lambda: os.kill(os.getpid(), number)).start()
            self.run("SELECT SUM(a.range * b.range % 7) FROM range(10000000) a, range(100000) b")
            return real(self, *given, **named)
        DuckDB.fetch = slow
    else:
        at(sys.argv[1], sys.argv[2])
    sys.argv[1:] = sys.argv[3:]
    return app

start.run(load)
"""
POINTS = [
    "imports", "cops_dagster.evidence.sweep.sweep", "cops_dagster.graph.storage.opened",
    "cops_dagster.ingestion.kept_bytes.measure", "cops_dagster.tagging.tag.publish",
    "cops_dagster.reconciliation.reconcile.reconcile",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path / "cur", [lines(MONTH)])
    home(tmp_path).admin.close()
    # a job in the background of a shell ignores SIGINT, and its children with it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield tmp_path
    signal.signal(signal.SIGINT, before)


def stopped(folder: Path, point: str, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, point, name, "materialize", "2025-09", "--json"],
        env={**os.environ, "COPS_HOME": str(folder / "home"), "COPS_CUR": str(folder / "cur")},
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip


def left(folder: Path) -> set[str]:
    """Statuses of attempts and of Dagster's runs."""
    found: set[str] = set()
    with sqlite3.connect(folder / "home" / "admin.db") as con:
        for log in ("cur_ingestion_log", "allocation_run_log"):
            found |= {status for (status,) in con.execute(f"SELECT status FROM {log}")}
    for file in (folder / "home" / "dagster").rglob("runs.db"):
        with sqlite3.connect(file) as con:
            found |= {status for (status,) in con.execute("SELECT status FROM runs")}
    return found


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("point", "name", "code"),
    [
        pytest.param(
            point,
            ("SIGINT", "SIGTERM")[number % 2],
            (130, 143)[number % 2],
            marks=() if point in ("imports", POINTS[3]) else pytest.mark.long,
        )
        for number, point in enumerate(POINTS)
    ],
)
def test_a_command_that_is_stopped_says_so_in_one_line_and_leaves_nothing_running(
    folder: Path, point: str, name: str, code: int
) -> None:
    done = stopped(folder, point, name)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.strip().splitlines()
    said = json.loads(line)
    assert (said["code"], said["found"]) == ("E-INTERRUPTED", name)
    assert left(folder) <= {"succeeded", "published", "failed", "FAILURE", "CANCELED"}


@pytest.mark.long
def test_a_query_is_stopped_and_the_next_run_takes_the_month_to_its_end(folder: Path) -> None:
    done = stopped(folder, "query", "SIGINT")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (130, 1), done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", "materialize", "2025-09", "--json"],
        env={**os.environ, "COPS_HOME": str(folder / "home"), "COPS_CUR": str(folder / "cur")},
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 1, again.stderr  # coverage is below 98 %
    assert json.loads(again.stdout)["outcome"] == "materialised"
    assert "running" not in left(folder)


def test_a_command_that_nobody_stops_ends_as_ever(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", "status"],
        env={**os.environ, "COPS_HOME": str(folder / "home")},
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
