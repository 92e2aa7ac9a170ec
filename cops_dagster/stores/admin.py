"""The admin database: one engine, two kinds of transaction, migrations on first use.

Belongs here: opening, locking, transactions, and the check that database and code fit together.
Does not belong here: tables (`stores/tables.py`), their history (`stores/migrations`), any query, what a
failing database means (`stores/faults.py`).

Both dialects promise the same. `read()` is a snapshot that cannot write; `write()` is the only writer
from its first statement on, so what it reads stays true until it commits.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, ProgrammingError

from cops_dagster.errors import CopsError
from cops_dagster.money import context
from cops_dagster.redaction import without_options
from cops_dagster.stores import faults

REVISIONS = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013",
    "0014",
    "0015",
)  # fmt: skip
"""Every migration, oldest first. Kept here as well as in `migrations/versions`, because to read them
from there costs the import of Alembic (0.7 to 1.1 s) on every command; a test compares the two."""

HEAD = REVISIONS[-1]

VERSION_TABLE = "cops_alembic_version"
"""Not Alembic's default name: Dagster keeps its own `alembic_version`, perhaps in the same database."""

_OLDEST_TABLE, _NEWEST_TABLE = "publish_journal", "disputes"
"""Made by the first migration, and by the newest that makes one: a version row speaks of what lies there."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another one before it gives up with `E-DB-BUSY`."""

_ADVISORY_KEY = 0x434F5053  # "COPS": the PostgreSQL advisory lock that makes writers take turns
_MIGRATIONS = Path(__file__).with_name("migrations")
_in_process = threading.Lock()  # Alembic keeps its context in module globals


@dataclass(frozen=True)
class Admin:
    """An open admin database. `shown` is its URL without the password, for messages.

    `only_reads` is why it takes no writes, where that showed when it was opened.
    """

    engine: sa.Engine
    shown: str
    only_reads: CopsError | None = None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database throughout and cannot change it.

        Raises:
            CopsError: `E-DB-UNREACHABLE`, `E-DB-CORRUPT`, `E-DB-IO`, `E-DISK`.
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
            CopsError: `E-DB-BUSY` when another writer kept the lock for 30 s; `E-DB-READONLY`, and what
                `read` raises.
        """
        if self.only_reads:
            raise self.only_reads
        with self._connected() as con:
            con.execution_options(cops_write=True)
            try:
                transaction = con.begin()
                if self.engine.dialect.name == "postgresql":
                    con.exec_driver_sql(f"SET LOCAL lock_timeout = {int(BUSY_SECONDS * 1000)}")
                    con.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_KEY)))
            except CopsError as refusal:
                raise refusal from None
            with transaction:
                yield con

    def close(self) -> None:
        """Closes every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        context.hold()  # every act begins here, in whatever thread somebody started it
        try:
            con = self.engine.connect()
        except CopsError as refusal:
            raise refusal from None  # what the driver said may hold more than a message should
        except (DBAPIError, OSError) as problem:
            found = without_password(_first_line(problem), self.engine.url)
            raise faults.unreachable(f"admin database {self.shown}", found) from None
        with con:
            yield con


def now() -> datetime:
    """The current time as every table stores it: UTC, without zone, to the microsecond."""
    return datetime.now(UTC).replace(tzinfo=None)


def open_admin(url: str) -> Admin:
    """Opens the admin database; creates it, or brings it up to date, when that is needed.

    Any number of processes may open a fresh home at once: one migrates, the others wait for it.

    Raises:
        CopsError: `E-DB-URL`, `E-DB-UNREACHABLE`, `E-DB-CORRUPT`, `E-DB-READONLY`, `E-DISK`, or
            `E-DB-VERSION` when the database was made by a newer COPS, or is not what its version row says.
    """
    parsed = _parsed(url)
    admin = _admin(parsed)
    file = _file(parsed)
    if file is None:
        if _version(admin) != HEAD:
            _migrate(admin)
        return admin
    with _disk(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size > 0:
            admin, version, mode = _looked_at(admin, parsed, file)
            if version == HEAD and (mode == "wal" or admin.only_reads):
                return admin
        if admin.only_reads:
            raise admin.only_reads
        _bring_up_to_date(admin, file)
    return admin


def find_admin(url: str) -> Admin | None:
    """Opens the admin database if there is one, brought up to date; never makes one.

    Raises:
        CopsError: see `open_admin`.
    """
    parsed = _parsed(url)
    admin, file, mode = _admin(parsed), _file(parsed), "wal"
    if file is None:
        version = _version(admin)
    else:
        with _disk(file):
            if not file.is_file() or file.stat().st_size == 0:
                return None
            admin, version, mode = _looked_at(admin, parsed, file)
    if version == HEAD and (mode == "wal" or admin.only_reads):
        return admin
    admin.close()
    return open_admin(url) if version else None


def _looked_at(admin: Admin, parsed: sa.URL, file: Path) -> tuple[Admin, str | None, str]:
    """The database as it can be opened, its version and its journal mode.

    Where no file can be made beside it (a read-only mount, a full disk), it is read as it lies: SQLite needs
    two files beside one in WAL mode, even to read. Not while a log lies there: it holds what was committed.
    """
    try:
        return admin, *_state(admin)
    except CopsError as refusal:
        log = file.with_name(file.name + "-wal")
        if refusal.code not in ("E-DISK", "E-DB-READONLY", "E-DB-UNREACHABLE", "E-DB-IO") or (
            log.exists() and log.stat().st_size > 0
        ):
            raise
        admin.close()
        as_it_lies = parsed.set(
            database=f"file:{quote(str(file))}", query={"mode": "ro", "immutable": "1", "uri": "true"}
        )
        reads = Admin(_engine(as_it_lies, f"admin database {admin.shown}", file), admin.shown, refusal)
        try:
            return reads, *_state(reads)
        except CopsError as second:
            raise second if second.code == "E-DB-CORRUPT" else refusal from None


def _state(admin: Admin) -> tuple[str | None, str]:
    with admin.read() as con:
        return _version_in(con, admin.shown), str(con.exec_driver_sql("PRAGMA journal_mode").scalar())


def _bring_up_to_date(admin: Admin, file: Path) -> None:
    with _locked(file.with_name(file.name + ".lock")):
        # WAL is a property of the file and cannot be switched on while others read, so it is
        # set here, under the lock, and not on each connection.
        with admin._connected() as con:
            driver: Any = con.connection.driver_connection
            try:
                driver.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as problem:
                raise faults.of(problem, f"admin database {admin.shown}", file) or problem from None
        _migrate(admin)


@contextmanager
def _disk(file: Path) -> Iterator[None]:
    """What the file system refuses while a database file is opened, as coded errors."""
    try:
        yield
    except OSError as problem:
        raise faults.of_disk(problem, str(file)) or CopsError(
            "E-DB-UNREACHABLE",
            f"admin database {file}",
            expected="a folder that can be written to",
            found=str(problem.strerror),
            next_step="check COPS_HOME and the rights on it",
        ) from None


def _admin(parsed: sa.URL) -> Admin:
    shown = parsed.set(query={}).render_as_string(hide_password=True)
    return Admin(_engine(parsed, f"admin database {shown}", _file(parsed)), shown)


def _file(parsed: sa.URL) -> Path | None:
    return Path(parsed.database or "").absolute() if parsed.get_backend_name() == "sqlite" else None


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


def _engine(url: sa.URL, subject: str, file: Path | None) -> sa.Engine:
    try:
        if file is None:
            engine = sa.create_engine(url, pool_pre_ping=True)
        else:
            engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    except ImportError:
        raise _url_refused(f"driver {url.get_driver_name()}, which is not installed") from None
    if file is not None:
        sa.event.listen(engine, "connect", _sqlite_connected)
        sa.event.listen(engine, "begin", _sqlite_begin)

    def said(context: sa.ExceptionContext) -> CopsError | None:
        """Connecting, beginning, executing, committing: every error of the driver passes here."""
        if context.is_pre_ping:
            return None  # the pool asks whether a connection is still good, and makes another
        con = context.connection
        writes = con is None or con.get_execution_options().get("cops_write", False)
        found = faults.of(context.original_exception, subject, file, writes=writes)
        if found:
            found.found = without_password(found.found, url)
        return found

    sa.event.listen(engine, "handle_error", said, retval=True)
    return engine


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
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # which also unlocks; the file stays, since to delete it would race


def _version(admin: Admin) -> str | None:
    with admin.read() as con:
        return _version_in(con, admin.shown)


def _version_in(con: sa.Connection, shown: str) -> str | None:
    """The database's version, if it has one.

    Raises:
        CopsError: `E-DB-VERSION` when the code does not know it, or its tables are not of that version.
    """
    there = sa.inspect(con)
    if not there.has_table(VERSION_TABLE):
        if there.has_table(_OLDEST_TABLE):
            raise _does_not_fit(shown, "tables of COPS without a version")
        return None
    table = sa.table(VERSION_TABLE, sa.column("version_num"))
    rows = con.execute(sa.select(table.c.version_num)).scalars().all()
    version = str(rows[0]) if len(rows) == 1 else ""
    if len(version) == len(HEAD) and version.isdigit() and version > HEAD:
        raise CopsError(
            "E-DB-VERSION",
            f"admin database {shown}",
            expected=f"a version this COPS knows, {HEAD} at most",
            found=f"version {version}, made by a newer COPS",
            next_step="upgrade COPS, or open the backup made before the upgrade",
        )
    if version not in REVISIONS:
        raise _does_not_fit(shown, f"{len(rows)} version rows{''.join(f', {row}' for row in rows[:3])}")
    if version == HEAD and not there.has_table(_NEWEST_TABLE):
        raise _does_not_fit(shown, f"version {version}, and no table {_NEWEST_TABLE}")
    return version


def _does_not_fit(shown: str, found: str) -> CopsError:
    """Somebody wrote the version row, or put parts of two databases together: nothing may be migrated."""
    return CopsError(
        "E-DB-VERSION",
        f"admin database {shown}",
        expected=f"one row in {VERSION_TABLE}, the version that its tables have",
        found=found,
        next_step="stop COPS, keep this database, restore it from its backup (cops docs operations); nothing"
        " was migrated",
    )


def _migrate(admin: Admin) -> None:
    with _in_process, admin.write() as con:
        version = _version_in(con, admin.shown)
        if version == HEAD:
            return  # another process was faster
        from alembic import command
        from alembic.config import Config

        config = Config(attributes={"connection": con})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        try:
            command.upgrade(config, "head")
        except (OperationalError, ProgrammingError) as problem:
            # "already exists", "no such table": the transaction is undone as a whole, tables and row
            raise _does_not_fit(admin.shown, f"version {version}, but {_first_line(problem)}") from problem


def _first_line(problem: Exception) -> str:
    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def without_password(text: str, url: sa.URL) -> str:
    """A message of the driver without what of its URL may be a secret."""
    return without_options(text, str(url.password or ""), url.query)
