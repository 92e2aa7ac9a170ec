"""The policy: adopted by the first run, named by every run, and no act under other settings."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.adjustments import late, one_time, proposals
from cops_dagster.allocation import allocate, reverse, rule_date
from cops_dagster.closing import approve, close, current, periods, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import adoption, chain, verify
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import deliver, ingest, look
from cops_dagster.ledger import publish
from cops_dagster.ledger.books import Books
from cops_dagster.operations import budgets, controls, doctor
from cops_dagster.policy import Policy, differing
from cops_dagster.reconciliation import exceptions, notes, reconcile
from cops_dagster.stores import policies
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag
from cops_dagster.usage import refresh, roll_up
from cops_dagster.usage.declared import Measure
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, adopt, give, home, lines, run, write

MAPPED = {"tags": {"plan_id": []}, "recon": {"warning_usd": "2.50"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a September that was made under settings of its own; to be read only."""
    folder = tmp_path_factory.mktemp("policy")
    write(folder / "cur", [lines(MONTH)])
    books = home(folder, **MAPPED)
    run(books)
    books.admin.close()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "x")
    return tmp_path / "x"


def reopened(folder: Path, **overrides: object) -> Books:
    """The home as another process opens it, whose settings are these and no others."""
    return open_books(
        settings.load(home=folder / "home", cur=str(folder / "cur"), actor="other", **overrides)
    )


def dump(books: Books) -> list[str]:
    with closing(sqlite3.connect(books.settings.home / "admin.db")) as con:
        return list(con.iterdump())


def versions(books: Books) -> list[policies.Adopted]:
    with books.admin.read() as con:
        return policies.history(con)


@pytest.mark.long
def test_the_first_run_adopts_what_is_set_and_every_run_names_it(made: Path) -> None:
    books = reopened(made)
    (one,) = versions(books)
    assert (one.version, one.adopted_by, one.origin) == (1, "test", "first run")
    assert (one.policy.tags.plan_id, one.policy.recon.warning_usd) == ((), Decimal("2.5"))
    assert one.policy.charge.basis == "unblended"
    assert {row["policy_version"] for row in status.runs(books, SEPTEMBER)} == {1}
    with books.admin.read() as con:
        assert set(con.execute(sa.select(t.recon_run.c.policy_version)).scalars()) == {1}


def test_a_run_proves_its_policy_in_the_chain_of_evidence(made: Path) -> None:
    books = reopened(made)
    entries = t.evidence_index
    with books.admin.read() as con:
        adopted = chain.find(con, "policy", "policy", "1").evidence_seq
        inputs = con.execute(
            sa.select(entries.c.evidence_seq).where(entries.c.kind == "run_inputs")
        ).scalar_one()
    assert json.loads(chain.read(books, adopted))["policy"]["tags"]["plan_id"] == []
    document = json.loads(chain.read(books, inputs))
    assert (document["policy_version"], document["settings"]["tags"]["plan_id"]) == (1, [])
    assert verify.verify(books).status == "ok"


def test_what_is_not_set_takes_the_adopted_value(made: Path) -> None:
    """Opening the UI in another folder made every open month anew with default tags."""
    books = reopened(made)
    before = dump(books)
    assert books.policy.tags.plan_id == ()
    assert current.is_current(books, SEPTEMBER)
    adoption.require_policy(books, is_run=True)
    assert dump(books) == before


SAME: list[dict[str, Any]] = [
    {"tags": {"plan_id": ()}},
    {"recon": {"warning_usd": Decimal("2.500")}},
    {"recon": {"warning_usd": 2.5}},
    {"charge": {"basis": "unblended"}},
    {"coverage": {"target_pct": "100.0", "untaggable": []}},
    {"budgets": {"aws_account_id": "111111111111"}},
    {"controls": {"crawler": "nightly"}},
]


@pytest.mark.parametrize("given", SAME, ids=str)
def test_an_equal_value_written_differently_and_a_place_are_no_difference(
    made: Path, given: dict[str, Any]
) -> None:
    books = reopened(made, **given)
    adoption.require_policy(books)
    assert adoption.differences(books) == []


OTHER: dict[str, dict[str, Any]] = {
    "tags.plan_id": {"tags": {"plan_id": ["user_plan_id"]}},
    "tags.tenant_id": {"tags": {"tenant_id": ["user_customer", "user_tenant_id"]}},
    "charge.basis": {"charge": {"basis": "amortized"}},
    "coverage.floor_pct": {"coverage": {"floor_pct": 90}},
    "recon.warning_usd": {"recon": {"warning_usd": 1}},
    "delivery.growth_pct": {"delivery": {"growth_pct": 900}},
    "budgets.critical_pct": {"budgets": {"critical_pct": 99}},
    "controls.delivery_lag_hours": {"controls": {"delivery_lag_hours": 72}},
}


@pytest.mark.parametrize("name", OTHER)
def test_another_value_is_refused_and_both_are_shown(made: Path, name: str) -> None:
    books = reopened(made, **OTHER[name])
    with pytest.raises(CopsError) as refusal:
        adoption.require_policy(books, is_run=True)
    assert refusal.value.code == "E-POLICY"
    (shown,) = refusal.value.details["differences"]
    assert shown["name"] == name
    assert f"{name} = {shown['adopted']} (policy version 1, adopted by test" in refusal.value.expected
    assert f"{name} = {shown['given']} (an argument)" in refusal.value.found
    assert "cops policy adopt" in refusal.value.next_step


SEATS = Measure.model_validate({"name": "seats", "unit": "seats", "source": {"kind": "csv"}})
ACTS: dict[str, Callable[[Books], object]] = {
    "look": lambda books: look.look(books, SEPTEMBER),
    "ingest": lambda books: ingest.ingest(books, SEPTEMBER),
    "tag": lambda books: tag.tag(books, SEPTEMBER),
    "freeze keys": lambda books: allocate.snapshot_keys(books, SEPTEMBER),
    "allocate": lambda books: allocate.allocate(books, SEPTEMBER),
    "reconcile": lambda books: reconcile.reconcile(books, SEPTEMBER),
    "reverse": lambda books: reverse.reverse(books, "x", reason="x"),
    "rules of a day": lambda books: rule_date.decide(books, SEPTEMBER, None, note="x"),
    "close": lambda books: close.close(books, SEPTEMBER),
    "mark": lambda books: periods.mark(books, SEPTEMBER, "delayed", reason="x"),
    "advance": lambda books: periods.advance(books, SEPTEMBER),
    "decide": lambda books: exceptions.decide(books, "x", decision="x", evidence="x"),
    "approve": lambda books: approve.approve(books, "x", reason="x"),
    "note": lambda books: notes.note(
        books, SEPTEMBER, tenant_id="acme", amount_usd=Decimal(1), reason="x", evidence="x"
    ),
    "adjust": lambda books: one_time.propose(
        books, SEPTEMBER, bearer="acme", shares={"globex": Decimal(100)}, reason="x", evidence_links="x"
    ),
    "propose": lambda books: proposals.propose(books, SEPTEMBER, "x", [], [], base_digest="x", reason="x"),
    "book": lambda books: proposals.book(books, "x", reason="x"),
    "late": lambda books: late.propose(books, SEPTEMBER),
    "budgets": budgets.refresh,
    "controls": controls.evaluate,
    "tell of usage": lambda books: refresh.tell(books, SEPTEMBER),
    "usage of a day": lambda books: refresh.refresh(books, SEATS, SEPTEMBER.start),
    "roll up": lambda books: roll_up.roll_up(books, SEATS, SEPTEMBER),
    "hand over": lambda books: deliver.deliver(books, [], SEPTEMBER),
}


@pytest.mark.parametrize("act", ACTS)
def test_no_act_is_done_under_other_settings_and_nothing_is_written(made: Path, act: str) -> None:
    books = reopened(made, charge={"basis": "amortized"})
    before = dump(books)
    with pytest.raises(CopsError, match="E-POLICY"):
        ACTS[act](books)
    assert dump(books) == before


def test_doctor_says_that_settings_differ_and_writes_nothing(made: Path) -> None:
    books = reopened(made, charge={"basis": "amortized"})
    before = dump(books)
    found = [one for one in doctor.diagnose(books, SEPTEMBER) if "policy" in one.what]
    assert [(one.light, one.found) for one in found] == [
        ("red", "charge.basis is unblended, an argument says amortized")
    ]
    assert dump(books) == before


@pytest.mark.long
def test_what_a_person_adopts_is_in_force_and_the_rest_stays(folder: Path) -> None:
    other = reopened(folder, charge={"basis": "amortized"})
    done = adoption.adopt(other, other.settings.given_policy, origin="cops.toml", note="as agreed")
    assert (done.version, done.wrote, [one.name for one in done.changes]) == (2, True, ["charge.basis"])
    newest, first = versions(other)
    assert (newest.adopted_by, newest.origin, newest.note) == ("other", "cops.toml", "as agreed")
    assert newest.policy == first.policy.replaced({"charge.basis": "amortized"})
    run(other)
    assert {row["policy_version"] for row in status.runs(other, SEPTEMBER)} == {1, 2}
    assert verify.verify(other).status == "ok"
    with pytest.raises(CopsError, match="E-POLICY"):  # whoever still has the old value is told now
        adoption.require_policy(reopened(folder, charge={"basis": "unblended"}))


def test_adopting_what_is_in_force_makes_no_version(folder: Path) -> None:
    books = reopened(folder, recon={"warning_usd": "2.50"})
    before = dump(books)
    done = adoption.adopt(books, books.settings.given_policy, origin="x")
    assert (done.version, done.wrote, done.changes) == (1, False, [])
    assert dump(books) == before


def test_a_run_that_was_planned_under_another_policy_publishes_nothing(folder: Path) -> None:
    books = reopened(folder)
    assert books.policy.charge.basis == "unblended"
    adopt(reopened(folder, charge={"basis": "amortized"}))
    with pytest.raises(CopsError, match=r"E-POLICY.*version 1"), books.admin.write() as con:
        publish.require_same_policy(con, books)
    adoption.require_policy(books)  # an act begins by looking again
    with books.admin.write() as con:
        publish.require_same_policy(con, books)


@pytest.mark.long
def test_until_a_month_is_tagged_runs_follow_the_settings(tmp_path: Path) -> None:
    """Who corrects a wrong tag name after a first run that was refused decides nothing anew."""
    write(tmp_path / "cur", [lines(MONTH)])
    wrong = home(tmp_path, tags={"tenant_id": ["user_tennant_id"]})
    look.look(wrong, SEPTEMBER)
    right = home(tmp_path, inputs=None)
    assert versions(right)[0].policy.tags.tenant_id == ("user_tennant_id",)
    given = home(tmp_path, inputs=None, tags={"tenant_id": ["user_tenant_id"]})
    adoption.require_policy(given)  # loading is no run: it waits for one
    run(given)
    assert [one.policy.tags.tenant_id for one in versions(given)] == [
        ("user_tenant_id",), ("user_tennant_id",),
    ]  # fmt: skip
    with pytest.raises(CopsError, match="E-POLICY"):
        look.look(wrong, SEPTEMBER)


def test_what_a_person_adopted_stands_also_before_a_month_is_tagged(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    adopt(home(tmp_path, charge={"basis": "amortized"}))
    with pytest.raises(CopsError, match="E-POLICY"):
        run(home(tmp_path, inputs=None, charge={"basis": "unblended"}))


def test_loading_and_handing_over_adopt_nothing(tmp_path: Path) -> None:
    books = home(tmp_path, tags={"plan_id": []})
    adoption.require_policy(books)
    assert versions(books) == []


def test_first_runs_at_once_adopt_one_version(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    all_books = [home(tmp_path, inputs=None, tags={"plan_id": []}) for _ in range(6)]
    barrier, failed = threading.Barrier(6), []

    def begin(books: Books) -> None:
        barrier.wait()
        try:
            adoption.require_policy(books, is_run=True)
        except CopsError as problem:
            failed.append(problem)

    threads = [threading.Thread(target=begin, args=(books,)) for books in all_books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [one.version for one in versions(all_books[0])] == [1]


# --- homes that were made before there was a policy -------------------------------------------------------


@pytest.fixture
def earlier(folder: Path) -> Path:
    """The home as an earlier COPS left it: runs with their documents, no policy."""
    with closing(sqlite3.connect(folder / "home" / "admin.db")) as con:
        guards = con.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'policy'"
        ).fetchall()
        for name, _ in guards:
            con.execute(f"DROP TRIGGER {name}")
        con.execute("DELETE FROM policy")
        for _, sql in guards:
            con.execute(sql)
        con.commit()
    return folder


def test_an_earlier_home_adopts_what_its_newest_run_was_made_with(earlier: Path) -> None:
    books = reopened(earlier)
    adoption.require_policy(books)
    (one,) = versions(books)
    assert (one.policy.tags.plan_id, one.policy.recon.warning_usd) == ((), Decimal("2.50"))
    assert not tag.tag(books, SEPTEMBER).wrote


def test_an_earlier_home_refuses_what_would_change_its_numbers_until_a_person_adopts(earlier: Path) -> None:
    books = reopened(earlier, tags={"plan_id": ["user_plan_id"]})
    with pytest.raises(CopsError, match="what the newest run was made with") as refusal:
        adoption.require_policy(books, is_run=True)
    assert refusal.value.code == "E-POLICY"
    assert versions(books) == []
    adopt(books)
    adoption.require_policy(books, is_run=True)
    assert versions(books)[0].policy.recon.warning_usd == Decimal("2.50")


def test_where_the_proof_of_earlier_runs_is_lost_a_person_decides(earlier: Path) -> None:
    """The refusal of the missing object was the only answer, also to `cops policy adopt`."""
    books = reopened(earlier, tags={"plan_id": []}, recon={"warning_usd": "2.50"})
    entries = t.evidence_index
    with books.admin.read() as con:
        keys = (
            con.execute(sa.select(entries.c.object_key).where(entries.c.kind == "run_inputs")).scalars().all()
        )
    for key in keys:
        (earlier / "home" / "evidence" / key).unlink()
    with pytest.raises(CopsError, match="E-EVIDENCE-MISSING"):
        adoption.require_policy(books)
    adopt(books)
    adoption.require_policy(books)
    assert versions(books)[0].policy.tags.plan_id == ()


# --- the value itself --------------------------------------------------------------------------------------


def test_the_canonical_form_is_read_back_as_the_same_policy() -> None:
    one = Policy().replaced({"recon.warning_usd": "1e1", "coverage.untaggable": ["A", "B"]})
    again = Policy.model_validate(json.loads(one.as_json))
    assert (again, again.digest) == (one, one.digest)
    assert '"warning_usd":"10"' in one.as_json


@pytest.mark.parametrize(
    ("name", "one", "other", "count"),
    [
        ("coverage.untaggable", ("A", "B"), ("B", "A", "A"), 0),
        ("tags.tenant_id", ("user_a", "user_b"), ("user_b", "user_a"), 1),
        ("recon.warning_usd", Decimal("0"), Decimal("-0.00"), 0),
        ("recon.warning_usd", Decimal("100"), Decimal("1E+2"), 0),
        ("tags.fold_case", False, True, 1),
    ],
)
def test_order_counts_where_it_decides_and_spelling_never(
    name: str, one: object, other: object, count: int
) -> None:
    adopted = Policy().replaced({name: one})
    assert len(differing(adopted, {name: (other, "here")})) == count


def test_the_usual_inputs_are_loaded_under_any_policy(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=None, tags={"fold_case": True})
    give(books, tmp_path, **INPUTS)
    assert books.policy.tags.fold_case
