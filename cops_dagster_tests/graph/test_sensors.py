"""What watches: which month gets a run, why another gets none, and cursors that stay small."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from cops_dagster.graph import sensors
from cops_dagster.graph.build import build_defs
from cops_dagster.ingestion import look
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.closing.ready import aged, close_by_two, ready
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, acts, home, lines, run, write
from cops_dagster_tests.graph.homes import month
from cops_dagster_tests.stores.buckets import put
from cops_dagster_tests.stores.s3_server import serving

__all__ = ["month"]  # the fixture
FIRST = Period(2025, 7)


def tick(name: str, cursor: str | None = None) -> Any:
    found = [one for one in build_defs(first=FIRST).sensors or [] if one.name == name]
    assert isinstance(found[0], dg.SensorDefinition)
    return found[0](dg.build_sensor_context(cursor=cursor))


@pytest.mark.long
def test_a_new_delivery_is_a_run_once_and_a_restated_one_is_another(month: Path) -> None:
    books = home(month)
    first = tick("cur_manifests")
    (request,) = first.run_requests
    assert request.partition_key == "2025-09"
    assert request.tags["cops/cause"] == "delivery"
    again = tick("cur_manifests", first.cursor)
    assert (again.run_requests, again.skip_reason.skip_message) == (
        [],
        "1 month(s) looked at, none changed",
    )
    run(books)
    write(month / "cur", [lines(MONTH.replace("10.10", "11.10"))], assembly="a2")
    restated = tick("cur_manifests", again.cursor)
    assert restated.run_requests[0].run_key != request.run_key


@pytest.mark.long
def test_in_s3_too_a_delivery_is_a_run_once_and_a_restated_one_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cops_dagster import settings

    with serving(monkeypatch) as bucket:
        monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("COPS_CUR", "s3://billing/exports")
        settings.current.cache_clear()
        books = home(tmp_path)
        books = replace(books, settings=books.settings.model_copy(update={"cur": "s3://billing/exports"}))
        asked, cursor = [], None
        for assembly in ("a1", "b2"):
            write(tmp_path / assembly, [lines(MONTH)], assembly=assembly)
            put(bucket, tmp_path / assembly)
            # before its run only manifests are here, after it the whole month: that is no change
            for act in (lambda: None, lambda: run(books), lambda: None):
                act()
                seen = tick("cur_manifests", cursor)
                asked.append(len(seen.run_requests))
                cursor = seen.cursor
        assert asked == [1, 0, 0, 1, 0, 0]


@pytest.mark.long
def test_what_the_ledger_was_made_from_needs_no_run(month: Path) -> None:
    run(home(month))
    seen = tick("cur_manifests", "not a cursor {")
    assert seen.run_requests == []
    assert "nothing to do" in seen.skip_reason.skip_message


def test_many_months_take_turns_and_the_cursor_forgets_none_that_waits(
    month: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home(month)
    for number in range(1, 9):
        period = Period(2025, number)
        write(month / "cur", [lines(MONTH, period)], period=period)
    monkeypatch.setattr(sensors, "RUNS_MAX", 2)
    first = tick("cur_manifests")
    second = tick("cur_manifests", first.cursor)
    asked = [one.partition_key for seen in (first, second) for one in seen.run_requests]
    assert len(first.run_requests) == 2
    assert asked == ["2025-07", "2025-08", "2025-09"]
    assert set(json.loads(second.cursor)) == {"2025-07", "2025-08", "2025-09"}


def offering(first: Period, cursor: str | None) -> Any:
    (found,) = [one for one in build_defs(first=first).sensors or [] if one.name == "cur_manifests"]
    assert isinstance(found, dg.SensorDefinition)
    return found(dg.build_sensor_context(cursor=cursor))


def test_history_that_is_copied_in_later_is_asked_for_once_dagster_offers_it(month: Path) -> None:
    """The cursor remembered a month that was only skipped, and no later look asked for it."""
    home(month)
    seen = offering(SEPTEMBER, None)
    write(month / "cur", [lines(MONTH, Period(2025, 5))], period=Period(2025, 5))
    for _ in range(2):
        seen = offering(SEPTEMBER, seen.cursor)
        assert seen.run_requests == []
        assert "2025-05: before 2025-09, the first month that Dagster offers" in seen.skip_reason.skip_message
        assert "reload the code location" in seen.skip_reason.skip_message
    reloaded = offering(Period(2025, 5), seen.cursor)
    assert [one.partition_key for one in reloaded.run_requests] == ["2025-05"]
    assert offering(Period(2025, 5), reloaded.cursor).run_requests == []


def test_a_month_that_is_closing_is_asked_for_when_its_close_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cops_dagster import settings

    ready(tmp_path)
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    settings.current.cache_clear()
    write(tmp_path / "cur", [lines(MONTH.replace("10.10", "11.10"))], assembly="late")
    with monkeypatch.context() as while_closing:
        while_closing.setattr(lock, "state_of", lambda _con, _period: "closing")
        waiting = tick("cur_manifests")
    assert waiting.run_requests == []
    assert waiting.skip_reason.skip_message == "2025-09: it is closing"
    assert [one.partition_key for one in tick("cur_manifests", waiting.cursor).run_requests] == ["2025-09"]


def test_files_without_a_manifest_start_no_run_and_the_manifest_does(month: Path) -> None:
    home(month)
    seen = tick("cur_manifests")
    folder = write(month / "cur", [lines(MONTH, Period(2025, 8))], period=Period(2025, 8)).parent
    body = (folder / "report-Manifest.json").read_text()
    for file in list(folder.rglob("*-Manifest.json")):
        file.unlink()
    waiting = tick("cur_manifests", seen.cursor)
    assert waiting.run_requests == []
    (folder / "report-Manifest.json").write_text(body)
    asked = tick("cur_manifests", waiting.cursor).run_requests
    assert [one.partition_key for one in asked] == ["2025-08"]


@pytest.mark.parametrize("cursor", ["", "yesterday", "2999-01-01T00:00:00", "2025-01-01T00:00:00+00:00"])
def test_a_crawl_is_not_held_back_by_a_cursor_that_is_none(cursor: str) -> None:
    assert sensors._started_at(cursor, datetime(2025, 10, 1)) is None
    assert sensors._started_at("2025-09-30T23:00:00", datetime(2025, 10, 1)) == datetime(2025, 9, 30, 23)


@pytest.mark.long
def test_a_closed_month_gets_no_run_but_a_proposal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cops_dagster import settings

    books = ready(tmp_path)
    close_by_two(books, SEPTEMBER)
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    settings.current.cache_clear()
    assert "nothing late" in tick("late_deliveries").skip_message
    write(tmp_path / "cur", [lines(MONTH.replace("10.10", "11.10"))], assembly="late")
    aged(tmp_path / "cur", datetime(2025, 11, 1, tzinfo=UTC))
    seen = tick("cur_manifests")
    assert seen.run_requests == []
    assert "closed: late_deliveries proposes adjustments" in seen.skip_reason.skip_message
    assert "2025-09: proposed" in tick("late_deliveries").skip_message
    assert "nothing late" in tick("late_deliveries").skip_message
    with books.admin.read() as con:
        assert len(con.execute(sa.select(t.adjustment)).all()) == 1


def test_a_root_that_is_not_there_is_said_and_forgets_nothing(month: Path) -> None:
    home(month)
    first = tick("cur_manifests")
    shutil.rmtree(month / "cur")
    seen = tick("cur_manifests", first.cursor)
    assert isinstance(seen, dg.SkipReason)
    assert seen.skip_message is not None
    assert seen.skip_message.startswith("E-SOURCE-UNKNOWN")


@pytest.mark.long
def test_the_sweep_says_what_it_did(month: Path) -> None:
    assert tick("publish_sweep").skip_message.startswith("there is no home yet")
    acts(home(month), SEPTEMBER)  # not copied: a month that rests for a while is judged too
    assert tick("publish_sweep").skip_message == "0 projected, 0 attempts closed, 0 folders removed"


def scheduled() -> Any:
    (schedule,) = [one for one in build_defs(first=FIRST).schedules or [] if one.name == "open_periods"]
    assert isinstance(schedule, dg.ScheduleDefinition)
    return schedule(
        dg.build_schedule_context(scheduled_execution_time=datetime(2025, 10, 1, 5, 30, tzinfo=UTC))
    )


@pytest.mark.long
def test_open_months_with_work_get_a_run_every_day(month: Path) -> None:
    assert scheduled().skip_message.startswith("there is no home yet")
    books: Books = home(month)  # its first run never came as far as recording the delivery
    (request,) = scheduled()
    look.look(books, SEPTEMBER)
    assert [one.partition_key for one in scheduled()] == ["2025-09"]
    assert (request.partition_key, request.run_key) == ("2025-09", "2025-10-01:2025-09")
    run(books)
    assert "nothing to do" in scheduled().skip_message


def test_a_cursor_is_bounded(month: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home(month)
    old = json.dumps({f"{1900 + at // 12}-{at % 12 + 1:02d}": "x" for at in range(500)})
    assert len(json.loads(tick("cur_manifests", old).cursor)) == sensors.MONTHS_MAX
