"""The child of the kill sweep: does one act and dies by SIGKILL at its N-th side effect.

    python kill_points.py ACT FOLDER N    N = 0: does it to the end and prints how many side effects it had

A side effect is whatever leaves a trace outside the process: a committed transaction, a staged, synced,
linked, replaced or removed file, an Iceberg commit. Each counts twice: before it and after it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyiceberg.catalog.sql import SqlCatalog

from cops_dagster import settings
from cops_dagster.adjustments import late
from cops_dagster.allocation import allocate, reverse
from cops_dagster.closing import approve
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import deliver, look
from cops_dagster.lake.duck import DuckDB
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.operations import consequences
from cops_dagster.reconciliation import reconcile
from cops_dagster_tests.closing.ready import close_by_two
from cops_dagster_tests.deliveries import SEPTEMBER, run

passed = 0


def take_back(books: Books) -> None:
    """Reverses September's newest run, unless that was done already."""
    sweep.sweep(books)
    with books.admin.read() as con:
        found = month.head(con, allocate.TABLE, SEPTEMBER)
    assert found is not None
    try:
        reverse.reverse(books, found.run_id, reason="wrong")
    except CopsError as refusal:
        if "took one back" not in refusal.found:
            raise
    reconcile.reconcile(books, SEPTEMBER)
    sweep.sweep(books)


def close_it(books: Books) -> None:
    """Closes September."""
    sweep.sweep(books)
    look.look(books, SEPTEMBER)  # a copied folder has its files in another place
    close_by_two(books, SEPTEMBER)


def book_late(books: Books) -> None:
    """Proposes what came late for September, and books it by a second person."""
    sweep.sweep(books)
    look.look(books, SEPTEMBER)
    late.propose(books, SEPTEMBER)
    second = replace(books, settings=books.settings.model_copy(update={"actor": "second"}))
    with books.admin.read() as con:
        made = con.exec_driver_sql("SELECT adjustment_id FROM adjustment").scalar_one()
    approve.approve(second, made, reason="checked")
    sweep.sweep(books)


def hand_over(books: Books) -> None:
    """Makes a delivery of files that came without a manifest, and reads it for the first time."""
    sweep.sweep(books)
    files = sorted((books.settings.home.parent / "given").glob("*.parquet"))
    deliver.deliver(books, files, SEPTEMBER)
    look.look(books, SEPTEMBER)


def take(books: Books) -> None:
    """Every act of September, then its checks, as a run does."""
    run(books)
    consequences.settle(books, SEPTEMBER)


ACTS: dict[str, Callable[[Books], None]] = {
    "run": take, "reverse": take_back, "close": close_it, "book": book_late, "deliver": hand_over,
}  # fmt: skip


def books_of(folder: Path) -> Books:
    return open_books(settings.load(home=folder / "home", cur=str(folder / "cur"), actor="test"))


def main(act: str, folder: Path, fatal: int) -> None:
    def point() -> None:
        global passed
        passed += 1
        if passed == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            point()
            done = real(*args, **kwargs)
            point()
            return done

        setattr(owner, name, wrapped)

    books = books_of(folder)
    around(DuckDB, "stage")
    for name in ("fsync", "link", "replace", "unlink"):
        around(os, name)
    around(shutil, "rmtree")
    around(SqlCatalog, "commit_table")
    around(SqlCatalog, "create_table")
    around(sa.engine.RootTransaction, "commit")
    ACTS[act](books)
    sys.stdout.write(f"{passed}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
