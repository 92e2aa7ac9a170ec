"""A month that is closed by signatures, and what is asked and approved about it afterwards."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import approve, close, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import signatures, verify
from cops_dagster.ledger import lock
from cops_dagster.reconciliation import notes
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests.closing.ready import ready
from cops_dagster_tests.deliveries import SEPTEMBER
from cops_dagster_tests.keys import as_person, begin, key


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """September, ready to close, in books that alice and bob sign for."""
    folder = tmp_path_factory.mktemp("signed-month")
    ready(folder)
    for name in ("alice", "bob"):
        key(folder / "keys", name)
    begin(folder, "alice", "bob")
    return folder


@pytest.fixture(scope="module")
def closed(month: Path) -> Path:
    """The same month: alice asks without her key, then with it; bob agrees without his key, then with it."""
    nobody = as_person(month, "alice", "")

    def stands() -> str:
        with nobody.admin.read() as con:
            return lock.state_of(con, SEPTEMBER)

    before = stands()
    with pytest.raises(CopsError, match="E-SIGNATURE"):
        close.close(nobody, SEPTEMBER)
    assert stands() == before
    with pytest.raises(CopsError, match="E-SECOND-PERSON"):
        close.close(as_person(month, "alice"), SEPTEMBER)
    refused = [(as_person(month, "bob", ""), "E-SIGNATURE"), (as_person(month, "alice"), "E-APPROVER")]
    for one, code in refused:
        with pytest.raises(CopsError, match=code):
            approve.approve(one, "close-2025-09", reason="seen")
    assert stands() == before
    done = approve.approve(as_person(month, "bob"), "close-2025-09", reason="seen")
    assert done.identity.startswith("signed by SHA256:")
    return month


def test_a_close_is_signed_by_who_asks_by_who_agrees_and_over_its_seal(closed: Path) -> None:
    books = as_person(closed, "bob")
    with books.admin.read() as con:
        signed = {one["kind"]: one for one in signatures.history(con)}
        (lock_row,) = con.execute(sa.select(t.period_lock)).all()
    assert signed["seal"]["digest"] == lock_row.seal_digest
    assert {kind: signed[kind]["principal"] for kind in ("close", "approve", "seal")} == {
        "close": "alice", "approve": "bob", "seal": "bob",
    }  # fmt: skip
    assert signed["close"]["digest"] == signed["approve"]["digest"]
    assert verify.verify(books).findings == []
    assert verify.verify(books, SEPTEMBER).findings == []


def test_the_status_of_a_month_says_who_closed_it_and_what_proves_that(closed: Path) -> None:
    (one,) = status.statuses(as_person(closed, "bob"), SEPTEMBER)
    assert (one.closed_by, str(one.identity)[:16]) == ("bob", "signed by SHA256")


def test_one_key_is_never_both_sides_whatever_the_names(closed: Path) -> None:
    alice = as_person(closed, "alice")
    note = notes.note(
        alice, SEPTEMBER, tenant_id="acme", amount_usd=Decimal(1), reason="rounding", evidence="T-1"
    )
    with pytest.raises(CopsError, match="E-APPROVER"):
        approve.approve(alice, note, reason="fine")
    with pytest.raises(CopsError, match=r"E-SIGNER.*the key of alice"):
        approve.approve(as_person(closed, "bob", closed / "keys" / "alice"), note, reason="fine")
    done = approve.approve(as_person(closed, "bob"), note, reason="fine")
    assert (done.was_new, done.identity[:10]) == (True, "signed by ")
    assert verify.verify(alice).findings == []


def test_a_note_that_was_approved_by_sql_is_found(closed: Path) -> None:
    bob = as_person(closed, "bob")
    note = notes.note(
        bob, SEPTEMBER, tenant_id="globex", amount_usd=Decimal(2), reason="rounding", evidence="T-2"
    )
    exceptions, at = t.recon_exceptions, now()
    with bob.admin.write() as con:
        row = con.execute(sa.select(exceptions).where(exceptions.c.exception_id == note)).one()
        con.execute(
            sa.insert(t.approval).values(
                subject_type="variance_note", subject_id=note, subject_digest=row.subject_digest,
                requested_by="bob", approved_by="alice", claimed_by="alice", reason="fine", approved_at=at,
            )
        )  # fmt: skip
        con.execute(
            sa.update(exceptions)
            .where(exceptions.c.exception_id == note)
            .values(decision="fine", resolved_by="alice", resolved_at=at)
        )
    (found,) = verify.verify(bob).findings
    assert found.what == f"E-SIGNATURE: approve of variance_note {note[:16]}"
