"""What two people decide needs the second one's row: the database refuses the act, and allows its twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import Admin, open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.stores.consented import AT, agree, agree_to_close, approval, ask_to_close
from cops_dagster_tests.stores.guarded import (
    REFUSED,
    begin,
    insert,
    moved,
    publish,
    put,
    reconcile,
    row,
    sealed,
    told,
)
from cops_dagster_tests.stores.guarded import SEPTEMBER as MONTH

AUGUST, OCTOBER = date(2025, 8, 1), date(2025, 10, 1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A database in which things wait for a second person; what a test does is undone."""
    folder = tmp_path_factory.mktemp("consent")
    url = f"sqlite:///{folder / 'admin.db'}" if request.param == "sqlite" else postgres.database()
    opened = open_admin(url)
    with opened.write() as con:
        prepare(con)
        fill(con)
    yield opened
    opened.close()


def prepare(con: sa.Connection) -> None:
    """A closed August, a final September that was reconciled, an open October."""
    publish(con)
    publish(con, "r08", month=AUGUST)
    put(con, "closed", AUGUST)
    begin(con, OCTOBER)
    publish(con, "ra", table="fact_cost_adjustment", month=OCTOBER, inputs="a")
    reconcile(con)
    put(con, "final")


def fill(con: sa.Connection) -> None:
    """A freeze, an exception, a note, a proposal, a held delivery: kim asked for each."""
    insert(con, t.invoice_freeze, cause="c")
    con.execute(
        sa.update(t.invoice_freeze).values(
            release_requested_by="kim", release_reason="credited", release_evidence_id="CN-1",
            subject_digest="d",
        )
    )  # fmt: skip
    exceptions = t.recon_exceptions
    con.execute(
        sa.insert(exceptions).values(row(exceptions, exception_id="e", recon_seq=1, stage="tenant_invoice"))
    )
    con.execute(
        sa.update(exceptions).values(decided_by="kim", decided_at=AT, decision="agreed", subject_digest="d")
    )
    con.execute(
        sa.insert(exceptions).values(
            row(exceptions, exception_id="n", stage=None, opened_by="kim", subject_digest="d")
        )
    )
    insert(con, t.adjustment_effect, adjustment_id="a")
    asked = {"document_sha256": "d", "requested_by": "kim", "usage_period_start": AUGUST}
    insert(con, t.adjustment, adjustment_id="a", **asked)
    insert(con, t.cur_delivery_hold, delivery_id="h", requested_by="kim", period_start=OCTOBER)


def move(con: sa.Connection, state: str) -> None:
    told(con, state)
    con.execute(moved(state, **(sealed(con) if state == "closed" else {})))


def release(con: sa.Connection) -> None:
    con.execute(sa.update(t.invoice_freeze).values(released_by="lee", released_at=AT))


def resolve(con: sa.Connection) -> None:
    exceptions = t.recon_exceptions
    con.execute(
        sa.update(exceptions)
        .where(exceptions.c.exception_id == "e")
        .values(resolved_by="lee", resolved_at=AT)
    )


def answer_note(con: sa.Connection) -> None:
    exceptions = t.recon_exceptions
    con.execute(
        sa.update(exceptions)
        .where(exceptions.c.exception_id == "n")
        .values(decision="checked", resolved_by="lee", resolved_at=AT)
    )


def book(con: sa.Connection) -> None:
    bookings = t.adjustment_booking
    con.execute(
        sa.insert(bookings).values(
            row(bookings, adjustment_id="a", booked_by="lee", run_id="ra", period_start=OCTOBER)
        )
    )


def show(con: sa.Connection) -> None:
    shown = t.cur_billing_head
    con.execute(sa.insert(shown).values(row(shown, delivery_id="h", period_start=OCTOBER)))


def take(con: sa.Connection) -> None:
    made = {"run_id": "rh", "table_name": "fact_cost_raw", "delivery_id": "h", "period_start": OCTOBER}
    insert(con, t.lake_file, path="p", **made)


ACTS: dict[str, tuple[Callable[[sa.Connection], None], tuple[str, str, str]]] = {
    "a freeze is released": (release, ("invoice_freeze", "freeze-1", "d")),
    "an exception is resolved": (resolve, ("exception", "e", "d")),
    "a note is answered": (answer_note, ("variance_note", "n", "d")),
    "an adjustment is booked": (book, ("adjustment", "a", "d")),
    "a held delivery is shown": (show, ("cur_delivery", "h", "h")),
    "a held delivery is taken": (take, ("cur_delivery", "h", "h")),
}


def tried(database: Admin, *acts: Callable[[sa.Connection], object]) -> str:
    """`done` (and undone), or the first line of the refusal."""
    with database.engine.connect() as con:
        con.execution_options(cops_write=True)
        with con.begin() as transaction:
            try:
                for act in acts:
                    act(con)
            except REFUSED as problem:
                return str(problem.orig).split("\n")[0]
            finally:
                transaction.rollback()
    return "done"


def yes(kind: str, subject: str, form: str, **who: str) -> Callable[[sa.Connection], None]:
    return lambda con: agree(con, kind, subject, form, **who)


@pytest.mark.parametrize("name", ACTS)
def test_what_nobody_approved_is_refused_and_what_another_approved_is_done(
    database: Admin, name: str
) -> None:
    act, subject = ACTS[name]
    assert tried(database, act).startswith("E-CONSENT")
    assert tried(database, yes(*subject), act) == "done"


@pytest.mark.parametrize("name", [name for name in ACTS if "delivery" not in name])
def test_an_act_by_another_name_than_the_approver_is_refused(database: Admin, name: str) -> None:
    act, subject = ACTS[name]
    assert tried(database, yes(*subject, by="pat"), act).startswith("E-CONSENT")


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("by", ["kim", " KIM ", "kim\u200b", "k\u00adim", "", "\t"])
def test_who_asked_does_not_approve_however_the_name_is_written(database: Admin, name: str, by: str) -> None:
    _, subject = ACTS[name]
    assert tried(database, yes(*subject, by=by)).startswith("E-APPROVER")


@pytest.mark.parametrize("name", ACTS)
def test_an_approval_of_another_form_or_of_what_nobody_asked_is_refused(database: Admin, name: str) -> None:
    _, (kind, subject, form) = ACTS[name]
    assert tried(database, yes(kind, subject, "other")).startswith("E-CONSENT")
    assert tried(database, yes(kind, "other", form)).startswith("E-CONSENT")
    assert tried(database, yes("other", subject, form)).startswith("E-CONSENT")
    assert tried(database, yes(kind, subject, form, asked="pat", by="kim")).startswith("E-CONSENT")


@pytest.mark.parametrize("table", ["approval", "close_request"])
def test_an_approval_is_not_replaced(database: Admin, table: str) -> None:
    if database.engine.dialect.name == "postgresql":
        return  # it has no REPLACE
    values = (
        approval("adjustment", "a", "d", by="pat") if table == "approval"
        else {"subject_id": "close-2025-09-x", "subject_digest": "x"}
    )  # fmt: skip

    def first(con: sa.Connection) -> None:
        con.exec_driver_sql("PRAGMA recursive_triggers = OFF")
        if table == "approval":
            agree(con, "adjustment", "a", "d")
        else:
            ask_to_close(con, MONTH, **values)

    def again(con: sa.Connection) -> None:
        if table == "approval":
            con.execute(sa.insert(t.approval).prefix_with("OR REPLACE").values(values))
        else:
            requests = t.close_request
            named = con.execute(sa.select(requests).where(requests.c.period_start == MONTH)).mappings().one()
            con.execute(
                sa.insert(t.close_request).prefix_with("OR REPLACE").values({**named, "requested_by": "pat"})
            )

    assert tried(database, first) == "done"
    assert tried(database, first, again).startswith("E-APPEND-ONLY")


# --- what was asked for stays what it was -----------------------------------------------------------------

CHANGES: list[dict[str, Any]] = [
    {"decision": "never mind"}, {"evidence_id": "y"}, {"decided_by": "pat"}, {"amount_usd": Decimal(2)},
    {"tenant_id": "globex"}, {"class": "rounding"}, {"owner": "pat"}, {"note": "y"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: next(iter(one)))
def test_a_decided_exception_is_not_changed_under_its_digest(database: Admin, change: dict[str, Any]) -> None:
    exceptions = t.recon_exceptions

    def alter(con: sa.Connection) -> None:
        con.execute(sa.update(exceptions).where(exceptions.c.exception_id == "e").values(change))

    assert tried(database, alter).startswith(("E-CONSENT", "E-APPEND-ONLY"))
    agreed = yes(*ACTS["an exception is resolved"][1])
    assert tried(database, agreed, alter).startswith(("E-CONSENT", "E-APPEND-ONLY"))


def test_an_exception_is_decided_anew_until_somebody_approved(database: Admin) -> None:
    exceptions = t.recon_exceptions

    def anew(con: sa.Connection) -> None:
        con.execute(
            sa.update(exceptions)
            .where(exceptions.c.exception_id == "e")
            .values(decision="better", subject_digest="d2")
        )

    assert tried(database, anew) == "done"
    assert tried(database, yes(*ACTS["an exception is resolved"][1]), anew).startswith("E-CONSENT")


def test_the_release_of_a_freeze_is_asked_anew_until_somebody_approved(database: Admin) -> None:
    freezes = t.invoice_freeze

    def anew(con: sa.Connection) -> None:
        con.execute(sa.update(freezes).values(release_reason="better", subject_digest="d2"))

    def quietly(con: sa.Connection) -> None:
        con.execute(sa.update(freezes).values(release_reason="better"))

    assert tried(database, anew) == "done"
    assert tried(database, quietly).startswith("E-CONSENT")
    assert tried(database, yes(*ACTS["a freeze is released"][1]), anew).startswith("E-CONSENT")


@pytest.mark.parametrize(
    "given",
    [
        {"decided_at": AT, "decided_by": "kim", "resolved_at": AT, "resolved_by": "lee"},
        {"decided_at": AT, "decided_by": "cops", "resolved_at": AT, "resolved_by": "cops", "recon_seq": 99},
        {"stage": None, "resolved_at": AT, "resolved_by": "lee"},
        {"withdrawn_at": AT},
        {"subject_digest": "d"},
    ],
)
def test_nothing_begins_as_if_people_had_decided(database: Admin, given: dict[str, Any]) -> None:
    """A settled exception of a reconciliation is the twin: it needs nobody."""
    exceptions = t.recon_exceptions
    of_recon = {
        "exception_id": "s", "opened_by": "cops", "decided_by": "cops", "decided_at": AT,
        "resolved_by": "cops", "resolved_at": AT, "recon_seq": 1,
    }  # fmt: skip
    made = {"exception_id": "s", "opened_by": "cops", "recon_seq": 1, **given}
    assert tried(
        database, lambda con: con.execute(sa.insert(exceptions).values(row(exceptions, **made)))
    ).startswith("E-CON")
    assert (
        tried(database, lambda con: con.execute(sa.insert(exceptions).values(row(exceptions, **of_recon))))
        == "done"
    )


def test_a_freeze_does_not_begin_released(database: Admin) -> None:
    """A released freeze of the same cause would keep the real one from being set."""
    freezes = t.invoice_freeze
    made = row(freezes, cause="d", released_at=datetime(2025, 9, 2), released_by="pat")
    found = tried(database, lambda con: con.execute(sa.insert(freezes).values(made)))
    assert found.startswith(("E-CONSENT", "E-APPEND-ONLY"))
    assert (
        tried(database, lambda con: con.execute(sa.insert(freezes).values(row(freezes, cause="d")))) == "done"
    )


@pytest.mark.parametrize(
    ("by", "answer"), [("none", "E-CONSENT"), ("its own", "E-CONSENT"), ("newer", "done")]
)
def test_only_a_newer_reconciliation_withdraws_an_exception(database: Admin, by: str, answer: str) -> None:
    exceptions, recons = t.recon_exceptions, t.recon_run

    def withdraw(con: sa.Connection) -> None:
        newer = reconcile(con)
        own = con.execute(sa.select(sa.func.min(recons.c.recon_seq))).scalar_one()
        seq = {"none": None, "its own": own, "newer": newer}[by]
        con.execute(
            sa.update(exceptions)
            .where(exceptions.c.exception_id == "e")
            .values(withdrawn_at=AT, withdrawn_recon_seq=seq)
        )

    assert tried(database, withdraw).startswith(answer)


# --- the close ----------------------------------------------------------------------------------------------


def closes(con: sa.Connection) -> None:
    move(con, "closing")
    move(con, "closed")


def test_a_month_closes_with_a_second_person_only(database: Admin) -> None:
    assert tried(database, closes).startswith("E-CONSENT")
    assert tried(database, lambda con: ask_to_close(con, MONTH), closes).startswith("E-CONSENT")
    assert tried(database, lambda con: agree_to_close(con, MONTH), closes) == "done"


def test_a_yes_to_an_older_state_closes_nothing(database: Admin) -> None:
    def reconciled(con: sa.Connection) -> None:
        reconcile(con)

    def older(con: sa.Connection) -> None:
        agree_to_close(con, MONTH)

    assert tried(database, older, reconciled, closes).startswith("E-CONSENT")
    assert tried(database, reconciled, older, closes) == "done"
    assert tried(database, older, lambda con: move(con, "closing"), reconciled, closes).startswith("E-")


def test_a_yes_to_one_month_closes_no_other(database: Admin) -> None:
    def other(con: sa.Connection) -> None:
        agree_to_close(con, OCTOBER)

    assert tried(database, other, closes).startswith("E-CONSENT")
    named = {"subject_id": "close-2025-10"}
    assert tried(database, lambda con: ask_to_close(con, MONTH, **named)).startswith("E-CONSENT")


# --- who is logged in to PostgreSQL -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logins() -> Iterator[Callable[[str], Admin]]:
    """A database with the roles in use, as logins of their own see it: kim and lee write."""
    url = postgres.database()
    opened = open_admin(url)
    with opened.write() as con:
        prepare(con)
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    suffix = owner.url.database
    with owner.connect() as con:
        con.exec_driver_sql((ROOT / "deploy/postgresql/roles.sql").read_text(encoding="utf-8"))
        for name in ("kim", "lee"):
            con.exec_driver_sql(f"CREATE ROLE {name}_{suffix} LOGIN IN ROLE cops_closer")
    made = {
        name: Admin(sa.create_engine(owner.url.set(username=f"{name}_{suffix}")), name)
        for name in ("kim", "lee")
    }
    with made["kim"].write() as con:
        fill(con)
    yield lambda name: made[name]
    opened.close()
    for one in made.values():
        one.close()
    with owner.connect() as con:
        con.exec_driver_sql("DROP OWNED BY cops_reader, cops_writer, cops_closer")
        for name in ("kim", "lee"):
            con.exec_driver_sql(f"DROP ROLE {name}_{suffix}")
        con.exec_driver_sql("DROP ROLE cops_reader, cops_writer, cops_closer")
    owner.dispose()


def by_login(act: Callable[[sa.Connection], None], who: str) -> Callable[[sa.Connection], None]:
    """The same act, the approver being the login."""

    def done(con: sa.Connection) -> None:
        approvals = t.approval
        query = sa.select(approvals.c.approved_by, approvals.c.claimed_by).where(
            approvals.c.subject_type != "close"
        )
        names = con.execute(query).one()
        assert names.approved_by.startswith(who)
        assert names.claimed_by == "lee"
        act(con)

    return done


@pytest.mark.parametrize("name", [name for name in ACTS if "delivery" in name])
def test_a_login_does_not_approve_what_it_asked_for_whatever_name_it_claims(
    logins: Callable[[str], Admin], name: str
) -> None:
    act, subject = ACTS[name]
    assert tried(logins("kim"), yes(*subject, by="lee"), act).startswith("E-APPROVER")
    assert tried(logins("lee"), yes(*subject, by="lee"), by_login(act, "lee_")) == "done"


@pytest.mark.parametrize("name", ACTS)
def test_no_act_is_forged_by_a_writer_alone(logins: Callable[[str], Admin], name: str) -> None:
    act, subject = ACTS[name]
    assert tried(logins("kim"), act).startswith("E-CONSENT")
    assert tried(logins("kim"), yes(*subject, asked="pat", by="lee"), act).startswith("E-")
    assert tried(logins("kim"), yes(*subject, by="lee"), act).startswith("E-APPROVER")


def test_the_database_writes_who_asked_whatever_the_statement_says(logins: Callable[[str], Admin]) -> None:
    exceptions, seen = t.recon_exceptions, []

    def forge(con: sa.Connection) -> None:
        con.execute(
            sa.update(exceptions).where(exceptions.c.exception_id == "e").values(requested_login="lee")
        )
        seen.append(
            con.execute(
                sa.select(exceptions.c.requested_login).where(exceptions.c.exception_id == "e")
            ).scalar_one()
        )

    assert tried(logins("kim"), forge) == "done"
    assert seen[0].startswith("kim_")


def test_a_shadow_table_of_the_session_gives_no_consent(logins: Callable[[str], Admin]) -> None:
    def shadow(con: sa.Connection) -> None:
        con.exec_driver_sql("CREATE TEMP TABLE approval AS SELECT * FROM public.approval")
        con.exec_driver_sql(
            "INSERT INTO pg_temp.approval VALUES ('adjustment','a','d','kim','lee','x',now(),'lee')"
        )
        book(con)

    found = tried(logins("kim"), shadow)
    assert found.startswith("E-CONSENT") or "permission denied" in found


def test_a_close_needs_another_login(logins: Callable[[str], Admin]) -> None:
    asked: list[tuple[str, str]] = []
    with logins("kim").write() as con:
        asked.append(ask_to_close(con, MONTH, by="pat"))
    subject = ("close", *asked[0])
    assert tried(logins("kim"), yes(*subject, asked="pat", by="lee"), closes).startswith("E-APPROVER")
    assert tried(logins("lee"), yes(*subject, asked="pat", by="lee"), closes) == "done"
