"""The child of the full disk: a month, then one that finds no room to be kept, then room.

    python full_disk.py FOLDER tmpfs|limit

Prints the code of the refusal, whether the month stayed byte for byte, and the lines once there is room.
`tmpfs` mounts a file system of 1 MB, in a mount namespace of its own; `limit` sets one on a file's size.
"""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.files import sha256
from cops_dagster_tests.deliveries import MONTH, home, lines, run, write
from cops_dagster_tests.shown import answer

SUMS = "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM fact_cost_raw"


def bytes_of(books: Books) -> dict[str, str]:
    """Every published file with the digest of what lies there; what a refused attempt staged is swept."""
    with books.admin.read() as con:
        paths = list(con.execute(sa.select(t.lake_file.c.path)).scalars())
    return {path: sha256(books.settings.lake_root / path) for path in paths}


def _month() -> tuple[pa.Table, pa.Table]:
    """A month of a few kilobytes, and the same in 3 MB: with ids that no codec makes smaller."""
    table = pa.concat_tables([lines(MONTH)] * 5_000)
    chosen = random.Random(17)
    ids = pa.array([chosen.randbytes(50).hex() for _ in range(table.num_rows)])
    return table, table.append_column("line_item_resource_id", ids)


def main(folder: Path, kind: str) -> None:
    """Runs it."""
    lake = folder / "home" / "lake"
    lake.mkdir(parents=True)
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(lake)], check=True)
    small, large = _month()
    write(folder / "cur", [small])
    books = home(folder)
    run(books)
    before = bytes_of(books), answer(books, SUMS)
    write(folder / "cur", [large], assembly="a2")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if kind == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, most))
    try:
        run(books)
    except CopsError as refusal:
        sys.stdout.write(f"{refusal.code} {(bytes_of(books), answer(books, SUMS)) == before} ")
    if kind == "tmpfs":
        subprocess.run(["mount", "-o", "remount,size=64m", str(lake)], check=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    run(books)
    sys.stdout.write(f"{answer(books, SUMS)[0][0]}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
