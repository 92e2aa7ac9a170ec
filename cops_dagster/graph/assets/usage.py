"""Usage keys that come by themselves: an asset per declared measure, partitioned by days, with its checks.

Belongs here: assets, their job and their schedule, of a home that declares measures; else there are none.
Does not belong here: what a measure is (`usage/declared.py`), asking for a day (`usage/refresh.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg

from cops_dagster.allocation import verdicts
from cops_dagster.errors import CopsError
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import OWNERS, placed, schema
from cops_dagster.graph.host import REFRESH_USAGE_KEYS, Host
from cops_dagster.graph.resources import act, no_home
from cops_dagster.graph.schedules import standing_still
from cops_dagster.usage import checks, refresh
from cops_dagster.usage.declared import Measure

CHECKS = (
    verdicts.USAGE_DAYS_COME_IN_TIME,
    verdicts.USAGE_DAYS_NAME_TENANTS,
    verdicts.USAGE_DAY_SHARES_STEADY,
    verdicts.USAGE_DAYS_BEFORE_CLOSE,
)
"""Freshness, completeness, share jumps, and that nothing came too late."""
RUNS_MAX = 40
"""Days that one tick asks for: a month of one measure, and a few of others."""


def assets(host: Host, measures: Sequence[Measure]) -> list[dg.AssetsDefinition]:
    """An asset for each measure that is asked."""
    return [_asset(host, measure) for measure in measures if measure.asks]


def _days_of(host: Host) -> dg.DailyPartitionsDefinition:
    """The days of all billing periods up to yesterday, UTC."""
    return dg.DailyPartitionsDefinition(start_date=host.periods.start.strftime("%Y-%m-%d"), timezone="UTC")


def _asset(host: Host, measure: Measure) -> dg.AssetsDefinition:
    @dg.asset(
        **placed(measure.asset, host, "inputs", OWNERS),
        partitions_def=_days_of(host),
        required_resource_keys={host.resource},
        kinds={measure.source.kind, "table"},
        pool=host.name("ledger"),
        description=f"Usage of {measure.name} in {measure.unit}, asked of its source day by day: a usage key."
        f" Days become the month ({measure.month}), which is loaded as a CSV is.",
        metadata={
            **schema(measure.asset),
            "source": measure.source.kind,
            "unit": measure.unit,
            "query": dg.MetadataValue.md(f"```\n{measure.query}\n```"),
            "document": dg.MetadataValue.text("cops docs usage-keys"),
        },
        check_specs=[
            dg.AssetCheckSpec(one.name, asset=host.key(measure.asset), description=one.sentence)
            for one in CHECKS
        ],
    )
    def usage_of_a_day(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        books, day = host.books(context), date.fromisoformat(context.partition_key)
        done = act(lambda: refresh.refresh(books, measure, day))
        judged = checks.now(books, measure, day)
        figures: dict[str, Any] = {
            "measure": done.measure,
            "day": f"{done.day}",
            "version": done.version.version,
            "outcome": "a new version" if done.wrote else "unchanged: the answer was as before",
            "tenants": done.version.tenants,
            "held": done.version.held,
            "evidence": done.version.evidence_id,
            "month": done.month.state,
            "month_version": done.month.usage_id,
        }
        return dg.MaterializeResult(
            metadata=outcome.metadata(figures),
            data_version=dg.DataVersion(done.version.figures_digest[:60]),
            check_results=[outcome.result(one, judged.period) for one in judged.verdicts],
        )

    return usage_of_a_day


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
            due = refresh.due(books, measures)
        except CopsError as problem:
            return dg.SkipReason(str(problem))
        offered = set(_days_of(host).get_partition_keys())
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
