"""Invoices, exceptions, freeze: the cases N01 to N14 of the fault catalogue, on a month that could close."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cops_dagster.alerts import board
from cops_dagster.alerts.lifecycle import Alert
from cops_dagster.closing import approve
from cops_dagster.errors import CopsError
from cops_dagster.evidence import consent
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import checks, exceptions, freeze, reconcile, record, statement
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests import postgres
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

INVOICES = "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
AWS = (
    "invoice_id,period_start,payer_account_id,billing_entity,invoice_type,base_currency,"
    "amount_before_tax,tax\n"
)


def load(books: Books, folder: Path, *rows: str) -> None:
    give(books, folder, invoice_detail=INVOICES + "".join(f"{row}\n" for row in rows))


def status(books: Books) -> str:
    return reconcile.reconcile(books, SEPTEMBER).status


def current(books: Books) -> dict[str, tuple[str, Decimal, str]]:
    """Exceptions but rounding: subject → class, USD, status."""
    with books.admin.read() as con:
        return {
            one.subject_id: (one.kind, one.amount_usd, one.status)
            for one in exceptions.current(con, SEPTEMBER)
            if one.kind != "rounding"
        }


def acting(books: Books, actor: str) -> Books:
    return replace(books, settings=books.settings.model_copy(update={"actor": actor}))


def only(books: Books, subject: str) -> str:
    with books.admin.read() as con:
        (found,) = [one for one in exceptions.current(con, SEPTEMBER) if one.subject_id == subject]
    return found.exception_id


def check(books: Books, name: str) -> Any:
    return next(one for one in checks.reconciled(books, SEPTEMBER) if one.check == name)


@pytest.mark.long
def test_N01_the_same_invoice_again_is_nothing_new(tmp_path: Path) -> None:
    books = ready(tmp_path)
    before = reconcile.reconcile(books, SEPTEMBER)
    give(books, tmp_path, **DOCUMENTS)
    again = reconcile.reconcile(books, SEPTEMBER)
    assert (again.wrote, again.recon_id) == (False, before.recon_id)


@pytest.mark.long
def test_N02_the_same_invoice_with_other_content_fails_the_month_until_two_people_agree(
    tmp_path: Path,
) -> None:
    books = ready(tmp_path)
    with pytest.raises(CopsError, match="E-INV-CONFLICT"):
        load(books, tmp_path, "T-1,acme,2025-09,15.10,USD,issued,invoice,")
    with books.admin.read() as con:
        (kept,) = con.execute(sa.select(t.document_conflict)).all()
    assert (kept.document_id, kept.difference_usd) == ("T-1", Decimal(1))
    assert ("14.1" in kept.stored_json, "15.1" in kept.given_json) == (True, True)
    assert status(books) == "failed"
    with books.admin.read() as con:
        assert len(failures(con)) == 1
    (subject,) = [name for name, (_, usd, state) in current(books).items() if state == "open" and usd == 0]
    decided = exceptions.decide(books, only(books, subject), decision="the first is right", evidence="T-77")
    approve.approve(acting(books, "lee"), decided.exception_id, reason="asked billing")
    assert status(books) == "ok"


@pytest.mark.long
def test_N02_a_refused_load_keeps_one_conflict_however_often_it_comes(tmp_path: Path) -> None:
    books = ready(tmp_path)
    for _ in range(3):
        with pytest.raises(CopsError, match="E-INV-CONFLICT"):
            load(books, tmp_path, "T-1,acme,2025-09,15.10,USD,issued,invoice,")
    with books.admin.read() as con:
        assert len(con.execute(sa.select(t.document_conflict)).all()) == 1


@pytest.mark.long
def test_N03_an_entity_that_did_not_invoice_leaves_the_month_incomplete(tmp_path: Path) -> None:
    books = ready(tmp_path)
    give(books, tmp_path, aws_invoices=AWS + "I-0,2025-08,111111111111,AWS Marketplace,INVOICE,USD,5,0\n")
    assert status(books) == "incomplete"
    assert current(books)["entity AWS Marketplace"][0] == "missing_invoice"
    with pytest.raises(CopsError, match="E-NOT-READY"):
        close_by_two(books, SEPTEMBER)
    give(books, tmp_path, aws_invoices=AWS + "I-2,2025-09,111111111111,AWS Marketplace,INVOICE,USD,0,0\n")
    assert status(books) == "ok"
    assert "entity AWS Marketplace" not in current(books)


@pytest.mark.long
def test_N04_a_credit_note_counts_in_its_own_period_and_names_what_it_corrects(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "CN-1,acme,2025-09,-3,USD,issued,credit_note,T-1")
    assert current(books) == {} or status(books) == "warning"
    assert current(books)["acme"][1] == pytest.approx(Decimal(-3), abs=Decimal("0.01"))
    with pytest.raises(CopsError, match="E-INV-LINK"):
        load(books, tmp_path, "CN-2,acme,2025-09,-3,USD,issued,credit_note,")


@pytest.mark.long
def test_N07_an_aws_invoice_in_another_currency_ties_at_awss_own_rate_or_is_an_exception(
    tmp_path: Path,
) -> None:
    books = ready(tmp_path)
    more = AWS.rstrip("\n") + ",payment_currency,payment_amount,exchange_rate\n"
    row = "I-9,2025-09,111111111111,AWS Marketplace,INVOICE,EUR,10,0"
    give(books, tmp_path, aws_invoices=f"{more}{row},USD,11,1.1\n")
    reconcile.reconcile(books, SEPTEMBER)
    assert current(books)["I-9 before tax"][:2] == ("late_change", Decimal(11))
    give(books, tmp_path, aws_invoices=f"{more}{row.replace('I-9', 'I-10')},,,\n")
    reconcile.reconcile(books, SEPTEMBER)
    assert "I-10 before tax" not in current(books)  # no line, no amount in USD: nothing differs


@pytest.mark.long
def test_N08_a_missing_rate_blocks_documents_and_not_the_ledger(tmp_path: Path) -> None:
    books = ready(tmp_path)
    with pytest.raises(CopsError, match="E-FX"):
        load(books, tmp_path, "T-9,acme,2025-09,5,EUR,issued,invoice,")
    with books.admin.write() as con:
        con.execute(sa.update(t.tenants).where(t.tenants.c.tenant_id == "acme").values(currency="EUR"))
    assert status(books) == "ok"
    with pytest.raises(CopsError, match="E-FX"):
        statement.statement(books, SEPTEMBER)
    give(books, tmp_path, fx_rates="base,quote,period_start,rate\nEUR,USD,2025-09,1.25\n")
    assert status(books) == "ok"
    acme, _ = statement.statement(books, SEPTEMBER).rows
    assert (acme["currency"], acme["total"]) == ("EUR", Decimal("11.28"))
    assert acme["direct"] + acme["shared"] + acme["adjustments"] + acme["markup"] == acme["total"]
    for rate in ("0", "-1"):
        with pytest.raises(CopsError, match="E-FX"):
            give(books, tmp_path, fx_rates=f"base,quote,period_start,rate\nGBP,USD,2025-09,{rate}\n")


def test_N10_two_aws_invoices_whose_differences_cancel_are_two_exceptions(tmp_path: Path) -> None:
    books = ready(tmp_path)
    give(
        books, tmp_path,
        aws_invoices=AWS
        + "I-5,2025-09,111111111111,AWS,INVOICE,USD,100,0\nI-6,2025-09,111111111111,AWS,INVOICE,USD,-100,0\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)
    found = current(books)
    assert {found["I-5 before tax"][1], found["I-6 before tax"][1]} == {Decimal(100), Decimal(-100)}
    assert check(books, "aws_invoice_matches_cur").passed is False


@pytest.mark.long
def test_N11_an_invoice_over_nothing_divides_by_nothing(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-0,acme,2025-09,0,USD,issued,invoice,")
    assert status(books) == "ok"


@pytest.mark.long
def test_N12_an_invoice_of_another_payer_is_an_exception(tmp_path: Path) -> None:
    rows = MONTH.strip().splitlines()
    text = "\n".join([f"{rows[0]} bill_payer_account_id", *(f"{row} 222222222222" for row in rows[1:])])
    write(tmp_path / "cur", [lines(text)])
    aged(tmp_path / "cur")
    books = home(tmp_path, inputs=INPUTS | DOCUMENTS)
    run(books)
    assert current(books)["I-1 payer"] == ("unknown", Decimal(0), "open")


def test_N14_an_exception_needs_evidence_and_two_people(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,2,USD,issued,invoice,")
    assert status(books) == "warning"
    acme = only(books, "acme")
    with pytest.raises(CopsError, match="E-UNDECIDED"):
        approve.approve(acting(books, "lee"), acme, reason="fine")
    with pytest.raises(CopsError, match="E-PARAM"):
        exceptions.decide(books, acme, decision="goodwill", evidence=" ")
    exceptions.decide(books, acme[:12], decision="goodwill, agreed with acme", evidence="TICKET-1")
    with pytest.raises(CopsError, match="E-APPROVER"):
        approve.approve(books, acme, reason="fine")
    assert check(books, "exceptions_explained").passed is False
    done = approve.approve(acting(books, "lee"), acme, reason="read the ticket")
    assert done.was_new
    assert not approve.approve(acting(books, "lee"), acme, reason="read the ticket").was_new
    assert check(books, "exceptions_explained").passed
    with pytest.raises(CopsError, match="E-EXCEPTION-RESOLVED"):
        exceptions.decide(books, acme, decision="other", evidence="TICKET-2")
    assert close_by_two(books, SEPTEMBER).wrote


@pytest.mark.long
def test_an_approval_is_of_the_decision_that_was_looked_at(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,2,USD,issued,invoice,")
    status(books)
    acme = only(books, "acme")
    exceptions.decide(books, acme, decision="goodwill", evidence="TICKET-1")
    recon_exceptions = t.recon_exceptions
    with books.admin.read() as con:
        looked_at = con.execute(
            sa.select(recon_exceptions).where(recon_exceptions.c.exception_id == acme)
        ).one()
    exceptions.decide(books, acme, decision="write it off", evidence="TICKET-1")
    with pytest.raises(CopsError, match="E-UNDECIDED"), books.admin.write() as con:
        exceptions.require_unchanged(looked_at, exceptions.row_of(con, acme))
    assert current(books)["acme"][2] == "decided"


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({}, True), ({"hours": 168}, True), ({"hours": 169}, False), ({"hours": 0}, False),
        ({"hours": -1}, False), ({"hours": 10**12}, False), ({"severity": "P1"}, False),
        ({"reason": " "}, False),
        ({"rule": None}, False), ({"rule": None, "period": SEPTEMBER}, True),
    ],
)  # fmt: skip
def test_a_silence_has_scope_reason_and_an_end(tmp_path: Path, given: dict[str, Any], allowed: bool) -> None:
    books = home(tmp_path, inputs=None)
    values = {"rule": "r", "period": None, "severity": "P2", "hours": 24, "reason": "known", **given}
    if allowed:
        assert board.silence(books, **values)
        return
    with pytest.raises(CopsError, match="E-ALERT-SILENCE"):
        board.silence(books, **values)


def test_only_one_firing_alert_can_be_taken_and_its_taker_is_recorded(tmp_path: Path) -> None:
    books = failed(tmp_path)
    with books.admin.read() as con:
        (alert,) = failures(con)
    taken = board.acknowledge(books, alert.fingerprint[:12], note="on it")
    assert (taken.acked_by, taken.is_acked(now())) == ("test", True)
    for name in ("", "0" * 64):
        with pytest.raises(CopsError, match="E-ALERT-UNKNOWN"):
            board.acknowledge(books, name)


@pytest.mark.long
def test_a_decision_is_about_one_amount(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,2,USD,issued,invoice,")
    status(books)
    first = only(books, "acme")
    exceptions.decide(books, first, decision="goodwill", evidence="TICKET-1")
    approve.approve(acting(books, "lee"), first, reason="yes")
    load(books, tmp_path, "T-4,acme,2025-09,1,USD,issued,invoice,")
    status(books)
    assert only(books, "acme") != first
    with books.admin.read() as con:
        (kept,) = [
            one for one in exceptions.current(con, SEPTEMBER, everything=True) if one.exception_id == first
        ]
    assert kept.status == "withdrawn"


@pytest.mark.long
def test_what_went_away_and_came_back_after_a_decision_is_decided_anew(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,2,USD,issued,invoice,")
    status(books)
    first = only(books, "acme")
    exceptions.decide(books, first, decision="goodwill", evidence="TICKET-1")
    approve.approve(acting(books, "lee"), first, reason="yes")
    load(books, tmp_path, "CN-3,acme,2025-09,-2,USD,issued,credit_note,T-3")
    assert status(books) == "ok"
    load(books, tmp_path, "T-5,acme,2025-09,2,USD,issued,invoice,")
    status(books)
    assert only(books, "acme") != first
    assert current(books)["acme"][2] == "open"


@pytest.mark.long
def test_every_stage_leaves_no_residual(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,2,USD,issued,invoice,")
    give(books, tmp_path, aws_invoices=AWS + "I-5,2025-09,111111111111,AWS,INVOICE,USD,100,7\n")
    status(books)
    with books.admin.read() as con:
        found = exceptions.current(con, SEPTEMBER)
        newest = record.newest(con, SEPTEMBER)
        aws = con.execute(sa.select(t.aws_invoices.c.amount_before_tax, t.aws_invoices.c.tax)).all()
    sums = {
        stage: sum((one.amount_usd for one in found if one.stage == stage), Decimal(0))
        for stage in ("aws_invoice", "cur", "tenant_invoice")
    }
    billed = sum((row.amount_before_tax + row.tax for row in aws), Decimal(0))
    assert sums["tenant_invoice"] == newest.variance_usd
    assert sums["cur"] == -newest.unallocated_usd
    assert sums["aws_invoice"] == billed - newest.aws_total_usd  # net = gross in this month


# --- freeze -----------------------------------------------------------------------------------------------


def failed(folder: Path) -> Books:
    """A September that failed at month close: invoices are frozen."""
    books = ready(folder)
    load(books, folder, "T-3,acme,2025-09,50,USD,issued,invoice,")
    assert status(books) == "failed"
    return books


def failures(con: sa.Connection) -> list[Alert]:
    """What fires because a month did not reconcile."""
    return [one for one in board.alerts(con) if one.severity == "P1"]


def frozen(books: Books) -> list[str]:
    with books.admin.read() as con:
        return [consent.name_of(row) for row in freeze.in_force(con, SEPTEMBER)]


@pytest.mark.long
def test_a_failed_month_freezes_invoices_in_the_transaction_that_fails_it(tmp_path: Path) -> None:
    books = failed(tmp_path)
    with books.admin.read() as con:
        (alert,) = failures(con)
        (row,) = freeze.in_force(con, SEPTEMBER)
    assert (alert.severity, alert.state, row.cause) == ("P1", "firing", f"{alert.fingerprint[:16]}:1")


@pytest.mark.long
def test_a_failure_that_cannot_be_recorded_freezes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,50,USD,issued,invoice,")
    monkeypatch.setattr(freeze, "put", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        status(books)
    monkeypatch.undo()
    with books.admin.read() as con:
        assert (failures(con), list(freeze.in_force(con))) == ([], [])
    assert status(books) == "failed"
    assert frozen(books) == ["freeze-1"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "row", ["T-8,acme,2025-09,1,USD,issued,invoice,", "T-8,acme,2025-10,1,USD,issued,invoice,"]
)
def test_a_new_invoice_of_a_frozen_month_or_later_is_refused(tmp_path: Path, row: str) -> None:
    books = failed(tmp_path)
    with pytest.raises(CopsError, match="E-FREEZE"):
        load(books, tmp_path, row)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "row",
    [
        "T-8,acme,2025-08,1,USD,issued,invoice,",
        "CN-8,acme,2025-09,-50,USD,issued,credit_note,T-3",
        "T-8,acme,2025-09,1,USD,issued,invoice,T-3",
        "T-3,acme,2025-09,50,USD,issued,invoice,",
    ],
    ids=["an earlier month", "a credit note", "a reissue", "one that is there already"],
)
def test_what_is_no_new_invoice_is_taken_while_frozen(tmp_path: Path, row: str) -> None:
    load(failed(tmp_path), tmp_path, row)


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({}, True),
        ({"period_start": SEPTEMBER.next().start}, True),
        ({"period_start": SEPTEMBER.previous().start}, False),
        ({"document_type": "credit_note"}, False),
        ({"corrects_invoice_id": "T-3"}, False),
    ],
)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_database_itself_keeps_the_freeze(
    tmp_path: Path, values: dict[str, Any], refused: bool, database: str
) -> None:
    books = home(
        tmp_path, inputs={name: INPUTS[name] for name in ("plans", "tenants")},
        **({"admin_db": postgres.database()} if database == "postgresql" else {}),
    )  # fmt: skip
    with books.admin.write() as con:
        freeze.put(con, books, SEPTEMBER, cause="c", reason="r")
    row = {
        "invoice_id": "X", "tenant_id": "acme", "period_start": SEPTEMBER.start, "amount": Decimal(1),
        "currency": "USD", "amount_usd": Decimal(1), "status": "issued", "document_type": "invoice",
        "corrects_invoice_id": None, **values,
    }  # fmt: skip
    if not refused:
        with books.admin.write() as con:
            con.execute(sa.insert(t.invoice_detail).values(row))
        return
    with pytest.raises((DBAPIError, CopsError), match="E-FREEZE"), books.admin.write() as con:
        con.execute(sa.insert(t.invoice_detail).values(row))


def test_a_freeze_ends_with_a_passing_month_evidence_and_two_people(tmp_path: Path) -> None:
    books = failed(tmp_path)
    with pytest.raises(CopsError, match="E-FREEZE-CAUSE"):
        freeze.request_release(books, SEPTEMBER, reason="hurry", evidence="TICKET-1")
    load(books, tmp_path, "CN-3,acme,2025-09,-50,USD,issued,credit_note,T-3")
    assert status(books) == "ok"
    assert frozen(books) == ["freeze-1"]  # the cause is gone, the freeze is not
    with books.admin.read() as con:
        assert failures(con) == []
    with pytest.raises(CopsError, match="E-PARAM"):
        freeze.request_release(books, SEPTEMBER, reason="corrected", evidence="")
    (name,) = freeze.request_release(books, SEPTEMBER, reason="corrected", evidence="CN-3")
    with pytest.raises(CopsError, match="E-APPROVER"):
        approve.approve(books, name, reason="yes")
    approve.approve(acting(books, "lee"), name, reason="seen CN-3")
    assert frozen(books) == []
    load(books, tmp_path, "T-8,acme,2025-10,1,USD,issued,invoice,")
    again = approve.approve(acting(books, "lee"), name, reason="again")
    assert (again.was_new, again.approved_by) == (False, "lee")


@pytest.mark.long
def test_a_release_is_not_approved_when_the_month_failed_again(tmp_path: Path) -> None:
    books = failed(tmp_path)
    load(books, tmp_path, "CN-3,acme,2025-09,-50,USD,issued,credit_note,T-3")
    status(books)
    (name,) = freeze.request_release(books, SEPTEMBER, reason="corrected", evidence="CN-3")
    load(books, tmp_path, "T-8,acme,2025-09,60,USD,issued,invoice,T-3")
    assert status(books) == "failed"
    with pytest.raises(CopsError, match="E-FREEZE-CAUSE"):
        approve.approve(acting(books, "lee"), name, reason="seen CN-3")
    assert frozen(books) == ["freeze-1", "freeze-2"]  # a second cause is a freeze of its own


def test_a_frozen_month_is_not_closed(tmp_path: Path) -> None:
    books = failed(tmp_path)
    load(books, tmp_path, "CN-3,acme,2025-09,-50,USD,issued,credit_note,T-3")
    status(books)
    with pytest.raises(CopsError, match="E-NOT-READY") as refusal:
        close_by_two(books, SEPTEMBER)
    assert "invoices are not frozen" in refusal.value.expected


@pytest.mark.long
def test_a_close_ends_what_still_fires_about_the_month(tmp_path: Path) -> None:
    from datetime import timedelta

    from cops_dagster.alerts.lifecycle import Observation

    books = ready(tmp_path)
    at = now() - timedelta(hours=1)
    seen = Observation("tenants_are_known", "fact_cost_tagged", SEPTEMBER, "P3", True, at, at, "title")
    with books.admin.write() as con:
        board.observe(con, [seen], actor="kim")
    close_by_two(books, SEPTEMBER)
    with books.admin.read() as con:
        found = board.alerts(con, everything=True)
    assert "tenants_are_known" in {one.rule for one in found}
    assert {(one.state, one.resolved_because) for one in found} == {("resolved", "the period is closed")}


@pytest.mark.long
def test_a_tenant_that_is_off_month_after_month_stands_out(tmp_path: Path) -> None:
    books = ready(tmp_path)
    load(books, tmp_path, "T-3,acme,2025-09,2,USD,issued,invoice,")
    status(books)
    recons, tenants = t.recon_run, t.recon_run_tenant
    with books.admin.write() as con:
        whole = dict(
            con.execute(sa.select(recons).order_by(recons.c.recon_seq.desc()).limit(1)).mappings().one()
        )
        acme = dict(
            con.execute(sa.select(tenants).where(tenants.c.tenant_id == "acme").limit(1)).mappings().one()
        )
        month = SEPTEMBER
        for off in ("warning", "failed", "ok", "warning"):
            month = month.previous()
            ids = {"recon_id": str(month), "inputs_id": str(month), "period_start": month.start}
            row = {name: value for name, value in (whole | ids).items() if name != "recon_seq"}
            seq = con.execute(sa.insert(recons).values(row).returning(recons.c.recon_seq)).scalar_one()
            one = acme | {"recon_seq": seq, "period_start": month.start, "status": off}
            con.execute(sa.insert(tenants).values(one))
    with books.admin.read() as con:
        assert reconcile.months_off(con, SEPTEMBER) == {"acme": 3}
