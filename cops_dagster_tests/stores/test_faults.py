"""A full disk, a damaged, read-only or locked database: each with its own code and way out; reading goes on.

Real faults of real SQLite files: pages overwritten, a page limit for the full disk, a file-size limit for a
disk that fails, a folder in the log's place for a folder that takes no files. Nothing here needs root, and
nothing is spoiled by being root. PostgreSQL says what it says by raising its own SQLSTATEs.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.stores import faults
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, find_admin, now, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.stores.filled import fill


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A migrated database that nobody has open."""
    books = home(tmp_path, inputs=None)
    books.admin.close()
    return tmp_path / "home" / "admin.db"


def url(file: Path) -> str:
    return f"sqlite:///{file}"


def refused_by(file: Path) -> CopsError:
    def read_all() -> None:
        with open_admin(url(file)).read() as con:
            for table in t.metadata.sorted_tables:
                con.execute(sa.select(table)).all()

    with pytest.raises(CopsError) as refusal:
        read_all()
    return refusal.value


# --- damaged --------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_called_damaged_and_its_copy_is_named(file: Path) -> None:
    file.write_bytes(os.urandom(9000))
    refusal = refused_by(file)
    assert refusal.code == "E-DB-CORRUPT"
    assert "restore admin.db" in refusal.next_step


def test_overwritten_pages_are_called_damaged(file: Path) -> None:
    with file.open("r+b") as raw:
        raw.seek(4096)
        raw.write(os.urandom(file.stat().st_size - 4096))
    assert refused_by(file).code == "E-DB-CORRUPT"


def test_a_file_that_was_cut_is_called_damaged(file: Path) -> None:
    os.truncate(file, 50_000)
    assert refused_by(file).code == "E-DB-CORRUPT"


def test_a_whole_file_is_opened(file: Path) -> None:
    with open_admin(url(file)).read() as con:
        assert con.execute(sa.select(sa.func.count()).select_from(t.tenants)).scalar_one() == 0


# --- full, failing --------------------------------------------------------------------------------------


def test_a_full_database_is_called_a_full_disk_and_nothing_is_written(file: Path) -> None:
    admin = open_admin(url(file))

    @sa.event.listens_for(admin.engine, "connect")
    def _limit(driver: sqlite3.Connection, _record: object) -> None:
        driver.execute("PRAGMA max_page_count = 400")

    admin.close()
    with pytest.raises(CopsError) as refusal:
        fill(admin)
    assert (refusal.value.code, "SQLITE_FULL" in refusal.value.found) == ("E-DISK", True)
    with admin.read() as con:
        assert not sa.inspect(con).has_table("filler")


def test_a_disk_that_takes_no_more_of_a_file_is_told_apart_from_a_database_that_is_away(file: Path) -> None:
    """What a quota or a failing disk looks like: the write itself fails, there is room."""
    code = (
        "import resource, signal, sys\n"
        "from cops_dagster.errors import CopsError\n"
        "from cops_dagster.stores.admin import open_admin\n"
        "from cops_dagster_tests.stores.filled import fill\n"
        "admin = open_admin(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        "try:\n    fill(admin)\nexcept CopsError as refusal:\n    print(refusal.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url(file)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.stdout.strip() in ("E-DB-IO", "E-DISK"), done.stderr
    with open_admin(url(file)).read() as con:
        assert not sa.inspect(con).has_table("filler")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "E-DISK"), (errno.EDQUOT, "E-DISK"), (errno.EFBIG, "E-DISK"),
        (errno.EROFS, "E-DISK-READONLY"),
        (errno.EACCES, "E-DISK-READONLY"), (errno.EIO, "E-DISK-IO"), (errno.ENOENT, None),
    ],
)  # fmt: skip
def test_what_the_disk_says_is_told_apart(number: int, code: str | None) -> None:
    found = faults.of(OSError(number, os.strerror(number), "/books/x"), "the home")
    assert (found and found.code) == code


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "E-DISK"), (errno.EACCES, "E-DISK-READONLY"), (errno.EIO, "E-DISK-IO"),
        (errno.ENOENT, "E-PARAM"), (errno.ENOTDIR, "E-PARAM"), (errno.ENAMETOOLONG, "E-PARAM"),
    ],
)  # fmt: skip
def test_whatever_a_chosen_folder_does_not_take_has_a_code(number: int, code: str) -> None:
    with pytest.raises(CopsError, match=f"^{code}: "), faults.writing_to(Path("/given"), "give another"):
        raise OSError(number, os.strerror(number), "/given")


def test_the_cause_behind_an_error_is_found_and_an_error_that_is_an_answer_is_left() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/books/x")
        except OSError as cause:
            raise RuntimeError("the library says something else") from cause
    except RuntimeError as problem:
        found = faults.of(problem, "the home")
    assert found is not None
    assert (found.code, found.subject) == ("E-DISK", "/books/x")
    assert faults.of(ValueError("no"), "the home") is None


def test_a_constraint_is_an_answer_and_stays_what_it_is(file: Path) -> None:
    rate = {"base": "EUR", "quote": "USD", "period_start": now().date().replace(day=1), "rate": Decimal(1)}
    with pytest.raises(sa.exc.IntegrityError), open_admin(url(file)).write() as con:
        con.execute(sa.insert(t.fx_rates), [rate, rate])


# --- read-only ------------------------------------------------------------------------------------------


@contextmanager
def nobody() -> Iterator[None]:
    """Root may write everywhere; nobody may not."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def mount(file: Path) -> Iterator[Path]:
    """A folder that takes no files, as a read-only mount, with a copy of the database in it."""
    folder = Path(tempfile.mkdtemp())
    shutil.copyfile(file, folder / "admin.db")
    (folder / "admin.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_restored_copy_on_a_read_only_mount_is_read_and_takes_no_writes(mount: Path) -> None:
    with nobody():
        admin = find_admin(url(mount / "admin.db"))
        assert admin is not None
        with admin.read() as con:
            assert con.execute(sa.select(sa.func.count()).select_from(t.tenants)).scalar_one() == 0
        with pytest.raises(CopsError) as refusal, admin.write():
            pass
        admin.close()
    assert refusal.value.code == "E-DB-READONLY"
    assert sorted(path.name for path in mount.iterdir()) == ["admin.db"]


def test_a_log_beside_it_is_not_passed_over(file: Path, mount: Path) -> None:
    """It holds what was committed: without it the database is an older one."""
    admin = open_admin(url(file))
    with admin.write() as con:
        con.exec_driver_sql("CREATE TABLE newer (x)")
    mount.chmod(0o755)
    for ending in ("", "-wal"):
        shutil.copyfile(f"{file}{ending}", mount / f"admin.db{ending}")
    mount.chmod(0o555)
    with nobody(), pytest.raises(CopsError) as refusal:
        find_admin(url(mount / "admin.db"))
    assert refusal.value.code == "E-DB-READONLY"
    mount.chmod(0o755)  # the advice, followed: where it can be written, it is read whole
    with open_admin(url(mount / "admin.db")).read() as con:
        assert sa.inspect(con).has_table("newer")


def test_a_home_cannot_be_made_where_nothing_can_be_written(mount: Path) -> None:
    with nobody(), pytest.raises(CopsError) as refusal:
        open_admin(url(mount / "home" / "admin.db"))
    assert refusal.value.code == "E-DISK-READONLY"


# --- PostgreSQL -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Admin:
    return open_admin(postgres.database())


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("53100", "E-DISK"), ("XX001", "E-DB-CORRUPT"), ("XX002", "E-DB-CORRUPT"), ("58030", "E-DB-IO"),
        ("25006", "E-DB-READONLY"), ("55P03", "E-DB-BUSY"), ("53200", "E-RESOURCE"),
        ("57P01", "E-DB-UNREACHABLE"),
    ],
)  # fmt: skip
def test_what_postgresql_says_is_told_apart(server: Admin, state: str, code: str) -> None:
    with pytest.raises(CopsError) as refusal, server.write() as con:
        con.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'said' USING ERRCODE = '{state}'; END $$")
    assert refusal.value.code == code


def test_a_guard_of_postgresql_is_an_answer_and_stays_what_it_is(server: Admin) -> None:
    with pytest.raises(sa.exc.DBAPIError), server.write() as con:
        con.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0001'; END $$")


def test_a_write_to_a_server_that_only_reads_is_refused_and_a_read_is_not(server: Admin) -> None:
    with server.read() as con:
        assert con.execute(sa.select(sa.func.count()).select_from(t.tenants)).scalar_one() == 0
    with pytest.raises(CopsError) as refusal, server.write() as con:
        con.exec_driver_sql("SET TRANSACTION READ ONLY; DELETE FROM fx_rates")
    assert refusal.value.code == "E-DB-READONLY"
