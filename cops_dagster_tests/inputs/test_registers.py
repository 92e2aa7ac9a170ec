"""Registers written past every load are found; what a load wrote is not (`inputs/registers.py`).

What went wrong: rows of registers, inserted or updated by plain SQL with all guards in force, left
`cops evidence verify` at 0, with no row of `load_log` and no signature.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.closing import proof
from cops_dagster.evidence import chain
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.home import open_books
from cops_dagster.exports import accounts
from cops_dagster.inputs import load_log, registers
from cops_dagster.inputs.columns import FIELDS
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.closing.ready import DOCUMENTS
from cops_dagster_tests.closing.tampering import unguarded
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home
from cops_dagster_tests.keys import as_person, begin, key

MORE = {
    "tag_aliases": "tag_name,alias,canonical\ntenant_id,Acme Inc,acme\n",
    "account_tenants": "usage_account_id,effective_from,tenant_id\n222222222222,2025-01-01,acme\n",
    "fx_rates": "base,quote,period_start,rate\nEUR,USD,2025-09,1.1\n",
    "disputes": (
        "dispute_id,tenant_id,period_start,about,amount,currency,reason\n"
        "D-1,acme,2025-09,total,0.10,USD,not ours\n"
    ),
    "budgets": (
        "budget_id,version,scope_type,scope_value,effective_from,basis,target_usd\n"
        "all,1,total,,2025-01-01,unblended,100\n"
    ),
    "gl_accounts": accounts.default("kim"),
}

INSERTED = {
    "plans": ("'evil','2025-01-01',5000", "plan_id,effective_from,markup_bps\nevil,2025-01-01,5000\n"),
    "tenants": (
        "'evil','Evil',NULL,'2025-01-01',NULL,'USD'",
        "tenant_id,name,active_from\nevil,Evil,2025-01-01\n",
    ),
    "tag_aliases": (
        "'tenant_id','evil','2025-01-01',NULL,'acme'",
        "tag_name,alias,effective_from,canonical\ntenant_id,evil,2025-01-01,acme\n",
    ),
    "account_tenants": (
        "'333333333333','2025-01-01',NULL,'acme'",
        "usage_account_id,effective_from,tenant_id\n333333333333,2025-01-01,acme\n",
    ),
    "allocation_keys": ("'evil','network',24", "key_name,measure,max_age_hours\nevil,network,24\n"),
    "allocation_rules": (
        "'evil',1,'2025-01-01',NULL,5,'AmazonS3',NULL,NULL,NULL,NULL,'proportional_cost',NULL,NULL,'fail',"
        "'kim',NULL",
        "rule_id,version,effective_from,priority,match_service,method,approved_by\n"
        "evil,1,2025-01-01,5,AmazonS3,proportional_cost,kim\n",
    ),
    "tenant_usage": (
        "'2025-10-01','acme','network','5.000000000000000000','2025-11-01 03:00:00.000000'",
        "period_start,tenant_id,measure,value,refreshed_at\n2025-10,acme,network,5,2025-11-01T03:00:00Z\n",
    ),
    "fx_rates": (
        "'CHF','USD','2025-09-01','1.200000000000000000'",
        "base,quote,period_start,rate\nCHF,USD,2025-09,1.2\n",
    ),
    "invoice_detail": (
        "'T-3','acme','2025-09-01','1.000000000000000000','EUR','1.100000000000000000','issued','invoice',NULL",
        "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-3,acme,2025-09,1,EUR,issued,invoice\n",
    ),
    "aws_invoices": (
        "'I-2','2025-09-01','111111111111',NULL,NULL,NULL,'INVOICE','USD','1.000000000000000000',"
        "'0.000000000000000000',NULL,NULL,NULL,NULL",
        "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
        "I-2,2025-09,111111111111,INVOICE,USD,1,0\n",
    ),
    "disputes": (
        "'evil','acme','2025-09-01','total','1.000000000000000000','USD','why'",
        "dispute_id,tenant_id,period_start,about,amount,currency,reason\nevil,acme,2025-09,total,1,USD,why\n",
    ),
    "budgets": (
        "'evil',1,'tenant','acme','2025-01-01',NULL,'unblended','9.000000000000000000'",
        "budget_id,version,scope_type,scope_value,effective_from,basis,target_usd\n"
        "evil,1,tenant,acme,2025-01-01,unblended,9\n",
    ),
    "gl_accounts": (
        "'own_cost','acme','',1,'2025-01-01',NULL,'666','Evil','asset','','eve',NULL",
        "purpose,tenant_id,version,effective_from,account,name,kind,approved_by\n"
        "own_cost,acme,1,2025-01-01,666,Evil,asset,eve\n",
    ),
}
"""By table, one row as SQL and as a CSV file."""

GUARDED_UPDATES = {
    "tenants": (
        "UPDATE tenants SET name = 'Evil' WHERE tenant_id = 'acme'",
        "tenant_id,name,plan_id,active_from\nacme,Evil,team,2025-01-01\n",
    ),
    "tag_aliases": (
        "UPDATE tag_aliases SET canonical = 'globex'",
        "tag_name,alias,canonical\ntenant_id,Acme Inc,globex\n",
    ),
    "account_tenants": (
        "UPDATE account_tenants SET effective_to = '2025-02-01'",
        "usage_account_id,effective_from,effective_to,tenant_id\n222222222222,2025-01-01,2025-02-01,acme\n",
    ),
    "tenant_usage": (
        "UPDATE tenant_usage SET value = '99999.000000000000000000' WHERE tenant_id = 'acme'",
        "period_start,tenant_id,measure,value,refreshed_at\n"
        "2025-09,acme,network,99999,2025-10-01T03:00:00Z\n",
    ),
    "budgets": (
        "UPDATE budgets SET target_usd = '1.000000000000000000'",
        "budget_id,version,scope_type,scope_value,effective_from,basis,target_usd\n"
        "all,1,total,,2025-01-01,unblended,1\n",
    ),
}
"""By table, what its guards let pass, and the same by `--replace`."""

UNGUARDED_UPDATES = {
    "plans": "markup_bps = 77", "allocation_keys": "max_age_hours = 9999",
    "allocation_rules": "approved_by = 'eve'",
    "gl_accounts": "account = '666'", "fx_rates": "rate = '9.000000000000000000'",
    "invoice_detail": "amount_usd = '9.000000000000000000'", "aws_invoices": "tax = '9.000000000000000000'",
    "disputes": "reason = 'another'",
}  # fmt: skip
"""By table whose rows never change, a column that who drops the guards can change."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a row in every register."""
    folder = tmp_path_factory.mktemp("registers")
    books = home(folder, inputs=INPUTS | DOCUMENTS)
    give(books, folder, **MORE)
    books.admin.close()
    return folder


@pytest.fixture
def books(loaded: Path, tmp_path: Path) -> Books:
    shutil.copytree(loaded / "home", tmp_path / "home")
    return open_books(settings.load(home=tmp_path / "home", cur=str(tmp_path / "cur"), actor="test"))


def sql(books: Books, *statements: str) -> Books:
    """As the writer's own SQL does it, with all guards in force."""
    books.admin.close()
    with closing(sqlite3.connect(books.settings.home / "admin.db")) as con, con:
        for statement in statements:
            assert con.execute(statement).rowcount != 0, f"changes nothing: {statement}"
    return books


def past_guards(books: Books, *statements: str) -> Books:
    books.admin.close()
    with unguarded(books.settings.home) as con:
        for statement in statements:
            assert con.execute(statement).rowcount != 0, f"changes nothing: {statement}"
    return books


def told(books: Books) -> list[str]:
    return [one.what for one in proof.loads(books)]


def test_every_register_has_its_attacks() -> None:
    assert set(INSERTED) == set(FIELDS) == {*GUARDED_UPDATES, *UNGUARDED_UPDATES}


def test_registers_that_only_loads_wrote_are_proved(books: Books) -> None:
    with books.admin.read() as con:
        for name in FIELDS:
            assert con.execute(sa.select(t.metadata.tables[name])).first(), name
    proved = proof.verify(books)
    assert (proved.status, proved.findings, proved.warnings) == ("ok", [], [])


@pytest.mark.parametrize("table", INSERTED)
def test_a_row_that_was_loaded_is_no_finding(books: Books, tmp_path: Path, table: str) -> None:
    give(books, tmp_path, **{table: INSERTED[table][1]})
    assert told(books) == []


@pytest.mark.parametrize("table", INSERTED)
def test_a_row_inserted_by_sql_is_found_with_what_stands_there(books: Books, table: str) -> None:
    sql(books, f"INSERT INTO {table} VALUES ({INSERTED[table][0]})")
    (found,) = proof.loads(books)
    assert found.what.startswith(f"{table}: ")
    assert (found.expected, found.next_step) == ("no such row", registers.NEXT)
    assert found.found not in ("", "no row")


@pytest.mark.long
@pytest.mark.parametrize("table", INSERTED)
def test_a_row_inserted_by_sql_is_proved_by_whoever_loads_it_as_it_stands(
    books: Books, tmp_path: Path, table: str
) -> None:
    """The next step that the finding gives works, and leaves a name: guards let nobody delete the row."""
    row, file = INSERTED[table]
    sql(books, f"INSERT INTO {table} VALUES ({row})")
    give(books, tmp_path, **{table: file})
    assert len(told(books)) == 1  # nothing to do without --replace: nothing is proved
    give(books, tmp_path, replace=True, **{table: file})
    assert proof.verify(books).findings == []
    with books.admin.read() as con:
        newest = load_log.history(con, table)[0]
    assert (newest.actor, newest.inserted, newest.unchanged, newest.replaced) == ("test", 0, 1, [])


@pytest.mark.parametrize("table", GUARDED_UPDATES)
def test_a_row_updated_by_sql_is_found_with_both_values(books: Books, table: str) -> None:
    sql(books, GUARDED_UPDATES[table][0])
    (found,) = proof.loads(books)
    assert found.what.startswith(f"{table}: ")
    assert found.expected != found.found


@pytest.mark.parametrize("table", GUARDED_UPDATES)
def test_a_row_replaced_by_a_load_is_no_finding(books: Books, tmp_path: Path, table: str) -> None:
    give(books, tmp_path, replace=True, **{table: GUARDED_UPDATES[table][1]})
    assert proof.verify(books).findings == []
    with books.admin.read() as con:
        assert len(load_log.history(con, table)[0].replaced) == 1


@pytest.mark.parametrize("table", GUARDED_UPDATES)
def test_a_value_written_by_sql_and_then_loaded_is_proved(books: Books, tmp_path: Path, table: str) -> None:
    statement, file = GUARDED_UPDATES[table]
    sql(books, statement)
    give(books, tmp_path, replace=True, **{table: file})
    assert told(books) == []


@pytest.mark.long
@pytest.mark.parametrize("table", UNGUARDED_UPDATES)
def test_a_row_updated_past_its_guards_is_found(books: Books, table: str) -> None:
    past_guards(books, f"UPDATE {table} SET {UNGUARDED_UPDATES[table]}")
    assert all(one.startswith(f"{table}: ") for one in told(books))
    assert told(books)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("table", FIELDS)
def test_a_row_deleted_past_its_guards_is_found_and_loaded_again_is_not(
    books: Books, tmp_path: Path, table: str
) -> None:
    past_guards(books, f"DELETE FROM {table}")
    gone = proof.loads(books)
    assert gone
    assert all(one.what.startswith(f"{table}: ") and one.found == "no row" for one in gone)
    given = INPUTS | MORE | DOCUMENTS
    name = "tenant_network_usage" if table == "tenant_usage" else table
    give(books, tmp_path, **{name: given[name]})
    assert told(books) == []


def test_the_command_names_both_values_and_the_next_step_and_exits_with_1(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(books, GUARDED_UPDATES["tenant_usage"][0])
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    settings.current.cache_clear()
    done = CliRunner().invoke(app, ["evidence", "verify", "--json"])
    said = json.loads(done.stdout)
    (found,) = said["findings"]
    assert (done.exit_code, found["what"]) == (1, "tenant_usage: 2025-09-01, acme, network")
    assert (found["expected"], found["found"]) == (
        "value 1.000000000000000000", "value 99999.000000000000000000",
    )  # fmt: skip
    assert "cops admin load --replace" in said["next_step"]


def test_it_is_found_whichever_month_is_verified(books: Books) -> None:
    sql(books, GUARDED_UPDATES["tenant_usage"][0])
    assert [one.what for one in proof.verify(books, SEPTEMBER).findings] == [
        "tenant_usage: 2025-09-01, acme, network"
    ]


def test_the_daily_control_and_the_next_close_find_it(books: Books) -> None:
    sql(books, GUARDED_UPDATES["tenant_usage"][0])
    judged = {one.control: one for one in controls.evaluate(books)}
    assert judged[controls.SEALS].status == "failed"
    assert "tenant_usage: 2025-09-01, acme" in judged[controls.SEALS].measured
    assert [one.what for one in proof.beside_the_chain(books)] == ["tenant_usage: 2025-09-01, acme, network"]


def test_what_no_type_could_read_is_a_finding_and_no_traceback(books: Books) -> None:
    sql(
        books, "UPDATE tenant_usage SET refreshed_at = 'soon' WHERE tenant_id = 'acme'",
        "UPDATE tenants SET active_from = x'ff' WHERE tenant_id = 'acme'",
        "UPDATE budgets SET target_usd = 'much'",
    )  # fmt: skip
    assert [one.split(":")[0] for one in told(books)] == ["tenants", "tenant_usage", "budgets"]


def test_many_rows_are_told_as_so_many_more(books: Books) -> None:
    sql(books, *(f"INSERT INTO plans VALUES ('p{at}','2025-01-01',0)" for at in range(30)))
    assert len(told(books)) == 21
    assert told(books)[-1] == "plans: 10 more rows"


# --- the documents themselves --------------------------------------------------------------------------


def test_a_row_of_the_log_without_a_load_is_found(books: Books) -> None:
    sql(
        books,
        "INSERT INTO load_log SELECT 'x' || load_id, table_name, loaded_at, actor, identity, inserted,"
        " unchanged, replaced, replaced_json, files_json, evidence_id FROM load_log"
        " WHERE table_name = 'plans'",
    )
    (found,) = proof.loads(books)
    assert found.what.startswith("load_log: x")
    assert found.expected == "no such load"


@pytest.mark.parametrize(
    "change", ["actor = 'eve'", "replaced_json = '[1]'", "inserted = 3", "files_json = ''"]
)
def test_a_row_of_the_log_that_says_something_else_is_found(books: Books, change: str) -> None:
    past_guards(books, f"UPDATE load_log SET {change} WHERE table_name = 'plans'")
    (found,) = proof.loads(books)
    assert found.what.startswith("load_log: ")
    assert found.expected != found.found


def test_a_document_of_a_load_that_nobody_logged_is_found(books: Books) -> None:
    """Whoever can write evidence as well still needs a row of the log, and in signed books its signature."""
    document = (
        b'{"actor":"eve","identity":"claimed","loaded_at":"2025-10-01T00:00:00.000000","tables":{"plans":'
        b'{"files":[],"inserted":[{"effective_from":"2025-01-01","markup_bps":5000,"plan_id":"evil"}],'
        b'"replaced":[],"unchanged":0}}}'
    )
    piece = Piece(load_log.KIND, load_log.KIND, "x", "application/json", data=document)
    with books.admin.write() as con:
        chain.keep(con, books, piece)
    sql(books, f"INSERT INTO plans VALUES ({INSERTED['plans'][0]})")
    assert told(books) == ["load_log: x, plans"]


def test_a_document_that_cannot_be_read_is_not_clean(books: Books) -> None:
    with books.admin.read() as con:
        entry = con.execute(
            sa.select(t.evidence_index).where(t.evidence_index.c.kind == load_log.KIND)
        ).first()
    assert entry is not None
    path = books.settings.home / "evidence" / entry.object_key
    path.unlink()
    assert [(one.seq, one.status) for one in proof.loads(books)] == [(entry.evidence_seq, "incomplete")]
    proved = proof.verify(books)
    assert [one.seq for one in proved.findings] == [entry.evidence_seq]


def test_in_signed_books_a_register_written_by_sql_is_found(tmp_path: Path) -> None:
    home(tmp_path)
    for name in ("alice", "bob"):
        key(tmp_path / "keys", name)
    begin(tmp_path, "alice", "bob")
    books = as_person(tmp_path, "alice")
    give(books, tmp_path, tag_aliases=MORE["tag_aliases"])
    assert proof.verify(books).findings == []
    sql(books, f"INSERT INTO allocation_keys VALUES ({INSERTED['allocation_keys'][0]})")
    assert [one.what for one in proof.verify(books).findings] == ["allocation_keys: evil"]


# --- homes that are older than the documents -----------------------------------------------------------


def older(folder: Path) -> Books:
    """A home whose registers were loaded before loads left documents."""
    books = home(folder, inputs=None)
    sql(
        books, "INSERT INTO plans VALUES ('team','2025-01-01',0)",
        "INSERT INTO tenants VALUES ('acme','Acme','team','2025-01-01',NULL,'USD')",
    )  # fmt: skip
    return books


def test_rows_older_than_the_first_document_are_no_findings(tmp_path: Path) -> None:
    assert proof.verify(older(tmp_path)).findings == []


def test_the_first_load_keeps_what_stood_before_it_and_from_then_on_all_is_proved(tmp_path: Path) -> None:
    books = older(tmp_path)
    give(books, tmp_path, allocation_keys=INPUTS["allocation_keys"])
    assert proof.verify(books).findings == []
    with books.admin.read() as con:
        first = load_log.history(con)[0]
    assert b'"before":{"plans":[{"effective_from":"2025-01-01"' in chain.read(books, int(first.evidence_id))
    sql(books, "UPDATE tenants SET currency = 'JPY'", f"INSERT INTO plans VALUES ({INSERTED['plans'][0]})")
    assert told(books) == ["plans: evil, 2025-01-01", "tenants: acme"]
    past_guards(books, "DELETE FROM plans")
    assert told(books) == ["plans: team, 2025-01-01", "tenants: acme"]


def test_what_stood_before_is_kept_once(books: Books, tmp_path: Path) -> None:
    give(books, tmp_path, plans=INSERTED["plans"][1])
    with books.admin.read() as con:
        entries = t.evidence_index
        kinds = con.execute(
            sa.select(entries.c.kind).where(entries.c.subject_type == "load").order_by(entries.c.evidence_seq)
        )
        assert kinds.scalars().all() == ["first_load", "load", "load"]


def test_a_beginning_takes_nothing_back_that_loads_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home whose log began without one: what SQL wrote before the next load stays a finding after it."""
    monkeypatch.setattr(registers, "before", lambda con: None)
    books = home(tmp_path)
    assert proof.verify(books).findings == []
    sql(
        books, "UPDATE tenants SET currency = 'JPY' WHERE tenant_id = 'acme'",
        f"INSERT INTO plans VALUES ({INSERTED['plans'][0]})",
    )  # fmt: skip
    assert told(books) == ["plans: evil, 2025-01-01", "tenants: acme"]
    monkeypatch.undo()
    give(books, tmp_path, tag_aliases=MORE["tag_aliases"], budgets=MORE["budgets"])
    assert told(books) == ["plans: evil, 2025-01-01", "tenants: acme"]
    give(books, tmp_path, replace=True, plans=INSERTED["plans"][1], tenants=INPUTS["tenants"])
    assert told(books) == []


def test_the_load_that_keeps_the_beginning_proves_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would have nothing to do, and nothing could be proved before another load."""
    monkeypatch.setattr(registers, "before", lambda con: None)
    books = home(tmp_path)
    monkeypatch.undo()
    sql(books, f"INSERT INTO plans VALUES ({INSERTED['plans'][0]})")
    give(books, tmp_path, replace=True, plans=INSERTED["plans"][1])
    assert told(books) == []


def test_of_an_older_row_that_a_load_replaced_what_it_said_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home between both: older rows, loads with documents, no beginning yet."""
    monkeypatch.setattr(registers, "before", lambda con: None)
    books = older(tmp_path)
    with books.admin.write() as con:
        chain.keep(con, books, Piece("note", "period", "2025-01", "text/plain", data=b"older than loads"))
    give(books, tmp_path, replace=True, tenants=GUARDED_UPDATES["tenants"][1])
    assert told(books) == []
    sql(books, "UPDATE tenants SET currency = 'JPY'")
    assert told(books) == []
    sql(books, "UPDATE tenants SET name = 'Mallory'")
    assert told(books) == ["tenants: acme"]
    monkeypatch.undo()
    give(books, tmp_path, allocation_keys=INPUTS["allocation_keys"])
    assert told(books) == ["tenants: acme"]


def test_registers_are_proved_on_postgresql_too(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS | DOCUMENTS, admin_db=postgres.database())
    give(books, tmp_path, **MORE)
    assert told(books) == []
    give(books, tmp_path, replace=True, tenant_usage=GUARDED_UPDATES["tenant_usage"][1])
    assert told(books) == []
    with books.admin.engine.begin() as con:
        con.exec_driver_sql("UPDATE account_tenants SET effective_to = 'infinity'")
        con.exec_driver_sql("UPDATE tenant_usage SET value = 7 WHERE tenant_id = 'acme'")
        for table in INSERTED:
            con.exec_driver_sql(f"INSERT INTO {table} VALUES ({INSERTED[table][0]})")
    found = {one.what: (one.expected, one.found) for one in proof.loads(books)}
    assert found["account_tenants: 222222222222, 2025-01-01"] == ("empty", "effective_to infinity")
    assert found["tenant_usage: 2025-09-01, acme, network"] == (
        "value 99999.000000000000000000", "value 7.000000000000000000",
    )  # fmt: skip
    assert len(found) == len(INSERTED) + 2
