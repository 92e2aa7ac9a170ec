"""AWS Lambda handlers that start runs through Dagster's API and answer with run id and status.

    commercial-ops-cur-ingestion     handlers.ingest            {"period": "2025-09"}
    commercial-ops-allocation        handlers.allocate          {"period": "2025-09"}
    commercial-ops-budget-refresh    handlers.refresh_budgets   {} or {"period": "2025-09"}

Environment: DAGSTER_URL, the webserver's address inside your network (it has no authentication of its own).
Nothing but Python's library is needed. A run does what its inputs ask for, so invoking twice is harmless: the
second run finds nothing to do. What is wrong comes as {"error": {code, expected, found, next_step}}.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

_PERIOD = re.compile(r"20\d\d-(0[1-9]|1[0-2])", re.ASCII)
_SECONDS = 20
_BYTES_MAX = 4_000_000
_LOG = "see the webserver's log"
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
    found = _at(_ask(_WHERE, {}), dict, "repositoriesOrError")
    if found.get("__typename") != "RepositoryConnection":
        raise _Refused("E-DAGSTER", "loaded definitions", _said(found), _LOG)
    for node in _at(found, list, "nodes"):
        if any(_at(one, str, "name") == job for one in _at(node, list, "jobs")):
            break
    else:
        raise _Refused("E-DAGSTER", f"a job {job}", "none", "does the workspace load cops_dagster?")
    params = {
        "selector": {
            "repositoryLocationName": _at(node, str, "location", "name"),
            "repositoryName": _at(node, str, "name"), "jobName": job,
        },
        "runConfigData": {},
        "executionMetadata": {
            "tags": [
                {"key": "dagster/partition", "value": period},
                {"key": "cops/cause", "value": "lambda"},
            ]
        },
    }  # fmt: skip
    made = _at(_ask(_LAUNCH, {"params": params}), dict, "launchRun")
    if made.get("__typename") != "LaunchRunSuccess":  # Dagster answers errors with HTTP 200 too
        raise _Refused("E-DAGSTER", "a run", _said(made), _LOG)
    return {"run_id": _at(made, str, "run", "runId"), "status": _at(made, str, "run", "status")}


def _ask(query: str, variables: dict[str, object]) -> dict[str, Any]:
    """The data of a GraphQL answer; everything else that a server may say is a refusal."""
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
            text = _read(answer)
        body = json.loads(text)
    except urllib.error.HTTPError as problem:
        raise _no_answer(f"HTTP {problem.code}") from None
    except (OSError, http.client.HTTPException) as problem:
        raise _no_answer(type(problem).__name__) from None
    except (ValueError, RecursionError):
        raise _no_answer("text that is no JSON") from None
    errors = body.get("errors") if isinstance(body, dict) else None
    if errors:
        raise _Refused(
            "E-DAGSTER", "an answer", _said(errors[0] if isinstance(errors, list) else errors), _LOG
        )
    return _at(body, dict, "data")


def _read(answer: http.client.HTTPResponse) -> bytes:
    """A body of bounded size within a bounded time, however slowly it drips."""
    end, parts, size = time.monotonic() + _SECONDS, [], 0
    while part := answer.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _BYTES_MAX:
            raise _no_answer(f"more than {_BYTES_MAX} bytes")
        if time.monotonic() > end:
            raise _no_answer(f"no end within {_SECONDS} s")
    return b"".join(parts)


def _at(value: object, kind: type, *names: str) -> Any:
    """What stands under these names, if it is of that kind; an answer of another shape is not Dagster's."""
    path = "the answer"
    for name in names:
        if not isinstance(value, dict):
            break
        value, path = value.get(name), name
    else:
        if isinstance(value, kind):
            return value
    raise _no_answer(f"{path} is {type(value).__name__}")


def _said(problem: object) -> str:
    """What an error says, whatever its shape."""
    if not isinstance(problem, dict):
        return str(problem)
    said = (problem.get("__typename"), problem.get("message"))
    return ": ".join(str(one) for one in said if one) or "an error without a message"


def _no_answer(found: str) -> _Refused:
    return _Refused(
        "E-DAGSTER", "an answer of Dagster's webserver", found, "is it up and reachable at DAGSTER_URL?"
    )
