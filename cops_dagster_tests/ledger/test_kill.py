"""A real process killed at every side effect of an act: done again, it ends where an undisturbed one does.

CI takes a share of the points; `COPS_TEST_EVERY_POINT=1` takes every one, and pairs of crashes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.evidence import chain, sweep, verify
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster_tests.closing.ready import aged, month, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, give, home, lines, run, write
from cops_dagster_tests.ledger import kill_points
from cops_dagster_tests.shown import answer

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(kill_points.__file__)
EVERY = bool(os.environ.get("COPS_TEST_EVERY_POINT"))
LATE = MONTH + "Usage AmazonS3 111111111111 acme team api 5\n"


def child(act: str, folder: Path, fatal: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), act, str(folder), str(fatal)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def world(books: Books) -> dict[str, Any]:
    """What people and later acts see: heads, entries, states, seals, evidence, alerts, leftovers."""

    def rows(*columns: Any) -> list[tuple[Any, ...]]:
        with books.admin.read() as con:
            return [tuple(row) for row in con.execute(sa.select(*columns).order_by(*columns))]

    s, z = t.alert_state.c, t.invoice_freeze.c
    heads, recons, lock, entries, bookings = (
        t.period_head,
        t.recon_run,
        t.period_lock,
        t.evidence_index,
        t.adjustment_booking,
    )
    with books.admin.read() as con:
        running = [
            con.execute(sa.select(log.c.status).where(log.c.status == "running")).all()
            for log in (t.cur_ingestion_log, t.allocation_run_log)
        ]
        pending = sweep.pending(con)
        known = {str(Path(path).parent) for path in con.execute(sa.select(t.lake_file.c.path)).scalars()}
        seal = chain.find(con, "seal", "period", "2025-09")
    root = books.settings.lake_root
    sealed = json.loads(chain.read(books, seal.evidence_seq)) if seal else {}
    verified = verify.verify(books)
    return {
        "heads": rows(heads.c.table_name, heads.c.period_start, heads.c.run_id),
        "journal": rows(t.publish_journal.c.journal_seq, t.publish_journal.c.run_id),
        "recon": rows(recons.c.recon_id, recons.c.variance_usd),
        "states": rows(lock.c.period_start, lock.c.state, lock.c.state_seq),
        "seal": [sealed.get(name) for name in ("entries_digest", "result_digest", "journal_seq")],
        "evidence": (verified.status, rows(entries.c.kind, entries.c.subject_type)),
        "deliveries": rows(t.cur_billing_head.c.source_id, t.cur_billing_head.c.delivery_id),
        "bookings": rows(bookings.c.adjustment_id, bookings.c.run_id, bookings.c.period_start),
        "alerts": rows(s.alert_rule, s.scope, s.state, s.severity, s.episode, s.title, s.measured, s.detail),
        "freezes": rows(z.period_start, z.reason, z.released_at),
        "running": running,
        "pending": pending,
        "orphans": [
            str(folder) for folder in root.glob("fact_*/*/*") if str(folder.relative_to(root)) not in known
        ],
        "entries": answer(books, "SELECT * EXCLUDE (delivery_id) FROM fact_cost_allocated ORDER BY entry_id"),
        "adjustments": answer(
            books, "SELECT * EXCLUDE (delivery_id, evidence_id) FROM fact_cost_adjustment ORDER BY entry_id"
        ),
        "lines": answer(books, "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM fact_cost_raw"),
        "shown": answer(  # doubles as AWS sent them: each is cast, since their sum depends on the order
            books,
            "SELECT COUNT(*), SUM(CAST(line_item_unblended_cost AS DECIMAL(38, 12))) FROM cur_billing_master",
        ),
    }


def to_run(folder: Path) -> Books:
    """A month that was run once and then got another delivery and other keys: the next run reverses."""
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    write(folder / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    give(
        books, folder, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,")
    )
    return books


def to_reverse(folder: Path) -> Books:
    """A month whose newest run has one before it over the same delivery."""
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    give(
        books, folder, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,")
    )
    run(books)
    return books


def to_book(folder: Path) -> Books:
    """A closed month for which AWS delivered again."""
    books = ready(folder)
    kill_points.close_it(books)
    month(folder, LATE, assembly="late")
    return books


def to_deliver(folder: Path) -> Books:
    """Two files that came without a manifest."""
    made = write(folder / "aside", [lines(MONTH), lines(LATE)])
    shutil.move(made, folder / "given")
    (folder / "cur").mkdir()
    return home(folder)


PREPARED = {"run": to_run, "reverse": to_reverse, "close": ready, "book": to_book, "deliver": to_deliver}


@pytest.fixture
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    folder.mkdir()
    PREPARED[request.param](folder).admin.close()
    return folder


def copy(prepared: Path, name: str) -> Path:
    target = prepared.parent / name
    shutil.copytree(prepared, target)
    aged(target / "cur")  # whichever folder it lies in, AWS delivered it then
    return target


def undisturbed(act: str, prepared: Path) -> tuple[int, dict[str, Any]]:
    folder = copy(prepared, "undisturbed")
    done = child(act, folder, 0)
    assert done.returncode == 0, done.stderr
    expected = world(kill_points.books_of(folder))
    assert expected["orphans"] == expected["pending"] == []
    assert expected["running"] == [[], []]
    return int(done.stdout), expected


def recovered(act: str, folder: Path) -> dict[str, Any]:
    books = kill_points.books_of(folder)
    try:
        kill_points.ACTS[act](books)
        return world(books)
    finally:
        books.admin.close()
        shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.parametrize("prepared", ["run"], indirect=True)
def test_the_same_month_run_by_three_processes_at_once_is_published_once(prepared: Path) -> None:
    _, alone = undisturbed("run", prepared)
    together = copy(prepared, "together")
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: child("run", together, 0), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr[-500:] for one in done]
    crowd = world(kill_points.books_of(together))
    assert crowd == alone


@pytest.mark.parametrize(
    ("prepared", "least", "share"),
    [
        ("run", 60, 1),
        pytest.param("run", 60, 4, marks=pytest.mark.long),
        pytest.param("run", 60, 12, marks=pytest.mark.long),
        pytest.param("reverse", 30, 4, marks=pytest.mark.long),
        pytest.param("close", 40, 1, marks=pytest.mark.long),
        pytest.param("close", 40, 3, marks=pytest.mark.long),
        pytest.param("close", 40, 8, marks=pytest.mark.long),
        pytest.param("book", 30, 5, marks=pytest.mark.long),
        pytest.param("deliver", 10, 3, marks=pytest.mark.long),
    ],
    indirect=["prepared"],
    ids=["run once", "run", "run more", "reverse", "close once", "close", "close more", "book", "deliver"],
)
def test_an_act_killed_at_any_side_effect_ends_as_the_undisturbed_one(
    prepared: Path, least: int, share: int, request: pytest.FixtureRequest
) -> None:
    act = str(request.node.callspec.id).split()[0]
    points, expected = undisturbed(act, prepared)
    assert points >= least
    every = 1 if EVERY else max(points // share, 1)
    first = 1 if EVERY else random.Random(act).randrange(1, every + 1)
    for fatal in range(first, points + 1, every):
        folder = copy(prepared, f"killed-at-{fatal}")
        assert child(act, folder, fatal).returncode == -9
        assert recovered(act, folder) == expected, f"killed at side effect {fatal} of {points}"


@pytest.mark.long
@pytest.mark.parametrize("prepared", ["run", "close"], indirect=True, ids=["run", "close"])
def test_an_act_killed_again_while_it_recovers_ends_as_the_undisturbed_one(
    prepared: Path, request: pytest.FixtureRequest
) -> None:
    act = str(request.node.callspec.id)
    points, expected = undisturbed(act, prepared)
    chance = random.Random(f"twice {act}")
    for number in range(20 if EVERY else 1):
        folder = copy(prepared, f"twice-{number}")
        assert child(act, folder, chance.randrange(1, points + 1)).returncode == -9
        child(act, folder, chance.randrange(1, points + 1))
        assert recovered(act, folder) == expected
