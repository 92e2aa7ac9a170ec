"""Every table × what a client can try × who it is: refused with a code, or allowed by design and named here.

The rows stand in a database of which August is closed (`guarded.fill`). Nobody here is COPS: SQLite's owner
connects with `sqlite3` as it comes, the roles of PostgreSQL with plain SQL and tables of their own in front.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.stores.guarded import AUGUST, COUNTED, fill, row

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted(t.metadata.tables)
ACTORS = ("sqlite", "writer", "reader", "closer", "shadows")
Tried = Callable[[str, str, tuple[Any, ...]], str]

ADDED = {
    "adjustment": "a proposal: nothing is booked without a second person",
    "alert_state": "an alert of its own: fires, is told and logged",
    "allocation_run_log": "an attempt that began: the sweep ends what is dead",
    "aws_invoices": "a document that comes late: seen by the reconciliation of what comes after",
    "budget_history": "what a budget was at a moment: figures of no month's ledger",
    "budget_master": "made anew with every refresh",
    "cur_delivery": "a delivery of a closed month is kept aside",
    "cur_delivery_hold": "holds a delivery back until a person looks",
    "cur_delivery_place": "where a delivery lay: its bytes are digested before they are read",
    "cur_ingestion_log": "an attempt, or that a delivery was kept aside",
    "disputes": "what a tenant disputes of it: an exception of an open month",
    "document_conflict": "a document that came again: an exception until somebody decides",
    "export_record": "that a closed month was exported again: the close bound what there was",
    "foreign_export": "what lies beside a CUR",
    "fx_rates": "a rate: a reconciliation that was made keeps its own",
    "invoice_detail": "a document: `E-FREEZE` while frozen; ADR 42 says what COPS does with it",
    "invoice_freeze": "freezes more, never less",
    "journal_entry": "an entry: what a closed month came to is booked after its close",
    "journal_line": "a line of an entry that is to come; one that is there takes no further line",
    "alert_silence": "keeps messages back for a while, no P1; named in the log",
    "signature": "a further signature: `cops evidence verify` holds each against its decision",
    "tenant_usage": "a key figure: the sealed run's keys are frozen in its snapshot",
    "usage_day": "a day that comes late: kept, told, and in no figure of the month",
    "usage_day_value": "a figure of a version that is to come; one that is there takes no further figure",
    "usage_month": "what somebody says was rolled up: the snapshot names its figures by digest",
    "usage_refusal": "that a source was asked in vain",
}
"""Tables that take a row about a closed month, and why that changes nothing of it."""

CHANGED = {
    "alert_state": {
        "detail", "dagster_run_id", "due_at", "fired_at", "last_data_at", "last_evaluated_at", "looked_at",
        "looked_for", "measured", "next_step", "resolved_at", "resolved_because", "since", "since_data",
        "step", "title", "version",
    },
    "account_tenants": {"effective_to", "tenant_id"},
    "allocation_run_log": {
        "pool_total_usd", "allocated_total_usd", "unallocated_total_usd", "entry_count", "error_code",
        "error_detail", "evidence_id", "finished_at", "status",
    },
    "budgets": {"scope_type", "scope_value", "effective_from", "effective_to", "basis", "target_usd"},
    "cur_ingestion_log": {
        "rows_accepted", "rows_quarantined", "cost_accepted_usd", "cost_quarantined_usd", "error_code",
        "error_detail", "finished_at", "status",
    },
    "invoice_freeze": {
        "release_requested_by", "release_reason", "released_by", "release_evidence_id", "requested_login",
        "subject_digest",
    },
    "tag_aliases": {"effective_to", "canonical"},
    "tenants": {"name", "plan_id", "active_from", "active_to", "currency"},
}  # fmt: skip
"""Columns of rows about a closed month, or about none, that an UPDATE of that column alone may change.

Inputs and registers follow the world and reach a closed month through its snapshot only; a running attempt
ends, a freeze is released (with consent, ADR 36), an alert is described anew. Its moves need an event."""

LOOKED_UP = {
    "active_cost_allocation_tag", "aws_budget", "budget_master", "cur_delivery_place", "foreign_export",
}  # fmt: skip
"""Copies of what is looked up or made anew: they change and go."""


def statement_of(table: sa.Table, schema: str) -> str:
    return f'{schema}."{table.name}"' if schema else f'"{table.name}"'


def bound(column: sa.Column[Any], value: Any, dialect: str) -> Any:
    """A value as the driver takes it."""
    if dialect == "sqlite" and isinstance(column.type, t.Money) and value is not None:
        return f"{value:.18f}"
    if dialect == "sqlite" and isinstance(value, (date, datetime)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return value


def other(column: sa.Column[Any]) -> Any:
    values: dict[type, Any] = {
        sa.Text: "y", sa.BigInteger: 99, sa.Boolean: True, sa.Date: date(2025, 10, 1),
        sa.DateTime: datetime(2025, 10, 1), t.Money: 2,
    }  # fmt: skip
    special = {"state": "provisional", "severity": "P4", "kind": "part", "event": "restored"}
    if column.name == "status":
        return "ok" if column.table.name == "control_status" else "failed"
    return special.get(column.name, values[type(column.type)])


def month_of(table: sa.Table) -> str | None:
    return next((name for name in ("period_start", "usage_period_start") if name in table.c), None)


_NAMED = ("run_id", "delivery_id", "adjustment_id", "recon_seq", "state_seq", "inputs_id")


def a_row(table: sa.Table) -> dict[str, Any]:
    """A further row of the closed month, with a key of its own and children of parents that are there."""
    month = month_of(table)
    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("run_id", "r08"), ("delivery_id", "d08"), ("adjustment_id", "a1"), ("recon_seq", 1),
            ("inputs_id", "i08"),
        )
        if name in table.c
    }  # fmt: skip
    if table is t.publish_journal:
        given |= {"run_id": "new", "row_count": 0, "cost_usd": 0, "predecessor_run_id": "r08",
                  "table_name": "fact_cost_allocated", "source_id": ""}  # fmt: skip
    if table is t.period_lock_event:
        given |= {"state_seq": 6, "from_state": "closed", "to_state": "provisional"}
    if month:
        given[month] = AUGUST
    made = row(table, **given)
    for column in table.primary_key.columns:  # a key of its own
        if column.name not in (month, *_NAMED):
            if isinstance(column.type, sa.Text) and column.name in made:
                made[column.name] = "new"
        elif list(table.primary_key.columns) == [column] and column.name in ("delivery_id", "adjustment_id"):
            made[column.name] = "new"
    if table is t.lake_file:
        made |= {"path": "new", "table_name": "fact_cost_allocated", "source_id": ""}
    return made


@pytest.fixture(scope="module")
def actors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Tried]]:
    """Per actor: tries a statement and undoes it; `done`, or the first line of the refusal."""
    file = tmp_path_factory.mktemp("tamper") / "admin.db"
    for url in (f"sqlite:///{file}", postgres.database()):
        opened = open_admin(url)
        with opened.write() as con:
            fill(con)
        opened.close()
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with owner.connect() as con:
        con.exec_driver_sql((ROOT / "deploy/postgresql/roles.sql").read_text(encoding="utf-8"))
        # the shadows are those of a database whose DBA did not take TEMPORARY away
        con.exec_driver_sql(f'GRANT TEMPORARY ON DATABASE "{sa.make_url(url).database}" TO cops_writer')
    engine = sa.create_engine(url)

    def plain(text: str, name: str, values: tuple[Any, ...]) -> str:
        with closing(sqlite3.connect(file)) as con:
            try:
                changed = con.execute(text, values).rowcount
            except sqlite3.Error as problem:
                return str(problem)
            finally:
                con.rollback()
        return "done" if changed else "nothing"

    opened_as: dict[str, sa.Connection] = {}

    def as_role(role: str) -> Tried:
        if role not in opened_as:
            con = opened_as[role] = engine.connect()
            con.exec_driver_sql(f"SET ROLE cops_{'writer' if role == 'shadows' else role}")
            if role == "shadows":
                shadow(con)
        con = opened_as[role]

        def run(text: str, name: str, values: tuple[Any, ...]) -> str:
            with con.begin_nested() as transaction:
                try:
                    done = con.exec_driver_sql(text.replace("?", "%s"), values)
                    con.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
                    return "done" if done.rowcount else "nothing"
                except sa.exc.DBAPIError as problem:
                    return str(problem.orig).split("\n")[0]
                finally:
                    transaction.rollback()

        return run

    yield lambda actor: plain if actor == "sqlite" else as_role(actor)
    for con in opened_as.values():
        con.close()
    engine.dispose()
    with owner.connect() as con:
        con.exec_driver_sql("DROP OWNED BY cops_reader, cops_writer, cops_closer")
        con.exec_driver_sql("DROP ROLE cops_reader, cops_writer, cops_closer")
    owner.dispose()


def shadow(con: sa.Connection) -> None:
    """Tables of the same names in front of the real ones: every month open, nothing frozen, nothing there."""
    for name in (*TABLES, "pg_roles"):
        con.exec_driver_sql(f'CREATE TEMP TABLE "{name}" (LIKE {_of(name)})')
    con.exec_driver_sql(f"INSERT INTO pg_temp.period_lock VALUES ('{AUGUST}', 'open', 1, NULL, NULL, now())")
    con.exec_driver_sql(
        "INSERT INTO pg_temp.publish_journal SELECT * FROM public.publish_journal;"
        "INSERT INTO pg_temp.evidence_index SELECT * FROM public.evidence_index"
    )


def _of(name: str) -> str:
    return f"pg_catalog.{name}" if name.startswith("pg_") else f'public."{name}"'


def is_refused(answer: str) -> bool:
    return answer.startswith("E-") or "permission denied" in answer or "must be owner" in answer


def answers(tried: Tried, actor: str, text: Callable[[sa.Table, str], list[tuple[str, tuple[Any, ...]]]]):
    """By table: the answers that are no refusals."""
    schema = "" if actor == "sqlite" else "public"
    found: dict[str, list[str]] = {}
    for name in TABLES:
        table = t.metadata.tables[name]
        for statement, values in text(table, schema):
            answer = tried(statement, name, values)
            if not is_refused(answer):
                found.setdefault(name, []).append(answer)
    return found


def dialect(actor: str) -> str:
    return "sqlite" if actor == "sqlite" else "postgresql"


def inserting(table: sa.Table, schema: str, values: dict[str, Any], verb: str = "INSERT") -> Any:
    kind = "postgresql" if schema else "sqlite"
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join("?" * len(values))
    bounds = tuple(bound(table.c[name], value, kind) if name in table.c else value
                   for name, value in values.items())  # fmt: skip
    return f"{verb} INTO {statement_of(table, schema)} ({names}) VALUES ({marks})", bounds


@pytest.mark.long
@pytest.mark.parametrize("actor", ACTORS)
def test_of_a_closed_month_no_row_is_added_but_what_changes_nothing_of_it(
    actors: Callable[[str], Tried], actor: str
) -> None:
    def added(table: sa.Table, schema: str) -> list[Any]:
        return [inserting(table, schema, a_row(table))] if month_of(table) else []

    found = answers(actors(actor), actor, added)
    # PostgreSQL looks at the end of a transaction whether the entry of a line came: SQLite cannot
    allowed = set(ADDED) if actor == "sqlite" else set(ADDED) - {"journal_line"}
    assert set(found) == (set() if actor == "reader" else allowed)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("actor", ACTORS)
def test_of_a_row_only_what_has_a_state_changes(actors: Callable[[str], Tried], actor: str) -> None:
    tried, schema = actors(actor), "" if actor == "sqlite" else "public"
    found: dict[str, set[str]] = {}
    for name in TABLES:
        table, month = t.metadata.tables[name], month_of(t.metadata.tables[name])
        where = f" WHERE {month} = '{AUGUST}'" if month and name not in ("invoice_freeze",) else ""
        for column in table.columns:
            value = bound(column, other(column), dialect(actor))
            text = f'UPDATE {statement_of(table, schema)} SET "{column.name}" = ?{where}'
            if tried(text, name, (value,)) == "done":
                found.setdefault(name, set()).add(column.name)
    allowed = {} if actor == "reader" else dict(CHANGED)
    if actor == "sqlite":  # the writer of PostgreSQL has no right to, and can delete and insert
        allowed |= {name: found[name] for name in LOOKED_UP if name in found}
    assert found == allowed


@pytest.mark.parametrize("actor", ACTORS)
def test_no_row_of_a_closed_month_goes(actors: Callable[[str], Tried], actor: str) -> None:
    def deleted(table: sa.Table, schema: str) -> list[Any]:
        month = month_of(table)
        where = f" WHERE {month} = '{AUGUST}'" if month else ""
        if month and table.name in ("foreign_export", "cur_delivery_place", "budget_master"):
            where = ""
        return [(f"DELETE FROM {statement_of(table, schema)}{where}", ())]

    found = {name for name, said in answers(actors(actor), actor, deleted).items() if "done" in said}
    # a conversion that is gone is made anew, or its file is refused: none is read in its place
    assert found == (set() if actor == "reader" else LOOKED_UP | {"cur_read_file"})


@pytest.mark.parametrize("actor", ["writer", "reader", "closer", "shadows"])
def test_no_table_is_emptied(actors: Callable[[str], Tried], actor: str) -> None:
    def emptied(table: sa.Table, schema: str) -> list[Any]:
        return [(f"TRUNCATE {statement_of(table, schema)}", ())]

    assert answers(actors(actor), actor, emptied) == {}


@pytest.mark.parametrize("way", ["key", "row number", "renumbered", "upsert"])
def test_sqlite_replaces_no_row_whatever_the_connection_says_of_triggers(
    actors: Callable[[str], Tried], way: str
) -> None:
    """`REPLACE` deletes without asking DELETE triggers unless `recursive_triggers` is on: off as it comes."""

    def replaced(table: sa.Table, schema: str) -> list[Any]:
        if table.name in LOOKED_UP:
            return []
        name, keys = f'"{table.name}"', [f'"{column.name}"' for column in table.primary_key.columns]
        first = f"FROM {name} ORDER BY rowid LIMIT 1"
        last = [column for column in table.columns if not column.primary_key] or [*table.columns]
        changed = ", ".join(
            "NULL" if one is last[-1] and one.nullable else f'"{one.name}"' for one in table.columns
        )
        if way == "key":
            return [(f"REPLACE INTO {name} SELECT {changed} {first}", ())]
        if way == "upsert":
            target = ", ".join(keys)
            text = f"INSERT INTO {name} SELECT {changed} {first.replace('ORDER', 'WHERE true ORDER')}"
            if len(last) > 1 or not last[-1].primary_key:
                text += f" ON CONFLICT ({target}) DO UPDATE SET \"{last[-1].name}\" = 'y'"
            return [(text, ())]
        if way == "renumbered":
            return [
                (f"UPDATE OR REPLACE {name} SET rowid = rowid + 1 WHERE rowid = 1", ()),
                (f"UPDATE OR REPLACE {name} SET {keys[0]} = {keys[0]} + 1", ()),
            ]
        if table.name in COUNTED:
            return []
        values = inserting(table, "", row(table, **_new_keys(table)))
        text = values[0].replace("INSERT INTO", "REPLACE INTO").replace("(", "(rowid, ", 1)
        return [(text.replace("VALUES (", "VALUES (1, "), values[1])]

    assert answers(actors("sqlite"), "sqlite", replaced) == {}


def _new_keys(table: sa.Table) -> dict[str, Any]:
    return {column.name: "new" for column in table.primary_key.columns if isinstance(column.type, sa.Text)}
