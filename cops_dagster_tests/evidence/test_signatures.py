"""Signed decisions: what is refused and with which code, each beside what is taken; and verify finds it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import (
    adoption,
    chain,
    signatures,
    signer_list,
    signers,
    signing,
    ssh_keygen,
    verify,
)
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.signing import Decision
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests import postgres
from cops_dagster_tests.deliveries import give, home
from cops_dagster_tests.keys import as_person, begin, copied, key, public, signature

PLANS = "plan_id,effective_from,markup_bps\n{},2025-01-01,0\n"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that alice, bob and eve may sign for; eve's key was revoked, mallory never had one here."""
    folder = tmp_path_factory.mktemp("signed")
    home(folder)
    for name in ("alice", "bob", "eve", "mallory"):
        key(folder / "keys", name)
    begin(folder, "alice", "bob", "eve")
    fingerprint = ssh_keygen.key_of(str(folder / "keys" / "eve")).fingerprint
    signers.revoke(as_person(folder, "alice"), fingerprint, reason="left the company")
    with as_person(folder, "alice").admin.write() as con:
        signatures.require(as_person(folder, "alice"), con, "request", ("thing", "1"), "d1")
    return folder


@dataclass
class Given:
    """A signature that somebody hands in for a decision."""

    wanted: Decision
    text: str
    armored: str


def decision(folder: Path, **changes: Any) -> Decision:
    with as_person(folder, "bob").admin.read() as con:
        books_id = signer_list.listed(con).books_id
    return replace(Decision(books_id, "approve", "thing", "1", "d1", now(), "bob"), **changes)


def right(folder: Path) -> Given:
    wanted = decision(folder)
    return Given(wanted, wanted.text, signature(folder / "keys" / "bob", wanted.text))


def missing(folder: Path) -> Given:
    return replace(right(folder), armored="")


def of_another_text(folder: Path) -> Given:
    """The text is right, the signature is one over something else."""
    return replace(right(folder), armored=signature(folder / "keys" / "bob", "anything"))


def replayed(folder: Path) -> Given:
    """The signature of alice's request, once more for the same."""
    with as_person(folder, "alice").admin.read() as con:
        row = con.execute(sa.select(t.signature).where(t.signature.c.kind == "request")).one()
    wanted = decision(folder, kind="request", signed_at=row.signed_at, principal="alice")
    return Given(wanted, row.text, row.signature)


def swapped(folder: Path) -> Given:
    given = right(folder)
    return replace(given, wanted=replace(given.wanted, subject_id="2"))


def other_digest(folder: Path) -> Given:
    given = right(folder)
    return replace(given, wanted=replace(given.wanted, digest="d2"))


def revoked(folder: Path) -> Given:
    wanted = decision(folder, principal="eve")
    return Given(wanted, wanted.text, signature(folder / "keys" / "eve", wanted.text))


def unknown(folder: Path) -> Given:
    wanted = decision(folder)
    return Given(wanted, wanted.text, signature(folder / "keys" / "mallory", wanted.text))


def of_another_person(folder: Path) -> Given:
    wanted = decision(folder)
    return Given(wanted, wanted.text, signature(folder / "keys" / "alice", wanted.text))


def back_dated(folder: Path) -> Given:
    wanted = decision(folder, signed_at=now() - timedelta(days=40))
    return Given(wanted, wanted.text, signature(folder / "keys" / "bob", wanted.text))


def ahead(folder: Path) -> Given:
    wanted = decision(folder, signed_at=now() + timedelta(hours=1))
    return Given(wanted, wanted.text, signature(folder / "keys" / "bob", wanted.text))


def other_namespace(folder: Path) -> Given:
    wanted = decision(folder)
    return Given(wanted, wanted.text, signature(folder / "keys" / "bob", wanted.text, "git"))


def other_books(folder: Path) -> Given:
    foreign = decision(folder, books_id="0" * 32)
    own = replace(foreign, books_id=decision(folder).books_id)
    return Given(own, foreign.text, signature(folder / "keys" / "bob", foreign.text))


def both_sides(folder: Path) -> Given:
    """Alice asked for it, and approves it."""
    wanted = decision(folder, principal="alice")
    return Given(wanted, wanted.text, signature(folder / "keys" / "alice", wanted.text))


CASES: dict[str, tuple[Callable[[Path], Given], str]] = {
    "missing": (missing, "E-SIGNATURE"),
    "of another text": (of_another_text, "E-SIGNATURE"),
    "replayed": (replayed, "E-SIGNATURE-REPLAYED"),
    "swapped": (swapped, "E-SIGNATURE-SWAPPED"),
    "of another digest": (other_digest, "E-SIGNATURE-SWAPPED"),
    "by a revoked key": (revoked, "E-SIGNER"),
    "by a key of nobody": (unknown, "E-SIGNER"),
    "by another's key": (of_another_person, "E-SIGNER"),
    "back-dated before the key was added": (back_dated, "E-SIGNER"),
    "ahead of its time": (ahead, "E-SIGNATURE-TIME"),
    "of another namespace": (other_namespace, "E-SIGNATURE-NAMESPACE"),
    "of other books": (other_books, "E-SIGNATURE-BOOKS"),
    "by one key on both sides": (both_sides, "E-APPROVER"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_signature_is_refused_and_the_right_one_is_taken(signed: Path, case: str) -> None:
    make, code = CASES[case]
    books = as_person(signed, "bob")
    with books.admin.write() as con:
        listed = signer_list.listed(con)
        wrong, good = make(signed), right(signed)
        with pytest.raises(CopsError) as refusal:
            signatures.admit(books, con, wrong.wanted, wrong.text, wrong.armored, listed)
        assert refusal.value.code == code
        identity = signatures.admit(books, con, good.wanted, good.text, good.armored, listed)
        assert identity == f"signed by {ssh_keygen.key_of(str(signed / 'keys' / 'bob')).fingerprint}"
        con.rollback()


def test_a_time_before_the_newest_decision_is_refused_though_the_key_is_old_enough(signed: Path) -> None:
    """A clock that is put back together with everything else."""
    moment = now()
    assert signing.out_of_time(moment, moment, None) is None
    assert signing.out_of_time(moment, moment, moment + timedelta(minutes=4)) is None
    problem = signing.out_of_time(moment, moment, moment + timedelta(minutes=6))
    assert problem
    assert problem.code == "E-SIGNATURE-TIME"


# --- what got into the database past all of it ----------------------------------------------------------


def smuggle(books: Books, given: Given) -> None:
    """Writes a signature as one who knows every table and the chain, and asks nobody."""
    envelope = signing.envelope(given.armored)
    wanted = given.wanted
    values = {
        "kind": wanted.kind, "subject_type": wanted.subject_type, "subject_id": wanted.subject_id,
        "digest": wanted.digest, "period_start": None, "principal": wanted.principal,
        "fingerprint": envelope.fingerprint if envelope else "", "namespace": signing.NAMESPACE,
        "signed_at": wanted.signed_at, "text": given.text, "signature": given.armored,
    }  # fmt: skip
    text = given.text
    with books.admin.write() as con:
        while con.execute(
            sa.select(t.signature).where(
                t.signature.c.signature_id == hashlib.sha256(text.encode()).hexdigest()
            )
        ).first():
            text += "\n"  # the key of the table is taken: a replay needs a text of its own
        values["text"] = text
        name = hashlib.sha256(text.encode()).hexdigest()
        piece = Piece("signature", "decision", name, "application/json", data=signer_list.document_of(values))
        number = chain.index(con, books, chain.store(books, [piece]))[0]
        con.execute(sa.insert(t.signature).values(signature_id=name, **values, evidence_id=str(number)))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_signature_that_was_written_by_sql_is_found_by_verify(
    signed: Path, case: str, tmp_path: Path
) -> None:
    make, code = CASES[case]
    folder = copied(signed, tmp_path)
    books = as_person(folder, "bob")
    smuggle(books, right(folder))
    assert verify.verify(books).status == "ok"
    smuggle(books, make(folder))
    found = verify.verify(books)
    assert found.status == "mismatch"
    assert code in {one.what.split(":")[0] for one in found.findings}


def test_a_decision_that_nobody_signed_is_found_whenever_it_says_it_was_made(
    signed: Path, tmp_path: Path
) -> None:
    books = as_person(copied(signed, tmp_path), "bob")
    with books.admin.write() as con:
        con.exec_driver_sql("DROP TRIGGER approval_consent_asked")
        con.execute(
            sa.insert(t.approval).values(
                subject_type="cur_delivery", subject_id="x", subject_digest="x", requested_by="alice",
                approved_by="bob", reason="x", approved_at=now() - timedelta(days=400),
            )
        )  # fmt: skip
    (found,) = verify.verify(books).findings
    assert (found.what, found.found) == ("E-SIGNATURE: approve of cur_delivery x", "none")


def test_what_was_decided_before_signing_began_stays_claimed_and_is_no_finding(signed: Path) -> None:
    books = as_person(signed, "bob")
    with books.admin.read() as con:
        assert len(con.execute(sa.select(t.load_log)).all()) >= 1
    assert verify.verify(books).findings == []


def test_a_signer_whom_only_an_insert_let_in_stops_every_decision_and_is_found(
    signed: Path, tmp_path: Path
) -> None:
    folder = copied(signed, tmp_path)
    books = as_person(folder, "mallory")
    with books.admin.write() as con:
        listed = signer_list.listed(con)
        one = signers._signer("mallory", public(folder / "keys" / "mallory"), now())
        signers._insert(books, con, signers._event(books, "added", one, now(), listed.books_id, reason="x"))
    with pytest.raises(CopsError, match="E-EVIDENCE-TAMPERED"):
        give(books, folder, plans=PLANS.format("mine"))
    assert "list of signers" in {one.what for one in verify.verify(books).findings}


def test_a_signature_without_its_entry_of_the_chain_is_found(signed: Path, tmp_path: Path) -> None:
    books = as_person(copied(signed, tmp_path), "bob")
    with books.admin.write() as con:
        row = dict(con.execute(sa.select(t.signature)).mappings().first() or {})
        con.execute(sa.insert(t.signature).values(row | {"signature_id": "x", "evidence_id": "1"}))
    assert verify.verify(books).status == "mismatch"


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("INSERT INTO signature SELECT 'x',kind,subject_type,subject_id,digest,NULL,principal,fingerprint,"
         "namespace,'no time',text,signature,'x' FROM signature LIMIT 1", "incomplete"),
        ("INSERT INTO allowed_signers SELECT 'x',event,books_id,principal,public_key,fingerprint,'no time',"
         "NULL,reason,actor,occurred_at,'x' FROM allowed_signers LIMIT 1", "incomplete"),
        ("DROP TRIGGER allowed_signers_no_delete; DELETE FROM allowed_signers", "mismatch"),
        ("DROP TRIGGER signature_no_delete; DELETE FROM signature", "mismatch"),
    ],
)  # fmt: skip
def test_what_sql_left_of_list_and_signatures_stops_decisions_and_is_never_clean(
    signed: Path, tmp_path: Path, statement: str, status: str
) -> None:
    folder = copied(signed, tmp_path)
    with closing(sqlite3.connect(folder / "home" / "admin.db")) as con:
        con.executescript(statement)
        con.commit()
    assert verify.verify(as_person(folder, "bob")).status == status
    with pytest.raises(CopsError, match="E-EVIDENCE-TAMPERED"):
        give(as_person(folder, "bob"), folder, plans=PLANS.format("new"))


# --- acts -----------------------------------------------------------------------------------------------


def test_a_load_without_a_key_stores_nothing_and_with_one_it_is_signed(signed: Path, tmp_path: Path) -> None:
    folder = copied(signed, tmp_path)
    with pytest.raises(CopsError, match=r"E-SIGNATURE: .*COPS_SIGNING_KEY"):
        give(as_person(folder, "bob", ""), folder, plans=PLANS.format("new"))
    with pytest.raises(CopsError, match="E-SIGNER"):
        give(as_person(folder, "bob", folder / "keys" / "mallory"), folder, plans=PLANS.format("new"))
    books = as_person(folder, "bob")
    with books.admin.read() as con:
        assert con.execute(sa.select(t.plans.c.plan_id)).scalars().all() == ["team"]
    give(books, folder, plans=PLANS.format("new"))
    with books.admin.read() as con:
        row = con.execute(sa.select(t.load_log).order_by(t.load_log.c.loaded_at.desc())).first()
    assert row is not None
    assert row.identity.startswith("signed by SHA256:")
    assert verify.verify(books).status == "ok"


def test_a_policy_is_adopted_by_a_signature(signed: Path, tmp_path: Path) -> None:
    folder = copied(signed, tmp_path)
    change = {"recon": {"warning_usd": "3"}}
    nobody, bob = as_person(folder, "bob", "", **change), as_person(folder, "bob", **change)
    with pytest.raises(CopsError, match="E-SIGNATURE"):
        adoption.adopt(nobody, nobody.settings.given_policy, origin="test")
    done = adoption.adopt(bob, bob.settings.given_policy, origin="test")
    assert (done.version, done.identity[:10]) == (2, "signed by ")
    assert verify.verify(bob).status == "ok"


def test_neither_a_variable_nor_a_file_turns_signing_off(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_SECURITY__SIGNED", "false")
    with pytest.raises(CopsError, match=r"E-POLICY: \[security\] signed"):
        give(as_person(signed, "bob"), signed, plans=PLANS.format("off"))
    monkeypatch.delenv("COPS_SECURITY__SIGNED")
    with as_person(signed, "bob", security={"signed": True}).admin.read() as con:
        assert signer_list.listed(con).is_on


def test_books_that_shall_sign_and_have_no_signers_take_no_decision_until_they_have(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=None, security={"signed": True})
    with pytest.raises(CopsError, match=r"E-SIGNERS.*cops security init"):
        give(books, tmp_path, plans=PLANS.format("a"))
    begin(tmp_path, "alice", "bob", security={"signed": True})
    give(as_person(tmp_path, "bob"), tmp_path, plans=PLANS.format("a"))


def test_without_ssh_keygen_a_decision_is_refused_by_code_and_verify_is_not_clean(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(signed, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CopsError, match=r"E-SIGNATURE-TOOL.*openssh-client"):
        give(as_person(folder, "bob"), folder, plans=PLANS.format("new"))
    found = verify.verify(as_person(folder, "bob"))
    assert (found.status, found.findings[0].found) == ("incomplete", "E-SIGNATURE-TOOL")


# --- the list -------------------------------------------------------------------------------------------


def test_signing_begins_with_two_people_and_two_keys(tmp_path: Path) -> None:
    home(tmp_path)
    alice, bob = (public(key(tmp_path / "keys", name)) for name in ("alice", "bob"))
    books = as_person(tmp_path, "alice")
    for keys, code in (
        ({"alice": alice}, "E-SIGNERS"),
        ({"alice": alice, "bob": alice}, "E-SIGNERS"),
        ({"alice": alice, "Alice": bob}, "E-SIGNERS"),
        ({"alice": alice, "b*": bob}, "E-SIGNER"),
        ({"alice": alice, "bob": "ssh-ed25519 nonsense"}, "E-SIGNATURE-KEY"),
    ):
        with pytest.raises(CopsError, match=rf"^{code}: "):
            signers.begin(books, keys)
    with pytest.raises(CopsError, match="E-SIGNER"):  # who begins is on the list
        signers.begin(as_person(tmp_path, "carol", tmp_path / "keys" / "alice"), {"alice": alice, "bob": bob})
    assert [one.event for one in signers.begin(books, {"alice": alice, "bob": bob})] == ["added", "added"]
    with pytest.raises(CopsError, match=r"E-SIGNERS.*cops security add"):
        signers.begin(books, {"alice": alice, "bob": bob})


def test_a_beginning_with_one_person_asks_for_the_second_at_once(tmp_path: Path) -> None:
    """It said `cops security add`, and that said `cops security init`: a circle."""
    home(tmp_path)
    alice, bob = (public(key(tmp_path / "keys", name)) for name in ("alice", "bob"))
    books = as_person(tmp_path, "alice")
    for keys in ({}, {"alice": alice}, {"alice": alice, "Alice": bob}):
        with pytest.raises(CopsError) as refused:
            signers.begin(books, keys)
        assert "cops security init --signer NAME=KEY.pub --signer OTHER=" in refused.value.next_step
    for act in (
        lambda: signers.add(books, "bob", bob, reason="second"),
        lambda: signers.revoke(books, "SHA256:x", reason="lost"),
    ):
        with pytest.raises(CopsError) as refused:
            act()
        assert refused.value.next_step == signing.BEGIN


def test_the_list_is_changed_by_somebody_on_it_and_a_key_is_one_persons_for_ever(
    signed: Path, tmp_path: Path
) -> None:
    folder = copied(signed, tmp_path)
    carol = public(key(folder / "keys", "carol"))
    with pytest.raises(CopsError, match="E-SIGNER"):
        signers.add(as_person(folder, "carol"), "carol", carol, reason="lets herself in")
    bob = as_person(folder, "bob")
    with pytest.raises(CopsError, match=r"E-SIGNERS.*was eve's"):
        signers.add(bob, "eva", public(folder / "keys" / "eve"), reason="another name")
    signers.add(bob, "carol", carol, reason="joined finance")
    give(as_person(folder, "carol"), folder, plans=PLANS.format("carols"))
    assert verify.verify(bob).status == "ok"


def test_no_key_is_revoked_that_leaves_one_person_alone(signed: Path, tmp_path: Path) -> None:
    folder = copied(signed, tmp_path)
    bob = as_person(folder, "bob")
    alices = ssh_keygen.key_of(str(folder / "keys" / "alice")).fingerprint
    with pytest.raises(CopsError, match=r"E-SIGNERS.*cops security add"):
        signers.revoke(bob, alices, reason="lost")
    signers.add(bob, "carol", public(key(folder / "keys", "carol")), reason="instead of alice")
    signers.revoke(bob, alices, reason="lost")
    with pytest.raises(CopsError, match=r"E-SIGNER.*revoked"):
        give(as_person(folder, "alice"), folder, plans=PLANS.format("late"))
    assert verify.verify(bob).status == "ok"  # what alice signed before stays signed


def test_a_key_signs_within_its_validity_only(signed: Path, tmp_path: Path) -> None:
    folder = copied(signed, tmp_path)
    bob = as_person(folder, "bob")
    later = now() + timedelta(days=1)
    signers.add(bob, "carol", public(key(folder / "keys", "carol")), reason="from tomorrow", valid_from=later)
    with pytest.raises(CopsError, match=r"E-SIGNER.*valid from"):
        give(as_person(folder, "carol"), folder, plans=PLANS.format("early"))
    ends = now() + timedelta(hours=1)
    signers.add(bob, "dan", public(key(folder / "keys", "dan")), reason="for an hour", valid_before=ends)
    give(as_person(folder, "dan"), folder, plans=PLANS.format("dans"))


# --- redone without COPS --------------------------------------------------------------------------------


def test_an_auditor_redoes_a_signature_with_plain_ssh_keygen(signed: Path, tmp_path: Path) -> None:
    books = as_person(signed, "bob")
    with books.admin.read() as con:
        request = next(one for one in signatures.history(con) if one["kind"] == "request")
    command = signatures.export(books, request["signature_id"], tmp_path)

    def redone() -> int:
        return subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, capture_output=True, check=False
        ).returncode

    assert redone() == 0
    text = tmp_path / "decision.txt"
    assert text.read_text(encoding="utf-8").startswith("cops-decision-1\nbooks: ")
    text.write_text(text.read_text(encoding="utf-8").replace("thing/1", "thing/2"), encoding="utf-8")
    assert redone() != 0


def test_the_list_of_an_earlier_signature_holds_the_keys_of_its_time(signed: Path, tmp_path: Path) -> None:
    books = as_person(signed, "bob")
    with books.admin.read() as con:
        first = signatures.history(con)[-1]
    signatures.export(books, first["signature_id"], tmp_path)
    names = [line.split()[0] for line in (tmp_path / "allowed_signers").read_text().splitlines()]
    assert names == ["alice", "bob", "eve"]  # eve's key was revoked later


def test_no_line_break_makes_one_fact_two() -> None:
    one = Decision("b", "load", "x", "1\ndigest: other", "d", now(), "bob")
    assert len(one.text.splitlines()) == 7
    assert json.dumps(one.subject_id)[1:-1] in one.text


def test_decisions_are_signed_and_verified_on_postgresql_too(tmp_path: Path) -> None:
    place = {"admin_db": postgres.database()}
    home(tmp_path, **place)
    begin(tmp_path, "alice", "bob", **place)
    books = as_person(tmp_path, "bob", **place)
    with pytest.raises(CopsError, match="E-SIGNATURE"):
        give(as_person(tmp_path, "bob", "", **place), tmp_path, plans=PLANS.format("new"))
    give(books, tmp_path, plans=PLANS.format("new"))
    with books.admin.read() as con:
        assert {one["kind"] for one in signatures.history(con)} == {"security", "policy", "load"}
    assert verify.verify(books).findings == []
