"""A delivery that needs a second look waits for a second person; then it is taken, quarantine and all."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import approve, current, status
from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import compare, holds, look
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.ingestion.catalogue import put
from cops_dagster_tests.shown import answer, by_tenant


@pytest.fixture
def books(tmp_path: Path) -> Books:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path)
    run(opened)
    return opened


def acting_as(books: Books, actor: str) -> Books:
    return open_books(books.settings.model_copy(update={"actor": actor}))


def somebody_else(books: Books) -> Books:
    return acting_as(books, "kim")


def held(books: Books) -> holds.Waiting:
    with books.admin.read() as con:
        (waiting,) = holds.held(con)
    return waiting


@pytest.mark.long
def test_a_month_that_shrank_waits_until_a_second_person_approves(books: Books, tmp_path: Path) -> None:
    before = by_tenant(books)
    write(tmp_path / "cur", [lines(MONTH).slice(0, 2)], assembly="a2")
    for _ in range(2):
        with pytest.raises(CopsError, match="E-SHRINK") as refusal:
            run(books)
        assert by_tenant(books) == before
    waiting = held(books)
    assert waiting.subject_id[:16] in refusal.value.next_step
    assert [one.state for one in status.statuses(books)] == ["delayed"]
    assert [one.waits_for is None for one in status.deliveries(books, SEPTEMBER)] == [False, True]
    with pytest.raises(CopsError, match="E-APPROVER"):
        approve.approve(books, waiting.subject_id, reason="looks right")
    for same in ("test ", "TEST", "te\u200bst"):  # the one who asked, written differently
        with pytest.raises(CopsError, match="E-APPROVER"):
            approve.approve(acting_as(books, same), waiting.subject_id, reason="looks right")
    with pytest.raises(CopsError, match="E-PARAM"):
        approve.approve(somebody_else(books), waiting.subject_id, reason=" ")
    with pytest.raises(CopsError, match="E-APPROVAL-UNKNOWN"):
        approve.approve(somebody_else(books), "zz", reason="looks right")
    assert not current.is_current(books, SEPTEMBER)
    assert approve.approve(
        somebody_else(books), waiting.subject_id[:12], reason="test account closed"
    ).was_new
    assert not approve.approve(somebody_else(books), waiting.subject_id, reason="again").was_new
    run(books)
    assert sum(by_tenant(books).values()) == Decimal("30.3")
    assert current.is_current(books, SEPTEMBER)


@pytest.mark.long
def test_a_cost_nobody_knows_is_set_aside_once_approved_and_the_month_stays_provisional(
    books: Books, tmp_path: Path
) -> None:
    write(
        tmp_path / "cur", [put("line_item_unblended_cost", float("nan"), row=2)(lines(MONTH))], assembly="a2"
    )
    with pytest.raises(CopsError, match="E-COST-NAN"):
        run(books)
    approve.approve(somebody_else(books), held(books).subject_id, reason="AWS case 123")
    run(books)
    aside = answer(
        books, "SELECT quarantine_code, quarantine_reason, line_item_unblended_cost FROM cur_quarantine"
    )
    assert aside == [("E-COST-NAN", "line_item_unblended_cost = nan", None)]
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(5,)]
    with books.admin.read() as con:
        assert month.read(con, SEPTEMBER).quarantined[0] == 1
        newest = sa.select(t.recon_run.c.aws_total_usd).order_by(t.recon_run.c.recon_seq.desc()).limit(1)
        assert con.execute(newest).scalar_one() == Decimal("37.870000001")
    write(tmp_path / "cur", [lines(MONTH)], assembly="a3")
    run(books)
    assert answer(books, "SELECT COUNT(*) FROM cur_quarantine") == [(0,)]
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(6,)]


def test_a_delivery_diff_adds_up_in_every_dimension(books: Books, tmp_path: Path) -> None:
    with books.admin.read() as con:
        first = con.execute(sa.select(t.cur_delivery.c.delivery_id)).scalar_one()
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 222222222222 acme team api 1.5\n")], assembly="a2")
    look.look(books, SEPTEMBER)
    found = compare.since(books, SEPTEMBER, first[:10])
    assert (found.rows_before, found.rows_after, found.usd_after - found.usd_before) == (6, 7, Decimal("1.5"))
    for dimension in compare.DIMENSIONS:
        changes = [one for one in found.changes if one.dimension == dimension]
        assert sum(one.change_usd for one in changes) == Decimal("1.5")
    by_service = [(one.value, one.rows_after) for one in found.changes if one.dimension == "service"]
    assert by_service == [("AmazonS3", 1)]
    for wrong in ("", "zz"):
        with pytest.raises(CopsError, match="E-DELIVERY-UNKNOWN"):
            compare.since(books, SEPTEMBER, wrong)


@pytest.mark.long
def test_a_moved_report_is_refused_and_two_reports_side_by_side_are_allowed(
    books: Books, tmp_path: Path
) -> None:
    (tmp_path / "cur" / "report").rename(tmp_path / "cur" / "other")
    with pytest.raises(CopsError, match="E-SOURCE-UNKNOWN"):
        run(books)
    shutil.rmtree(tmp_path / "cur" / "other")
    write(tmp_path / "cur", [lines(MONTH)])
    write(tmp_path / "more", [lines(MONTH.replace("111111111111", "222222222222"))])
    (tmp_path / "more" / "report").rename(tmp_path / "cur" / "other")
    run(books)
    assert answer(books, "SELECT COUNT(DISTINCT source_id) FROM fact_cost_raw") == [(2,)]


@pytest.mark.long
def test_one_source_in_two_report_roots_is_refused(books: Books, tmp_path: Path) -> None:
    write(tmp_path / "cur2", [lines(MONTH)])
    both = books.settings.model_copy(update={"cur": f"{tmp_path / 'cur'},{tmp_path / 'cur2'}"})
    (seen,) = look.look(open_books(both), SEPTEMBER)
    assert [refusal.code for refusal in seen.refusals] == ["E-SOURCE-CLASH"]
