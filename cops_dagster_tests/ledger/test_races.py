"""Several processes at once over one home: one set of runs, nobody fails, nothing is posted twice."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.allocation import allocate, post
from cops_dagster.closing import status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger import publish
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, force_state, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4
TOGETHER = """
import os, sys, time
from pathlib import Path
from cops_dagster import settings
from cops_dagster.evidence.home import open_books
from cops_dagster_tests.deliveries import run
import pyiceberg.catalog.sql, cops_dagster.lake.engine
folder = Path(sys.argv[1])
children = []
start = time.time() + 0.5
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        time.sleep(max(start - time.time(), 0))
        try:
            run(open_books(settings.load(home=folder / "home", cur=str(folder / "cur"), actor="test")))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""


def together(folder: Path, processes: int = PROCESSES) -> None:
    """Runs the month in so many processes, all from the same moment on; none may fail."""
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(folder), str(processes)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def journal(books: Books) -> list[str]:
    return [one["table_name"] for one in status.runs(books, SEPTEMBER) if one["status"] == "published"]


def left_over(books: Books) -> list[object]:
    """What a quiet home has none of: pending projections, running attempts, staged files nobody knows."""
    sweep.sweep(books)
    with books.admin.read() as con:
        known = set(con.execute(sa.select(t.lake_file.c.path)).scalars())
        running: list[object] = [
            row for log in (t.cur_ingestion_log, t.allocation_run_log)
            for row in con.execute(sa.select(log.c.attempt_id).where(log.c.status == "running"))
        ]  # fmt: skip
        lying = {
            path.relative_to(books.settings.lake_root).as_posix()
            for path in books.settings.lake_root.glob("fact_*/**/*.parquet")
        }
        return [*running, *sweep.pending(con), *(lying ^ known)]


@pytest.mark.long
def test_processes_that_take_the_same_month_at_once_make_one_set_of_runs(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    together(tmp_path)
    assert journal(books) == ["fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"]
    assert sum(by_tenant(books).values()) == Decimal("40.880000001")
    assert answer(books, "SELECT COUNT(*) FROM recon_run") == [(1,)]
    assert left_over(books) == []


@pytest.mark.long
def test_processes_that_replace_the_same_month_at_once_reverse_it_once(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    together(tmp_path)
    assert journal(books) == ["fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"] * 2
    assert sum(by_tenant(books).values()) == Decimal("41.880000001")
    once = "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM fact_cost_allocated GROUP BY reverses_entry_id "
    assert answer(books, once + "HAVING reverses_entry_id IS NOT NULL)") == [(1,)]
    assert left_over(books) == []


class Meanwhile:
    """Something another process does after this one's run was planned, once or each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps: object) -> None:
        self.steps = list(steps)
        real = post.publish

        def late(books: Books, publication: publish.Publication, **how: object) -> int:
            if self.steps:
                step = self.steps.pop(0)
                assert callable(step)
                step()
            return real(books, publication, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(post, "publish", late)


def usage(value: int) -> str:
    return INPUTS["tenant_network_usage"].replace("globex,2,", f"globex,{value},")


def test_a_run_that_another_one_overtook_is_planned_again_over_the_new_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)

    def overtake() -> None:
        give(books, tmp_path, replace=True, tenant_network_usage=usage(5))
        allocate.allocate(books, SEPTEMBER)
        give(books, tmp_path, replace=True, tenant_network_usage=usage(8))

    give(books, tmp_path, replace=True, tenant_network_usage=usage(8))
    Meanwhile(monkeypatch, overtake)
    done = allocate.allocate(books, SEPTEMBER)
    runs = [one for one in status.runs(books, SEPTEMBER) if one["table_name"] == allocate.TABLE]
    published = [one for one in runs if one["status"] == "published"]
    assert [one["replaces"] for one in published[1:]] == [one["run_id"] for one in published[:-1]]
    assert published[-1]["run_id"] == done.run_id
    assert [one["status"] for one in runs if one not in published] == ["refused"]
    assert sum(by_tenant(books).values()) == Decimal("40.880000001")
    assert left_over(books) == []


@pytest.mark.long
def test_a_run_that_another_one_made_meanwhile_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    give(books, tmp_path, replace=True, tenant_network_usage=usage(8))
    Meanwhile(monkeypatch, lambda: allocate.allocate(books, SEPTEMBER))
    assert not allocate.allocate(books, SEPTEMBER).wrote
    assert journal(books).count(allocate.TABLE) == 2


@pytest.mark.long
def test_a_run_that_another_one_finishes_before_it_reads_its_files_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is read to plan, the files later: what was published in between must not be summed twice."""
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    give(books, tmp_path, replace=True, tenant_network_usage=usage(8))
    real, waiting = allocate.attempt, [True]

    def late(books: Books) -> AbstractContextManager[Attempt]:
        if waiting and waiting.pop():
            allocate.allocate(books, SEPTEMBER)
        return real(books)

    monkeypatch.setattr(allocate, "attempt", late)
    allocate.allocate(books, SEPTEMBER)
    assert journal(books).count(allocate.TABLE) == 2
    assert sum(by_tenant(books).values()) == Decimal("40.880000001")
    assert left_over(books) == []


@pytest.mark.long
def test_a_run_that_is_overtaken_every_time_gives_up_with_a_code_and_the_last_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    give(books, tmp_path, replace=True, tenant_network_usage=usage(8))

    def overtake_with(value: int) -> object:
        def step() -> None:
            give(books, tmp_path, replace=True, tenant_network_usage=usage(value))
            meanwhile.steps, waiting = [], meanwhile.steps
            allocate.allocate(books, SEPTEMBER)
            give(books, tmp_path, replace=True, tenant_network_usage=usage(value + 100))
            meanwhile.steps = waiting

        return step

    meanwhile = Meanwhile(monkeypatch, *[overtake_with(value) for value in range(20, 40)])
    with pytest.raises(CopsError, match="E-CONTENTION"):
        allocate.allocate(books, SEPTEMBER)
    assert sum(by_tenant(books).values()) == Decimal("40.880000001")
    assert left_over(books) == []


def test_a_period_that_is_closed_after_a_run_was_planned_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    before = by_tenant(books)
    give(books, tmp_path, replace=True, tenant_network_usage=usage(8))

    def close() -> None:
        with books.admin.write() as con:
            force_state(con, "closed")

    Meanwhile(monkeypatch, close)
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        allocate.allocate(books, SEPTEMBER)
    assert by_tenant(books) == before
    assert left_over(books) == []


@pytest.mark.long
def test_a_run_id_always_names_the_same_entries_whatever_happened_while_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: what was planned over one tagged month is not computed from the next one."""

    def tagged(folder: Path) -> Books:
        write(folder / "cur", [lines(MONTH + "Usage AmazonEC2 111111111111 ACME-Corp team api 4\n")])
        books = home(folder)
        look.look(books, SEPTEMBER)
        ingest.ingest(books, SEPTEMBER)
        tag.tag(books, SEPTEMBER)
        return books

    def entries(books: Books) -> dict[str, list[Any]]:
        rows = answer(books, "SELECT run_id, COLUMNS('_cost') FROM fact_cost_allocated ORDER BY entry_id")
        return {run_id: [row for row in rows if row[0] == run_id] for run_id, *_ in rows}

    calm, busy = tagged(tmp_path / "calm"), tagged(tmp_path / "busy")
    allocate.allocate(calm, SEPTEMBER)
    aliases = "tag_name,alias,canonical\ntenant_id,ACME-Corp,acme\n"
    real, waiting = allocate.attempt, [True]

    def late(books: Books) -> AbstractContextManager[Attempt]:
        if waiting and waiting.pop():
            give(books, tmp_path / "busy", tag_aliases=aliases)
            tag.tag(books, SEPTEMBER)
        return real(books)

    monkeypatch.setattr(allocate, "attempt", late)
    allocate.allocate(busy, SEPTEMBER)
    for run_id, made in entries(busy).items():
        assert made == entries(calm).get(run_id, made)
