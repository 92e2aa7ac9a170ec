"""The child of the kill sweep: runs a month and dies by SIGKILL at its N-th side effect.

    python kill_points.py FOLDER N      N = 0: runs to the end and prints how many side effects there were

A side effect is whatever leaves a trace outside the process: a committed transaction, a staged or synced
file, a replaced or removed one, an Iceberg commit. Each counts twice: before it and after it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyiceberg.catalog.sql import SqlCatalog

from cops_dagster.lake.engine import Engine
from cops_dagster.ledger.books import open_books
from cops_dagster_tests.deliveries import run

passed = 0


def main(folder: Path, fatal: int) -> None:
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

    from cops_dagster import settings

    books = open_books(settings.load(home=folder / "home", cur=str(folder / "cur"), actor="test"))
    around(Engine, "stage")
    around(os, "fsync")
    around(shutil, "rmtree")
    around(SqlCatalog, "commit_table")
    around(SqlCatalog, "create_table")
    around(sa.engine.RootTransaction, "commit")
    run(books)
    sys.stdout.write(f"{passed}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
