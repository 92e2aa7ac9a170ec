"""The commands of the close as people type them: what they print, what they exit with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli import materialize
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster_tests.cli.called import cops, cops_json, ran
from cops_dagster_tests.closing.ready import close_by_two, month, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A September that is ready to be closed, and the environment of somebody who works on it."""
    books = ready(tmp_path)
    sweep.sweep(books)
    books.admin.close()
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    monkeypatch.setenv("COPS_ACTOR", "kim")
    settings.current.cache_clear()
    return tmp_path


def said(*arguments: str, code: int = 0) -> str:
    """What people are told beside the output."""
    return ran(*arguments, code=code).stderr


def test_a_run_says_why_its_month_has_no_statement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a missing rate only `cops statement` spoke."""
    books = ready(tmp_path)
    materialize.report(books, SEPTEMBER, [])
    assert "no statement yet" not in capsys.readouterr().err
    with books.admin.write() as con:
        con.execute(sa.update(t.tenants).where(t.tenants.c.tenant_id == "acme").values(currency="EUR"))
    reconcile.reconcile(books, SEPTEMBER)
    materialize.report(books, SEPTEMBER, [])
    assert "no statement yet, E-FX: none for EUR; next: load fx_rates.csv" in capsys.readouterr().err


def as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPS_ACTOR", "lee")
    settings.current.cache_clear()


def close_month() -> Any:
    """`cops close` by one person, `cops approve` by another; what the second one is told."""
    cops("close", "2025-09", code=1)
    with pytest.MonkeyPatch.context() as patch:
        as_another(patch)
        told = cops_json("approve", "close-2025-09", "--reason", "seen the list")
    settings.current.cache_clear()
    return told


@pytest.mark.long
def test_a_dry_run_lists_what_a_close_needs_and_changes_nothing(folder: Path) -> None:
    found = cops_json("close", "2025-09", "--dry-run")
    assert found["ready"]
    assert len(found["readiness"]) == 26
    assert "earlier periods are closed" in cops("close", "2025-09", "--dry-run")
    assert [one["to_state"] for one in cops_json("period", "show", "2025-09")] == ["open"]


@pytest.mark.long
def test_what_blocks_is_printed_and_ends_with_1(folder: Path) -> None:
    books = ready(folder / "blocked")
    give(
        books, folder, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace("globex,2,", "globex,8,"),
    )  # fmt: skip
    books.admin.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPS_HOME", str(folder / "blocked" / "home"))
        patch.setenv("COPS_CUR", str(folder / "blocked" / "cur"))
        settings.current.cache_clear()
        found = cops_json("close", "2025-09", code=1)
        assert not found["ready"]
        cops("close", "2025-09", "--dry-run", code=1)
        cops("close", "2025-09", code=1)


@pytest.mark.long
def test_a_month_is_closed_once_and_answers_with_its_seal(folder: Path) -> None:
    asked = cops_json("close", "2025-09", code=1)
    assert (asked["code"], asked["waits_for"]) == ("E-SECOND-PERSON", "close-2025-09")
    assert "cops approve close-2025-09" in said("close", "2025-09", code=1)
    assert "cops approve close-2025-09" in said("status")
    with pytest.raises(CopsError, match="E-APPROVER"):
        cops("approve", "close-2025-09", "--reason", "mine")
    first = close_month()
    again = cops_json("close", "2025-09")
    assert (first["was_new"], again["was_new"]) == (True, False)
    assert "was approved before, by lee (claimed)" in said("approve", "close-2025-09", "--reason", "too late")
    assert first["seal_digest"] == again["seal_digest"]
    assert cops_json("evidence", "verify", "2025-09")["status"] == "ok"
    assert cops_json("evidence", "replay", "2025-09")["agrees"]
    assert cops_json("status", "2025-09")[0]["state"] == "closed"


@pytest.mark.long
def test_a_late_change_goes_from_proposal_to_booking(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_month()
    month(folder, MONTH + "Refund AmazonS3 111111111111 acme team api -5\n", assembly="late")
    made = cops_json("adjust", "propose", "2025-09")["id"]
    assert cops_json("adjust", "propose", "2025-09")["id"] is None  # proposed already
    with pytest.raises(CopsError, match="E-APPROVER"):
        cops("approve", made, "--reason", "mine")
    as_another(monkeypatch)
    done = cops_json("approve", made[:12], "--reason", "checked")
    assert (done["period"], done["was_new"]) == ("2025-10", True)
    (listed,) = cops_json("adjust", "list", "2025-09")
    assert (listed["booked_in"], listed["usage_period"]) == ("2025-10", "2025-09")
    assert "refund" in cops("adjust", "list")


@pytest.mark.long
def test_cost_is_moved_once_and_a_difference_is_noted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_month()
    why = ("--reason", "tax is theirs", "--evidence", "TICKET-1")
    moved = cops_json("adjust", "move", "2025-09", "--from", "__unallocated__", "--to", "acme=100", *why)[
        "id"
    ]
    noted = cops_json("adjust", "note", "2025-09", "--tenant", "acme", "--amount-usd", "0.01", *why)["id"]
    as_another(monkeypatch)
    assert cops_json("approve", moved, "--reason", "agreed")["was_new"]
    assert cops_json("approve", noted, "--reason", "agreed")["was_new"]
    for wrong in ("acme", "acme=", "acme=x", "=", "acme=1e400"):
        with pytest.raises(CopsError):
            cops("adjust", "move", "2025-09", "--from", "acme", "--to", wrong, *why)


@pytest.mark.long
def test_what_was_proposed_stands_in_the_list_that_its_answer_names(folder: Path) -> None:
    """A note sent its reader to `cops adjust list`, which was empty: it is among the exceptions."""
    close_month()
    why = ("--reason", "tax is theirs", "--evidence", "TICKET-1")
    to_move = ("adjust", "move", "2025-09", "--from", "__unallocated__", "--to", "acme=100", *why)
    for made in (to_move, ("adjust", "note", "2025-09", "--tenant", "acme", "--amount-usd", "0.01", *why)):
        told = said(*made)
        listed = re.search(r"next: cops (\w+) list 2025-09; .* cops approve (\w+) ", told)
        assert listed, told
        done = CliRunner().invoke(app, [listed[1], "list", "2025-09"])
        assert listed[2] in done.stdout, (made, done.stdout)


@pytest.mark.long
def test_who_decided_is_told_with_what_proves_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cops approve` named a person without saying that the name is a claim."""
    close_month()
    why = ("--reason", "tax is theirs", "--evidence", "TICKET-1")
    to_note = ("adjust", "note", "2025-09", "--tenant", "acme", "--amount-usd", "0.01", *why)
    to_move = ("adjust", "move", "2025-09", "--from", "__unallocated__", "--to", "acme=100", *why)
    ids = []
    for made in (to_note, to_move):
        told = said(*made)
        assert "by kim (claimed)" in told
        ids += [re.findall(r"proposed (\w+)", told)[0]]
    as_another(monkeypatch)
    for one in ids:
        assert "approved by lee (claimed)" in said("approve", one, "--reason", "agreed")
        assert "was approved before, by lee (claimed) on " in said("approve", one, "--reason", "agreed")


_GLOBEX = ("explain", "--tenant", "globex", "--period", "2025-09")


def test_an_amount_is_explained_down_to_the_delivered_file(folder: Path) -> None:
    listed = cops_json("explain", "--tenant", "globex", "--period", "2025-09")
    shared = next(one for one in listed["entries"] if one["rule_id"] == "transfer")
    found = cops_json("explain", shared["entry_id"])
    assert found["entry"]["key_value"] == "2.000000000000000000"
    assert found["rule"]["approved_by"] == "kim"
    assert found["key"] == {"acme": "1.000000000000000000", "globex": "2.000000000000000000"}
    assert [group["unblended_usd"] for group in found["line_groups"]] == ["9.000000001000000000"]
    assert len(found["files"][0]["sha256"]) == 64
    assert {one["kind"] for one in found["evidence"]} == {"run_inputs", "run_sql", "run_certificate"}
    assert "delivered files" in cops("explain", shared["entry_id"])
    # the entries add up to cost, and the statement says more
    assert re.search(r"chargeable cost \S+ \+ .* markup \S+ = billable 28\.21$", said(*_GLOBEX).strip())
    assert "billable" not in said(*_GLOBEX, "--service", "AmazonEC2")
    for wrong in (["nothing-1"], ["--tenant", "nobody", "--period", "2025-09"], [], ["--tenant", "acme"]):
        with pytest.raises(CopsError):
            cops("explain", *wrong)


@pytest.mark.long
def test_runs_by_command_end_in_a_reconciliation_before_and_after(folder: Path) -> None:
    # 1: the month's coverage is below its floor, whatever these two did
    done = cops_json("allocate", "2025-09", "--rules-as-of", "2025-09-10", "--note", "agreed", code=1)
    assert done["reconciliations"]
    run_id = cops_json("runs", "2025-09")[-1]["run_id"]
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):  # it became final by itself
        cops("reverse", run_id, "--reason", "not agreed after all")
    cops("period", "mark-provisional", "2025-09", "--reason", "the rules were not agreed")
    back = cops_json("reverse", run_id, "--reason", "not agreed after all", code=1)
    for told in (done, back):
        assert "tag_coverage_at_target" in {one["check"] for one in told["failed_checks"]}
    before, after = back["reconciliations"]
    assert (before["run_id"], after["run_id"]) == (run_id, back["run_id"])
    with pytest.raises(CopsError, match="E-REV"):
        cops("reverse", run_id, "--reason", "again")
    with pytest.raises(CopsError, match="E-PARAM"):
        cops("allocate", "2025-09", "--rules-as-of", "2025-13-01")


def test_people_mark_months_with_a_reason(folder: Path) -> None:
    cops("period", "mark-delayed", "2025-09", "--reason", "AWS is late")
    cops("period", "mark-provisional", "2025-09", "--reason", "and now it is not")
    assert cops_json("status", "2025-09")[0]["state"] == "provisional"
    moves = cops_json("period", "show", "2025-09")
    assert [one["to_state"] for one in moves] == ["open", "delayed", "provisional"]
    assert moves[-1]["actor"] == "kim"


@pytest.mark.long
def test_a_closed_month_materialised_again_is_left_as_it_is(folder: Path) -> None:
    close_month()
    assert cops_json("materialize", "2025-09")["outcome"] == "nothing to do"
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        cops("allocate", "2025-09", "--note", "again")


@pytest.mark.long
def test_acts_and_commands_agree_on_what_is_closed(folder: Path) -> None:
    close_month()
    books = ready(folder / "acts")
    assert close_by_two(books, SEPTEMBER).wrote
    run(books)
    books.admin.close()
