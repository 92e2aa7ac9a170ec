"""A real process killed at every side effect of a run: the next one ends where an undisturbed one does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.ledger import sweep
from cops_dagster.ledger.books import Books, open_books
from cops_dagster.settings import load as settings_of
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import INPUTS, MONTH, give, home, lines, run, write
from cops_dagster_tests.ledger.test_month import answer

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("kill_points.py")


def child(folder: Path, fatal: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), str(folder), str(fatal)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def world(books: Books) -> dict[str, Any]:
    """What readers see: heads, every entry, the month's lines, the reconciliation, what is pending."""
    with books.admin.read() as con:
        h = t.period_head
        heads = con.execute(sa.select(h.c.table_name, h.c.run_id).order_by(h.c.table_name)).all()
        recon = con.execute(sa.select(t.recon_run.c.recon_id, t.recon_run.c.variance_usd)).all()
        running = [
            con.execute(sa.select(log.c.status).where(log.c.status == "running")).all()
            for log in (t.cur_ingestion_log, t.allocation_run_log)
        ]
        pending = sweep.pending(con)
        known = {str(Path(path).parent) for path in con.execute(sa.select(t.lake_file.c.path)).scalars()}
    root = books.settings.lake_root
    return {
        "heads": heads,
        "recon": recon,
        "running": running,
        "pending": pending,
        "orphans": [
            str(folder) for folder in root.glob("fact_*/*/*") if str(folder.relative_to(root)) not in known
        ],
        "entries": answer(books, "SELECT * EXCLUDE (delivery_id) FROM fact_cost_allocated ORDER BY entry_id"),
        "lines": answer(books, "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM fact_cost_raw"),
    }


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A month that was run once and then got another delivery and other keys: the next run reverses."""
    folder = tmp_path / "prepared"
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    write(folder / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    give(
        books, folder, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,")
    )
    books.admin.close()
    return folder


def copy(prepared: Path, name: str) -> Path:
    target = prepared.parent / name
    shutil.copytree(prepared, target)
    return target


def test_the_same_month_run_by_three_processes_at_once_is_published_once(prepared: Path) -> None:
    undisturbed = copy(prepared, "undisturbed")
    assert child(undisturbed, 0).returncode == 0
    together = copy(prepared, "together")
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: child(together, 0), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr[-500:] for one in done]
    alone, crowd = (
        world(open_books(settings_of(home=folder / "home", cur=str(folder / "cur"), actor="test")))
        for folder in (undisturbed, together)
    )
    assert crowd == alone


def test_a_run_killed_at_any_side_effect_ends_as_the_undisturbed_one(prepared: Path) -> None:
    undisturbed = copy(prepared, "undisturbed")
    done = child(undisturbed, 0)
    assert done.returncode == 0, done.stderr
    points = int(done.stdout)
    expected = world(open_books(settings_of(home=undisturbed / "home", cur=str(undisturbed / "cur"))))
    assert points >= 24
    assert expected["orphans"] == expected["pending"] == []
    every = 1 if os.environ.get("COPS_TEST_EVERY_POINT") else max(points // 16, 1)
    for fatal in range(1, points + 1, every):
        folder = copy(prepared, f"killed-at-{fatal}")
        assert child(folder, fatal).returncode == -9
        books = open_books(settings_of(home=folder / "home", cur=str(folder / "cur"), actor="test"))
        run(books)
        assert world(books) == expected, f"killed at side effect {fatal} of {points}"
        books.admin.close()
        shutil.rmtree(folder)
