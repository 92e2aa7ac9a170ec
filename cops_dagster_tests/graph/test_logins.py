"""The logins that compose makes and uses: each may what runs under it needs, and nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import HEAD, VERSION_TABLE, find_admin
from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.graph.logins import LOGINS, made

pytestmark = pytest.mark.long  # a server, its databases, a migration


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with made() as found:
        yield found


def refused(url: str, statement: str) -> str:
    """What the database says to a statement: its SQLSTATE, '' when it is taken. Nothing stays."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as con, con.begin() as transaction:
            con.exec_driver_sql(statement)
            transaction.rollback()
        return ""
    except sa.exc.DBAPIError as problem:
        return str(getattr(problem.orig, "pgcode", None) or "no connection")
    finally:
        engine.dispose()


DENIED = "42501"
GUARDS_OFF = [
    "ALTER TABLE publish_journal DISABLE TRIGGER ALL",
    "DROP TABLE publish_journal",
    "TRUNCATE publish_journal",
    "CREATE TABLE public.mine (x int)",
    "CREATE OR REPLACE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TEMPORARY TABLE period_lock (x int)",
    "SET session_replication_role = replica",
    "SET ROLE cops_owner",
    "GRANT cops_owner TO CURRENT_USER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE ROLE mine",
    f"UPDATE {VERSION_TABLE} SET version_num = '0000'",
]


@pytest.mark.parametrize("login", ["cops_daemon", "cops_viewer", "cops_finance"])
@pytest.mark.parametrize("statement", GUARDS_OFF)
def test_nobody_but_the_owner_touches_tables_guards_or_roles(
    urls: dict[str, str], login: str, statement: str
) -> None:
    assert refused(urls[login], statement) == DENIED


@pytest.mark.parametrize("login", ["cops_daemon", "cops_viewer", "cops_finance"])
def test_an_application_owns_nothing(urls: dict[str, str], login: str) -> None:
    engine = sa.create_engine(urls[login])
    with engine.connect() as con:
        owned = con.execute(
            sa.text("SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user")
        ).scalar()
    engine.dispose()
    assert owned == 0


@pytest.mark.parametrize(
    ("login", "may"),
    [("cops_owner", ""), ("cops_daemon", ""), ("cops_finance", ""), ("cops_viewer", DENIED)],
)
def test_the_viewer_reads_every_table_and_writes_none(urls: dict[str, str], login: str, may: str) -> None:
    assert (
        refused(
            urls[login], "SELECT " + ", ".join(f"(SELECT count(*) FROM {name})" for name in t.metadata.tables)
        )
        == ""
    )
    assert (
        refused(
            urls[login],
            "INSERT INTO plans (plan_id, effective_from, markup_bps) VALUES ('p', DATE '2025-01-01', 0)",
        )
        == may
    )


@pytest.mark.parametrize("login", ["cops_daemon", "cops_viewer", "cops_finance"])
def test_an_application_opens_the_books_that_the_owner_migrated(urls: dict[str, str], login: str) -> None:
    admin = find_admin(urls[login])
    assert admin
    with admin.read() as con:
        assert con.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == HEAD
    admin.close()


@pytest.mark.parametrize("login", [name for name, (database, _) in LOGINS.items() if database == "cops"])
def test_a_login_of_the_ledger_does_not_get_into_dagsters_database(urls: dict[str, str], login: str) -> None:
    there = sa.make_url(urls[login]).set(database="dagster").render_as_string(hide_password=False)
    assert refused(there, "SELECT 1") == "no connection"
    for name in ("dagster", "dagster_viewer"):
        there = sa.make_url(urls[name]).set(database="cops").render_as_string(hide_password=False)
        assert refused(there, "SELECT 1") == "no connection"


def test_dagsters_login_migrates_its_storage_and_its_viewer_reads_it_alone(
    urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    for login in ("dagster", "dagster_viewer"):
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", urls[login])
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            if login == "dagster":
                instance.upgrade()
                instance.reindex()
            assert instance.get_runs_count() == 0
    assert refused(urls["dagster_viewer"], "DELETE FROM runs") == DENIED
    assert refused(urls["dagster_viewer"], "CREATE TABLE public.mine (x int)") == DENIED
