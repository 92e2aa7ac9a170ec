"""What Dagster's list of checks says and what a check's own page says are one thing.

Dagster (1.13) calls a check "Failed" in lists while any month fails, with the severity of whatever was asked
last, and shows on the check's page what was asked last. So after a run the verdict that stands is told once
more, among the events of that run: the gravest of the months that do not hold, the newest among those; where
all hold, that of the newest month. It is the evaluation that Dagster has, nothing is asked again.

Belongs here: which verdict stands for all months. Does not belong here: verdicts, and how they read
(`graph/outcome.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from cops_dagster.graph.run_tags import PARTITION

_SUCCEEDED, _FAILED, _PLANNED = "SUCCEEDED", "FAILED", "PLANNED"
_PAGE = 100


def restate(instance: dg.DagsterInstance, run_id: str, prefix: tuple[str, ...] = ()) -> int:
    """Tells the standing verdict of every check that a run asked or skipped; how many were told anew.

    Args:
        prefix: what the keys of our assets begin with.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or PARTITION not in run.tags:
        return 0
    keys = [key for key in _planned(instance, run_id) if tuple(key.asset_key.path[: len(prefix)]) == prefix]
    if not keys:
        return 0
    told = 0
    if run.status == dg.DagsterRunStatus.SUCCESS:
        told += _skipped(instance, keys, run.tags[PARTITION], run)
    storage, wanted = instance.event_log_storage, _wanted(instance, keys)
    latest = storage.get_latest_asset_check_execution_by_key(keys)
    for key, months in wanted.items():
        if _of(latest[key]) and {latest[key].partition} == months:
            continue
        standing = max(_newest(instance, key, months), key=_gravity, default=None)
        if standing is not None and _of(latest[key]) != standing:
            told += _tell(instance, standing, run)
    return told


def _tell(instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation, run: dg.DagsterRun) -> int:
    # of a run: without one Dagster's storage takes one evaluation of a check and month, and refuses the next
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
        job_name=run.job_name,
        event_specific_data=evaluation,
        message=f"what stands of {evaluation.check_name}: {evaluation.description}",
    )
    instance.report_dagster_event(event, run.run_id)
    return 1


def _planned(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckKey]:
    wanted = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    events: Iterable[Any] = (one.dagster_event for one in instance.all_logs(run_id, of_type=wanted))
    return [event.event_specific_data.asset_check_key for event in events]


def _skipped(
    instance: dg.DagsterInstance, keys: list[dg.AssetCheckKey], month: str, run: dg.DagsterRun
) -> int:
    """Of what a run skipped, such as a month without a delivery, there is nothing to judge."""
    known = instance.event_log_storage.get_asset_check_partition_info(keys, partition_keys=[month])
    left = [
        one.check_key
        for one in known
        if one.latest_execution_status.value == _PLANNED and one.latest_planned_run_id == run.run_id
    ]
    for key in left:
        said = f"{month}: nothing to judge, the run made nothing of it"
        one = dg.AssetCheckEvaluation(key.asset_key, key.name, passed=True, partition=month, description=said)
        _tell(instance, one, run)
    return len(left)


def _wanted(instance: dg.DagsterInstance, keys: list[dg.AssetCheckKey]) -> dict[dg.AssetCheckKey, set[str]]:
    """Of each check that was answered the months that do not hold, or the newest of those that do."""
    months: dict[dg.AssetCheckKey, dict[str, list[str]]] = {}
    for one in instance.event_log_storage.get_asset_check_partition_info(keys):
        status = one.latest_execution_status.value
        is_made = one.partition_key and one.latest_materialization_storage_id and one.is_current
        if is_made and status in (_FAILED, _SUCCEEDED):
            of = months.setdefault(one.check_key, {_FAILED: [], _SUCCEEDED: []})
            of[status].append(str(one.partition_key))
    return {key: set(of[_FAILED] or [max(of[_SUCCEEDED])]) for key, of in months.items()}


def _gravity(one: dg.AssetCheckEvaluation) -> tuple[bool, str]:
    return one.severity == dg.AssetCheckSeverity.ERROR, one.partition or ""


def _of(record: Any) -> dg.AssetCheckEvaluation | None:
    """What a check said; nothing while it is only planned."""
    return record.evaluation if isinstance(record.evaluation, dg.AssetCheckEvaluation) else None


def _newest(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, months: set[str]
) -> list[dg.AssetCheckEvaluation]:
    """The newest evaluation of each of these months."""
    found: dict[str, dg.AssetCheckEvaluation] = {}
    cursor: int | None = None
    while months - set(found):
        page = instance.event_log_storage.get_asset_check_execution_history(key, limit=_PAGE, cursor=cursor)
        for record in page:
            said = _of(record)
            if said and record.partition in months:
                found.setdefault(record.partition, said)
        if len(page) < _PAGE:
            break
        cursor = page[-1].id
    return list(found.values())
