"""The tamper matrix: everything that can be done to a closed month by who owns the database, and who notices.

Each case works on a copy of one closed home. Verification is asked in every case; that controls, doctor and
the next close ask the same is shown for one case of each kind, and for all of them in the long tests.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.alerts import board, escalation
from cops_dagster.cli.main import app
from cops_dagster.closing import approve, checklist, proof
from cops_dagster.closing import status as state
from cops_dagster.errors import CopsError
from cops_dagster.evidence import binding, chain, month_proof, restored, sweep, verify
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.home import open_books
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls, doctor
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions, freeze, reconcile
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.closing import tampering
from cops_dagster_tests.closing.ready import close_by_two, month, ready, unresolved
from cops_dagster_tests.closing.tampering import CASES
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, run
from cops_dagster_tests.evidence.pieces import add

OCTOBER = Period(2025, 10)


def somebody_else(books: Books) -> Books:
    return replace(books, settings=books.settings.model_copy(update={"actor": "lee"}))


def lived_in(folder: Path) -> Books:
    """A September with everything that a month can have, about to be closed, and an allocated October."""
    books = ready(folder)
    give(
        books, folder,
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-9,acme,2025-09,2,USD,issued,invoice\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)
    with books.admin.write() as con:
        freeze.put(con, books, SEPTEMBER, cause="c", reason="the reconciliation failed")
        at = now()
        seen = escalation.of_run("materialize", SEPTEMBER, True, at, "run", "no space")
        board.observe(con, [seen], actor="cops")
        con.execute(
            sa.insert(t.notification_log).values(
                fingerprint=seen.fingerprint, episode=1, receiver="log", reason="FIRST", severity="P3",
                step=0, status="accepted", sent_at=at,
            )
        )  # fmt: skip
    freeze.request_release(books, SEPTEMBER, reason="found", evidence="TICKET-2")
    approve.approve(somebody_else(books), "freeze-1", reason="seen")
    with books.admin.read() as con:
        waiting = unresolved(con, SEPTEMBER)
    for one in waiting:
        exceptions.decide(books, one.exception_id, decision="agreed", evidence="TICKET-1")
        approve.approve(somebody_else(books), one.exception_id, reason="read the ticket")
    month(folder, MONTH, period=OCTOBER, assembly="october")
    give(
        books, folder,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace("-09,", "-10,").replace("10-01", "11-01"),
    )  # fmt: skip
    run(books, OCTOBER)
    return books


@pytest.fixture(scope="module")
def closed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closed")
    os.environ["COPS_HOME"] = str(folder / "home")
    books = lived_in(folder)
    with closing(sqlite3.connect(folder / "before.db")) as copy:
        driver = books.admin.engine.raw_connection()
        driver.driver_connection.backup(copy)
        driver.close()
    close_by_two(books, SEPTEMBER)
    add(books, Piece("note", "period", "2025-10", "text/plain", data=b"after the close"))
    sweep.sweep(books)
    books.admin.close()
    shutil.copyfile(folder / "before.db", folder / "home" / "before.db")
    os.environ.pop("COPS_HOME")
    return folder


@pytest.fixture
def books(closed_home: Path, tmp_path: Path) -> Books:
    """A copy of the closed home, with its files' times."""
    shutil.copytree(closed_home / "home", tmp_path / "home")
    return opened(closed_home, tmp_path)


def opened(closed_home: Path, folder: Path) -> Books:
    return open_books(settings.load(home=folder / "home", cur=str(closed_home / "cur"), actor="test"))


def attacked(case: str, books: Books) -> Books:
    books.admin.close()
    attack, _ = CASES[case]
    attack(books.settings.home)
    return books


def told(books: Books) -> list[str]:
    """What verification finds without opening the lake, which most cases leave as it is."""
    with books.admin.read() as con:
        months = [month_proof.rows(books, con, SEPTEMBER), month_proof.logs(books, con, SEPTEMBER)]
    found = [
        *verify.verify(books, objects_too=False).findings,
        *(one for month in months for one in month.findings),
        *proof.guard_findings(books, thorough=False), *proof.decisions(books),
    ]  # fmt: skip
    return [one.what for one in found]


@pytest.mark.long
def test_a_home_that_nobody_touched_is_proved_by_everyone(books: Books) -> None:
    verified = proof.verify(books)
    assert (verified.status, verified.findings, verified.warnings) == ("ok", [], [])
    assert list(verified.months) == ["2025-09"]
    assert verified.anchors.newest == verified.anchors.of == verified.entries
    judged = {one.control: one.status for one in controls.evaluate(books)}
    assert (judged[controls.SEALS], judged[controls.GUARDS]) == ("ok", "ok")
    assert [one for one in doctor.diagnose(books, SEPTEMBER) if one.step == "home"] == []
    assert unproven(books) == []


def unproven(books: Books) -> list[str]:
    try:
        listed = checklist.requirements(books, OCTOBER)
    except CopsError as refusal:  # what the list is made of cannot be read: no close either
        return [refusal.code]
    names = ("closed_months_match_their_seals", "evidence_is_intact")
    return [one.name for one in listed if one.name in names and not one.holds]


@pytest.mark.sampled(9)
@pytest.mark.parametrize("case", CASES)
def test_what_is_done_to_a_closed_month_is_found_by_its_name(books: Books, case: str) -> None:
    found = told(attacked(case, books)) + (files(books) if case in OF_FILES else [])
    assert any(CASES[case][1] in one for one in found), found


OF_FILES = ("lake file exchanged at equal size and time", "other bytes shown than those kept")


def files(books: Books) -> list[str]:
    return [one.what for month in proof.closed_months(books) for one in month.findings]


@pytest.mark.long
def test_entries_exchanged_with_their_row_are_found_by_each_way_of_counting(books: Books) -> None:
    found = files(attacked("lake file and its row exchanged", books))
    assert {
        "entries: digest through the engine of 2025-09", "entries: digest by the second way of 2025-09",
        "lake_file against the run's certificate of 2025-09",
    } <= set(found)  # fmt: skip


def test_a_row_put_back_as_the_seal_holds_it_is_proved_again(books: Books) -> None:
    """The next step that verification gives works."""
    attacked("statement", books)
    with books.admin.read() as con:
        entry = chain.find(con, "bound_rows", "period", "2025-09")
    rows = json.loads(chain.read(books, entry.evidence_seq))["tables"]["recon_run_statement"]
    with tampering.unguarded(books.settings.home) as con:
        for row in rows:
            con.execute(
                "UPDATE recon_run_statement SET total = ? WHERE recon_seq = ? AND tenant_id = ?",
                (row["total"], row["recon_seq"], row["tenant_id"]),
            )
    assert told(books) == []


def test_the_command_names_row_expected_found_and_next_step_and_exits_with_1(
    books: Books, closed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked("statement", books)
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    monkeypatch.setenv("COPS_CUR", str(closed_home / "cur"))
    done = CliRunner().invoke(app, ["evidence", "verify", "--json"])
    said = json.loads(done.stdout)
    assert (done.exit_code, said["status"]) == (1, "mismatch")
    (finding,) = [one for one in said["findings"] if "acme" in one["what"]]
    assert finding["what"] == "recon_run_statement of 2025-09: 2, acme"
    assert (finding["expected"], finding["found"]) == (
        "total 14.100000000000000000", "total 1.000000000000000000",
    )  # fmt: skip
    assert "restore the admin database" in said["next_step"]
    assert said["anchors"]["newest"] == said["anchors"]["of"]


def late(books: Books, table: str, values: str, explain: bool = False) -> Books:
    books.admin.close()
    with closing(sqlite3.connect(books.settings.home / "admin.db")) as con, con:
        con.execute(f"INSERT INTO {table} VALUES ({values})")
        if explain:
            con.execute(
                "INSERT INTO document_conflict VALUES ('c', 'invoice_detail', 'T-77', '2025-10-01', 'acme',"
                " '{}', '{}', '1.000000000000000000', 'kim', '2025-11-03 00:00:00.000000')"
            )
    return books


INVOICE = "'T-77','acme','2025-09-01','1.0','USD','1.0','issued','credit_note','T-1'"


def test_a_document_that_came_late_and_that_people_know_of_is_no_finding(books: Books) -> None:
    assert told(late(books, "invoice_detail", INVOICE, explain=True)) == []


def test_a_document_that_came_late_and_that_nothing_names_is_one(books: Books) -> None:
    assert told(late(books, "invoice_detail", INVOICE)) == [
        "invoice_detail of 2025-09: T-77, acme, 2025-09-01"
    ]


def test_a_rate_that_came_late_is_told_and_breaks_nothing(books: Books) -> None:
    late(books, "fx_rates", "'EUR','USD','2025-09-01','1.1'")
    with books.admin.read() as con:
        month = month_proof.rows(books, con, SEPTEMBER)
    assert month.findings == []
    assert [one.what for one in month.warnings] == ["fx_rates of 2025-09: EUR, USD, 2025-09-01"]


def test_what_is_written_after_a_close_by_right_breaks_no_seal(books: Books) -> None:
    """Another month's run, decision, attempt and alert."""
    sweep.sweep(books)
    with books.admin.write() as con:
        board.observe(con, [escalation.of_run("materialize", SEPTEMBER, True, now(), "r", "x")], actor="cops")
        board.end_period(con, SEPTEMBER, because="seen", actor="cops")
    controls.evaluate(books)
    assert told(books) == []


def test_a_sealed_home_moved_elsewhere_is_proved_there(
    books: Books, closed_home: Path, tmp_path: Path
) -> None:
    books.admin.close()
    shutil.copytree(tmp_path / "home", tmp_path / "moved" / "home", copy_function=shutil.copyfile)
    assert proof.verify(opened(closed_home, tmp_path / "moved")).status == "ok"


def test_rows_have_one_digest_on_sqlite_and_postgresql(books: Books) -> None:
    there = open_admin(postgres.database())
    with books.admin.read() as given, there.engine.begin() as con:
        con.exec_driver_sql("SET session_replication_role = replica")
        for table in t.metadata.sorted_tables:
            con.execute(sa.delete(table))
            if rows := [dict(row) for row in given.execute(sa.select(table)).mappings()]:
                con.execute(sa.insert(table), rows)
    with books.admin.read() as given, there.read() as con:
        ours = binding.said(binding.everything(given, SEPTEMBER)), binding.logs(given)
        theirs = binding.said(binding.everything(con, SEPTEMBER)), binding.logs(con)
    there.close()
    assert ours == theirs
    assert sum(one["rows"] for one in ours[0].values()) > 100


# --- how often, and how it is told -------------------------------------------------------------------------


def seals(books: Books) -> tuple[str, datetime | None]:
    found = {one.control: one for one in controls.evaluate(books)}[controls.SEALS]
    return found.status, found.measured_at


def test_files_are_read_once_a_day_and_the_rows_that_name_them_each_hour(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, first = seals(books)
    attacked("lake file exchanged at equal size and time", books)
    assert (status, seals(books)) == ("ok", ("ok", first))
    later = now() + timedelta(hours=24)
    monkeypatch.setattr(controls, "now", lambda: later)
    assert seals(books) == ("failed", later)


def test_a_row_of_a_file_is_looked_at_each_hour(books: Books) -> None:
    assert seals(books)[0] == "ok"
    assert seals(attacked("row of a lake file deleted", books))[0] == "failed"


@pytest.mark.long
def test_what_was_not_as_sealed_is_computed_anew_each_hour_until_it_is(books: Books) -> None:
    home = books.settings.home
    kept = tampering.entries(home).read_bytes()
    attacked("lake file exchanged at equal size and time", books)
    assert seals(books)[0] == "failed"
    assert [row.control for row in state.unproven(books)] == [controls.SEALS]
    tampering.entries(home).write_bytes(kept)
    assert seals(books)[0] == "ok"
    assert state.unproven(books) == []


# --- anchors ----------------------------------------------------------------------------------------------


def grown(books: Books) -> Books:
    add(books, Piece("note", "period", "2025-10", "text/plain", data=b"more"))
    return books


def test_a_sweep_anchors_a_new_head_and_nothing_twice(books: Books) -> None:
    grown(books)
    anchors = proof.anchors(books)
    assert anchors.newest == anchors.of - 1
    assert sweep.sweep(books).is_anchored
    assert not sweep.sweep(books).is_anchored
    assert proof.anchors(books).newest == anchors.of


def test_the_control_anchors_a_home_without_a_daemon(books: Books) -> None:
    assert seals(grown(books))[0] == "ok"
    anchors = proof.anchors(books)
    assert anchors.newest == anchors.of


def test_entries_without_an_anchor_for_two_days_are_told(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(books)
    assert not proof.anchors(books).is_late
    later = now() + timedelta(hours=49)
    monkeypatch.setattr(proof, "now", lambda: later)
    assert proof.anchors(books).is_late
    sweep.sweep(books)
    assert not proof.anchors(books).is_late


def test_no_sweep_anchors_a_chain_that_the_store_does_not_know(books: Books) -> None:
    attacked("chain cut behind the last close", books)
    before = chain.objects(books).anchors()
    assert not sweep.sweep(books).is_anchored
    assert chain.objects(books).anchors() == before


OF_EACH_KIND = ("lake file and its row exchanged", "statement", "trigger made hollow")  # fmt: skip


def everyone_notices(books: Books) -> None:
    judged = {one.control: one.status for one in controls.evaluate(books)}
    assert "failed" in (judged[controls.SEALS], judged[controls.GUARDS])
    with books.admin.read() as con:
        grave = [one.severity for one in board.alerts(con) if one.scope in (controls.SEALS, controls.GUARDS)]
    assert "P1" in grave
    assert any(one.light == "red" for one in doctor.diagnose(books, SEPTEMBER))
    assert unproven(books)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", OF_EACH_KIND)
def test_controls_doctor_and_the_next_close_notice_it_too(books: Books, case: str) -> None:
    everyone_notices(attacked(case, books))


@pytest.mark.long
@pytest.mark.parametrize("case", [one for one in CASES if one not in OF_EACH_KIND])
def test_controls_doctor_and_the_next_close_notice_every_case(books: Books, case: str) -> None:
    everyone_notices(attacked(case, books))


# --- a backup that was restored ---------------------------------------------------------------------------


def test_a_restored_backup_stands_against_its_anchors_until_a_person_says_so(books: Books) -> None:
    attacked("chain cut behind the last close", books)
    with pytest.raises(CopsError, match="E-EVIDENCE-TAMPERED") as refusal:
        add(books, Piece("note", "period", "2025-10", "text/plain", data=b"refused"))
    assert "cops evidence restored" in refusal.value.next_step
    done = restored.accept(books, "the backup of Tuesday")
    assert done.reached == done.ended_at + 1
    add(books, Piece("note", "period", "2025-10", "text/plain", data=b"taken"))
    sweep.sweep(books)
    verified = proof.verify(books)
    assert (verified.status, verified.findings) == ("ok", [])
    assert [one.what for one in verified.warnings] == ["restored from a backup"]
    assert verified.anchors.newest == verified.anchors.of


def test_a_close_that_a_backup_lost_is_not_explained_away(books: Books) -> None:
    attacked("database rolled back to before the close", books)
    with pytest.raises(CopsError, match="the close of 2025-09 is lost"):
        restored.accept(books, "the backup of Monday")
    assert proof.verify(books, objects_too=False).status == "mismatch"


def test_a_chain_that_lost_nothing_has_nothing_to_explain(books: Books) -> None:
    with pytest.raises(CopsError, match="nothing was lost"):
        restored.accept(books, "just in case")


def test_a_chain_that_is_wrong_otherwise_is_not_explained_away(books: Books) -> None:
    attacked("chain cut behind the last close", books)
    with tampering.unguarded(books.settings.home) as con:
        con.execute("UPDATE evidence_index SET actor = 'eve' WHERE evidence_seq = 2")
    with pytest.raises(CopsError, match="whole but for its end"):
        restored.accept(books, "the backup of Tuesday")
