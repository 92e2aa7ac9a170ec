"""Which months Dagster offers, a month that nobody delivered, and what a run says of itself."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cops_dagster.errors import CopsError
from cops_dagster.graph.build import JOB, build_defs
from cops_dagster.graph.launch import launch
from cops_dagster.graph.partitions import last_month
from cops_dagster.period import Period
from cops_dagster.stores.admin import now
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, write
from cops_dagster_tests.graph.homes import last_run, month

__all__ = ["month"]  # the fixture

NOVEMBER = Period(2025, 11)
TODAY = date(2026, 11, 26)


@pytest.mark.parametrize(
    ("newest", "last"),
    [
        (None, None),  # a new home
        (Period(2026, 11), None),
        (Period(2026, 10), None),  # AWS writes the first days of a month late
        (Period(2026, 9), Period(2026, 9)),
        (SEPTEMBER, SEPTEMBER),
    ],
)
def test_months_end_with_the_data_once_nothing_is_delivered_any_more(
    newest: Period | None, last: Period | None
) -> None:
    assert last_month(newest, TODAY) == last


def offered(**of: Any) -> list[str]:
    partitions = build_defs(**of).resolve_job_def(JOB).partitions_def
    assert partitions is not None
    return list(partitions.get_partition_keys())


def test_dagster_offers_what_was_delivered_and_what_a_command_names(month: Path) -> None:
    home(month)
    assert offered() == ["2025-09"]
    assert offered(also=NOVEMBER) == ["2025-09", "2025-10", "2025-11"]
    this = Period.of(now().date())
    write(month / "cur", [lines(MONTH, this)], period=this)
    assert offered()[-1] == str(this)


def test_a_delivery_after_the_last_month_that_is_offered_gets_its_run_without_a_reload(month: Path) -> None:
    home(month)
    (sensor,) = [one for one in build_defs().sensors or [] if one.name == "cur_manifests"]
    assert isinstance(sensor, dg.SensorDefinition)
    write(month / "cur", [lines(MONTH, NOVEMBER)], period=NOVEMBER)
    seen: Any = sensor(dg.build_sensor_context())
    asked = {one.tags.get("dagster/partition") or one.partition_key: one for one in seen.run_requests}
    assert set(asked) == {"2025-09", "2025-11"}
    assert (asked["2025-09"].partition_key, asked["2025-11"].partition_key) == ("2025-09", None)
    assert asked["2025-11"].tags["cops/reason"] == "new or restated delivery"
    assert asked["2025-11"].tags["cops/actor"]


def test_a_month_that_nobody_delivered_is_skipped_and_a_command_for_it_is_refused(month: Path) -> None:
    """Fourteen of them, launched from the list of missing months, were fourteen failed runs and alerts."""
    books = home(month)
    with dg.DagsterInstance.ephemeral() as instance:
        done = (
            build_defs(also=NOVEMBER)
            .resolve_job_def(JOB)
            .execute_in_process(partition_key=str(NOVEMBER), instance=instance)
        )
        (run,) = instance.get_runs()
    assert done.success
    assert done.get_asset_materialization_events() == []
    assert done.get_asset_check_evaluations() == []
    assert (run.tags["cops/reason"], bool(run.tags["cops/actor"])) == ("launched in Dagster", True)
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        launch(books, NOVEMBER, None)
    mine, _ = last_run(month)
    assert mine.tags["cops/reason"] == "cops materialize"
    assert mine.tags["cops/actor"] == books.actor


def test_a_skipped_month_warns_of_nothing(month: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Dagster printed 21 warnings that steps would go on without their checks; it skipped them all."""
    home(month)
    job = build_defs(also=NOVEMBER).resolve_job_def(JOB)
    with caplog.at_level(logging.WARNING), dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(partition_key=str(NOVEMBER), instance=instance).success
    assert [one.getMessage() for one in caplog.records] == []


def test_a_warning_about_checks_that_are_not_ours_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    build_defs()
    logger = logging.getLogger("dagster._core.execution.plan.active")
    told = "Blocking asset check 'a:b' emitted no result in step '{}'; downstream step 'c' will proceed"
    logger.warning(told.format("a_checks"))
    logger.warning(told.format("fact_cost_raw_checks"))
    logger.warning("something else about fact_cost_raw_checks")
    assert [one.getMessage() for one in caplog.records] == [
        told.format("a_checks"), "something else about fact_cost_raw_checks",
    ]  # fmt: skip
