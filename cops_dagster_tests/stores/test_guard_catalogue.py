"""The shipped lists of guards against what the migrations make, and what somebody makes of them."""

# ruff: noqa: E501

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.stores import guards
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.stores.make_guards import made


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_shipped_list_is_what_the_migrations_make(dialect: str) -> None:
    """Red after a new migration: run `python -m cops_dagster_tests.stores.make_guards` and commit the lists."""
    assert guards.expected(dialect) == made(dialect)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_table_and_view_stands_in_the_list(dialect: str) -> None:
    names = {name.split(" ")[1] for name in guards.expected(dialect) if name.startswith(("table ", "view "))}
    views = t.VIEWS if dialect == "sqlite" else {name.lower() for name in t.VIEWS}
    assert names == {*t.metadata.tables, *views}


@pytest.fixture
def postgresql() -> Iterator[Admin]:
    opened = open_admin(postgres.database())
    yield opened
    opened.close()


def after(admin: Admin, *statements: str) -> list[str]:
    with admin.engine.begin() as con:
        for statement in statements:
            con.exec_driver_sql(statement)
    admin.close()
    with admin.read() as con:
        return [one.what for one in guards.differences(con)]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE lake_file DISABLE TRIGGER lake_file_no_update", "trigger lake_file.lake_file_no_update"),
        ("ALTER TABLE lake_file ENABLE REPLICA TRIGGER lake_file_belongs", "trigger lake_file.lake_file_belongs"),
        ("DROP TRIGGER approval_no_update ON approval", "trigger approval.approval_no_update"),
        ("CREATE OR REPLACE FUNCTION cops_append_only() RETURNS trigger LANGUAGE plpgsql AS"
         " $$ BEGIN RETURN NEW; END $$", "function cops_append_only()"),
        ("ALTER FUNCTION cops_publish_journal_open() SECURITY INVOKER", "function cops_publish_journal_open()"),
        ("ALTER FUNCTION cops_publish_journal_open() SET search_path = other", "function cops_publish_journal_open()"),
        ("CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
         "CREATE TRIGGER aa BEFORE INSERT ON lake_file FOR EACH ROW EXECUTE FUNCTION other()",
         "trigger lake_file.aa"),
        ("CREATE RULE nothing AS ON INSERT TO approval DO INSTEAD NOTHING", "rule approval.nothing"),
        ("ALTER TABLE control_status DROP CONSTRAINT ck_control_status_status",
         "constraint control_status.ck_control_status_status"),
        ("DROP INDEX uq_publish_journal_predecessor", "index publish_journal.uq_publish_journal_predecessor"),
        ("ALTER TABLE lake_file ENABLE ROW LEVEL SECURITY", "table lake_file"),
        ("ALTER TABLE approval ALTER COLUMN approved_by DROP NOT NULL", "table approval"),
        ("CREATE TABLE more () INHERITS (lake_file)", "table lake_file"),
        ("CREATE OR REPLACE VIEW tenant_statement AS SELECT * FROM recon_run_statement", "view tenant_statement"),
    ],
)  # fmt: skip
def test_a_guard_that_is_not_as_it_was_made_is_named(postgresql: Admin, statement: str, named: str) -> None:
    assert named in after(postgresql, statement)


def test_a_setting_that_silences_every_trigger_is_named(postgresql: Admin) -> None:
    database = postgresql.engine.url.database
    found = after(postgresql, f"ALTER DATABASE {database} SET session_replication_role = 'replica'")
    assert found == ["setting of all roles", "setting session_replication_role"]


def test_the_owner_of_a_guard_s_function_is_the_owner_of_the_tables(postgresql: Admin) -> None:
    with postgresql.engine.connect() as con:
        there = con.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = 'cops_intruder'").first()
    make = [] if there else ["CREATE ROLE cops_intruder"]
    found = after(postgresql, *make, "ALTER FUNCTION cops_append_only() OWNER TO cops_intruder")
    assert found == ["function cops_append_only()"]


def test_tables_and_indexes_of_others_are_nobody_s_business(postgresql: Admin) -> None:
    assert after(
        postgresql, "CREATE TABLE runs (id int)", "CREATE INDEX mine ON lake_file (run_id)",
        "CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ) == []  # fmt: skip


def test_a_home_in_another_schema_than_public_is_as_it_should_be(tmp_path: Path) -> None:
    url = sa.make_url(postgres.empty_database())
    engine = sa.create_engine(url)
    with engine.begin() as con:
        con.exec_driver_sql("CREATE SCHEMA ledger")
    engine.dispose()
    admin = open_admin(
        url.update_query_dict({"options": "-csearch_path=ledger"}).render_as_string(hide_password=False)
    )
    with admin.read() as con:
        found = guards.differences(con)
    admin.close()
    # what names a search path was made with another one; everything else is the same
    assert [one.what for one in found if "search_path" not in one.expected] == []


def test_sqlite_s_layout_of_a_text_is_no_difference(tmp_path: Path) -> None:
    """`ALTER TABLE … RENAME` and newer libraries quote names and break lines in their own way."""
    admin = open_admin(f"sqlite:///{tmp_path / 'admin.db'}")
    admin.close()
    with closing(sqlite3.connect(tmp_path / "admin.db", isolation_level=None)) as con:
        con.execute("PRAGMA writable_schema = ON")
        con.execute(
            "UPDATE sqlite_master SET sql = replace(replace(sql, 'CREATE TABLE policy', 'CREATE TABLE \"policy\"'),"
            " ', ', ',\n  ') WHERE name = 'policy'"
        )
    with admin.read() as con:
        assert guards.differences(con) == []
    admin.close()
