"""The backup drill: copied while it is worked on, wiped, restored elsewhere; verified, the same digests."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from cops_dagster.adjustments import late, restate
from cops_dagster.closing import current
from cops_dagster.evidence import sweep, verify
from cops_dagster.ingestion import look
from cops_dagster.ledger.books import Books
from cops_dagster.stores.places import open_objects
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER, home
from cops_dagster_tests.shown import answer

DIGESTS = """SELECT l.table_name, l.sha256, l.cost_usd, e.entry_hash FROM lake_file AS l
CROSS JOIN (SELECT MAX(entry_hash) AS entry_hash FROM evidence_index) AS e ORDER BY 1, 2"""
TOTALS = """SELECT tenant_id, COUNT(*), CAST(SUM(allocated_cost_usd) AS VARCHAR) FROM fact_cost_allocated
GROUP BY 1 ORDER BY 1"""


def copied(books: Books, target: Path) -> None:
    """In the order of docs/operations.md: the database first, then what only grows."""
    target.mkdir(parents=True)
    with (
        sqlite3.connect(books.settings.home / "admin.db") as source,
        sqlite3.connect(target / "admin.db") as backup,
    ):
        source.backup(backup)
    for name in ("lake", "evidence"):
        shutil.copytree(books.settings.home / name, target / name)


@pytest.mark.long
def test_a_restored_home_is_the_one_that_was_copied(tmp_path: Path) -> None:
    books = ready(tmp_path)
    close_by_two(books, SEPTEMBER)
    digests, totals = answer(books, DIGESTS), answer(books, TOTALS)
    copied(books, tmp_path / "backup")
    books.admin.close()
    shutil.rmtree(tmp_path / "home")

    shutil.copytree(tmp_path / "backup", tmp_path / "elsewhere" / "home")
    shutil.move(tmp_path / "cur", tmp_path / "elsewhere" / "cur")
    here = home(tmp_path / "elsewhere", inputs=None)
    assert verify.verify(here).status == "ok"
    assert answer(here, DIGESTS) == digests
    assert answer(here, TOTALS) == totals
    assert sweep.rebuild(here) > 0
    done = restate.replay(tmp_path / "again", open_objects(here.settings.evidence_uri), SEPTEMBER)
    assert done

    # the deliveries are found anew, are what the sealed month was made of, and change nothing
    look.look(here, SEPTEMBER)
    assert late.propose(here, SEPTEMBER) is None
    assert current.is_current(here, SEPTEMBER)
    assert answer(here, TOTALS) == totals


def test_a_database_older_than_its_evidence_is_found(tmp_path: Path) -> None:
    books = ready(tmp_path)
    copied(books, tmp_path / "before")
    close_by_two(books, SEPTEMBER)
    books.admin.close()
    for name in ("admin.db-wal", "admin.db-shm"):
        (tmp_path / "home" / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "before" / "admin.db", tmp_path / "home" / "admin.db")
    here = home(tmp_path, inputs=None)
    assert verify.verify(here).status == "mismatch"
