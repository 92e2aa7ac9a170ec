"""The same cost never twice, whatever its formats and places; the ways out; no source stops another."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from cops_dagster.adjustments import late
from cops_dagster.allocation import allocate
from cops_dagster.closing import checklist, current, periods, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, sweep, verify
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import checks, claims, deliver, ingest, look, source_decisions, sources
from cops_dagster.lake import live
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import SEPTEMBER, force_state, home, lines, write
from cops_dagster_tests.ingestion.catalogue import flip
from cops_dagster_tests.layouts import csv_text, exports, legacy
from cops_dagster_tests.shown import answer

PAYER, OTHER = "999999999999", "888888888888"
A, B = "111111111111", "222222222222"
OCTOBER = Period(2025, 10)


def month(*accounts: str, payer: str = PAYER, cost: str = "10.5", period: Period = SEPTEMBER) -> pa.Table:
    """One line of acme for each account."""
    rows = [f"Usage AmazonEC2 {account} acme team api {cost} {payer}" for account in accounts]
    header = "type service account tenant plan component cost bill_payer_account_id"
    return lines("\n".join([header, *rows]), period)


def over(books: Books, *roots: object) -> Books:
    return open_books(books.settings.model_copy(update={"cur": ",".join(map(str, roots))}))


def codes(books: Books, period: Period = SEPTEMBER) -> dict[str, list[str]]:
    """What a look refuses, by source."""
    return {one.source_id: [refusal.code for refusal in one.refusals] for one in look.look(books, period)}


def made(books: Books, period: Period = SEPTEMBER) -> None:
    """A month from what is shown to reconciled."""
    ingest.ingest(books, period)
    tag.tag(books, period)
    allocate.allocate(books, period)
    reconcile.reconcile(books, period)
    sweep.sweep(books)


def total(books: Books) -> Decimal:
    """Σ allocated, which is Σ raw to the last digit."""
    (raw,) = answer(books, "SELECT COALESCE(SUM(line_item_unblended_cost), 0) FROM fact_cost_raw")[0]
    (allocated,) = answer(books, "SELECT COALESCE(SUM(allocated_cost_usd), 0) FROM fact_cost_allocated")[0]
    assert allocated == raw
    return Decimal(allocated)


def go(books: Books, period: Period = SEPTEMBER) -> Decimal:
    """The month as a run makes it: what is refused stays out, the others go on; what is booked then."""
    look.look(books, period)
    made(books, period)
    return total(books)


def verdict(books: Books, check: str, period: Period = SEPTEMBER) -> Verdict:
    return next(one for one in checks.delivery(books, period) if one.check == check)


def at(root: Path, name: str, table: pa.Table, **how: object) -> Path:
    """A legacy report below `root/name`, its manifest naming a report of its own."""
    return write(root / name, [table], manifest={"account": name, "reportName": name}, **how)  # type: ignore[arg-type]


# --- the newcomer is held ---------------------------------------------------------------------------------


def csv_and_cur2(cur: Path) -> None:
    legacy(cur / "old", [month(A)], SEPTEMBER, "a1", kind="gzip", overwrite=True)
    exports(cur / "new", [month(A)], SEPTEMBER, "e1", kind="parquet", overwrite=True)


def payer_and_member(cur: Path) -> None:
    at(cur, "payer", month(A, B))
    at(cur, "member", month(B))


def same_bytes(cur: Path) -> None:
    at(cur, "one", month(A, payer="."))
    shutil.copytree(cur / "one", cur / "two")


@pytest.mark.long
@pytest.mark.parametrize("deliver_both", [csv_and_cur2, payer_and_member, same_bytes])
def test_a_fresh_month_that_two_sources_bill_books_nothing(
    deliver_both: Callable[[Path], None], tmp_path: Path
) -> None:
    deliver_both(tmp_path / "cur")
    books = home(tmp_path)
    assert set(map(tuple, codes(books).values())) == {(claims.CODE,)}
    with books.admin.read() as con:
        assert con.execute(sa.select(t.cur_billing_head)).all() == []
    assert verdict(books, "each_payer_has_one_source").refuses
    assert [one.state for one in status.statuses(books)] == ["delayed"]
    assert {one.state for one in sources.sources(books)} == {"held"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", [("", "acme-report"), ("acme-report", "")])
def test_roots_that_hold_one_another_book_nothing_twice(tmp_path: Path, order: tuple[str, str]) -> None:
    """N2: `COPS_CUR="$R,$R/acme-report"` doubled every line, and removing one had no effect."""
    root = tmp_path / "cur"
    write(root / "acme-report", [month(A)])
    books = home(tmp_path)
    books = over(books, *(root / name if name else root for name in order))
    assert codes(books) == {"report": [claims.CODE], "acme-report/report": [claims.CODE]}
    books = over(books, root)
    assert go(books) == Decimal("10.5")
    books = over(books, *(root / name if name else root for name in order))
    assert go(books) == Decimal("10.5")
    assert codes(books)["report"] == [claims.CODE]
    books = over(books, root)  # the newcomer's root is taken out again: nothing is waited for
    assert go(books) == Decimal("10.5")
    assert verdict(books, "every_source_is_taken").passed
    assert current.is_current(books, SEPTEMBER)
    assert [one.state for one in status.statuses(books)] != ["delayed"]


def test_a_root_that_is_named_twice_is_one_root(tmp_path: Path) -> None:
    root = tmp_path / "cur"
    write(root, [month(A)])
    (tmp_path / "link").symlink_to(root)
    books = over(home(tmp_path), root, tmp_path / "link", root / "report" / "..")
    assert codes(books) == {"report": []}


@pytest.mark.long
def test_what_shares_no_payer_and_account_needs_nobody(tmp_path: Path) -> None:
    cur = tmp_path / "cur"
    at(cur, "one", month(A))  # per-account reports of one payer
    at(cur, "two", month(B))
    at(cur, "moved", month(A, payer=OTHER))  # the account changed its payer within the month
    books = home(tmp_path)
    assert go(books) == Decimal("31.5")
    assert verdict(books, "each_payer_has_one_source").passed


def test_a_migration_at_the_turn_of_a_month_needs_nobody(tmp_path: Path) -> None:
    cur = tmp_path / "cur"
    legacy(cur, [month(A)], SEPTEMBER, "a1", kind="gzip", overwrite=True)
    exports(cur, [month(A, period=OCTOBER)], OCTOBER, "e1", kind="parquet", overwrite=True)
    books = home(tmp_path)
    assert codes(books) == {"prefix/report": []}
    assert codes(books, OCTOBER) == {"prefix/export": []}


def test_a_source_of_earlier_months_goes_on_beside_a_newcomer(tmp_path: Path) -> None:
    cur = tmp_path / "cur"
    at(cur, "old", month(A))
    books = home(tmp_path)
    look.look(books, SEPTEMBER)
    at(cur, "old", month(A, period=OCTOBER), period=OCTOBER)
    at(cur, "new", month(A, period=OCTOBER), period=OCTOBER)
    assert codes(books, OCTOBER) == {"old/report": [], "new/report": [claims.CODE]}


def test_a_delivery_recorded_before_pairs_were_known_is_judged_by_payer_and_account(tmp_path: Path) -> None:
    cur = tmp_path / "cur"
    at(cur, "old", month(A))
    books = home(tmp_path)
    look.look(books, SEPTEMBER)
    _forget_pairs(books)
    at(cur, "new", month(A))
    at(cur, "other", month(B))
    assert codes(books) == {"old/report": [], "new/report": [claims.CODE], "other/report": []}


def _forget_pairs(books: Books) -> None:
    with books.admin.write() as con:
        trigger = "cur_delivery_breakdown_no_delete"
        sql = con.exec_driver_sql(f"SELECT sql FROM sqlite_master WHERE name = '{trigger}'").scalar_one()
        con.exec_driver_sql(f"DROP TRIGGER {trigger}")
        con.exec_driver_sql(f"DELETE FROM cur_delivery_breakdown WHERE dimension = '{claims.PAIRS}'")
        con.exec_driver_sql(sql)


# --- the ways out -----------------------------------------------------------------------------------------


@pytest.fixture
def twice(tmp_path: Path) -> Books:
    """A home that booked an account from two sources, as earlier versions did."""
    at(tmp_path / "cur", "one", month(A, B))
    at(tmp_path / "cur", "two", month(B))
    books = home(tmp_path)
    look.take_as_given(books, SEPTEMBER)
    made(books)
    assert total(books) == Decimal("31.5")
    return books


@pytest.mark.long
def test_a_home_that_booked_twice_is_red_and_publishes_nothing_over_it(twice: Books) -> None:
    assert verdict(twice, "each_payer_has_one_source").refuses
    with pytest.raises(CopsError, match=claims.CODE) as refusal:
        claims.require_one(twice, SEPTEMBER)
    assert "cops source retire" in refusal.value.next_step
    needs = {one.name: one.holds for one in checklist.requirements(twice, SEPTEMBER)}
    assert not needs["each_payer_has_one_source"]


@pytest.mark.long
def test_retiring_a_source_takes_its_lines_back_by_reversal(twice: Books) -> None:
    done = source_decisions.retire(twice, "two/report", reason="the payer's report has it")
    assert (done.open_months, done.closed_months) == ([SEPTEMBER], [])
    assert not current.is_current(twice, SEPTEMBER)
    assert go(twice) == Decimal("21.0")
    assert verdict(twice, "each_payer_has_one_source").passed
    (net,) = answer(
        twice, "SELECT SUM(allocated_cost_usd) FROM fact_cost_allocated WHERE entry_type = 'reversal'"
    )[0]
    assert net == Decimal("-31.5")
    assert current.is_current(twice, SEPTEMBER)
    assert verify.verify(twice).status == "ok"
    again = source_decisions.retire(twice, "two/report", reason="the payer's report has it")
    assert not again.was_new


def test_a_final_month_is_provisional_again_and_nobody_holds_it(twice: Books) -> None:
    with twice.admin.write() as con:
        force_state(con, "final", SEPTEMBER)
    source_decisions.retire(twice, "two/report", reason="the payer's report has it")
    with twice.admin.read() as con:
        facts = periods.facts_of(twice, con, SEPTEMBER)
        assert (lock.state_of(con, SEPTEMBER), facts.marked_by) == ("provisional", None)


@pytest.mark.long
def test_a_close_that_was_given_up_does_not_keep_a_retired_source(twice: Books) -> None:
    with twice.admin.write() as con:
        force_state(con, "closing", SEPTEMBER)
    source_decisions.retire(twice, "two/report", reason="the payer's report has it")
    with twice.admin.write() as con:
        force_state(con, "provisional", SEPTEMBER)
    assert not current.is_current(twice, SEPTEMBER)
    assert go(twice) == Decimal("21.0")


@pytest.mark.long
def test_a_decision_about_a_source_is_kept_with_actor_reason_and_proof(twice: Books) -> None:
    source_decisions.retire(twice, "two/report", reason="migrated", first=SEPTEMBER)
    with twice.admin.read() as con:
        row = con.execute(sa.select(t.source_event)).one()
    assert (row.event, row.actor, row.reason, row.first_period) == (
        "retired",
        "test",
        "migrated",
        SEPTEMBER.start,
    )
    assert b"migrated" in chain.read(twice, int(row.evidence_id))


@pytest.mark.long
def test_a_retired_source_that_is_restored_is_judged_anew(twice: Books) -> None:
    source_decisions.retire(twice, "two/report", reason="wrong")
    go(twice)
    source_decisions.restore(twice, "two/report", reason="was right")
    assert codes(twice) == {"one/report": [], "two/report": [claims.CODE]}
    source_decisions.retire(twice, "one/report", reason="wrong one")
    assert go(twice) == Decimal("10.5")


@pytest.mark.long
def test_every_source_of_a_month_may_be_retired(twice: Books) -> None:
    for name in ("one/report", "two/report"):
        source_decisions.retire(twice, name, reason="not our payer")
    assert go(twice) == Decimal(0)
    assert [one.lines for one in status.statuses(twice)] == [0]


@pytest.mark.long
def test_a_closed_month_keeps_a_source_that_is_retired(twice: Books) -> None:
    with twice.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    done = source_decisions.retire(twice, "two/report", reason="late")
    assert (done.open_months, done.closed_months) == ([], [SEPTEMBER])
    with twice.admin.read() as con:
        assert set(claims.shown(con, SEPTEMBER)) == {"one/report", "two/report"}
    assert total(twice) == Decimal("31.5")


@pytest.mark.long
def test_a_second_source_of_a_closed_month_is_refused_and_not_proposed_as_late(tmp_path: Path) -> None:
    at(tmp_path / "cur", "one", month(A))
    books = home(tmp_path)
    go(books)
    with books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    at(tmp_path / "cur", "two", month(A))
    assert codes(books) == {"one/report": [], "two/report": [claims.CODE]}
    with books.admin.read() as con:
        assert late.waiting(con, SEPTEMBER) is None


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda books: source_decisions.retire(books, "two/report", reason=" "), "E-PARAM"),
        (lambda books: source_decisions.retire(books, "two/reprot", reason="x"), "E-SOURCE-NAME.*two/report"),
        (lambda books: source_decisions.restore(books, "two/report", reason="x"), "E-SOURCE-NAME"),
        (lambda books: source_decisions.retire(
            books, "two/report", reason="x", first=OCTOBER, last=SEPTEMBER), "E-PARAM"),
        (lambda books: source_decisions.withdraw(books, "two/report", SEPTEMBER, reason="x"),
         "E-DELIVERY-UNKNOWN"),
        (lambda books: source_decisions.withdraw(books, "manual", SEPTEMBER, reason=""), "E-PARAM"),
    ],
)  # fmt: skip
def test_a_decision_about_nothing_or_without_a_reason_is_refused(
    tmp_path: Path, act: Callable[[Books], object], code: str
) -> None:
    at(tmp_path / "cur", "two", month(A))
    books = home(tmp_path)
    look.look(books, SEPTEMBER)
    with pytest.raises(CopsError, match=code):
        act(books)
    with books.admin.read() as con:
        assert con.execute(sa.select(t.source_event)).all() == []


# --- cops deliver beside a root ---------------------------------------------------------------------------


def given(folder: Path, *accounts: str) -> list[Path]:
    path = folder / "handed.parquet"
    pq.write_table(month(*accounts), path)
    return [path]


@pytest.mark.long
def test_what_is_handed_over_beside_a_root_is_held_and_can_be_withdrawn(tmp_path: Path) -> None:
    at(tmp_path / "cur", "one", month(A))
    books = home(tmp_path)
    go(books)
    deliver.deliver(books, given(tmp_path, A), SEPTEMBER)
    assert codes(books) == {"one/report": [], "manual": [claims.CODE]}
    assert go(books) == Decimal("10.5")
    source_decisions.withdraw(books, "manual", SEPTEMBER, reason="by mistake")
    assert codes(books) == {"one/report": []}
    assert go(books) == Decimal("10.5")
    assert len(list((tmp_path / "home" / "withdrawn").rglob("handed.parquet"))) == 1


@pytest.mark.long
def test_a_root_beside_what_was_handed_over_is_held_until_that_is_withdrawn(tmp_path: Path) -> None:
    books = home(tmp_path)
    (tmp_path / "cur").mkdir()
    files = given(tmp_path, A, B)
    deliver.deliver(books, files, SEPTEMBER)
    assert go(books) == Decimal("21.0")
    at(tmp_path / "cur", "one", month(A, cost="7.25"))
    assert codes(books) == {"one/report": [claims.CODE], "manual": []}
    source_decisions.withdraw(books, "manual", SEPTEMBER, reason="the root has it")
    assert go(books) == Decimal("7.25")
    source_decisions.retire(books, "one/report", reason="no, it was right")
    deliver.deliver(books, files, SEPTEMBER)  # the same files may be handed over again
    assert go(books) == Decimal("21.0")
    with books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        source_decisions.withdraw(books, "manual", SEPTEMBER, reason="too late")
    assert total(books) == Decimal("21.0")


# --- places ------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_two_roots_alike_are_told_apart_by_a_name(tmp_path: Path) -> None:
    write(tmp_path / "cur", [month(A)])
    books = home(tmp_path)
    go(books)
    write(tmp_path / "us", [month(A, payer=OTHER)])
    books = over(books, tmp_path / "cur", tmp_path / "us")
    (seen,) = look.look(books, SEPTEMBER)
    assert seen.refusals[0].code == "E-SOURCE-CLASH"
    named = f"other={tmp_path / 'us'}"
    assert f"{named}:" in seen.refusals[0].next_step
    books = over(books, tmp_path / "cur", named)  # as the next step says
    assert go(books) == Decimal("21.0")
    assert [one.source_id for one in sources.sources(books)] == ["other/report", "report"]


@pytest.mark.long
def test_a_source_whose_root_is_gone_stays_booked_and_is_named(tmp_path: Path) -> None:
    write(tmp_path / "cur", [month(A)])
    write(tmp_path / "us", [month(B)])
    books = over(home(tmp_path), tmp_path / "cur", f"us={tmp_path / 'us'}")
    go(books)
    books = over(books, tmp_path / "cur")
    assert current.is_current(books, SEPTEMBER)
    gone = verdict(books, "every_source_has_its_place")
    assert (gone.passed, gone.severity) == (False, "WARN")
    assert [(one.source_id, one.state) for one in sources.sources(books)] == [
        ("report", "active"), ("us/report", "gone"),
    ]  # fmt: skip
    assert total(books) == Decimal("21.0")
    told = {one.source_id: one.waits_for or "" for one in status.deliveries(books, SEPTEMBER)}
    assert told["report"] == ""
    assert "retire us/report" in told["us/report"]
    source_decisions.retire(books, "us/report", reason="sold")
    assert go(books) == Decimal("10.5")
    assert verdict(books, "every_source_has_its_place").passed


# --- one broken source never stops the others -------------------------------------------------------------


def truncated(cur: Path) -> None:
    path = at(cur, "bad", month(B)) / "report-00001.snappy.parquet"
    path.write_bytes(path.read_bytes()[:200])


def without_a_chunk(cur: Path) -> None:
    (at(cur, "bad", month(B)) / "report-00001.snappy.parquet").unlink()


def without_a_column(cur: Path) -> None:
    at(cur, "bad", month(B).drop_columns(["line_item_usage_account_id"]))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("break_it", [truncated, without_a_chunk, without_a_column])
def test_a_broken_report_stops_itself_and_keeps_the_month_red(
    tmp_path: Path, break_it: Callable[[Path], None]
) -> None:
    at(tmp_path / "cur", "good", month(A))
    break_it(tmp_path / "cur")
    books = home(tmp_path)
    assert go(books) == Decimal("10.5")
    assert not any(one.refuses for one in checks.delivery(books, SEPTEMBER))
    red = verdict(books, "every_source_is_taken")
    assert (red.passed, red.severity, red.figures["refused_sources"]) == (False, "ERROR", 1)
    needs = {one.name: one.holds for one in checklist.requirements(books, SEPTEMBER)}
    assert not needs["delivery_is_complete"]
    at(tmp_path / "cur", "bad", month(B))
    assert go(books) == Decimal("21.0")
    assert verdict(books, "every_source_is_taken").passed


@pytest.mark.long
def test_a_broken_report_that_is_retired_is_waited_for_no_longer(tmp_path: Path) -> None:
    at(tmp_path / "cur", "good", month(A))
    without_a_chunk(tmp_path / "cur")
    books = home(tmp_path)
    go(books)
    source_decisions.retire(books, "bad/report", reason="given up")
    assert go(books) == Decimal("10.5")
    assert current.is_current(books, SEPTEMBER)
    needs = {one.name: one.holds for one in checklist.requirements(books, SEPTEMBER)}
    assert needs["delivery_is_complete"]


@pytest.mark.long
def test_files_that_change_after_first_sight_stop_their_own_source(tmp_path: Path) -> None:
    at(tmp_path / "cur", "good", month(A))
    path = at(tmp_path / "cur", "bad", month(B)) / "report-00001.snappy.parquet"
    books = home(tmp_path)
    look.look(books, SEPTEMBER)
    flip(path, path.stat().st_size // 3)
    live.forget([path])
    made(books)
    assert total(books) == Decimal("10.5")
    (red,) = [one for one in checks.raw(books, SEPTEMBER) if one.check == "every_delivery_is_ingested"]
    assert (red.passed, red.severity) == (False, "ERROR")
    assert not any(one.refuses for one in checks.raw(books, SEPTEMBER))


@pytest.mark.long
def test_a_root_out_of_reach_stops_itself(tmp_path: Path) -> None:
    write(tmp_path / "cur", [month(A)])
    books = over(home(tmp_path), tmp_path / "cur", tmp_path / "missing")
    assert go(books) == Decimal("10.5")
    assert codes(books) == {"report": [], f"root {tmp_path / 'missing'}": ["E-SOURCE-UNKNOWN"]}
    assert not current.is_current(books, SEPTEMBER)
    (tmp_path / "missing").mkdir()
    go(books)
    assert current.is_current(books, SEPTEMBER)


FOREIGN = {
    "a FOCUS export": pa.table({"BilledCost": [1.0], "EffectiveCost": [1.0], "BillingAccountId": [PAYER]}),
    "a carbon emissions export": pa.table({"total_lbm_emissions_value": [1.0], "usage_account_id": [A]}),
    "an export of recommendations": pa.table({"recommendation_id": ["r"], "saving": [1.0]}),
    "2 columns and no cost of a line item among them: line_item_resource_id, product_sku": pa.table(
        {"product_sku": ["s"], "line_item_resource_id": ["i-1"]}
    ),
}  # fmt: skip


@pytest.mark.sampled(8)
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("form", ["parquet", "gzip"])
def test_another_export_beside_the_report_is_named_and_left_alone(
    tmp_path: Path, kind: str, form: str
) -> None:
    at(tmp_path / "cur", "good", month(A))
    folder = at(tmp_path / "cur", "odd", FOREIGN[kind])
    if form == "gzip":
        as_csv(folder, FOREIGN[kind])
    books = home(tmp_path)
    assert go(books) == Decimal("10.5")
    found = verdict(books, "no_foreign_exports")
    assert (found.passed, found.severity) == (False, "WARN")
    assert found.figures["foreign_exports"] == [{"export": "odd/report", "kind": kind}]
    assert verdict(books, "every_source_is_taken").passed
    assert current.is_current(books, SEPTEMBER)  # it was looked at once


def test_a_root_with_nothing_but_another_export_is_refused_in_words_of_its_own(tmp_path: Path) -> None:
    at(tmp_path / "cur", "odd", FOREIGN["a FOCUS export"])
    books = home(tmp_path)
    assert codes(books) == {"odd/report": ["E-EXPORT-FOREIGN"]}
    assert verdict(books, "delivery_is_complete").refuses


def as_csv(folder: Path, table: pa.Table) -> None:
    (file,) = folder.glob("*.parquet")
    file.unlink()
    body = csv_text(table.column_names, [list(row.values()) for row in table.to_pylist()])
    (folder / "report-1.csv.gz").write_bytes(gzip.compress(body, mtime=0))
    for path in (*folder.glob("*-Manifest.json"), *folder.parent.glob("*-Manifest.json")):
        said = json.loads(path.read_text())
        path.write_text(json.dumps(said | {"compression": "GZIP", "reportKeys": ["report/report-1.csv.gz"]}))
