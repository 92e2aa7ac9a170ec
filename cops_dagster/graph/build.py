"""The wiring of the graph: `build_defs` is the only place where its parts meet."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from cops_dagster import settings
from cops_dagster.graph import checks, listening, schedules, sensors
from cops_dagster.graph.assets import exports, month, sources
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.graph.resources import Ledger
from cops_dagster.ingestion import places
from cops_dagster.period import Period

JOB = "materialise_period"
EXPORT_JOB = "export_period"


def build_defs(
    *, first: Period | None = None, resources: Mapping[str, object] | None = None
) -> dg.Definitions:
    """The whole graph.

    Args:
        first: first billing period; by default from the settings or the oldest delivery.
        resources: replacements by name, for tests and special builds.
    """
    periods = billing_periods(first or places.first_period(settings.current()))
    made = month.assets(periods)
    left = exports.assets(periods)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*made) - dg.AssetSelection.assets("control_status"),
        description="One billing period from delivery to reconciled.",
    )
    leaving = dg.define_asset_job(
        EXPORT_JOB,
        selection=dg.AssetSelection.assets(*left),
        partitions_def=periods,
        description="What leaves COPS of one reconciled period, into the home.",
    )
    return dg.Definitions(
        assets=[*sources.sources(periods), *made, *left],
        asset_checks=checks.period_checks(periods),
        jobs=[job, leaving, *schedules.jobs(periods)],
        schedules=[*schedules.schedules(periods), sensors.open_periods(periods, job)],
        sensors=[
            *listening.sensors(),
            *sensors.sensors(periods, job),
            sensors.stale_exports(periods, leaving),
        ],
        resources={"ledger": Ledger(), **(resources or {})},
        # 3 steps take 5 s in process and 19 s with a process each (measured); the work is in DuckDB
        executor=dg.in_process_executor,
    )
