"""What the checks say becomes alerts with the run itself; what a crash left unasked, the next one asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board, escalation, publish
from cops_dagster.closing import current
from cops_dagster.ingestion.verdicts import COMMITMENTS_ARE_DELIVERED_WHOLE, COST_VIEWS_BRIDGE
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import Publication
from cops_dagster.ledger.run import Run
from cops_dagster.operations import consequences
from cops_dagster.operations.all_checks import CHECKS
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, adopt, force_state, home, lines, run, write

Alerts = dict[tuple[str, str], tuple[str, str]]

# what no rule claims is a good part of the month: P2 at once; coverage is far below its floor
UNCLAIMED = MONTH + "Tax AmazonEC2 111111111111 . . . 30\n"


def alerts(books: Books) -> Alerts:
    """(rule, asset) → severity, state."""
    with books.admin.read() as con:
        return {
            (one.rule, one.scope): (one.severity, one.state) for one in board.alerts(con, everything=True)
        }


@dataclass(frozen=True)
class Seen:
    """A month right after its last commit, after what was left was asked, and asked once more."""

    books: Books
    committed: Alerts
    left: list[str]
    asked: Alerts
    again: list[str]
    failing: list[dict[str, str]]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("month")
    write(folder / "cur", [lines(UNCLAIMED)])
    books = home(folder)
    run(books)  # the acts alone, as a process does that is killed before it asks anything
    committed = alerts(books)
    with books.admin.read() as con:
        left = consequences.unasked(con, books, SEPTEMBER)
    assert list(consequences.settle_all(books)) == [SEPTEMBER]
    return Seen(
        books, committed, left, alerts(books), consequences.settle(books, SEPTEMBER),
        consequences.failing(books, SEPTEMBER),
    )  # fmt: skip


def test_a_run_and_the_alerts_of_its_verdicts_are_one_commit(month: Seen) -> None:
    """H1: a process killed after its last commit lost P2, P3 and P4 for ever."""
    assert month.committed["unallocated_within_2_pct", "fact_cost_allocated"] == ("P2", "firing")
    assert month.committed["tag_coverage_below_floor", "fact_cost_tagged"] == ("P3", "pending")
    assert month.committed["rules_cover_every_pool", "allocation_key_snapshot"] == ("P4", "firing")
    assert month.committed["exceptions_explained", "recon_summary"] == ("P4", "firing")


def test_an_alert_of_a_publication_is_that_of_the_check_that_asks_again(month: Seen) -> None:
    known = {(check.name, check.table) for check in CHECKS}
    known.add((escalation.COVERAGE, "fact_cost_tagged"))
    assert set(month.committed) <= known
    elsewhere = {"fact_cost_adjustment", "tenant_usage"}  # asked when they are booked, and of each day
    assert {check.table for check in CHECKS} == {*consequences.JUDGES, *elsewhere}


def test_what_nobody_asked_about_a_month_is_asked_by_the_sweep_and_once(month: Seen) -> None:
    assert month.left == [one for one in consequences.JUDGES if one != "focus_export"]  # none was made
    assert month.again == []
    assert month.committed.items() <= month.asked.items()
    with month.books.admin.read() as con:
        events = con.execute(
            sa.select(t.alert_event.c.fingerprint, t.alert_event.c.event).where(
                t.alert_event.c.event == "firing"
            )
        ).all()
    assert len(events) == len(set(events))


def test_what_of_a_month_does_not_hold_is_told_with_its_severity(month: Seen) -> None:
    found = {one["check"]: (one["asset"], one["severity"]) for one in month.failing}
    assert found["tag_coverage_at_target"] == ("fact_cost_tagged", "ERROR")
    assert found["unallocated_within_2_pct"] == ("fact_cost_allocated", "ERROR")
    assert found["rules_cover_every_pool"] == ("allocation_key_snapshot", "WARN")
    assert found["variance_within_tolerance"] == ("recon_summary", "WARN")
    assert all(one["figures"] for one in month.failing)


def test_a_failed_run_of_a_month_that_is_complete_is_over(month: Seen) -> None:
    """A run died, another one had nothing left to do: its alert would have been repeated for ever."""
    with month.books.admin.write() as con:
        board.observe(
            con, [escalation.of_run("materialise_period", SEPTEMBER, True, now(), "r", "killed")], actor="t"
        )
    assert alerts(month.books)["run_failed", "materialise_period"] == ("P3", "firing")
    consequences.complete(month.books, SEPTEMBER)
    assert alerts(month.books)["run_failed", "materialise_period"] == ("P3", "resolved")


def test_a_month_is_asked_again_under_another_policy(month: Seen) -> None:
    with month.books.admin.read() as con:
        assert consequences.unasked(con, month.books, SEPTEMBER) == []
    changed = home(
        month.books.settings.home.parent, inputs=None, coverage={"floor_pct": "0", "target_pct": "0"}
    )
    adopt(changed)
    with changed.admin.read() as con:
        assert "fact_cost_tagged" in consequences.unasked(con, changed, SEPTEMBER)
    consequences.settle(changed, SEPTEMBER)
    assert "tag_coverage_at_target" not in {one["check"] for one in consequences.failing(changed, SEPTEMBER)}


def test_a_month_whose_run_may_still_come_to_ask_is_left_to_it_and_a_closed_one_to_its_close(
    month: Seen,
) -> None:
    assert consequences.settle_all(month.books, at_rest=timedelta(days=1)) == {}
    with month.books.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
        assert consequences.unasked(con, month.books, SEPTEMBER) == []


def test_one_source_that_is_well_does_not_end_the_alert_of_another(month: Seen) -> None:
    """Checks of `fact_cost_raw` are about all sources; each is published by itself."""
    verdicts = [
        Verdict(COST_VIEWS_BRIDGE, True, "WARN"), Verdict(COMMITMENTS_ARE_DELIVERED_WHOLE, False, "WARN"),
    ]  # fmt: skip
    with month.books.admin.read() as con:
        own = con.execute(
            sa.select(t.period_head.c.source_id).where(t.period_head.c.table_name == "fact_cost_raw")
        ).scalar_one()

        def told(source: str) -> list[Verdict]:
            one = Publication(Run("fact_cost_raw", SEPTEMBER, source, "i", None), [], verdicts)
            return list(publish._told(con, one))

        assert told(own) == verdicts
        assert told("another") == verdicts[1:]


def test_a_run_that_came_second_is_told_who_was_first(month: Seen) -> None:
    everything = current.newest(month.books, SEPTEMBER)
    assert current.made_since(month.books, SEPTEMBER, everything, "mine") == current.Made(False)
    lost = current.made_since(month.books, SEPTEMBER, (0, 0), "mine")
    assert (lost.wrote, lost.by) == (False, "test")
    assert current.made_since(month.books, SEPTEMBER, (everything[0], 0), "mine").wrote
