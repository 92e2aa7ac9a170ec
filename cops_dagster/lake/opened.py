"""Engines with their limits and a folder to spill into: in this process, or for lines in one of its own.

Belongs here: which limits a piece of work gets. Does not belong here: what an engine does (`lake/duck.py`),
what a child is (`lake/reader.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.lake.bill import LOG, Bill
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.reader import Reader
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.stores import scratch
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin
from cops_dagster.stores.queries import Queries


@contextmanager
def engine(settings: Settings, at_most: str | None = None) -> Iterator[DuckDB]:
    """A fresh engine that spills below the home and is gone afterwards. `at_most` as in `Books.engine`."""
    own = settings.memory_limit
    limit = own if at_most is None else min(own, at_most, key=_mebibytes)
    with (
        # a folder of its own: the engine may read all of it, whatever it is locked down to
        scratch.folder(settings.home) as spill,
        DuckDB(memory_limit=limit, spill=spill) as made,
    ):
        yield made


@contextmanager
def reader(settings: Settings, subject: str, size: int) -> Iterator[DuckDB]:
    """An engine in a process of its own, with limits for so many delivered bytes."""
    with (
        scratch.folder(settings.home) as spill,
        Reader(
            subject=subject, delivered_bytes=size, memory_limit=settings.memory_limit, spill=spill
        ) as made,
    ):
        yield made


@contextmanager
def lines(settings: Settings, admin: Admin, period: Period | None) -> Iterator[Engine]:
    """What reads lines: a reader that is locked down to the lake, or the cluster with such a one beside."""
    with (
        kept_files(settings, admin, period) as made,
        scanning(settings, made, _lines_of(period)) as engine,
    ):
        yield engine


def apart(settings: Settings, admin: Admin, period: Period | None) -> AbstractContextManager[DuckDB]:
    """An engine in a process of its own that may read everything until it is locked down."""
    with admin.read() as con:
        size = bytes_of(con, period.start if period else None)
    return reader(settings, _lines_of(period), size)


def _lines_of(period: Period | None) -> str:
    return f"lines of {period}" if period else "lines"


@contextmanager
def scanning(
    settings: Settings,
    beside: DuckDB,
    subject: str,
    *,
    work: Path | None = None,
    origins: Mapping[Path, Path] | None = None,
) -> Iterator[Engine]:
    """The engine that scans what `beside` may read: the same, or a session on the cluster.

    Args:
        beside: may read the files, and write below `work`.
        work: a folder for what is sent and brought; the lake's if none is given.
        origins: files of this machine whose bytes lie where those of another do.
    """
    if settings.engine == "duckdb":
        yield beside
        return
    from cops_dagster.lake.cluster import Cluster
    from cops_dagster.lake.session import Session

    given = settings.cluster
    price = given.usd_per_tb if settings.engine == "athena" else Decimal(0)
    bill = Bill(settings.engine, subject, price, given.max_gib << 30)
    session, folder = Session(settings), (work or settings.lake_root) / ".work"
    try:
        with Cluster(queries(settings), session, beside, bill, work=folder, origins=origins) as made:
            yield made
    finally:
        bill.record(settings.home)


def on_engine_of(own: Settings, other: Settings | None) -> Settings:
    """Settings of a home that lasts as long as one piece of work, its lines read where others say.

    Sessions and their bill are the other home's: what a dead one left is swept from there.
    """
    if other is None or other.engine == "duckdb":
        return own
    from cops_dagster.lake.session import LOCKS, place_of

    own.home.mkdir(parents=True, exist_ok=True)
    if other.home.is_dir():
        (other.home / LOCKS).mkdir(exist_ok=True)
        for name in (LOCKS, LOG):
            (own.home / name).symlink_to(other.home / name)
    cluster = other.cluster.model_copy(update={"output": place_of(other).uri("")})
    return own.model_copy(update={"engine": other.engine, "cluster": cluster})


def queries(settings: Settings, database: str | None = None) -> Queries:
    """The transport that the settings name; it connects when it is asked.

    Args:
        database: what names without one mean; else that of sessions.

    Raises:
        CopsError: `E-SETTING` where no engine elsewhere is set.
    """
    given = settings.cluster
    if settings.engine == "duckdb":
        raise CopsError(
            "E-SETTING",
            "setting engine",
            expected="trino or athena",
            found="duckdb, which asks no catalog",
            next_step="set COPS_ENGINE",
        )
    database = database or given.database
    if settings.engine == "trino":
        from cops_dagster.stores.trino_client import Trino

        return Trino(
            str(given.url),
            given.catalog,
            database,
            user=given.user,
            password=given.password.get_secret_value() if given.password else None,
            max_bytes=given.max_gib << 30,
            max_minutes=given.max_minutes,
        )
    from cops_dagster.lake.session import place_of
    from cops_dagster.stores.aws.athena_client import Athena

    return Athena(
        given.catalog,
        database,
        workgroup=given.workgroup,
        output=place_of(settings).uri("athena/"),
        max_minutes=given.max_minutes,
    )


@contextmanager
def kept_files(settings: Settings, admin: Admin, period: Period | None) -> Iterator[DuckDB]:
    """`apart`, locked down to the lake: for what files say of themselves, and for copies of them."""
    with apart(settings, admin, period) as made:
        made.lock_down((), settings.lake_root)
        yield made


def bytes_of(con: sa.Connection, period_start: date | None) -> int:
    """How many bytes were published of a month, or ever: at least what a question about it reads."""
    files = t.lake_file
    size = sa.select(sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0))
    if period_start is not None:
        size = size.where(files.c.period_start == period_start)
    return int(con.execute(size).scalar_one())


def _mebibytes(limit: str) -> int:
    return int(limit[:-3]) * (1024 if limit.endswith("GiB") else 1)
