"""What runs by the clock: budgets at 04:00 UTC, controls every hour.

Belongs here: jobs, cron lines and which period they are for. The acts are the ledger's.
"""

from __future__ import annotations

import dagster as dg

from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.graph.host import EVALUATE_CONTROLS, REFRESH_BUDGETS, Host
from cops_dagster.graph.partitions import newest_partition
from cops_dagster.graph.run_tags import said


def standing_still(host: Host) -> dg.SkipReason | None:
    """Why no act may begin in this process: its settings are not the policy of the books."""
    books = host.existing_books()
    try:
        if books is not None:
            require_policy(books)
    except CopsError as problem:
        return dg.SkipReason(str(problem))
    return None


def jobs(host: Host) -> list[dg.UnresolvedAssetJobDefinition]:
    """The jobs that the schedules start; each may also be started by hand."""
    return [
        dg.define_asset_job(
            host.name(REFRESH_BUDGETS),
            selection=dg.AssetSelection.assets(host.key("budget_master")),
            executor_def=dg.in_process_executor,
            description="Every active budget against the newest allocated month, and its alerts.",
        ),
        dg.define_asset_job(
            host.name(EVALUATE_CONTROLS),
            selection=dg.AssetSelection.assets(host.key("control_status")),
            executor_def=dg.in_process_executor,
            description="The preventive controls, the alerts of those that do not hold, and the tick.",
        ),
    ]


def schedules(host: Host) -> list[dg.ScheduleDefinition]:
    """Both run unattended: they measure and tell, and change no amount."""

    @dg.schedule(
        name=host.name(REFRESH_BUDGETS),
        job_name=host.name(REFRESH_BUDGETS),
        cron_schedule="0 4 * * *",
        execution_timezone="UTC",
        default_status=host.schedule_status,
        description="Daily at 04:00 UTC.",
    )
    def refresh_budgets(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return standing_still(host) or dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%d}",
            partition_key=newest_partition(host.periods),
            tags=said(host.settings().actor_name, "daily at 04:00 UTC", cause=REFRESH_BUDGETS),
        )

    @dg.schedule(
        name=host.name(EVALUATE_CONTROLS),
        job_name=host.name(EVALUATE_CONTROLS),
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        default_status=host.schedule_status,
        description="Every hour: that nothing was delivered is seen too.",
    )
    def evaluate_controls(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return standing_still(host) or dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%dT%H}",
            tags=said(host.settings().actor_name, "hourly", cause=EVALUATE_CONTROLS),
        )

    return [refresh_budgets, evaluate_controls]
