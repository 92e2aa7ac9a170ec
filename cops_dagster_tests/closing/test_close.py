"""Closing a month: what must hold, what is sealed, and that it never changes again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.adjustments import restate
from cops_dagster.allocation import allocate, reverse, rule_date
from cops_dagster.closing import approve, checklist, current, periods, sealing
from cops_dagster.closing.readiness import UNCHANGED_FOR
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, seal, sweep, verify
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions, reconcile
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.places import open_objects
from cops_dagster.tagging import tag
from cops_dagster_tests.closing.ready import aged, close_by_two, month, ready, unresolved
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant, dump

OCTOBER = Period(2025, 10)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return ready(tmp_path)


def blocking(books: Books, period: Period = SEPTEMBER) -> list[str]:
    return [one.name for one in checklist.requirements(books, period) if not one.holds]


def state(books: Books, period: Period = SEPTEMBER) -> str:
    with books.admin.read() as con:
        return lock.state_of(con, period)


# --- what must hold ------------------------------------------------------------


def test_a_month_of_which_everything_holds_closes_and_is_sealed(books: Books) -> None:
    assert blocking(books) == []
    done = close_by_two(books, SEPTEMBER)
    assert done.wrote
    with books.admin.read() as con:
        row = con.execute(sa.select(t.period_lock)).one()
        moves = con.execute(
            sa.select(t.period_lock_event.c.to_state).order_by(t.period_lock_event.c.state_seq)
        ).scalars()
        assert list(moves) == ["open", "provisional", "final", "closing", "closed"]
    assert (row.state, row.seal_digest, row.seal_journal_seq) == (
        "closed",
        done.seal_digest,
        done.journal_seq,
    )
    assert verify.verify(books).status == "ok"


@pytest.mark.long
def test_a_month_closed_twice_has_one_seal(books: Books) -> None:
    first = close_by_two(books, SEPTEMBER)
    before = dump(books)
    again = close_by_two(books, SEPTEMBER)
    assert (again.seal_digest, again.wrote) == (first.seal_digest, False)
    assert dump(books) == before


def unpriced(books: Books, folder: Path) -> None:
    write(folder / "cur", [lines(MONTH)], assembly="young")
    aged(folder / "cur", datetime.now(UTC) - UNCHANGED_FOR + timedelta(minutes=5))
    run(books)


def not_invoiced(books: Books, folder: Path) -> None:
    text = MONTH.replace("cost\n", "cost invoice\n", 1)
    rows = [row if "invoice" in row or not row.strip() else f"{row} ." for row in text.splitlines()]
    month(folder, "\n".join(rows), assembly="open")
    run(books)


def other_key(books: Books, folder: Path) -> None:
    give(
        books, folder, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,")
    )


def quarantined(books: Books, folder: Path) -> None:
    month(folder, MONTH + "Usage AmazonS3 111111111111 acme team api .\n", assembly="quarantined")
    run(books)


def overbilled(books: Books, folder: Path) -> None:
    give(
        books, folder,
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-9,acme,2025-09,40,USD,issued,invoice\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)


def slightly_overbilled(books: Books, folder: Path) -> None:
    give(
        books, folder,
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-9,acme,2025-09,2,USD,issued,invoice\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)


def not_tied(books: Books, folder: Path) -> None:
    give(
        books, folder,
        aws_invoices="invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
        "I-2,2025-09,111111111111,INVOICE,USD,5,0\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)


def frozen(books: Books, folder: Path) -> None:
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.invoice_freeze).values(
                period_start=SEPTEMBER.start, reason="P1", cause="c", set_by="cops", set_at=now()
            )
        )


def unproven(books: Books, folder: Path) -> None:
    for path in (folder / "home" / "evidence" / "objects").rglob("*"):
        if path.is_file():
            path.unlink()


def undecided(books: Books, folder: Path) -> None:
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.recon_exceptions).values(
                {
                    "exception_id": "x", "period_start": SEPTEMBER.start, "class": "timing",
                    "amount_usd": Decimal(1), "opened_by": "kim", "opened_at": now(),
                }
            )
        )  # fmt: skip


def earlier(books: Books, folder: Path) -> None:
    month(folder, MONTH, period=Period(2025, 8), assembly="earlier")
    give(books, folder, tenant_network_usage=INPUTS["tenant_network_usage"].replace("2025-09,", "2025-08,"))
    run(books, Period(2025, 8))


def taken_back(books: Books, folder: Path) -> None:
    other_key(books, folder)
    run(books)
    with books.admin.read() as con:
        head = con.execute(
            sa.select(t.period_head.c.run_id).where(t.period_head.c.table_name == allocate.TABLE)
        ).scalar_one()
    reverse.reverse(books, head, reason="wrong")
    reconcile.reconcile(books, SEPTEMBER)


def held_provisional(books: Books, folder: Path) -> None:
    periods.advance(books, SEPTEMBER)
    periods.mark(books, SEPTEMBER, "provisional", reason="the invoices wait for the next delivery")


@pytest.mark.sampled(13)
@pytest.mark.parametrize(
    ("change", "names"),
    [
        (unpriced, {"delivery_unchanged_for_72_hours"}),
        (not_invoiced, {"every_cost_line_has_an_invoice", "aws_invoice_matches_cur"}),
        (other_key, {"ledger_was_made_from_todays_inputs"}),
        (quarantined, {"no_line_is_quarantined"}),
        (overbilled, {"period_is_reconciled", "variance_within_tolerance"}),
        (slightly_overbilled, {"variance_within_tolerance"}),
        (not_tied, {"aws_invoice_matches_cur"}),
        (frozen, {"invoices_are_not_frozen"}),
        (unproven, {"evidence_is_intact"}),
        (undecided, {"exceptions_explained"}),
        (earlier, {"earlier_periods_are_closed"}),
        (taken_back, {"ledger_was_made_from_todays_inputs"}),
        (held_provisional, {"nobody_holds_it_provisional"}),
    ],
)  # fmt: skip
def test_what_is_missing_blocks_the_close_by_name_and_changes_nothing(
    tmp_path: Path, change: Callable[[Books, Path], None], names: set[str]
) -> None:
    books = ready(tmp_path)
    change(books, tmp_path)
    before = dump(books)
    with pytest.raises(CopsError) as refusal:
        close_by_two(books, SEPTEMBER)
    assert refusal.value.code == "E-NOT-READY"
    missing = {one["name"] for one in refusal.value.details["readiness"] if not one["holds"]}
    assert names <= missing
    assert dump(books) == before


def test_files_of_an_archive_close_at_once_on_a_persons_word_and_a_later_delivery_takes_it_back(
    books: Books, tmp_path: Path
) -> None:
    unpriced(books, tmp_path)
    assert blocking(books) == ["delivery_unchanged_for_72_hours"]
    with pytest.raises(CopsError, match="E-NOT-FINAL") as refused:
        periods.mark(books, SEPTEMBER, "final", reason="AWS finished it on 2025-10-09")
    assert "--evidence LINK" in refused.value.next_step
    periods.mark(books, SEPTEMBER, "final", reason="AWS finished it on 2025-10-09", evidence="bills/I-1.pdf")
    assert blocking(books) == []
    write(tmp_path / "cur", [lines(MONTH)], assembly="younger")
    run(books)
    assert (state(books), blocking(books)) == ("provisional", ["delivery_unchanged_for_72_hours"])
    periods.mark(books, SEPTEMBER, "final", reason="now it is", evidence="bills/I-1.pdf")
    assert close_by_two(books).wrote
    assert [one["evidence_id"] for one in periods.history(books, SEPTEMBER) if one["reason"] == "now it is"]


@pytest.mark.long
def test_a_difference_that_was_explained_with_evidence_does_not_block(books: Books, tmp_path: Path) -> None:
    slightly_overbilled(books, tmp_path)
    with books.admin.read() as con:
        (waiting,) = unresolved(con, SEPTEMBER)
    exceptions.decide(books, waiting.exception_id, decision="agreed", evidence="TICKET-1")
    assert {"exceptions_explained", "variance_within_tolerance"} <= set(blocking(books))
    lee = replace(books, settings=books.settings.model_copy(update={"actor": "lee"}))
    approve.approve(lee, waiting.exception_id, reason="read the ticket")
    assert blocking(books) == []


@pytest.mark.long
def test_a_month_that_is_not_over_is_not_closed(tmp_path: Path) -> None:
    today = Period.of(datetime.now(UTC).date())
    write(tmp_path / "cur", [lines(MONTH, today)], period=today)
    aged(tmp_path / "cur")
    books = ready(tmp_path / "other")
    running = replace(books, settings=books.settings.model_copy(update={"cur": str(tmp_path / "cur")}))
    give(
        books, tmp_path,
        tenant_network_usage=f"period_start,tenant_id,value,refreshed_at\n{today},acme,1,2025-10-01T03:00:00Z\n",
    )  # fmt: skip
    run(running, today)
    assert "support_fees_have_arrived" in blocking(running, today)
    with pytest.raises(CopsError, match="E-NOT-READY"):
        close_by_two(running, today)


def test_a_month_that_nobody_allocated_is_not_closed(books: Books) -> None:
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        close_by_two(books, OCTOBER)


# --- what a closed month refuses ------------------------------------------------------------


@pytest.fixture
def closed(books: Books) -> Books:
    close_by_two(books, SEPTEMBER)
    return books


def test_a_closed_month_takes_no_entry_by_any_act(closed: Books, tmp_path: Path) -> None:
    before = by_tenant(closed)
    with closed.admin.read() as con:
        head = con.execute(
            sa.select(t.period_head.c.run_id).where(t.period_head.c.table_name == allocate.TABLE)
        ).scalar_one()
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        reverse.reverse(closed, head, reason="too late")
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        rule_date.decide(closed, SEPTEMBER, SEPTEMBER.start)
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        other_key(closed, tmp_path)
    with pytest.raises(CopsError, match="E-PERIOD-STATE"):
        periods.mark(closed, SEPTEMBER, "provisional", reason="again")
    assert by_tenant(closed) == before


@pytest.mark.long
def test_new_rules_and_tenants_are_refused_for_a_closed_month_and_change_nothing_of_it_from_the_next(
    closed: Books, tmp_path: Path
) -> None:
    before = by_tenant(closed)
    tenants = "tenant_id,name,plan_id,active_from\ninitech,Initech,team,{day}\n"
    rules = INPUTS["allocation_rules"].splitlines()[0] + "\nall,1,{day},1,,,even,,,fail,kim\n"
    for rows in ({"tenants": tenants}, {"allocation_rules": rules}):
        with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
            give(closed, tmp_path, **{name: text.format(day="2025-01-01") for name, text in rows.items()})
        give(closed, tmp_path, **{name: text.format(day="2025-10-01") for name, text in rows.items()})
    ingest.ingest(closed, SEPTEMBER)
    assert not tag.tag(closed, SEPTEMBER).wrote
    assert not allocate.allocate(closed, SEPTEMBER).wrote
    assert current.is_current(closed, SEPTEMBER)
    assert by_tenant(closed) == before


@pytest.mark.long
def test_a_sealed_month_reads_its_kept_bytes_when_aws_overwrites_its_own(
    closed: Books, tmp_path: Path
) -> None:
    sums = "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM cur_billing_master"
    before = answer(closed, sums)
    shutil.rmtree(tmp_path / "cur")
    assert answer(closed, sums, verify=True) == before


@pytest.mark.long
def test_a_closed_month_has_nothing_to_do(closed: Books) -> None:
    assert current.is_current(closed, SEPTEMBER)


@pytest.mark.long
def test_the_next_month_is_open_while_this_one_is_closed(closed: Books, tmp_path: Path) -> None:
    month(tmp_path, MONTH, period=OCTOBER, assembly="october")
    give(
        closed, tmp_path,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace("-09,", "-10,").replace("10-01", "11-01"),
    )  # fmt: skip
    run(closed, OCTOBER)
    assert sum(by_tenant(closed).values()) == 2 * Decimal("40.880000001")


# --- the seal ------------------------------------------------------------


@pytest.mark.long
def test_the_seal_names_everything_the_month_rests_on(closed: Books) -> None:
    with closed.admin.read() as con:
        row = chain.find(con, "seal", "period", "2025-09")
        kinds = set(con.execute(sa.select(t.evidence_index.c.kind)).scalars())
    said = json.loads(chain.read(closed, row.evidence_seq))
    assert {"readiness", "seal", "delivered_file", "run_inputs", "run_sql", "run_certificate"} <= kinds
    assert said["entry_count"] == 8
    assert said["totals"]["allocated_cost_usd"] == "40.880000001000000000"
    assert said["deliveries"][0]["files"][0]["sha256"]
    assert "at" not in said  # a seal has no time: made again it is the same


def test_a_sealed_month_is_made_again_from_evidence_alone_in_an_empty_home(
    closed: Books, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "home" / "evidence", moved)
    shutil.rmtree(tmp_path / "home")
    shutil.rmtree(tmp_path / "cur")
    done = restate.replay(tmp_path / "empty", open_objects(str(moved)), SEPTEMBER)
    assert done.agrees
    assert done.entry_count == 8


@pytest.mark.long
def test_two_different_digests_refuse_the_seal_and_leave_the_month_final(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "elsewhere", lambda *_: ("0" * 64, 8))
    with pytest.raises(CopsError, match="E-SEAL"):
        close_by_two(books, SEPTEMBER)
    assert state(books) == "final"
    monkeypatch.undo()
    assert close_by_two(books, SEPTEMBER).wrote


@pytest.mark.long
def test_a_damaged_entry_file_is_never_sealed(books: Books, tmp_path: Path) -> None:
    path = next((tmp_path / "home" / "lake" / allocate.TABLE).rglob("*.parquet"))
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CopsError):
        close_by_two(books, SEPTEMBER)
    assert state(books) != "closed"


def test_a_run_published_after_the_readiness_list_stops_the_close(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checklist.requirements

    def and_then_a_run(opened: Books, period: Period) -> object:
        made = real(opened, period)
        other_key(opened, tmp_path)
        tag.tag(opened, period)
        allocate.allocate(opened, period)
        return made

    monkeypatch.setattr(checklist, "requirements", and_then_a_run)
    with pytest.raises(CopsError, match="E-CONTENTION"):
        close_by_two(books, SEPTEMBER)
    assert state(books) == "open"


# --- states ------------------------------------------------------------


def test_a_month_over_and_complete_becomes_final_by_itself_and_then_takes_no_run(
    books: Books, tmp_path: Path
) -> None:
    assert periods.advance(books, SEPTEMBER) == "final"
    other_key(books, tmp_path)
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert refusal.value.code == "E-PERIOD-CLOSED"
    assert "mark-provisional" in refusal.value.next_step
    periods.mark(books, SEPTEMBER, "provisional", reason="the key is corrected")
    run(books)
    assert periods.advance(books, SEPTEMBER) == "provisional"  # held by a person until AWS delivers again
    assert periods.mark(books, SEPTEMBER, "final", reason="it is right now")
    assert state(books) == "final"


@pytest.mark.long
def test_other_bytes_from_aws_make_a_final_month_provisional_again(books: Books, tmp_path: Path) -> None:
    periods.advance(books, SEPTEMBER)
    month(tmp_path, MONTH + "Usage AmazonS3 111111111111 acme team api 1\n", assembly="other")
    run(books)
    assert state(books) == "provisional"
    with books.admin.read() as con:
        moves = t.period_lock_event
        event = con.execute(sa.select(moves).order_by(moves.c.state_seq.desc()).limit(1)).one()
    assert event.reason == "AWS delivered other bytes"
    assert event.evidence_id.startswith("delivery ")


@pytest.mark.long
def test_a_delayed_month_goes_on_with_the_next_delivery(books: Books, tmp_path: Path) -> None:
    periods.mark(books, SEPTEMBER, "delayed", reason="AWS is late")
    assert periods.advance(books, SEPTEMBER) == "delayed"
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="new")
    aged(tmp_path / "cur", datetime.now(UTC) + timedelta(minutes=1))
    run(books)
    assert periods.advance(books, SEPTEMBER) == "provisional"


@pytest.mark.long
def test_a_month_that_aws_stops_delivering_is_delayed_reconciled_and_not_closed(
    books: Books, tmp_path: Path
) -> None:
    not_invoiced(books, tmp_path)
    delivered = datetime(2025, 10, 9)
    assert periods.mark_late(books, delivered + timedelta(hours=48)) == [OCTOBER]  # of which nothing came
    assert periods.mark_late(books, delivered + timedelta(hours=48, minutes=1)) == [SEPTEMBER]
    assert periods.mark_late(books, delivered + timedelta(hours=49)) == []
    assert (state(books), state(books, OCTOBER)) == ("delayed", "delayed")
    assert reconcile.reconcile(books, SEPTEMBER).status
    assert periods.advance(books, SEPTEMBER) == "delayed"
    with pytest.raises(CopsError, match="E-NOT-READY"):
        close_by_two(books, SEPTEMBER)
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="new")
    run(books)
    assert periods.advance(books, SEPTEMBER) == "provisional"


@pytest.mark.long
def test_a_delayed_month_of_which_all_else_holds_is_not_closed(books: Books) -> None:
    periods.mark(books, SEPTEMBER, "delayed", reason="AWS announced a correction")
    assert blocking(books) == ["no_delivery_is_waited_for"]
    with pytest.raises(CopsError, match="E-NOT-READY"):
        close_by_two(books, SEPTEMBER)
    assert state(books) == "delayed"
    periods.mark(books, SEPTEMBER, "provisional", reason="AWS took it back")
    periods.mark(books, SEPTEMBER, "final", reason="AWS took it back")
    assert close_by_two(books, SEPTEMBER).wrote


@pytest.mark.long
def test_an_archive_is_not_waited_for(books: Books) -> None:
    assert periods.mark_late(books, datetime(2026, 11, 24)) == []
    assert state(books) == "open"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("there", ["delayed", "provisional", "final"])
def test_a_mark_without_a_reason_is_refused(books: Books, there: str) -> None:
    with pytest.raises(CopsError, match="E-PARAM"):
        periods.mark(books, SEPTEMBER, there, reason=" ")


@pytest.mark.long
def test_final_is_refused_while_something_that_makes_a_month_final_is_missing(
    books: Books, tmp_path: Path
) -> None:
    not_invoiced(books, tmp_path)
    with pytest.raises(CopsError, match="E-NOT-FINAL"):
        periods.mark(books, SEPTEMBER, "final", reason="I want to")
    assert state(books) == "open"


@pytest.mark.long
def test_a_close_that_was_cut_short_is_finished_by_the_next(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sealing, "finish", dies)
    with pytest.raises(KeyboardInterrupt):
        close_by_two(books, SEPTEMBER)
    assert state(books) == "closing"
    with pytest.raises(CopsError, match="E-PERIOD"):
        reverse.reverse(books, _head(books), reason="in between")
    monkeypatch.undo()
    sweep.sweep(books)
    assert close_by_two(books, SEPTEMBER).wrote
    assert look.look(books, SEPTEMBER)[0].refusals == ()


def _head(books: Books) -> str:
    with books.admin.read() as con:
        return str(
            con.execute(
                sa.select(t.period_head.c.run_id).where(t.period_head.c.table_name == allocate.TABLE)
            ).scalar_one()
        )
