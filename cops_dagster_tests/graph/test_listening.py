"""Alerts from Dagster: checks and runs, however launched, on either storage; and what runs by the clock."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.alerts import board
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.errors import CopsError
from cops_dagster.graph import listening
from cops_dagster.graph.build import JOB, build_defs
from cops_dagster.graph.launch import launch
from cops_dagster.graph.storage import dagster_home
from cops_dagster.ledger.books import Books
from cops_dagster.operations import consequences
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests import postgres
from cops_dagster_tests.alerts.servers import Seen, web
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home, run
from cops_dagster_tests.graph.homes import month

__all__ = ["month"]  # the fixture
EMPTY_KEY = INPUTS["tenant_network_usage"].replace(",1,", ",0,").replace(",2,", ",0,")


def alerts(books: Books) -> dict[str, tuple[str, str, int]]:
    """rule → priority, state, episode."""
    with books.admin.read() as con:
        return {
            one.rule: (one.severity, one.state, one.episode) for one in board.alerts(con, everything=True)
        }


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def storage(request: pytest.FixtureRequest, month: Path) -> Path:
    """The month, with Dagster's own storage in a file or in a PostgreSQL server."""
    if request.param == "postgresql":
        folder = month / "home" / "dagster"
        folder.mkdir(parents=True)
        (folder / "dagster.yaml").write_text(
            "telemetry: {enabled: false}\n"
            f"storage:\n  postgres:\n    postgres_url: {postgres.empty_database()}\n"
        )
    return month


@pytest.mark.long
def test_checks_that_do_not_hold_become_alerts_and_end_when_they_hold(storage: Path) -> None:
    books = home(storage)
    launch(books, SEPTEMBER, None)
    found = alerts(books)
    assert found["tag_coverage_below_floor"][:2] == ("P3", "pending")
    assert "run_failed" not in found
    give(books, storage, replace=True, tenant_network_usage=EMPTY_KEY)
    with pytest.raises(CopsError, match="key totals positive"):
        launch(books, SEPTEMBER, None)
    found = alerts(books)
    assert found["key_totals_positive"] == ("P3", "firing", 1)
    assert found["run_failed"] == ("P3", "firing", 1)
    give(books, storage, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"])
    launch(books, SEPTEMBER, None)
    found = alerts(books)
    assert found["key_totals_positive"] == ("P3", "resolved", 1)
    assert found["run_failed"] == ("P3", "resolved", 1)


@pytest.mark.long
def test_a_run_brings_its_alerts_with_it_and_hearing_of_it_changes_nothing(storage: Path) -> None:
    books = home(storage)
    place = dagster_home(books.settings.home)
    definitions = build_defs(first=Period(2025, 7))
    with dg.DagsterInstance.from_config(str(place)) as instance:
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            partition_key="2025-09", instance=instance, raise_on_error=False,
            asset_selection=[
                dg.AssetKey(name) for name in ("cur_billing_master", "fact_cost_raw", "fact_cost_tagged")
            ],
        )  # fmt: skip
        found = alerts(books)
        assert found["tag_coverage_below_floor"][:2] == ("P3", "pending")
        (sensor,) = [one for one in definitions.sensors or [] if one.name == "check_alerts"]
        for _ in range(2):
            sensor(
                dg.build_run_status_sensor_context(
                    sensor_name="check_alerts",
                    dagster_event=done.all_events[-1],
                    dagster_instance=instance,
                    dagster_run=done.dagster_run,
                )
            )  # type: ignore[operator]
            assert alerts(books) == found
        with books.admin.read() as con:
            events = con.execute(sa.select(t.alert_event.c.event)).scalars().all()
        assert events.count("pending") == 1


@pytest.mark.long
def test_a_run_in_dagster_and_the_acts_alone_give_the_same_alerts_once(month: Path) -> None:
    books = home(month)
    launch(books, SEPTEMBER, None)
    alone = home(month / "alone")
    alone = replace(alone, settings=alone.settings.model_copy(update={"cur": books.settings.cur}))
    run(alone)
    consequences.settle(alone, SEPTEMBER)

    def told(of: Books) -> list[tuple[object, ...]]:
        s = t.alert_state.c
        chosen = (s.alert_rule, s.scope, s.state, s.severity, s.episode, s.title, s.measured, s.detail)
        with of.admin.read() as con:
            return [tuple(row) for row in con.execute(sa.select(*chosen).order_by(*chosen))]

    assert told(books) == told(alone)


@pytest.mark.long
def test_the_failure_sensor_hears_of_a_run_that_failed(month: Path) -> None:
    books = home(month, inputs=INPUTS | {"tenant_network_usage": EMPTY_KEY})
    with dg.DagsterInstance.from_config(str(dagster_home(books.settings.home))) as instance:
        definitions = build_defs(first=Period(2025, 7))
        done = definitions.resolve_job_def(JOB).execute_in_process(
            partition_key="2025-09", instance=instance, raise_on_error=False
        )
        assert not done.success
        failure = next(
            event for event in done.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE
        )
        (sensor,) = [one for one in definitions.sensors or [] if one.name == "failed_run_alerts"]
        sensor(
            dg.build_run_status_sensor_context(
                sensor_name="failed_run_alerts",
                dagster_event=failure,
                dagster_instance=instance,
                dagster_run=done.dagster_run,
            ).for_run_failure()
        )  # type: ignore[operator]
    assert alerts(books)["run_failed"] == ("P3", "firing", 1)


def test_a_run_that_dagster_does_not_know_is_no_news(month: Path) -> None:
    books = home(month)
    with dg.DagsterInstance.from_config(str(dagster_home(books.settings.home))) as instance:
        assert listening.observe(books, instance, "00000000-0000-0000-0000-000000000000") == 0


@pytest.mark.long
def test_an_old_run_says_nothing_about_a_newer_verdict(month: Path) -> None:
    books = home(month, inputs=INPUTS | {"tenant_network_usage": EMPTY_KEY})
    with pytest.raises(CopsError):
        launch(books, SEPTEMBER, None)
    with dg.DagsterInstance.from_config(str(dagster_home(books.settings.home))) as instance:
        failed = instance.get_runs(limit=1)[0].run_id
        give(books, month, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"])
        launch(books, SEPTEMBER, None)
        before = alerts(books)
        listening.observe(books, instance, failed)
    assert alerts(books) == before
    assert before["key_totals_positive"][1] == "resolved"


@pytest.mark.parametrize(
    ("name", "cron", "partition"),
    [("refresh_budgets", "0 4 * * *", True), ("evaluate_controls", "0 * * * *", False)],
)
def test_what_runs_by_the_clock_runs_unattended(name: str, cron: str, partition: bool) -> None:
    definitions = build_defs(first=Period(2025, 7))
    (schedule,) = [one for one in definitions.schedules or [] if one.name == name]
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2025, 9, 30, 4, tzinfo=UTC))
    request = schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key is not None) == partition
    definitions.resolve_job_def(name)


@pytest.mark.long
def test_the_jobs_by_the_clock_measure_judge_and_tell(month: Path) -> None:
    books = home(month)
    launch(books, SEPTEMBER, None)
    settings.current.cache_clear()
    definitions = build_defs(first=Period(2025, 7))
    with dg.DagsterInstance.from_config(str(dagster_home(books.settings.home))) as instance:
        assert definitions.resolve_job_def("evaluate_controls").execute_in_process(instance=instance).success
        assert (
            definitions.resolve_job_def("refresh_budgets")
            .execute_in_process(instance=instance, partition_key="2025-09")
            .success
        )
    with books.admin.read() as con:
        assert con.execute(sa.select(sa.func.count()).select_from(t.control_status)).scalar_one() == 8


def test_a_minute_after_the_wait_the_message_is_out(month: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sensor,) = [one for one in build_defs(first=Period(2025, 7)).sensors or [] if one.name == "send_alerts"]
    assert sensor.minimum_interval_seconds == 60
    said = sensor(dg.build_sensor_context())
    assert isinstance(said, dg.SkipReason)
    assert said.skip_message.startswith("there is no home yet")
    seen = Seen()
    with web(seen) as address:
        receiver = {"kind": "webhook", "url": address}
        monkeypatch.setenv("COPS_NOTIFY__RECEIVERS__OPS", json.dumps(receiver))
        settings.current.cache_clear()
        books = home(month)
        at = now() - timedelta(minutes=6)
        with books.admin.write() as con:
            board.observe(con, [Observation("r", "s", SEPTEMBER, "P2", True, at, at, "title")], actor="kim")
        for expected in ("1 message(s) accepted, 0 not accepted", "0 message(s) accepted, 0 not accepted"):
            said = sensor(dg.build_sensor_context())
            assert isinstance(said, dg.SkipReason)
            assert said.skip_message == expected
    assert len(seen.taken) == 1
