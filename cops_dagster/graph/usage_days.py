"""When usage keys are asked: the days that there are, a job over them, and its schedule.

Belongs here: which days get a run, and who says that none can. Does not belong here: the assets
(`graph/assets/usage.py`), which days are complete and missing (`usage/refresh.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from cops_dagster.errors import CopsError
from cops_dagster.graph.host import REFRESH_USAGE_KEYS, Host
from cops_dagster.graph.resources import no_home
from cops_dagster.graph.schedules import standing_still
from cops_dagster.usage import declared, refresh
from cops_dagster.usage.declared import Measure

RUNS_MAX = 40
"""Days that one tick asks for: a month of one measure, and a few of others."""


def days_of(host: Host) -> dg.DailyPartitionsDefinition:
    """The days of all billing periods up to yesterday, UTC."""
    return dg.DailyPartitionsDefinition(start_date=host.periods.start.strftime("%Y-%m-%d"), timezone="UTC")


def job(host: Host, measures: Sequence[Measure]) -> dg.UnresolvedAssetJobDefinition:
    """What asks for days, by the schedule or by hand."""
    return dg.define_asset_job(
        host.name(REFRESH_USAGE_KEYS),
        selection=dg.AssetSelection.assets(*host.keys(one.asset for one in measures if one.asks)),
        executor_def=dg.in_process_executor,
        description="Days of usage keys: asked of their sources, kept, and added up to the month.",
    )


def schedule(
    host: Host,
    measures: Sequence[Measure],
    refresh_job: dg.UnresolvedAssetJobDefinition,
) -> dg.ScheduleDefinition:
    """Every day that is complete and missing gets a run: yesterday's, and those that a pipeline owes."""

    @dg.schedule(
        name=host.name(REFRESH_USAGE_KEYS),
        job=refresh_job,
        cron_schedule="15 1-23/3 * * *",
        execution_timezone="UTC",
        default_status=host.schedule_status,
        description="Daily from 01:15 UTC, every three hours: the days that are complete and missing.",
    )
    def refresh_usage_keys(
        context: dg.ScheduleEvaluationContext,
    ) -> list[dg.RunRequest] | dg.SkipReason:
        books = host.existing_books()
        if books is None:
            return no_home(host.settings())
        if (still := standing_still(host)) is not None:
            return still
        try:
            due = refresh.in_turn(books, refresh.due(books, measures))
        except CopsError as problem:
            return dg.SkipReason(str(problem))
        offered = set(days_of(host).get_partition_keys())
        hour = f"{context.scheduled_execution_time:%Y-%m-%dT%H}"
        return [
            dg.RunRequest(
                run_key=f"{hour}:{measure.name}:{day}",
                partition_key=f"{day}",
                asset_selection=[host.key(measure.asset)],
                tags={"cops/cause": REFRESH_USAGE_KEYS},
            )
            for measure, day in due
            if f"{day}" in offered
        ][:RUNS_MAX] or dg.SkipReason("no day is missing that is complete")

    return refresh_usage_keys


def refused(host: Host, refusal: CopsError) -> dg.SensorDefinition:
    """Stands where `keys.toml` is refused: months go on with the keys they have, and its ticks are red."""

    @dg.sensor(
        name=host.name("declared_usage_keys"),
        minimum_interval_seconds=300,
        default_status=host.sensor_status,
        description=f"No usage key is asked: {refusal}",
    )
    def declared_usage_keys(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        declared.measures(host.settings())  # as long as it is refused the tick fails and says why
        return dg.SkipReason("keys.toml is sound again: reload the definitions to have it asked")

    return declared_usage_keys
