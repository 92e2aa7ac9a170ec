"""The preventive controls: each ok, each not, and unknown where nothing can be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board, escalation
from cops_dagster.alerts.escalation import CONTROL
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.operations import checks, controls
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests.aws_server import Aws, aws, failure
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.stores.guarded import begin, moved, row, told

__all__ = ["aws"]  # the fixture
BUDGETS = (
    "budget_id,version,scope_type,scope_value,effective_from,effective_to,basis,target_usd\n"
    "b,1,total,,2025-01-01,,unblended,100\n"
)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    write(tmp_path / "cur", [lines(MONTH)])
    made = home(tmp_path, inputs=INPUTS | {"budgets": BUDGETS})
    run(made)
    return made


def judged(books: Books) -> dict[str, controls.Control]:
    return {one.control: one for one in controls.evaluate(books)}


def alerts(books: Books) -> set[str]:
    with books.admin.read() as con:
        return {one.scope for one in board.alerts(con) if one.rule == CONTROL}


def test_every_control_is_judged_and_recorded_with_evidence(books: Books) -> None:
    found = judged(books)
    assert tuple(found) == controls.NAMES
    assert len(found) == 8
    with books.admin.read() as con:
        rows = controls.newest(con)
    assert [row.control for row in rows] == list(controls.NAMES)
    assert all(row.evidence and row.target and row.owner and row.next_step for row in rows)


def test_an_empty_home_knows_nothing_and_calls_nothing_ok(tmp_path: Path) -> None:
    found = judged(home(tmp_path))
    # what speaks of closed months and of the schema holds where there is no month yet
    assert {name for name, one in found.items() if one.status == "ok"} == set(escalation.PROOF)
    assert alerts(home(tmp_path)) == set()


def crawler(status: str, hours: float) -> tuple[int, dict[str, Any]]:
    started = (datetime.now().astimezone() - timedelta(hours=hours)).timestamp()
    last = {"Status": status, "StartTime": started}
    return 200, {"Crawler": {"Name": "commercial-ops-cur-crawler", "State": "READY", "LastCrawl": last}}


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (crawler("SUCCEEDED", 3), "ok"),
        (crawler("SUCCEEDED", 26), "failed"),
        (crawler("FAILED", 1), "failed"),
        ((200, {"Crawler": {"Name": "c", "State": "READY"}}), "failed"),
        ((400, failure("EntityNotFoundException")), "unknown"),
        ((400, failure("AccessDeniedException")), "unknown"),
    ],
)
def test_the_crawler_ran_well_within_a_day(
    books: Books, aws: Aws, monkeypatch: pytest.MonkeyPatch, answer: Any, status: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    aws.answers = [answer]
    settings = books.settings.controls.model_copy(update={"crawler": "commercial-ops-cur-crawler"})
    found = judged(replace(books, settings=books.settings.model_copy(update={"controls": settings})))
    assert found["glue_crawler_succeeded_daily"].status == status
    assert ("glue_crawler_succeeded_daily" in alerts(books)) == (status == "failed")


def later(books: Books, **more: float) -> Callable[[], datetime]:
    moment = now() + timedelta(**more)
    return lambda: moment


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("hours", "status"), [(47, "ok"), (49, "failed")])
def test_a_delivery_is_not_older_than_48_hours(
    books: Books, monkeypatch: pytest.MonkeyPatch, hours: int, status: str
) -> None:
    monkeypatch.setattr(controls, "now", later(books, hours=hours))
    assert judged(books)["cur_delivered_within_48h"].status == status


@pytest.mark.long
def test_a_control_that_holds_again_ends_its_alert(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(controls, "now", later(books, hours=0))
        judged(books)
    with books.admin.write() as con:
        con.execute(sa.update(t.budget_master).values(last_refreshed_at=now() - timedelta(days=3)))
    assert judged(books)["budgets_refreshed_and_alerts_delivered"].status == "failed"
    assert alerts(books) == {"budgets_refreshed_and_alerts_delivered"}
    with books.admin.write() as con:
        con.execute(sa.update(t.budget_master).values(last_refreshed_at=now()))
    assert judged(books)["budgets_refreshed_and_alerts_delivered"].status == "ok"
    assert alerts(books) == set()


@pytest.mark.long
def test_messages_that_nobody_takes_for_an_hour_fail_the_control(books: Books) -> None:
    row = {
        "fingerprint": "f", "episode": 1, "receiver": "finance", "reason": "FIRST", "severity": "P1",
        "step": 0,
    }  # fmt: skip
    with books.admin.write() as con:
        for status, minutes in (("accepted", 90), ("failed", 70), ("failed", 30)):
            con.execute(
                sa.insert(t.notification_log).values(
                    **row, status=status, sent_at=now() - timedelta(minutes=minutes)
                )
            )
    found = judged(books)["budgets_refreshed_and_alerts_delivered"]
    assert (found.status, "not accepted by finance" in found.measured) == ("failed", True)
    with books.admin.write() as con:
        con.execute(sa.insert(t.notification_log).values(**row, status="accepted", sent_at=now()))
    assert judged(books)["budgets_refreshed_and_alerts_delivered"].status == "ok"


@pytest.mark.long
def test_low_coverage_fails_the_control_and_leaves_the_alert_to_the_check(books: Books) -> None:
    assert judged(books)["tag_coverage_at_100"].status == "failed"
    assert "tag_coverage_at_100" not in alerts(books)


@pytest.mark.long
def test_keys_of_an_ended_month_are_fresh_when_refreshed_after_its_end(books: Books) -> None:
    assert judged(books)["allocation_keys_fresh_24h"].status == "ok"
    with books.admin.write() as con:
        con.execute(sa.update(t.tenant_usage).values(refreshed_at=datetime(2025, 9, 30, 23)))
    found = judged(books)["allocation_keys_fresh_24h"]
    assert (found.status, "stale: network" in found.measured) == ("failed", True)


@pytest.mark.long
def test_a_final_month_that_nobody_closes_is_a_warning_and_a_closed_one_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ready(tmp_path)
    with made.admin.write() as con:
        lock.move(con, made, SEPTEMBER, "provisional", reason="over")
        lock.move(con, made, SEPTEMBER, "final", reason="done")
    assert judged(made)["closed_periods_stay_locked"].status == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(controls, "now", later(made, days=11))
        assert judged(made)["closed_periods_stay_locked"].status == "warning"
    close_by_two(made, SEPTEMBER)
    assert judged(made)["closed_periods_stay_locked"].measured.startswith("1 month(s) closed")


def test_times_that_lie_a_year_ahead_make_no_control_hold(tmp_path: Path) -> None:
    """A delivery, a refresh, a refusal, a final month of a clock that was ahead looked new for a year."""
    books, ahead = home(tmp_path), now() + timedelta(days=365)
    some: dict[sa.Table, dict[str, Any]] = {
        t.cur_delivery: {"delivered_at": ahead, "first_seen_at": ahead},
        t.budget_master: {"scope_type": "total", "last_refreshed_at": ahead},
        t.notification_log: {"status": "failed", "receiver": "finance", "sent_at": ahead},
    }
    with books.admin.write() as con:
        for table, given in some.items():
            con.execute(sa.insert(table).values(row(table, **given)))
        begin(con)
        for state in ("provisional", "final"):
            told(con, state)
            con.execute(moved(state, changed_at=ahead))
    found = judged(books)
    assert found["cur_delivered_within_48h"].status == "failed"
    assert "ahead of this clock" in found["cur_delivered_within_48h"].measured
    assert found["closed_periods_stay_locked"].status == "warning"
    refused = found["budgets_refreshed_and_alerts_delivered"]
    assert (refused.status, "not accepted by finance" in refused.measured) == ("failed", True)
    assert checks.budgets(books)[0].passed is False


def test_a_file_that_names_a_time_ahead_was_there_when_it_was_seen(tmp_path: Path) -> None:
    books = home(tmp_path)
    with books.admin.write() as con:
        values = row(t.cur_delivery, delivered_at=now() + timedelta(days=365), first_seen_at=now())
        con.execute(sa.insert(t.cur_delivery).values(values))
    assert judged(books)["cur_delivered_within_48h"].status == "ok"
