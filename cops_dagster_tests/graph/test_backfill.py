"""Many months at once, as from the UI: two at a time, one killed, one cancelled, resumed; all consistent."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.closing import current
from cops_dagster.evidence import sweep, verify
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.deliveries import INPUTS, MONTH, home, lines, write
from cops_dagster_tests.graph.instance import Dagster, running, until
from cops_dagster_tests.shown import answer

BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
RESUME = """mutation($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STOP = """mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }"""
ASSETS = """{ assetNodes { assetKey { path } isMaterializable hasMaterializePermission
    partitionKeys } }"""


def months(count: int) -> list[Period]:
    """That many months up to September 2025, the oldest first."""
    found = [Period(2025, 9)]
    while len(found) < count:
        found.append(found[-1].previous())
    return found[::-1]


def backfill(dagster: Dagster, periods: list[Period]) -> str:
    """Asks for what the button of the UI asks for: every asset that is made monthly."""
    keys = [
        {"path": node["assetKey"]["path"]}
        for node in dagster.ask(ASSETS)["assetNodes"]
        if node["isMaterializable"] and node["partitionKeys"]
    ]
    params = {"assetSelection": keys, "partitionNames": [str(one) for one in periods], "title": "a year"}
    made = dagster.ask(BACKFILL, params=params)["launchPartitionBackfill"]
    assert made["__typename"] == "LaunchBackfillSuccess", made
    return str(made["backfillId"])


def overlapping(runs: list[dict[str, Any]]) -> int:
    """How many runs ran at the same moment, at most."""
    ends = [(run["startTime"], 1) for run in runs] + [(run["endTime"], -1) for run in runs]
    at = most = 0
    for _, step in sorted(ends):
        at += step
        most = max(most, at)
    return most


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 12])
def test_a_backfill_that_is_killed_and_cancelled_in_the_middle_is_resumed_and_consistent(
    tmp_path: Path, count: int
) -> None:
    periods, url = months(count), postgres.database()
    for period in periods:
        write(tmp_path / "cur", [lines(MONTH, period)], period=period)
    usage = "period_start,tenant_id,value,refreshed_at\n" + "".join(
        f"{period},{tenant},{value},{period.end}T03:00:00Z\n"
        for period in periods
        for tenant, value in (("acme", 1), ("globex", 2))
    )
    inputs = {name: text.replace("2025-01-01", "2024-01-01") for name, text in INPUTS.items()} | {
        "tenant_network_usage": usage
    }
    books = home(tmp_path, inputs=inputs, admin_db=url, first_period=str(periods[0]))
    (tmp_path / "home" / "admin.db").unlink()
    settings = {
        "COPS_ADMIN_DB": url, "COPS_CUR": str(tmp_path / "cur"), "COPS_FIRST_PERIOD": str(periods[0]),
        "COPS_ACTOR": "daemon",
    }  # fmt: skip
    with running(tmp_path / "home", stopped=["cur_manifests"], **settings) as dagster:
        batch = backfill(dagster, periods)
        killed = started(dagster, batch)
        os.kill(dagster.process_of(killed), signal.SIGKILL)
        assert dagster.ended(killed) == "FAILURE"
        cancelled = started(dagster, batch)
        assert dagster.ask(STOP, id=cancelled)["terminateRun"]["__typename"] == "TerminateRunSuccess"
        assert dagster.ended(cancelled) == "CANCELED"
        runs = until(lambda: all_ended(dagster, batch, count))
        assert {run["runId"] for run in runs if run["status"] != "SUCCESS"} == {killed, cancelled}
        for run_id in (killed, cancelled):
            params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
            made = dagster.ask(RESUME, params=params)["launchRunReexecution"]
            assert made["__typename"] == "LaunchRunSuccess", made
            resumed = made["run"]["runId"]
            assert dagster.ended(resumed) == "SUCCESS", dagster.why(resumed)
    assert overlapping(runs) <= 2
    consistent(books, periods)
    books.admin.close()


def started(dagster: Dagster, batch: str) -> str:
    """A run of the batch that is under way."""
    found = until(
        lambda: [run for run in dagster.runs(**{"dagster/backfill": batch}) if run["status"] == "STARTED"]
    )
    return str(found[0]["runId"])


def all_ended(dagster: Dagster, batch: str, count: int) -> list[dict[str, Any]] | None:
    """The batch's runs, once all of them are over."""
    runs = dagster.runs(**{"dagster/backfill": batch})
    over = [run for run in runs if run["status"] in ("SUCCESS", "FAILURE", "CANCELED")]
    return runs if len(over) == len(runs) >= count else None


def consistent(books: Books, periods: list[Period]) -> None:
    """Every month is there once, ties out, has nothing left to do; nothing is left of what was killed."""
    sweep.sweep(books)
    for period in periods:
        assert current.is_current(books, period), period
    rows = answer(
        books,
        "SELECT period_start, COUNT(DISTINCT run_id), CAST(SUM(allocated_cost_usd) AS VARCHAR)"
        " FROM fact_cost_allocated GROUP BY 1 ORDER BY 1",
    )
    assert rows == [(period.start, 1, "40.880000001000000000") for period in periods]
    with books.admin.read() as con:
        for log in (t.cur_ingestion_log, t.allocation_run_log):
            states = set(con.execute(sa.select(log.c.status)).scalars())
            assert states <= {"succeeded", "published", "failed", "skipped"}
        live = set(con.execute(sa.select(t.lake_file.c.path)).scalars())
        assert sweep.pending(con) == []
    root = books.settings.lake_root
    assert {path.relative_to(root).as_posix() for path in root.glob("fact_*/*/*/*.parquet")} <= live
    assert verify.verify(books).status == "ok"
