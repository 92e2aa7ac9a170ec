"""Two people close, decide and release; who asked, who agreed and what it was about stay provable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.closing import approve, close, close_request, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, consent, decisions, verify
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.operations import doctor
from cops_dagster.reconciliation import exceptions, freeze, notes, reconcile
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.closing.ready import another, ready
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, force_state, give, home

ROOT = Path(__file__).resolve().parents[2]
CLOSE = f"close-{SEPTEMBER}"


def code(act: Any) -> str:
    with pytest.raises(CopsError) as refusal:
        act()
    return refusal.value.code


def moves(books: Books) -> list[str]:
    period_lock_event = t.period_lock_event
    with books.admin.read() as con:
        return list(
            con.execute(
                sa.select(period_lock_event.c.to_state).order_by(period_lock_event.c.state_seq)
            ).scalars()
        )


DECISIONS = (t.approval, t.close_request, t.invoice_freeze, t.period_lock_event, t.recon_exceptions)


def is_proved(table: sa.Table, row: Any) -> bool:
    """Whether a row of these tables has an entry: of exceptions only notes and what a person decided."""
    if table is not t.recon_exceptions:
        return True
    return row.stage is None or row.decided_by not in (None, decisions.SETTLED_BY)


def unproved(books: Books) -> list[str]:
    """Rows of decisions whose newest entry in the chain is not what the row says."""
    found = []
    with books.admin.read() as con:
        for table in DECISIONS:
            for row in con.execute(sa.select(table)):
                if not is_proved(table, row):
                    continue
                key = tuple(row._mapping[column.name] for column in table.primary_key.columns)
                entry = chain.find(con, decisions.KIND, table.name, decisions.subject_of(key))
                said = chain.read(books, entry.evidence_seq) if entry else b""
                if said != decisions.document(table, row):
                    found.append(f"{table.name} {decisions.subject_of(key)}")
    return found


# --- the close ----------------------------------------------------------------------------------------------


def test_one_asks_another_agrees_and_everybody_is_told_the_truth(tmp_path: Path) -> None:
    books = ready(tmp_path)
    assert code(lambda: close.close(books, SEPTEMBER)) == "E-SECOND-PERSON"
    assert code(lambda: close.close(another(books), SEPTEMBER)) == "E-SECOND-PERSON"
    assert moves(books) == ["open"]  # asking changes nothing else
    (asked,) = (one.close_asked_by for one in status.statuses(books, SEPTEMBER))
    assert asked == books.actor
    waits = [one for one in doctor.diagnose(books, SEPTEMBER) if "second person" in one.what]
    assert [one.next_step for one in waits] == [f"cops approve {CLOSE} --reason '…'"]
    assert code(lambda: approve.approve(books, CLOSE, reason="mine")) == "E-APPROVER"
    done = approve.approve(another(books, "lee"), CLOSE, reason="seen")
    assert (done.was_new, done.approved_by) == (True, "lee")
    late = approve.approve(another(books, "pat"), CLOSE, reason="seen too")
    assert (late.was_new, late.approved_by, late.approved_at) == (False, "lee", done.approved_at)
    assert not close.close(books, SEPTEMBER).wrote
    assert moves(books) == ["open", "provisional", "final", "closing", "closed"]
    assert status.statuses(books, SEPTEMBER)[0].close_asked_by is None
    assert unproved(books) == []
    assert verify.verify(books).status == "ok"


@pytest.mark.long
def test_a_yes_to_what_changed_since_is_refused_and_asked_anew(tmp_path: Path) -> None:
    books = ready(tmp_path)
    assert code(lambda: close.close(books, SEPTEMBER)) == "E-SECOND-PERSON"
    give(
        books, tmp_path,
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-9,acme,2025-09,0.01,USD,issued,invoice\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)
    second = another(books)
    with pytest.raises(CopsError) as refusal:
        approve.approve(second, CLOSE, reason="seen")
    assert refusal.value.code == "E-CLOSE-STALE"
    assert f"cops close {SEPTEMBER}" in refusal.value.next_step  # the advice is followed
    assert code(lambda: close.close(books, SEPTEMBER)) == "E-SECOND-PERSON"
    done = approve.approve(second, CLOSE, reason="seen again")
    assert (done.was_new, done.subject_id) == (True, f"{CLOSE}-2")


def test_of_those_who_agree_at_once_one_is_told_that_it_was_news(tmp_path: Path) -> None:
    books = ready(tmp_path)
    assert code(lambda: close.close(books, SEPTEMBER)) == "E-SECOND-PERSON"
    people = [another(books, name) for name in ("lee", "pat", "max")]
    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(lambda one: approve.approve(one, CLOSE, reason="seen"), people))
    assert sorted(one.was_new for one in told) == [False, False, True]
    (winner,) = [one for one in told if one.was_new]
    assert {one.approved_by for one in told} == {winner.approved_by}
    assert verify.verify(books).status == "ok"


@pytest.mark.long
def test_a_close_that_was_cut_short_is_finished_by_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ready(tmp_path)
    assert code(lambda: close.close(books, SEPTEMBER)) == "E-SECOND-PERSON"

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(close.sweep, "project", dies)
        with pytest.raises(KeyboardInterrupt):
            approve.approve(another(books), CLOSE, reason="seen")
    assert moves(books)[-1] == "closing"
    assert close.close(books, SEPTEMBER).wrote


def test_a_close_that_began_before_anybody_was_asked_is_taken_back(tmp_path: Path) -> None:
    """A home of an earlier version whose close a crash cut short: nobody else ever agreed to it."""
    books = ready(tmp_path)
    with books.admin.write() as con:
        force_state(con, "closing", SEPTEMBER)
    assert code(lambda: close.close(books, SEPTEMBER)) == "E-SECOND-PERSON"
    with books.admin.read() as con:
        assert lock.state_of(con, SEPTEMBER) == "final"
        assert close_request.waiting(con, SEPTEMBER) is not None


# --- what people decide, without a month's lines ------------------------------------------------------------


def put_exception(books: Books) -> None:
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.recon_exceptions).values(
                {
                    "exception_id": "e1", "period_start": SEPTEMBER.start, "recon_seq": 1,
                    "stage": "tenant_invoice", "tenant_id": "acme", "class": "unknown",
                    "amount_usd": Decimal(2), "opened_by": "cops", "opened_at": now(),
                }
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Books with a freeze whose month passes again, and an open exception."""
    books = home(
        tmp_path_factory.mktemp("decided"), inputs={name: INPUTS[name] for name in ("plans", "tenants")}
    )
    zero = Decimal(0)
    with books.admin.write() as con:
        freeze.put(con, books, SEPTEMBER, cause="c", reason="failed")
        amounts = {column.name: zero for column in t.recon_run.columns if isinstance(column.type, t.Money)}
        con.execute(
            sa.insert(t.recon_run).values(
                recon_id="r", period_start=SEPTEMBER.start, inputs_id="i", status="ok",
                charge_basis="unblended", actor="test", reconciled_at=now(), **amounts,
            )
        )  # fmt: skip
    put_exception(books)
    return books


def test_every_step_of_a_decision_is_an_entry_of_the_chain(decided: Books) -> None:
    exceptions.decide(decided, "e1", decision="agreed", evidence="TICKET-1")
    assert unproved(decided) == []
    done = approve.approve(another(decided, "lee"), "e1", reason="read the ticket")
    again = approve.approve(another(decided, "pat"), "e1", reason="me too")
    assert [(one.was_new, one.approved_by) for one in (done, again)] == [(True, "lee"), (False, "lee")]
    assert unproved(decided) == []


def test_a_freeze_is_proved_from_its_setting_to_its_release(decided: Books) -> None:
    (name,) = freeze.request_release(decided, SEPTEMBER, reason="credited", evidence="CN-1")
    assert code(lambda: approve.approve(decided, name, reason="mine")) == "E-APPROVER"
    done = approve.approve(another(decided, "lee"), name, reason="seen")
    again = approve.approve(another(decided, "pat"), name, reason="me too")
    assert [(one.was_new, one.approved_by) for one in (done, again)] == [(True, "lee"), (False, "lee")]
    with decided.admin.read() as con:
        entries = [
            json.loads(chain.read(decided, seq))["row"]["released_by"]
            for seq in con.execute(
                sa.select(t.evidence_index.c.evidence_seq)
                .where(t.evidence_index.c.subject_type == "invoice_freeze")
                .order_by(t.evidence_index.c.evidence_seq)
            ).scalars()
        ]
    assert entries == [None, None, "lee"]


def test_a_row_that_was_changed_past_the_acts_is_not_approved(tmp_path: Path) -> None:
    """The database takes no change of what was decided; somebody who owns its file may drop that guard."""
    books = home(tmp_path, inputs={name: INPUTS[name] for name in ("plans", "tenants")})
    with books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    given = {"reason": "rounded", "evidence": "TICKET-2"}
    made = notes.note(books, SEPTEMBER, tenant_id="acme", amount_usd=Decimal("0.01"), **given)
    with books.admin.write() as con:
        con.exec_driver_sql("DROP TRIGGER recon_exceptions_consent_kept")
        con.exec_driver_sql("DROP TRIGGER recon_exceptions_fixed")
        con.execute(sa.update(t.recon_exceptions).values(amount_usd=Decimal(100)))
    assert code(lambda: approve.approve(another(books), made, reason="seen")) == "E-CONSENT"
    with books.admin.write() as con:
        con.execute(sa.update(t.recon_exceptions).values(amount_usd=Decimal("0.01")))
    assert approve.approve(another(books), made, reason="seen").was_new


@pytest.fixture
def logins(tmp_path: Path) -> Iterator[Callable[[str, str], Books]]:
    """Books on PostgreSQL with the roles in use, as a login of its own opens them under a claimed name."""
    url = postgres.database()
    books = home(tmp_path, inputs={name: INPUTS[name] for name in ("plans", "tenants")}, admin_db=url)
    put_exception(books)
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    names = {name: f"{name}_{owner.url.database}" for name in ("kim", "lee")}
    opened: list[Books] = []

    def of(login: str, claimed: str) -> Books:
        mine = owner.url.set(username=names[login]).render_as_string(hide_password=False)
        opened.append(replace(another(books, claimed), admin=open_admin(mine)))
        return opened[-1]

    with owner.connect() as con:
        con.exec_driver_sql((ROOT / "deploy/postgresql/roles.sql").read_text(encoding="utf-8"))
        for name in names.values():
            con.exec_driver_sql(f"CREATE ROLE {name} LOGIN IN ROLE cops_writer")
        yield of
        for one in (*opened, books):
            one.admin.close()
        con.exec_driver_sql("DROP OWNED BY cops_reader, cops_writer, cops_closer")
        con.exec_driver_sql(f"DROP ROLE {', '.join(names.values())}, cops_reader, cops_writer, cops_closer")
    owner.dispose()


def test_on_postgresql_the_login_decides_who_it_is(logins: Callable[[str, str], Books]) -> None:
    exceptions.decide(logins("kim", "pat"), "e1", decision="agreed", evidence="TICKET-1")
    for claimed in ("kim", "lee", "pat"):  # whatever the one who asked calls herself
        forged = logins("kim", claimed)
        assert code(lambda forged=forged: approve.approve(forged, "e1", reason="mine")) == "E-APPROVER"
    agreed = logins("lee", "the auditor")
    done = approve.approve(agreed, "e1", reason="read the ticket")
    assert (done.was_new, done.approved_by.split("_")[0]) == (True, "lee")
    with agreed.admin.read() as con:
        row = con.execute(sa.select(t.approval)).one()
        by = con.execute(sa.select(t.recon_exceptions.c.resolved_by)).scalar_one()
    assert (row.claimed_by, by) == ("the auditor", row.approved_by)
    assert unproved(agreed) == []


def test_only_a_closer_is_let_close_on_postgresql(logins: Callable[[str, str], Books]) -> None:
    writer = logins("kim", "kim")
    with writer.admin.read() as con:
        assert code(lambda: consent.require_closer(con, SEPTEMBER)) == "E-ROLE"
    with sa.create_engine(writer.admin.engine.url.set(username="postgres")).connect() as con:
        consent.require_closer(con, SEPTEMBER)
