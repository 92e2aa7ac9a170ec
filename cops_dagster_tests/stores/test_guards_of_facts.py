"""One guard per fact, on every table that makes it up: whole runs, sealed closes, told moves (ADR 35)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.lake import live
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, open_admin
from cops_dagster.stores.volume import Volume
from cops_dagster_tests import postgres
from cops_dagster_tests.stores.guarded import (
    AUGUST,
    SEPTEMBER,
    begin,
    deliver,
    fill,
    insert,
    moved,
    prove,
    publish,
    put,
    reconcile,
    row,
    sealed,
    told,
)

REFUSED = sa.exc.DBAPIError


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A filled database; every test undoes what it did."""
    folder = tmp_path_factory.mktemp("facts")
    url = f"sqlite:///{folder / 'admin.db'}" if request.param == "sqlite" else postgres.database()
    opened = open_admin(url)
    with opened.write() as con:
        fill(con)
    yield opened
    opened.close()


@pytest.fixture
def con(books: Admin) -> Iterator[sa.Connection]:
    """A write transaction that is undone."""
    with books._connected() as made:
        made.execution_options(cops_write=True)
        with made.begin() as transaction:
            yield made
            transaction.rollback()


def end(con: sa.Connection) -> None:
    """What PostgreSQL asks at the end of a transaction, now."""
    if con.dialect.name == "postgresql":
        con.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


A_FILE = {"path": "new", "source_id": "", "table_name": "fact_cost_allocated", "row_count": 0}


# --- whole runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "month"), [("r08", AUGUST), ("r09", SEPTEMBER), ("r08", SEPTEMBER)])
def test_a_published_run_takes_no_further_file_open_month_or_not(
    con: sa.Connection, run: str, month: object
) -> None:
    """One INSERT into `lake_file` added entries to a closed month: the guard asked for the journal alone."""
    with pytest.raises(REFUSED, match=r"E-UNPUBLISHED|E-PERIOD-CLOSED"):
        insert(con, t.lake_file, run_id=run, period_start=month, **A_FILE)


def test_a_run_comes_with_all_of_its_files_at_once(con: sa.Connection) -> None:
    publish(con, "r10", before="r09", files=3)
    end(con)


@pytest.mark.parametrize("wrong", [{"row_count": 3}, {"period_start": AUGUST}])
def test_a_run_whose_files_are_not_what_its_journal_row_says_is_refused(
    con: sa.Connection, wrong: dict[str, object]
) -> None:
    with pytest.raises(REFUSED, match=r"E-UNPUBLISHED|E-PERIOD-CLOSED|E-SUPERSEDED"):
        publish(con, "r10", before="r09", **wrong)


def test_postgresql_sums_the_cost_of_a_runs_files(con: sa.Connection) -> None:
    if con.dialect.name != "postgresql":
        pytest.skip("SQLite holds amounts as text and sums none")
    with pytest.raises(REFUSED, match="E-UNPUBLISHED"):
        publish(con, "r10", before="r09", cost_usd=Decimal("1.000000000000000001"))


def test_a_file_without_a_run_is_refused_or_belongs_to_nothing(con: sa.Connection) -> None:
    insert(con, t.lake_file, run_id="nobody", **A_FILE)
    if con.dialect.name == "postgresql":
        with pytest.raises(REFUSED, match="E-UNPUBLISHED"):
            end(con)
        return
    found = live.live_files(con, Volume(Path("/nowhere")), "fact_cost_allocated", bring=False)
    assert "nobody" not in {file.run_id for file in found}


def test_a_file_that_is_written_while_its_run_is_published_does_not_slip_in() -> None:
    """Neither transaction sees the other's row; the end of the second one finds the run closed."""
    engine = sa.create_engine(postgres.database())
    with engine.begin() as con:
        begin(con)
    with engine.connect() as publishing, engine.connect() as planting:
        one, other = publishing.begin(), planting.begin()
        insert(planting, t.lake_file, run_id="r1", **A_FILE)
        publish(publishing, "r1")
        one.commit()
        with pytest.raises(REFUSED, match="E-UNPUBLISHED"):
            other.commit()
    engine.dispose()


def test_a_delivery_takes_no_part_that_was_not_there_at_first_sight(con: sa.Connection) -> None:
    deliver(con, "another")
    end(con)
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        insert(con, t.cur_delivery_file, delivery_id="another", position=99)


@pytest.mark.parametrize("month", [AUGUST, SEPTEMBER])
def test_a_reconciliation_takes_lines_with_itself_and_in_its_own_month(
    con: sa.Connection, month: object
) -> None:
    reconcile(con)
    end(con)
    with pytest.raises(REFUSED, match=r"E-APPEND-ONLY|E-PERIOD-CLOSED"):
        insert(con, t.recon_run_statement, recon_seq=1, tenant_id="new", period_start=month)


def test_keys_of_a_published_run_are_complete(con: sa.Connection) -> None:
    insert(con, t.allocation_key_snapshot, inputs_id="of no run yet")
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        insert(con, t.allocation_key_snapshot, inputs_id="i09", tenant_id="new")


# --- moves of a period --------------------------------------------------------------------------------------


def test_a_period_moves_after_the_event_that_tells_of_it(con: sa.Connection) -> None:
    told(con, "provisional")
    assert con.execute(moved("provisional")).rowcount == 1
    end(con)
    with pytest.raises(REFUSED, match="E-PERIOD-STATE"):
        con.execute(moved("final"))


def test_an_event_is_no_other_move_than_the_next(con: sa.Connection) -> None:
    with pytest.raises(REFUSED, match="E-PERIOD-STATE"):
        insert(con, t.period_lock_event, period_start=SEPTEMBER, state_seq=3, from_state="open",
               to_state="provisional")  # fmt: skip


def test_a_period_closes_with_its_seal(con: sa.Connection) -> None:
    put(con, "closing")
    told(con, "closed")
    assert con.execute(moved("closed", **sealed(con))).rowcount == 1


@pytest.mark.parametrize("missing", ["seal_digest", "seal_journal_seq", "evidence"])
def test_a_period_does_not_close_without_a_seal_that_its_evidence_holds(
    con: sa.Connection, missing: str
) -> None:
    put(con, "closing")
    told(con, "closed")
    seal = sealed(con)
    seal |= {"seal_digest": "another"} if missing == "evidence" else {missing: None}
    with pytest.raises(REFUSED, match="E-SEAL"):
        con.execute(moved("closed", **seal))


def test_no_other_state_has_a_seal(con: sa.Connection) -> None:
    told(con, "provisional")
    with pytest.raises(REFUSED, match="E-SEAL"):
        con.execute(moved("provisional", seal_digest="x"))


def test_the_close_itself_says_where_the_delivered_bytes_lie_now(con: sa.Connection) -> None:
    shown = t.cur_billing_head
    there = sa.update(shown).where(shown.c.period_start == SEPTEMBER).values(location_json="[]")
    put(con, "closing")
    assert con.execute(there).rowcount == 1
    told(con, "closed")
    con.execute(moved("closed", **sealed(con)))
    with pytest.raises(REFUSED, match="E-PERIOD-CLOSED"):
        con.execute(there)


# --- what the log tells ------------------------------------------------------------------------------------


def test_an_alert_moves_after_its_event_alone(con: sa.Connection) -> None:
    alerts = t.alert_state
    off = sa.update(alerts).values(state="resolved")
    insert(con, t.alert_event, fingerprint="09", event="resolved")
    assert con.execute(off.where(alerts.c.fingerprint == "09")).rowcount == 1
    insert(con, t.alert_event, fingerprint="08", event="acknowledged")
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        con.execute(off.where(alerts.c.fingerprint == "08"))


@pytest.mark.parametrize("values", [{"state": "inactive"}, {"severity": "P4"}, {"episode": 8}])
def test_an_alert_is_not_silenced_by_an_update(con: sa.Connection, values: dict[str, object]) -> None:
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        con.execute(sa.update(t.alert_state).values(values))


def test_what_is_marked_delivered_counts_as_an_attempt(con: sa.Connection) -> None:
    outbox = t.outbox
    con.execute(
        sa.update(outbox).values(delivered_at=sa.func.current_timestamp(), attempts=outbox.c.attempts + 1)
    )
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        con.execute(sa.update(outbox).values(delivered_at=None))


def test_nobody_chooses_the_number_of_a_log_row(con: sa.Connection) -> None:
    insert(con, t.alert_event)
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        insert(con, t.alert_event, alert_seq=1_000_000)


def test_the_chain_goes_on_at_its_end(con: sa.Connection) -> None:
    prove(con)
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        insert(con, t.evidence_index, evidence_seq=99, prev_hash="x")


def test_the_head_of_the_chain_never_moves_back(con: sa.Connection) -> None:
    with pytest.raises(REFUSED, match="E-APPEND-ONLY"):
        con.execute(sa.update(t.evidence_head).values(evidence_seq=1, entry_hash="hash-1"))


@pytest.mark.parametrize("spelled", ["2025-08-01 ", "2025-8-1", "2025-08-01 00:00:00"])
def test_a_month_in_another_spelling_is_no_other_month(tmp_path: Path, spelled: str) -> None:
    """SQLite keeps a date as the text it is given, and readers take more texts than one for a day."""
    opened = open_admin(f"sqlite:///{tmp_path / 'admin.db'}")
    with opened.write() as con:
        fill(con)
    values = row(t.cur_billing_head) | {"source_id": "new", "period_start": spelled, "seen_at": "2025-09-01"}
    names = ", ".join(values)
    with pytest.raises(REFUSED, match="E-PERIOD-CLOSED"), opened.write() as con:
        con.exec_driver_sql(
            f"INSERT INTO cur_billing_head ({names}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        )
    opened.close()


# --- names on PostgreSQL ------------------------------------------------------------------------------------


def test_every_function_of_a_guard_finds_temporary_tables_last() -> None:
    engine = sa.create_engine(postgres.database())
    with engine.connect() as con:
        functions = con.exec_driver_sql(
            "SELECT DISTINCT p.proname, p.proconfig FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid "
            "WHERE NOT g.tgisinternal"
        ).all()
    engine.dispose()
    assert len(functions) > 50
    assert [name for name, set_ in functions if "search_path=pg_catalog, public, pg_temp" not in set_] == []


@pytest.mark.parametrize(
    "front",
    [
        "CREATE TEMP TABLE pg_roles (rolname text)",
        "CREATE FUNCTION pg_temp.pg_has_role(name, name, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE TEMP TABLE period_lock (period_start date, state text)",
    ],
)
def test_a_writer_does_not_close_from_behind_names_of_its_own(front: str) -> None:
    url = postgres.database()
    engine = sa.create_engine(url)
    with engine.begin() as con:
        publish(con)
        put(con, "closing")
        con.exec_driver_sql("CREATE ROLE cops_closer")
        con.exec_driver_sql("CREATE ROLE cops_writer")
        con.exec_driver_sql("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO cops_writer")
        con.exec_driver_sql(f'GRANT TEMPORARY ON DATABASE "{sa.make_url(url).database}" TO cops_writer')
    event = (
        "INSERT INTO public.period_lock_event (period_start, state_seq, from_state, to_state, reason, actor, "
        f"changed_at) VALUES ('{SEPTEMBER}', 5, 'closing', 'closed', 'x', 'x', now())"
    )
    try:
        with engine.connect() as con, con.begin() as transaction:
            con.exec_driver_sql("SET LOCAL ROLE cops_writer")
            con.exec_driver_sql(front)
            with pytest.raises(REFUSED, match="E-ROLE"):
                con.exec_driver_sql(event)
            transaction.rollback()
    finally:
        with engine.begin() as con:
            con.exec_driver_sql("DROP OWNED BY cops_writer, cops_closer")
            con.exec_driver_sql("DROP ROLE cops_writer, cops_closer")
        engine.dispose()
