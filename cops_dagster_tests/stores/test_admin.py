"""The admin database: its two kinds of transaction, first use, and what it refuses to open."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from cops_dagster.errors import CopsError
from cops_dagster.stores import admin as module
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import HEAD, REVISIONS, VERSION_TABLE, Admin, find_admin, now, open_admin
from cops_dagster.stores.columns import Money

RATE = {"base": "EUR", "quote": "USD", "period_start": date(2025, 9, 1), "rate": Decimal("1.1")}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'home' / 'admin.db'}"


@pytest.fixture
def admin(url: str) -> Admin:
    return open_admin(url)


def rates(con: sa.Connection) -> list[Decimal]:
    return list(con.execute(sa.select(t.fx_rates.c.rate)).scalars())


def pragma(con: sa.Connection, name: str) -> object:
    return con.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_what_a_write_transaction_wrote_is_read_afterwards(admin: Admin) -> None:
    with admin.write() as con:
        con.execute(sa.insert(t.fx_rates).values(RATE))
    with admin.read() as con:
        assert rates(con) == [Decimal("1.100000000000000000")]


def test_an_exception_in_a_write_transaction_undoes_all_of_it(admin: Admin) -> None:
    def fail() -> None:
        with admin.write() as con:
            con.execute(sa.insert(t.fx_rates).values(RATE))
            con.exec_driver_sql("CREATE TABLE left_over (x)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with admin.read() as con:
        assert rates(con) == []
        assert not sa.inspect(con).has_table("left_over")


def test_a_read_transaction_sees_one_state_while_another_process_writes(admin: Admin, url: str) -> None:
    with admin.read() as con:
        assert rates(con) == []
        with open_admin(url).write() as other:
            other.execute(sa.insert(t.fx_rates).values(RATE))
        assert rates(con) == []
    with admin.read() as con:
        assert len(rates(con)) == 1


def test_a_read_transaction_cannot_write(admin: Admin) -> None:
    with pytest.raises(sa.exc.OperationalError, match="readonly"), admin.read() as con:
        con.execute(sa.insert(t.fx_rates).values(RATE))


def test_a_connection_that_read_before_can_write_again(admin: Admin) -> None:
    with admin.read() as con:
        rates(con)
    with admin.write() as con:
        con.execute(sa.insert(t.fx_rates).values(RATE))


def test_a_second_writer_is_refused_while_the_first_has_written_nothing_yet(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_admin(url)
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    first, second = open_admin(url), open_admin(url)
    with first.write(), pytest.raises(CopsError) as refusal, second.write():
        pass
    assert refusal.value.code == "E-DB-BUSY"
    with second.write():
        pass


def test_a_reader_is_let_in_while_another_writes(admin: Admin, url: str) -> None:
    with admin.write() as con:
        con.execute(sa.insert(t.fx_rates).values(RATE))
        with open_admin(url).read() as other:
            assert rates(other) == []


def test_commits_are_durable_and_foreign_keys_and_guards_are_on(admin: Admin) -> None:
    for transaction in (admin.read, admin.write):
        with transaction() as con:
            assert pragma(con, "journal_mode") == "wal"
            assert pragma(con, "synchronous") == 2  # FULL
            assert pragma(con, "foreign_keys") == 1
            assert pragma(con, "recursive_triggers") == 1
            assert pragma(con, "busy_timeout") == 30_000


def test_a_file_restored_without_wal_gets_it_back(url: str) -> None:
    first = open_admin(url)
    first.close()
    with sa.create_engine(url).connect() as con:
        assert pragma(con, "journal_mode = DELETE") == "delete"
    with open_admin(url).read() as con:
        assert pragma(con, "journal_mode") == "wal"


def test_opening_an_up_to_date_database_does_not_import_alembic(url: str) -> None:
    open_admin(url).close()
    code = (
        "import sys; from cops_dagster.stores.admin import open_admin; open_admin(sys.argv[1]);"
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True)


def test_processes_that_start_at_once_on_a_fresh_home_all_succeed(url: str) -> None:
    code = "import sys; from cops_dagster.stores.admin import open_admin; open_admin(sys.argv[1])"
    running = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [(each.communicate()[1], each.returncode) for each in running] == [("", 0)] * 3
    with open_admin(url).read() as con:
        assert con.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all() == [HEAD]


def test_a_migration_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.command

    real = alembic.command.upgrade

    def fails_at_the_end(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        raise ZeroDivisionError

    monkeypatch.setattr(alembic.command, "upgrade", fails_at_the_end)
    with pytest.raises(ZeroDivisionError):
        open_admin(url)
    with sa.create_engine(url).connect() as con:
        assert sa.inspect(con).get_table_names() == []
    monkeypatch.undo()
    open_admin(url)


def test_a_database_of_a_newer_version_is_refused_and_one_of_this_version_is_opened(url: str) -> None:
    admin = open_admin(url)
    with admin.write() as con:
        con.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(CopsError) as refusal:
        open_admin(url)
    assert refusal.value.code == "E-DB-VERSION"
    assert "9999" in refusal.value.found
    with admin.write() as con:
        con.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '{HEAD}'"))
    open_admin(url)


def schema_of(url: str) -> list[tuple[str, ...]]:
    """Every table, index and guard, and the version rows."""
    engine = sa.create_engine(url)
    with engine.connect() as con:
        there = [tuple(row) for row in con.exec_driver_sql("SELECT * FROM sqlite_master ORDER BY name, sql")]
        if sa.inspect(con).has_table(VERSION_TABLE):
            there += [tuple(row) for row in con.execute(sa.text(f"SELECT * FROM {VERSION_TABLE}"))]
    engine.dispose()
    return there


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "spoil",
    [
        f"DELETE FROM {VERSION_TABLE}",
        f"INSERT INTO {VERSION_TABLE} VALUES ('0001')",
        f"DROP TABLE {VERSION_TABLE}",
        "DROP TABLE disputes",
        *(f"UPDATE {VERSION_TABLE} SET version_num = '{other}'" for other in (*REVISIONS[:-1], "0000", "x")),
    ],
)
def test_a_version_row_that_does_not_fit_the_tables_is_refused_and_nothing_is_migrated(
    url: str, spoil: str
) -> None:
    """It was an internal error, "table … already exists", or "made by a newer COPS" for no row at all."""
    open_admin(url).close()
    with sa.create_engine(url).begin() as con:
        con.execute(sa.text(spoil))
    before = schema_of(url)
    for opens in (find_admin, open_admin, find_admin):
        with pytest.raises(CopsError) as refused:
            opens(url)
        assert refused.value.code == "E-DB-VERSION"
        assert "restore it from its backup" in refused.value.next_step
        assert "newer" not in refused.value.found
    assert schema_of(url) == before


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("mysql://u:hunter2@host/x", "E-DB-URL"),
        ("postgresql+psycopg2://u:hunter2@host:port/x", "E-DB-URL"),
        ("hunter2", "E-DB-URL"),
        ("sqlite://", "E-DB-URL"),
        ("sqlite:///:memory:", "E-DB-URL"),
        ("postgresql+psycopg2://u:hunter2@127.0.0.1:1/x", "E-DB-UNREACHABLE"),
        ("postgresql+psycopg2://u@127.0.0.1:1/x?password=hunter2", "E-DB-UNREACHABLE"),
        ("postgresql+psycopg2://u@127.0.0.1:1/x?password=a&hunter2=b", "E-DB-UNREACHABLE"),
        ("postgresql+psycopg2://u@127.0.0.1:1/x?sslmode=hunter2", "E-DB-UNREACHABLE"),
        ("postgresql+psycopg2://u@127.0.0.1:1/x?connect_timeout=hunter2", "E-DB-UNREACHABLE"),
        ("sqlite:////dev/null/admin.db", "E-DB-UNREACHABLE"),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused_without_showing_a_password(url: str, code: str) -> None:
    with pytest.raises(CopsError) as refusal:
        open_admin(url)
    assert refusal.value.code == code
    assert "hunter2" not in "".join(traceback.format_exception(refusal.value))


def test_a_password_in_the_url_is_not_part_of_what_is_shown() -> None:
    parsed = module._parsed("postgresql+psycopg2://u:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in module.without_password("connection to u:hunter2 failed", parsed)


def test_a_home_whose_path_has_blanks_and_percent_signs_is_fine(tmp_path: Path) -> None:
    open_admin(f"sqlite:///{tmp_path / 'a 100% home' / 'admin.db'}")
    assert (tmp_path / "a 100% home" / "admin.db").exists()


def test_now_is_utc_without_zone() -> None:
    moment = now()
    assert moment.tzinfo is None
    assert abs((moment - datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)).total_seconds()) < 5


@pytest.mark.parametrize("text", ["much", "", "NaN", "sNaN", "Infinity", "-inf"])
def test_an_amount_that_is_none_is_refused_by_code_when_it_is_read(text: str) -> None:
    """Nobody can sum it. `NaN` is one for Decimal and for PostgreSQL's NUMERIC, and ended in a traceback."""
    with pytest.raises(CopsError, match="E-DB-CORRUPT"):
        Money().process_result_value(text, sqlite.dialect())


def test_an_amount_is_read_to_its_last_digit() -> None:
    text = "-12345678901234567890.123456789012345678"
    assert Money().process_result_value(text, sqlite.dialect()) == Decimal(text)
