"""What runs by the clock: budgets at 04:00 UTC, controls every hour.

Belongs here: jobs, cron lines and which period they are for. The acts are the ledger's.
"""

from __future__ import annotations

import dagster as dg

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.home import existing_books
from cops_dagster.graph.partitions import newest_partition

REFRESH_BUDGETS = "refresh_budgets"
EVALUATE_CONTROLS = "evaluate_controls"


def standing_still() -> dg.SkipReason | None:
    """Why no act may begin in this process: its settings are not the policy of the books."""
    books = existing_books(settings.current())
    try:
        if books is not None:
            require_policy(books)
    except CopsError as problem:
        return dg.SkipReason(str(problem))
    return None


def jobs(periods: dg.MonthlyPartitionsDefinition) -> list[dg.UnresolvedAssetJobDefinition]:
    """The jobs that the schedules start; each may also be started by hand."""
    return [
        dg.define_asset_job(
            REFRESH_BUDGETS,
            selection=dg.AssetSelection.assets("budget_master"),
            partitions_def=periods,
            description="Every active budget against the newest allocated month, and its alerts.",
        ),
        dg.define_asset_job(
            EVALUATE_CONTROLS,
            selection=dg.AssetSelection.assets("control_status"),
            description="The preventive controls, the alerts of those that do not hold, and the tick.",
        ),
    ]


def schedules(periods: dg.MonthlyPartitionsDefinition) -> list[dg.ScheduleDefinition]:
    """Both run unattended: they measure and tell, and change no amount."""

    @dg.schedule(
        name=REFRESH_BUDGETS,
        job_name=REFRESH_BUDGETS,
        cron_schedule="0 4 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Daily at 04:00 UTC.",
    )
    def refresh_budgets(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return standing_still() or dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%d}", partition_key=newest_partition(periods)
        )

    @dg.schedule(
        name=EVALUATE_CONTROLS,
        job_name=EVALUATE_CONTROLS,
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every hour: that nothing was delivered is seen too.",
    )
    def evaluate_controls(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return standing_still() or dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%dT%H}")

    return [refresh_budgets, evaluate_controls]
