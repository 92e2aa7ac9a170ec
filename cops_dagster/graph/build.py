"""The wiring of the graph: `build_defs` is the only place where its parts meet."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.graph import checks, listening, schedules, sensors, usage_days
from cops_dagster.graph.assets import exports, month, sources, usage
from cops_dagster.graph.host import EXPORT_JOB, JOB, Host
from cops_dagster.graph.partitions import offered
from cops_dagster.period import Period
from cops_dagster.usage import declared
from cops_dagster.usage.declared import Measure

__all__ = ["EXPORT_JOB", "JOB", "build_defs", "definitions_of"]


def build_defs(
    *,
    first: Period | None = None,
    also: Period | None = None,
    resources: Mapping[str, object] | None = None,
) -> dg.Definitions:
    """The whole graph of COPS by itself.

    Args:
        first: first billing period; by default from the settings or the oldest delivery.
        also: a month that is offered whatever was delivered.
        resources: replacements by name, for tests and special builds.
    """
    host = Host(offered(settings.current(), first=first, also=also))
    made = definitions_of(host)
    return dg.Definitions(
        assets=made.assets,
        asset_checks=made.asset_checks,
        jobs=made.jobs,
        schedules=made.schedules,
        sensors=made.sensors,
        resources={**(made.resources or {}), **(resources or {})},
        # 3 steps take 5 s in process and 19 s with a process each (measured); the work is in DuckDB
        executor=dg.in_process_executor,
    )


def definitions_of(host: Host) -> dg.Definitions:
    """The whole graph within a host; what is the host's to decide, such as its executor, is left to it."""
    measures, broken = _declared(host)
    days = usage_days.days_of(host)
    keys = usage.assets(host, days, measures)
    made = month.assets(host, [one.asset for one in measures])
    left = exports.assets(host)
    job = dg.define_asset_job(
        host.name(JOB),
        selection=dg.AssetSelection.assets(*made) - dg.AssetSelection.assets(host.key("control_status")),
        description="One billing period from delivery to reconciled.",
        executor_def=dg.in_process_executor,
    )
    leaving = dg.define_asset_job(
        host.name(EXPORT_JOB),
        selection=dg.AssetSelection.assets(*left),
        description="What leaves COPS of one reconciled period, into the home.",
        executor_def=dg.in_process_executor,
    )
    asking = [usage_days.job(host, measures)] if keys else []
    return dg.Definitions(
        assets=[*sources.sources(host, measures), *keys, *made, *left],
        asset_checks=checks.period_checks(host),
        jobs=[job, leaving, *schedules.jobs(host), *asking],
        schedules=[
            *schedules.schedules(host),
            sensors.open_periods(host, job),
            *[usage_days.schedule(host, measures, one) for one in asking],
        ],
        sensors=[
            *listening.sensors(host),
            *sensors.sensors(host, job),
            sensors.stale_exports(host, leaving),
            sensors.loaded_inputs(host),
            *broken,
        ],
        resources={host.resource: host.ledger()},
    )


def _declared(host: Host) -> tuple[list[Measure], list[dg.SensorDefinition]]:
    """What `keys.toml` declares; where it is refused nothing, and what says so: no month waits for it."""
    try:
        return list(declared.measures(host.settings()).values()), []
    except CopsError as refusal:
        return [], [usage_days.refused(host, refusal)]
