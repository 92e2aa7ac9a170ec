"""The typed copy of a month's lines as Iceberg table, where somebody wants one.

Belongs here: making a month's copy, which months have one and of which runs, clearing up behind it. Does not
belong here: the other Iceberg tables and the lock of all of them (`evidence/sweep.py`). An export decides
nothing and nothing rests on it: no row of the admin database speaks of it, the table itself says what it has.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.errors import unknown_month
from cops_dagster.lake.live import LiveFile, live_files
from cops_dagster.lake.tables import EXPORT
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt, attempt, is_dead
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.files import sha256

if TYPE_CHECKING:
    from cops_dagster.lake.iceberg import Exported

TABLE = "fact_cost_raw"
_NAMED = ".named"
"""Lies beside files that the table may name, and lists them. Without it they are of a process that died."""


@dataclass(frozen=True)
class Export:
    """What a month's export came to: the runs whose lines it has, and whether this call wrote it."""

    period: Period
    run_ids: tuple[str, ...]
    rows: int
    size_bytes: int
    wrote: bool


def export(books: Books, catalog: Any, period: Period) -> Export:
    """Makes the typed copy of a month's lines; where the table has those of the same runs, writes nothing.

    Whoever calls it holds the lock of the Iceberg tables.

    Args:
        catalog: of these books' tables (`lake/iceberg.py`).

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a month of which nothing is ingested; `E-DIGEST`, `E-DISK…`,
            `E-LAKE-STORE`, `E-RESOURCE`, `E-READER-CRASH`, `E-PROJECTION`: what stood in the table stays.
    """
    from cops_dagster.lake import iceberg

    with books.admin.read() as con:
        runs = month.runs(con, period, TABLE)
    if not runs:
        raise unknown_month(period, expected="an ingested delivery", found="nothing ingested")
    filled = [run for run in runs if run.row_count]
    run_ids = tuple(run.run_id for run in filled)
    if _named_of(iceberg.exported(catalog), period) != _standing(runs):
        with attempt(books) as trying, _tidied(books, trying, period):
            uris = _written(books, trying, period, filled)
            iceberg.export(catalog, period.start, run_ids, uris)
        wrote = True
    else:
        wrote = False
    size = sum(one.size_bytes for one in iceberg.exported(catalog) if one.period_start == period.start)
    return Export(period, run_ids, sum(run.row_count for run in filled), size, wrote)


def stale(con: sa.Connection, exported: list[Exported]) -> list[Period]:
    """Months whose exported lines a later run replaced, or took back."""
    months = [Period.of(start) for start in sorted({one.period_start for one in exported})]
    return [
        period
        for period in months
        if _named_of(exported, period) != _standing(month.runs(con, period, TABLE))
    ]


def listed(books: Books) -> list[Exported]:
    """The exported files of these books; none of tables that cannot be read, as in a home that was moved."""
    from cops_dagster.lake import iceberg

    if not iceberg.is_known(books.settings):
        return []
    try:
        return iceberg.exported(iceberg.open_catalog(books.settings))
    except (OSError, ValueError, sa.exc.SQLAlchemyError):
        return []  # `cops lake rebuild` names them again


def put_back(books: Books, catalog: Any) -> None:
    """Names exported files that lie in this lake and stand in no table: a catalog was lost, a home moved."""
    from cops_dagster.lake import iceberg

    there = {one.period_start for one in iceberg.exported(catalog)}
    with books.admin.read() as con:
        ids = {run_id[:16]: run_id for run_id in con.execute(sa.select(t.publish_journal.c.run_id)).scalars()}
    for folder in books.settings.lake_root.glob(f"{EXPORT}/*"):
        period = Period.parse(folder.name)
        newest = max(folder.glob(f"*/{_NAMED}"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None or period.start in there:
            continue
        paths = newest.read_text(encoding="utf-8").splitlines()
        runs = [ids.get(Path(path).stem) for path in paths]
        if all((books.lake.root / path).is_file() for path in paths) and None not in runs:
            uris = [books.lake.uri(path) for path in paths]
            iceberg.export(catalog, period.start, [run_id for run_id in runs if run_id], uris)


def remove_unnamed(books: Books) -> int:
    """Removes what processes that died left behind before a table could name it; how many folders."""
    removed = 0
    for folder in books.settings.lake_root.glob(f"{EXPORT}/*/*"):
        if not (folder / _NAMED).exists() and is_dead(books, folder.name):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _named_of(exported: list[Exported], period: Period) -> set[tuple[str, str]]:
    """Of which source's runs the table has a month's lines."""
    return {(one.source_id, one.run) for one in exported if one.period_start == period.start}


def _standing(runs: Sequence[Any]) -> set[tuple[str, str]]:
    """The same of what is ingested now; a run without lines has no file."""
    return {(run.source_id, run.run_id[:16]) for run in runs if run.row_count}


@contextmanager
def _tidied(books: Books, trying: Attempt, period: Period) -> Iterator[None]:
    """Afterwards no earlier copy of the month lies there; in S3 nothing is deleted (ADR 24)."""
    folder = trying.target(EXPORT, period, "").parent
    try:
        yield
    except BaseException:
        if not (folder / _NAMED).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for other in folder.parent.glob("*"):
        if other != folder or books.lake.place is not None:  # of what lies in S3 no copy is needed
            shutil.rmtree(other, ignore_errors=True)


def _written(books: Books, trying: Attempt, period: Period, runs: list[Any]) -> list[str]:
    """Where the files lie that hold the runs' lines: rows that COPS wrote are named as they are."""
    from cops_dagster.lake import typed_copy

    lake, paths = books.lake, []
    folder = trying.target(EXPORT, period, "").parent
    folder.mkdir(parents=True)
    with books.admin.read() as con:
        by_run: dict[str, list[LiveFile]] = {}
        whole = not books.settings.leaves_in_s3
        for file in live_files(con, lake, TABLE, period_start=period.start, whole=whole):
            by_run.setdefault(file.run_id, []).append(file)
        with books.lines(period) as engine:
            namespace = books.namespace(engine, con, period)
            for run in runs:
                files = by_run[run.run_id]
                if not any(file.lens for file in files):
                    paths += [books.lake_path(file.path) for file in files]
                    continue
                target = trying.target(EXPORT, period, run.run_id)
                typed_copy.write(namespace, files, target, run.row_count, run.cost_usd)
                paths.append(books.lake_path(target))
    for path in paths:
        if path.startswith(f"{EXPORT}/"):
            lake.keep(path, sha256(lake.root / path))
    (folder / _NAMED).write_text("\n".join(paths), encoding="utf-8")
    return [lake.uri(path) for path in paths]
