"""What the database refuses by itself: tables × verbs × roles × period states, each beside what it allows."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.ledger.states import MOVES, WRITABLE
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.stores.consented import agree, agree_to_close
from cops_dagster_tests.stores.guarded import (
    REFUSED,
    begin,
    fill,
    insert,
    moved,
    publish,
    put,
    row,
    sealed,
    told,
)

ROOT = Path(__file__).resolve().parents[2]
SEPTEMBER = date(2025, 9, 1)
STATES = ("open", "delayed", "provisional", "final", "closing", "closed")

NEVER_CHANGED = (
    "adjustment", "adjustment_booking", "adjustment_effect", "alert_clock", "alert_event", "alert_silence",
    "allowed_signers",
    "allocation_key_snapshot",
    "allocation_keys", "allocation_rule_date", "allocation_rules", "approval", "aws_invoices",
    "budget_history", "close_request", "control_status", "cur_delivery", "cur_delivery_breakdown",
    "cur_delivery_file",
    "cur_delivery_hold", "cur_delivery_profile", "disputes", "document_conflict", "evidence_index",
    "expected_cur_schema", "export_record", "fx_rates",
    "gl_accounts",
    "invoice_detail", "journal_entry", "journal_line", "key_usage_version", "lake_file", "load_log",
    "notification_log",
    "period_lock_event", "plans", "policy", "publish_journal",
    "recon_run", "recon_run_bridge", "recon_run_statement", "recon_run_tenant", "run_reversal",
    "signature", "source_event",
    "usage_day", "usage_day_value", "usage_month", "usage_refusal",
)  # fmt: skip
DELETED_BY_CODE = (
    "active_cost_allocation_tag", "aws_budget", "budget_master", "cur_billing_head",
    "cur_delivery_place", "cur_read_file", "foreign_export", "tag_coverage",
)  # fmt: skip
CHANGED_BY_CODE = tuple(sorted(set(t.metadata.tables) - set(NEVER_CHANGED) - set(DELETED_BY_CODE)))

IN_ORDER = (t.adjustment, t.approval, *t.metadata.sorted_tables)
"""What is approved before its approval, and that before what was approved is done."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a fresh database, made once and copied for each fact."""
    file = tmp_path_factory.mktemp("template") / "admin.db"
    opened = open_admin(f"sqlite:///{file}")
    with opened._connected() as con:
        con.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.close()
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def admin(request: pytest.FixtureRequest, tmp_path: Path, template: Path) -> Iterator[Admin]:
    if request.param == "sqlite":
        shutil.copy(template, tmp_path / "admin.db")
    url = f"sqlite:///{tmp_path / 'admin.db'}" if request.param == "sqlite" else postgres.database()
    opened = open_admin(url)
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A database with a row in every table."""
    folder = tmp_path_factory.mktemp("guards")
    url = f"sqlite:///{folder / 'admin.db'}" if request.param == "sqlite" else postgres.database()
    opened = open_admin(url)
    with opened.write() as con:
        fill(con)
    yield opened
    opened.close()


def contents(admin: Admin, name: str) -> list[tuple[Any, ...]]:
    with admin.read() as con:
        return [tuple(line) for line in con.execute(sa.select(t.metadata.tables[name]))]


def other_value(table: sa.Table) -> dict[str, Any]:
    """A change of the last column that is no key."""
    column = [column for column in table.columns if not column.primary_key][-1]
    values: dict[type, Any] = {
        sa.Text: "y", sa.BigInteger: 8, sa.Boolean: True, sa.Date: date(2025, 10, 1),
        sa.DateTime: datetime.fromisoformat("2025-10-01"), t.Money: Decimal(2),
    }  # fmt: skip
    return {column.name: values[type(column.type)]}


def refused(admin: Admin, change: Any, code: str) -> None:
    with pytest.raises(REFUSED, match=code), admin.write() as con:
        con.execute(change)


# --- append-only ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEVER_CHANGED)
def test_a_table_of_facts_takes_rows_and_no_change_of_them(filled: Admin, name: str) -> None:
    table = t.metadata.tables[name]
    before = contents(filled, name)
    assert before  # the allowed twin: `filled` inserted it
    refused(filled, sa.update(table).values(other_value(table)), f"E-APPEND-ONLY {name}")
    refused(filled, sa.delete(table), f"E-APPEND-ONLY {name}")
    if filled.engine.dialect.name == "postgresql":
        refused(filled, sa.text(f'TRUNCATE "{name}"'), f"E-APPEND-ONLY {name}")
    else:
        first = dict(zip(table.columns.keys(), before[0], strict=True))
        refused(
            filled, sa.insert(table).prefix_with("OR REPLACE").values(first | other_value(table)),
            "E-",
        )  # fmt: skip
    assert contents(filled, name) == before


@pytest.mark.parametrize("name", CHANGED_BY_CODE)
def test_a_table_of_state_takes_changes_and_loses_no_row(filled: Admin, name: str) -> None:
    table = t.metadata.tables[name]
    before = contents(filled, name)
    assert before
    refused(filled, sa.delete(table), f"E-APPEND-ONLY {name}")
    if filled.engine.dialect.name == "postgresql":
        refused(filled, sa.text(f'TRUNCATE "{name}"'), f"E-APPEND-ONLY {name}")
    assert contents(filled, name) == before


@pytest.mark.parametrize("name", DELETED_BY_CODE)
def test_a_table_that_is_looked_up_anew_takes_deletes(filled: Admin, name: str) -> None:
    table = t.metadata.tables[name]
    month = {} if "period_start" not in table.c else {"period_start": SEPTEMBER}
    one = sa.delete(table).where(*(table.c[name] == value for name, value in month.items()))
    with filled.write() as con:
        assert con.execute(one).rowcount >= 1
        given = {"run_id": "r09"} if table is t.tag_coverage else {}
        insert(con, table, **given)


@pytest.mark.long
@pytest.mark.parametrize(
    ("table", "ended"),
    [
        (t.allocation_run_log, {"status": "failed"}),
        (t.cur_ingestion_log, {"status": "succeeded"}),
        (t.recon_exceptions, {"resolved_at": datetime(2025, 9, 2), "resolved_by": "lee"}),
        (t.invoice_freeze, {"released_at": datetime(2025, 9, 2), "released_by": "lee"}),
    ],
)
def test_what_ended_stays_as_it_is_and_what_did_not_can_end(
    admin: Admin, table: sa.Table, ended: dict[str, object]
) -> None:
    with admin.write() as con:
        con.execute(sa.insert(table).values(row(table)))
        if table is t.recon_exceptions:
            con.execute(sa.update(table).values(decided_by="kim", subject_digest="d"))
            agree(con, "exception", "x", "d")
        if table is t.invoice_freeze:
            con.execute(sa.update(table).values(release_requested_by="kim", subject_digest="d"))
            agree(con, "invoice_freeze", "freeze-1", "d")
        con.execute(sa.update(table).values(ended))
    before = contents(admin, table.name)
    others = {name: "somebody else" for name in ended if name.endswith("_by")}
    refused(admin, sa.update(table).values(ended | others), "E-APPEND-ONLY|E-CONSENT")
    assert contents(admin, table.name) == before


def test_of_a_freeze_only_its_release_is_written(admin: Admin) -> None:
    with admin.write() as con:
        con.execute(sa.insert(t.invoice_freeze).values(row(t.invoice_freeze)))
    refused(admin, sa.update(t.invoice_freeze).values(reason="never mind"), "E-APPEND-ONLY")


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_policy_takes_its_next_version_and_no_other(admin: Admin, version: int) -> None:
    with admin.write() as con:
        con.execute(sa.insert(t.policy).values(row(t.policy)))
    refused(
        admin,
        sa.insert(t.policy).values(row(t.policy, policy_version=version)),
        "E-APPEND-ONLY|UNIQUE|unique",
    )
    with admin.write() as con:
        con.execute(sa.insert(t.policy).values(row(t.policy, policy_version=2)))
    assert len(contents(admin, "policy")) == 2


def test_a_policy_is_not_replaced_by_a_connection_that_knows_nothing_of_triggers(tmp_path: Path) -> None:
    """`INSERT OR REPLACE` deletes without asking the DELETE trigger unless a pragma says otherwise."""
    opened = open_admin(f"sqlite:///{tmp_path / 'admin.db'}")
    with opened.write() as con:
        con.execute(sa.insert(t.policy).values(row(t.policy)))
    before = contents(opened, "policy")
    change = (
        "INSERT OR REPLACE INTO policy (policy_version, policy_json, digest, adopted_by, adopted_at, origin)"
        " VALUES (1, '{}', 'x', 'x', '2025-01-01', 'x')"
    )
    with (
        closing(sqlite3.connect(tmp_path / "admin.db")) as plain,
        pytest.raises(sqlite3.IntegrityError, match="E-APPEND-ONLY"),
    ):
        plain.execute(change)
    assert contents(opened, "policy") == before
    opened.close()


# --- periods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_only_an_open_period_takes_a_journal_row(admin: Admin, state: str) -> None:
    with admin.write() as con:
        publish(con)
        put(con, state)
    before = contents(admin, "publish_journal")
    if state in WRITABLE:
        with admin.write() as con:
            publish(con, "r2", before="r1")
        assert len(contents(admin, "publish_journal")) == 2
        return
    with pytest.raises(REFUSED, match="E-PERIOD-CLOSED"), admin.write() as con:
        publish(con, "r2", before="r1")
    assert contents(admin, "publish_journal") == before


def test_a_period_that_nobody_opened_takes_no_journal_row(admin: Admin) -> None:
    with pytest.raises(REFUSED, match="E-PERIOD-CLOSED"), admin.write() as con:
        insert(con, t.publish_journal, predecessor_run_id=None, row_count=0, cost_usd=Decimal(0))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("here", STATES)
@pytest.mark.parametrize("there", STATES)
def test_a_period_moves_as_the_state_machine_says_and_no_other_way(
    admin: Admin, here: str, there: str
) -> None:
    with admin.write() as con:
        publish(con)
        put(con, here)
        if (here, there) == ("final", "closing"):
            agree_to_close(con, SEPTEMBER)
    if (here, there) in MOVES:
        with admin.write() as con:
            told(con, there)
            seal = sealed(con) if there == "closed" else {}
            assert con.execute(moved(there, **seal)).rowcount == 1
    else:
        refused(admin, moved(there), "E-PERIOD-STATE|E-CONSENT")
        with pytest.raises(REFUSED, match="E-PERIOD-STATE"), admin.write() as con:
            told(con, there)


@pytest.mark.parametrize(
    "values",
    [{"state": "provisional"}, {"state_seq": 5, "state": "delayed"}, {"period_start": date(2025, 10, 1)}],
)
def test_a_move_that_skips_its_number_or_renames_its_period_is_refused(
    admin: Admin, values: dict[str, object]
) -> None:
    with admin.write() as con:
        begin(con)
    refused(admin, sa.update(t.period_lock).values(values), "E-PERIOD-STATE|E-APPEND-ONLY")


@pytest.mark.parametrize("state", ["provisional", "final", "closing", "closed"])
def test_a_period_begins_open_or_delayed(admin: Admin, state: str) -> None:
    refused(
        admin, sa.insert(t.period_lock).values(row(t.period_lock, state=state, state_seq=1)), "E-PERIOD-STATE"
    )
    with admin.write() as con:
        begin(con, state="delayed")


# --- one live run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "r1", "unknown"])
def test_a_run_over_another_head_is_refused_and_one_over_the_head_is_taken(
    admin: Admin, before: str | None
) -> None:
    with admin.write() as con:
        publish(con)
        publish(con, "r2", before="r1")
    with pytest.raises(REFUSED, match="E-SUPERSEDED"), admin.write() as con:
        publish(con, "r3", before=before)
    with admin.write() as con:
        publish(con, "r3", before="r2")


def test_a_head_without_a_journal_row_is_refused(admin: Admin) -> None:
    with admin.write() as con:
        publish(con)
    refused(admin, sa.update(t.period_head).values(run_id="r9", journal_seq=99), "E-UNPUBLISHED")
    refused(
        admin,
        sa.insert(t.period_head).values(row(t.period_head, source_id="s", run_id="r9")),
        "E-UNPUBLISHED",
    )


def test_a_head_never_moves_back(admin: Admin) -> None:
    with admin.write() as con:
        publish(con)
        publish(con, "r2", before="r1")
        first = con.execute(sa.select(sa.func.min(t.publish_journal.c.journal_seq))).scalar_one()
    refused(admin, sa.update(t.period_head).values(run_id="r1", journal_seq=first), "E-UNPUBLISHED")


# --- roles on PostgreSQL ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def roles() -> Iterator[Callable[[str], sa.Engine]]:
    """Engines of a filled database by role: reader, writer, closer."""
    url = postgres.database()
    opened = open_admin(url)
    with opened.write() as con:
        fill(con)
        agree_to_close(con, SEPTEMBER)
    opened.close()
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with owner.connect() as con:
        for _ in range(2):  # twice changes nothing
            con.exec_driver_sql((ROOT / "deploy/postgresql/roles.sql").read_text(encoding="utf-8"))
    made: dict[str, sa.Engine] = {}

    def of(role: str) -> sa.Engine:
        if role not in made:
            made[role] = sa.create_engine(url)

            @sa.event.listens_for(made[role], "begin")
            def become(con: sa.Connection) -> None:
                con.exec_driver_sql(f"SET LOCAL ROLE cops_{role}")

        return made[role]

    yield of
    for engine in (owner, *made.values()):
        engine.dispose()
    # the roles belong to the server: other tests of this process are of one user again
    database = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with database.connect() as con:
        con.exec_driver_sql("DROP OWNED BY cops_reader, cops_writer, cops_closer")
        con.exec_driver_sql("DROP ROLE cops_reader, cops_writer, cops_closer")
    database.dispose()


def tried(engine: sa.Engine, change: Any) -> str:
    """`done` (and undone), or the first line of the refusal."""
    with engine.connect() as con, con.begin() as transaction:
        try:
            con.execute(change)
        except sa.exc.DBAPIError as problem:
            return str(problem.orig).split("\n")[0]
        finally:
            transaction.rollback()
    return "done"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", sorted(t.metadata.tables))
@pytest.mark.parametrize("role", ["reader", "writer", "closer"])
def test_a_role_does_what_it_is_for_and_no_more(
    roles: Callable[[str], sa.Engine], role: str, name: str
) -> None:
    engine, table = roles(role), t.metadata.tables[name]
    writes = role != "reader"
    assert tried(engine, sa.select(table)) == "done"
    assert ("permission denied" in tried(engine, sa.delete(table))) == (
        not writes or name not in DELETED_BY_CODE
    )
    assert "permission denied" in tried(engine, sa.text(f'TRUNCATE "{name}"'))
    assert "must be owner" in tried(engine, sa.text(f'ALTER TABLE "{name}" DISABLE TRIGGER ALL'))
    updated = tried(engine, sa.update(table).values(other_value(table)))
    if not writes or name in NEVER_CHANGED:
        assert "permission denied" in updated
    inserted = tried(engine, sa.insert(table).values(row(table)))
    assert ("permission denied" in inserted) == (not writes)


def test_only_the_closer_closes(roles: Callable[[str], sa.Engine]) -> None:
    def close(role: str) -> str:
        with roles(role).connect() as con, con.begin() as transaction:
            try:
                put(con, "closed")
            except sa.exc.DBAPIError as problem:
                return str(problem.orig).split("\n")[0]
            finally:
                transaction.rollback()
        return "done"

    assert close("closer") == "done"
    assert "E-ROLE" in close("writer")
    assert "permission denied" in close("reader")


@pytest.mark.parametrize("statement", ["SET session_replication_role = replica", "SET ROLE postgres"])
def test_a_writer_cannot_step_around_the_guards(roles: Callable[[str], sa.Engine], statement: str) -> None:
    url = roles("writer").url
    login = f"cops_login_{url.database}"
    with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as owner:
        owner.exec_driver_sql(f"CREATE ROLE {login} LOGIN IN ROLE cops_writer")
    try:
        engine = sa.create_engine(url.set(username=login))
        answer = tried(engine, sa.text(statement))
        allowed = tried(engine, sa.text("SELECT 1"))
        engine.dispose()
    finally:
        with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as owner:
            owner.exec_driver_sql(f"DROP ROLE {login}")
    assert "permission denied" in answer
    assert allowed == "done"
