"""What Dagster's list of checks and a check's own page say, month by month, as Dagster's UI reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from cops_dagster.graph import standing
from cops_dagster.graph.build import JOB, build_defs
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.graph.homes import month

__all__ = ["month"]  # the fixture

KEY = dg.AssetCheckKey(dg.AssetKey("table"), "holds")
JULY, AUGUST, SEPTEMBER = "2025-07", "2025-08", "2025-09"
UNDELIVERED = Period(2025, 11)
VERDICTS = {"ok": (True, "ERROR"), "warn": (False, "WARN"), "error": (False, "ERROR")}


def run(instance: dg.DagsterInstance, at: str, verdict: str | None, *, told: bool = True) -> None:
    """A month made and judged, or skipped, and what COPS does after a run."""
    months = dg.MonthlyPartitionsDefinition("2025-07", fmt="%Y-%m", timezone="UTC")

    @dg.asset(name="table", partitions_def=months, output_required=False)  # type: ignore[misc]
    def table() -> object:
        if verdict is not None:
            yield dg.MaterializeResult()

    @dg.asset_check(name="holds", asset=dg.AssetKey("table"), partitions_def=months)  # type: ignore[misc]
    def holds() -> dg.AssetCheckResult:
        passed, severity = VERDICTS[verdict or ""]
        return dg.AssetCheckResult(
            passed=passed, severity=dg.AssetCheckSeverity[severity], description=f"{at}: {verdict}"
        )

    done = dg.materialize([table, holds], partition_key=at, instance=instance)
    if told:
        standing.restate(instance, done.run_id)


def latest(instance: dg.DagsterInstance) -> str:
    """What a check's page shows as its latest execution."""
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([KEY])[KEY]
    return str(getattr(found.evaluation, "description", None))


def states(instance: dg.DagsterInstance) -> Mapping[str | None, str]:
    """What Dagster's list counts: a check's state by month."""
    return {
        one.partition_key: one.latest_execution_status.value
        for one in instance.event_log_storage.get_asset_check_partition_info([KEY])
    }


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ([(JULY, "ok"), (AUGUST, "ok")], "2025-08: ok"),
        ([(AUGUST, "ok"), (JULY, "ok")], "2025-08: ok"),  # an older month was made last
        ([(AUGUST, "warn"), (SEPTEMBER, "ok")], "2025-08: warn"),  # lists say Failed, a warning
        ([(AUGUST, "warn"), (SEPTEMBER, "warn")], "2025-09: warn"),
        ([(JULY, "error"), (AUGUST, "warn"), (SEPTEMBER, "ok")], "2025-07: error"),
        ([(AUGUST, "warn"), (SEPTEMBER, "ok"), (AUGUST, "ok")], "2025-09: ok"),  # mended
    ],
)
def test_the_page_of_a_check_shows_the_month_for_which_lists_call_it_failed(
    runs: list[tuple[str, str]], shown: str
) -> None:
    """`variance_within_tolerance` was Failed in the list (August) and Passed on its page (September)."""
    with dg.DagsterInstance.ephemeral() as instance:
        for at, verdict in runs:
            run(instance, at, verdict)
        assert latest(instance) == shown


def test_telling_what_stands_twice_tells_it_once() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, AUGUST, "warn")
        run(instance, SEPTEMBER, "ok", told=False)
        (last,) = instance.get_runs(limit=1)
        assert [standing.restate(instance, last.run_id) for _ in range(3)] == [1, 0, 0]
        assert states(instance) == {AUGUST: "FAILED", SEPTEMBER: "SUCCEEDED"}


def test_a_skipped_month_leaves_no_check_skipped_and_its_verdict_is_not_what_stands() -> None:
    """Dagster's list called every check Skipped, and their pages showed no verdict at all."""
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, AUGUST, "ok")
        run(instance, SEPTEMBER, None)
        assert states(instance) == {AUGUST: "SUCCEEDED", SEPTEMBER: "SUCCEEDED"}
        assert latest(instance) == "2025-08: ok"


def test_checks_of_others_are_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(instance, AUGUST, "warn")
        run(instance, SEPTEMBER, "ok", told=False)
        (last,) = instance.get_runs(limit=1)
        assert standing.restate(instance, last.run_id, ("cops",)) == 0
        assert latest(instance) == "2025-09: ok"


def test_a_run_in_dagster_is_followed_by_what_stands(month: Path) -> None:
    home(month)
    definitions = build_defs(also=UNDELIVERED)
    (sensor,) = [one for one in definitions.sensors or [] if one.name == "check_alerts"]
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def(JOB).execute_in_process(
            partition_key=str(UNDELIVERED), instance=instance
        )
        sensor(
            dg.build_run_status_sensor_context(
                sensor_name="check_alerts",
                dagster_event=done.all_events[-1],
                dagster_instance=instance,
                dagster_run=done.dagster_run,
            )
        )  # type: ignore[operator]
        key = dg.AssetCheckKey(dg.AssetKey("recon_summary"), "variance_within_tolerance")
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert found.status.value == "SUCCEEDED"
        assert getattr(found.evaluation, "description", "") == (
            "2025-11: nothing to judge, the run made nothing of it"
        )
