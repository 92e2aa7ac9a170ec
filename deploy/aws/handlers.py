"""AWS Lambda handlers that start runs through Dagster's API and answer with run id and status.

    commercial-ops-cur-ingestion     handlers.ingest            {"period": "2025-09"}
    commercial-ops-allocation        handlers.allocate          {"period": "2025-09"}
    commercial-ops-budget-refresh    handlers.refresh_budgets   {} or {"period": "2025-09"}

Environment: DAGSTER_URL, the webserver's address inside your network (it has no authentication of its own).
Nothing but Python's library is needed. A run does what its inputs ask for, so invoking twice is harmless: the
second run finds nothing to do. What is wrong comes as {"error": {code, expected, found, next_step}}.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime

_PERIOD = re.compile(r"20\d\d-(0[1-9]|1[0-2])", re.ASCII)
_SECONDS = 20
_WHERE = """{ repositoriesOrError { __typename ... on RepositoryConnection { nodes {
  name location { name } jobs { name } } } ... on PythonError { message } } }"""
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId status } } ... on PythonError { message }
  ... on PipelineNotFoundError { message } ... on UnauthorizedError { message } } }"""


def ingest(event: object, context: object = None) -> dict[str, object]:
    """Takes the month from delivery to reconciled."""
    return _answer("materialise_period", event, needs_period=True)


def allocate(event: object, context: object = None) -> dict[str, object]:
    """Allocates the month: the same run, which does what keys and rules ask for and nothing else."""
    return _answer("materialise_period", event, needs_period=True)


def refresh_budgets(event: object, context: object = None) -> dict[str, object]:
    """Measures every budget; without a period, in the month that is running."""
    return _answer("refresh_budgets", event, needs_period=False)


class _Refused(Exception):
    def __init__(self, code: str, expected: str, found: str, next_step: str) -> None:
        super().__init__(code)
        self.facts = {"code": code, "expected": expected, "found": found[:500], "next_step": next_step}


def _answer(job: str, event: object, *, needs_period: bool) -> dict[str, object]:
    try:
        period = _period(event, needs_period=needs_period)
        return {"period": period, "job": job, **_launch(job, period)}
    except _Refused as refusal:
        return {"error": refusal.facts}


def _period(event: object, *, needs_period: bool) -> str:
    given = event.get("period") if isinstance(event, dict) else None
    if given is None and not needs_period and isinstance(event, dict):
        return f"{datetime.now(UTC):%Y-%m}"
    if not isinstance(given, str) or not _PERIOD.fullmatch(given):
        raise _Refused(
            "E-PERIOD", '{"period": "2025-09"}', json.dumps(event, default=str), "correct the payload"
        )
    return given


def _launch(job: str, period: str) -> dict[str, object]:
    found = _ask(_WHERE, {})["repositoriesOrError"]
    if found["__typename"] != "RepositoryConnection":
        raise _Refused(
            "E-DAGSTER", "loaded definitions", str(found.get("message")), "see the webserver's log"
        )
    for node in found["nodes"]:
        if any(one["name"] == job for one in node["jobs"]):
            break
    else:
        raise _Refused("E-DAGSTER", f"a job {job}", "none", "does the workspace load cops_dagster?")
    params = {
        "selector": {
            "repositoryLocationName": node["location"]["name"], "repositoryName": node["name"],
            "jobName": job,
        },
        "runConfigData": {},
        "executionMetadata": {
            "tags": [
                {"key": "dagster/partition", "value": period},
                {"key": "cops/period", "value": period},
                {"key": "cops/cause", "value": "lambda"},
            ]
        },
    }  # fmt: skip
    made = _ask(_LAUNCH, {"params": params})["launchRun"]
    if made["__typename"] != "LaunchRunSuccess":  # Dagster answers errors with HTTP 200 too
        raise _Refused(
            "E-DAGSTER",
            "a run",
            f"{made['__typename']}: {made.get('message', '')}",
            "see the webserver's log",
        )
    return {"run_id": made["run"]["runId"], "status": made["run"]["status"]}


def _ask(query: str, variables: dict[str, object]) -> dict:
    url = os.environ.get("DAGSTER_URL", "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise _Refused("E-SETTING", "DAGSTER_URL, an http address", "none", "set it on the function")
    request = urllib.request.Request(  # noqa: S310  the scheme is checked above
        f"{url}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            body = json.loads(answer.read())
    except (urllib.error.URLError, OSError, ValueError) as problem:
        why = (
            f"HTTP {problem.code}" if isinstance(problem, urllib.error.HTTPError) else type(problem).__name__
        )
        raise _Refused(
            "E-DAGSTER", "an answer of Dagster's webserver", why, "is it up and reachable?"
        ) from None
    if body.get("errors"):
        raise _Refused(
            "E-DAGSTER", "an answer", str(body["errors"][0].get("message")), "see the webserver's log"
        )
    return body["data"]
