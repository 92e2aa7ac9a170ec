"""The admin database: one engine, two kinds of transaction, migrations on first use.

Belongs here: opening, locking, transactions, and the check that database and code fit together.
Does not belong here: tables (`stores/tables.py`), their history (`stores/migrations`), any query.

Both dialects promise the same. `read()` is a snapshot that cannot write; `write()` is the only writer
from its first statement on, so what it reads stays true until it commits.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from cops_dagster.errors import CopsError

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0007")
"""Every migration, oldest first. Kept here as well as in `migrations/versions`, because to read them
from there costs the import of Alembic (0.7 to 1.1 s) on every command; a test compares the two."""

HEAD = REVISIONS[-1]

VERSION_TABLE = "cops_alembic_version"
"""Not Alembic's default name: Dagster keeps its own `alembic_version`, perhaps in the same database."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another one before it gives up with `E-DB-BUSY`."""

_ADVISORY_KEY = 0x434F5053  # "COPS": the PostgreSQL advisory lock that makes writers take turns
_MIGRATIONS = Path(__file__).with_name("migrations")
_in_process = threading.Lock()  # Alembic keeps its context in module globals


@dataclass(frozen=True)
class Admin:
    """An open admin database. `shown` is its URL without the password, for messages."""

    engine: sa.Engine
    shown: str

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database throughout and cannot change it.

        Raises:
            CopsError: `E-DB-UNREACHABLE`.
        """
        with self._connected() as con:
            if self.engine.dialect.name == "postgresql":
                con.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with con.begin():
                yield con

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its start: all of it is written, or nothing.

        Raises:
            CopsError: `E-DB-BUSY` when another writer kept the lock for 30 s; `E-DB-UNREACHABLE`.
        """
        with self._connected() as con:
            con.execution_options(cops_write=True)
            try:
                transaction = con.begin()
                if self.engine.dialect.name == "postgresql":
                    con.exec_driver_sql(f"SET LOCAL lock_timeout = {int(BUSY_SECONDS * 1000)}")
                    con.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_KEY)))
            except DBAPIError as problem:
                raise self._no_lock(problem) from None
            with transaction:
                yield con

    def close(self) -> None:
        """Closes every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        try:
            con = self.engine.connect()
        except (DBAPIError, OSError) as problem:
            raise self._unreachable(problem) from None
        with con:
            yield con

    def _no_lock(self, problem: DBAPIError) -> CopsError:
        # SQLite says so in words only; 55P03 is PostgreSQL's lock_not_available
        if "locked" not in str(problem.orig) and getattr(problem.orig, "pgcode", None) != "55P03":
            return self._unreachable(problem)
        return CopsError(
            "E-DB-BUSY",
            f"admin database {self.shown}",
            expected=f"the write lock within {BUSY_SECONDS:g} s",
            found=_first_line(problem),
            next_step="wait until the other COPS process is done, then try again",
        )

    def _unreachable(self, problem: Exception) -> CopsError:
        return CopsError(
            "E-DB-UNREACHABLE",
            f"admin database {self.shown}",
            expected="a database that accepts connections and writes",
            found=_without_password(_first_line(problem), self.engine.url),
            next_step="check COPS_ADMIN_DB, and that the database runs and can be written to",
        )


def now() -> datetime:
    """The current time as every table stores it: UTC, without zone, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None)


def open_admin(url: str) -> Admin:
    """Opens the admin database; creates it, or brings it up to date, when that is needed.

    Any number of processes may open a fresh home at once: one migrates, the others wait for it.

    Raises:
        CopsError: `E-DB-URL`, `E-DB-UNREACHABLE`, or `E-DB-VERSION` when the database was made by a
            newer COPS.
    """
    parsed = _parsed(url)
    file = Path(parsed.database or "").absolute() if parsed.get_backend_name() == "sqlite" else None
    admin = Admin(_engine(parsed), parsed.set(query={}).render_as_string(hide_password=True))
    if file is None:
        with admin.read() as con:
            current = _is_current(con, admin.shown)
        if not current:
            _migrate(admin)
        return admin
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        current = file.exists() and file.stat().st_size > 0 and _sqlite_is_current(admin)
        if not current:
            with _locked(file.with_name(file.name + ".lock")):
                # WAL is a property of the file and cannot be switched on while others read, so it is
                # set here, under the lock, and not on each connection.
                with admin._connected() as con:
                    driver: Any = con.connection.driver_connection
                    driver.execute("PRAGMA journal_mode = WAL")
                _migrate(admin)
    except OSError as problem:
        raise CopsError(
            "E-DB-UNREACHABLE",
            f"admin database {file}",
            expected="a folder that can be written to",
            found=str(problem.strerror),
            next_step="check COPS_HOME and the rights on it",
        ) from None
    return admin


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise _url_refused("text that is no database URL") from None
    if backend not in ("sqlite", "postgresql"):
        raise _url_refused(f"a {backend} URL")
    if backend == "sqlite" and (not parsed.database or parsed.database.startswith((":", "file:"))):
        raise _url_refused("a SQLite URL that names no file")
    return parsed


def _url_refused(found: str) -> CopsError:
    return CopsError(
        "E-DB-URL",
        "the URL of the admin database",
        expected="sqlite:////path/of/admin.db or postgresql+psycopg2://user@host/database",
        found=found,
        next_step="correct COPS_ADMIN_DB",
    )


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine, "connect", _sqlite_connected)
        sa.event.listen(engine, "begin", _sqlite_begin)
        return engine
    try:
        return sa.create_engine(url, pool_pre_ping=True)
    except ImportError:
        raise _url_refused(f"driver {url.get_driver_name()}, which is not installed") from None


def _sqlite_connected(driver: Any, _record: object) -> None:
    driver.isolation_level = None  # the driver would begin transactions late; `_sqlite_begin` does it
    for pragma in (
        "foreign_keys = ON",
        "synchronous = FULL",
        "recursive_triggers = ON",  # without it INSERT OR REPLACE deletes past the append-only guards
    ):
        driver.execute(f"PRAGMA {pragma}")


def _sqlite_begin(con: sa.Connection) -> None:
    writes = con.get_execution_options().get("cops_write", False)
    con.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    con.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which also unlocks; the file stays, since to delete it would race


def _sqlite_is_current(admin: Admin) -> bool:
    with admin.read() as con:
        return _is_current(con, admin.shown) and con.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def _is_current(con: sa.Connection, shown: str) -> bool:
    """Whether the database is at `HEAD`. Raises `E-DB-VERSION` when the code does not know its version."""
    if not sa.inspect(con).has_table(VERSION_TABLE):
        return False
    table = sa.table(VERSION_TABLE, sa.column("version_num"))
    version = con.execute(sa.select(table.c.version_num)).scalar()
    if version not in REVISIONS:
        raise CopsError(
            "E-DB-VERSION",
            f"admin database {shown}",
            expected=f"a version this COPS knows, {HEAD} at most",
            found=f"version {version}, made by a newer COPS",
            next_step="upgrade COPS, or open the backup made before the upgrade",
        )
    return bool(version == HEAD)


def _migrate(admin: Admin) -> None:
    with _in_process, admin.write() as con:
        if _is_current(con, admin.shown):
            return  # another process was faster
        from alembic import command
        from alembic.config import Config

        config = Config(attributes={"connection": con})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        command.upgrade(config, "head")


def _first_line(problem: Exception) -> str:
    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _without_password(text: str, url: sa.URL) -> str:
    return text.replace(str(url.password), "***") if url.password else text
