"""Outcomes of runs become alerts, however the runs were launched.

Belongs here: reading how a finished run ended. Run-status sensors do so for every run of the instance, on
SQLite and PostgreSQL alike; `cops` does it for its own run at once. Observing a run twice changes nothing.
Does not belong here: what checks said, which is recorded where they are asked (`operations/consequences.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from cops_dagster.alerts import escalation
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.graph import standing
from cops_dagster.graph.host import Host
from cops_dagster.graph.resources import no_home
from cops_dagster.ledger.books import Books
from cops_dagster.operations import messages
from cops_dagster.period import Period

_PARTITION = "dagster/partition"
_ERROR_MAX = 1_000


def observe(
    books: Books,
    instance: dg.DagsterInstance,
    run_id: str,
    plain: Callable[[str], str] = lambda job: job.removeprefix("__"),
) -> int:
    """Applies the outcome of a finished run to its alert; how many changed.

    Args:
        plain: what a job is called in an alert, whatever its name is in this Dagster.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        return 0
    key = run.tags.get(_PARTITION)
    period = Period.parse(key[:7]) if key else None  # of a day, its month
    return messages.observe(books, _outcome(instance, run, period, plain(run.job_name)))


def _outcome(
    instance: dg.DagsterInstance, run: dg.DagsterRun, period: Period | None, job: str
) -> Observation | None:
    failed = run.status == dg.DagsterRunStatus.FAILURE
    if not failed and run.status != dg.DagsterRunStatus.SUCCESS:
        return None
    record = instance.get_run_record_by_id(run.run_id)
    ended = record.end_time if record and record.end_time else None
    at = datetime.fromtimestamp(ended, UTC) if ended else datetime.now(UTC)
    return escalation.of_run(
        _subject(run, job),
        period,
        failed,
        at.replace(tzinfo=None),
        run.run_id,
        _why(instance, run) if failed else "",
    )


def _subject(run: dg.DagsterRun, job: str) -> str:
    """What its alert is about: the job; of a day also what was asked, or another day would end the alert."""
    key = run.tags.get(_PARTITION, "")
    if key.count("-") < 2:
        return job
    chosen = sorted(one.path[-1] for one in run.asset_selection or ())
    return " ".join([job, *chosen, key])


def _why(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data: Any = entry.dagster_event and entry.dagster_event.event_specific_data
        given = data.user_failure_data
        return str(given.description if given else data.error_display_string)[:_ERROR_MAX]
    return "no step said why; the process may have died"


def sensors(host: Host) -> list[dg.SensorDefinition]:
    """Two that hear of every finished run (`monitored_jobs` unset, so ad-hoc ones too), one that sends."""

    @dg.run_status_sensor(
        name=host.name("check_alerts"),
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=host.sensor_status,
        description="A run that succeeded ends the alert of the one that failed; sends what is due.",
    )
    def check_alerts(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        return _hear(context, host)

    @dg.run_failure_sensor(
        name=host.name("failed_run_alerts"),
        default_status=host.sensor_status,
        description="Failed runs become alerts; sends what is due.",
    )
    def failed_run_alerts(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        return _hear(context, host)

    @dg.sensor(
        name=host.name("send_alerts"),
        minimum_interval_seconds=60,
        default_status=host.sensor_status,
        description="Sends what is due every minute: first messages, repeats, and what was refused before.",
    )
    def send_alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        books = host.existing_books()
        if books is None:
            return no_home(host.settings())
        done = messages.send(books)
        if done.busy:
            return dg.SkipReason("another tick is running")
        return dg.SkipReason(f"{done.accepted} message(s) accepted, {done.failed} not accepted")

    return [check_alerts, failed_run_alerts, send_alerts]


def _hear(context: dg.RunStatusSensorContext, host: Host) -> dg.SkipReason | None:
    if not host.runs(context.dagster_run):
        return None
    books = host.existing_books()
    if books is None:
        return no_home(host.settings())
    observe(books, context.instance, context.dagster_run.run_id, host.plain)
    messages.send(books)
    standing.restate(context.instance, context.dagster_run.run_id, host.prefix)
    return None
