"""A whole Dagster as it is deployed: webserver and daemon as processes, PostgreSQL, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cops_dagster_tests import postgres
from cops_dagster_tests.docs.pages import ROOT

Found = TypeVar("Found")
PATIENCE = 240
_MODULE = ["-m", "cops_dagster.definitions"]


@dataclass
class Dagster:
    """One running instance; `url` is its webserver."""

    url: str
    home: Path
    env: Mapping[str, str]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """A GraphQL answer's data. Raises `AssertionError` for errors."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = json.loads(answer.read())
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Runs with these tags, the newest first: id, status, partition, process id of the step."""
        found = self.ask(
            """query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
            runId status jobName startTime endTime tags { key value } } } } }""",
            filter={"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        )
        return [
            one | {"tags": {tag["key"]: tag["value"] for tag in one["tags"]}}
            for one in found["runsOrError"]["results"]
        ]

    def ended(self, run_id: str) -> str:
        """A run's status once it has ended."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return until(
            lambda: (
                status
                if (status := self.ask(query, id=run_id)["runOrError"]["status"])
                in ("SUCCESS", "FAILURE", "CANCELED")
                else None
            )
        )

    def stop(self, sensor: str) -> None:
        """Switches a sensor off, as the UI does."""
        place = self.ask(
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
        )
        (node,) = place["repositoriesOrError"]["nodes"]
        found = self.ask(
            """query($at: SensorSelector!) { sensorOrError(sensorSelector: $at) {
            ... on Sensor { sensorState { id } } } }""",
            at={
                "repositoryName": node["name"], "repositoryLocationName": node["location"]["name"],
                "sensorName": sensor,
            },
        )  # fmt: skip
        done = self.ask(
            "mutation($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }",
            id=found["sensorOrError"]["sensorState"]["id"],
        )["stopSensor"]
        assert done["__typename"] == "StopSensorMutationResult", done

    def why(self, run_id: str) -> list[str]:
        """What a run's events say of failures."""
        query = """query($id: ID!) { logsForRun(runId: $id, limit: 1000) { ... on EventConnection { events {
            __typename ... on MessageEvent { message stepKey }
            ... on ExecutionStepFailureEvent { error { message causes { message } } }
            ... on RunFailureEvent { error { message } } } } } }"""
        events = self.ask(query, id=run_id)["logsForRun"]["events"]
        return [str(one) for one in events if "Failure" in one["__typename"]]

    def process_of(self, run_id: str) -> int:
        """The process of a run, once its events name it."""
        query = """query($id: ID!) { logsForRun(runId: $id, limit: 500) {
            ... on EventConnection { events { ... on MessageEvent { message } } } } }"""

        def look() -> int | None:
            events = self.ask(query, id=run_id)["logsForRun"].get("events", [])
            found = (re.search(r"Started process for run \(pid: (\d+)\)", one["message"]) for one in events)
            return next((int(one[1]) for one in found if one), None)

        return until(look)


def until(look: Callable[[], Found | None], patience: float = PATIENCE) -> Found:
    """What `look` finds, once it finds something."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"nothing after {patience} s")


@contextmanager
def running(
    home: Path, *, stopped: Sequence[str] = (), storage: str | None = None, **env: str
) -> Iterator[Dagster]:
    """Starts webserver and daemon over a COPS home; ends both, and the runs that they started.

    Args:
        stopped: sensors that somebody switched off.
        storage: URL of Dagster's database; a fresh one if left out.
    """
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    url = storage or postgres.empty_database()
    shipped = (ROOT / "dagster.yaml").read_text(encoding="utf-8")
    (folder / "dagster.yaml").write_text(f"{shipped}\nstorage: {{postgres: {{postgres_url: '{url}'}}}}\n")
    whole = {
        **os.environ, "COPS_HOME": str(home), "DAGSTER_HOME": str(folder), "PYTHONPATH": str(ROOT),
        "DAGSTER_DISABLE_TELEMETRY": "1", **env,
    }  # fmt: skip
    with ExitStack() as stack:
        made = Dagster(stack.enter_context(webserver(home / "web", whole)), home, whole)
        for sensor in stopped:
            made.stop(sensor)
        stack.enter_context(_process(["dagster._daemon", "run", *_MODULE], whole, home / "daemon"))
        yield made


@contextmanager
def webserver(log: Path, env: Mapping[str, str], *options: str) -> Iterator[str]:
    """One webserver with this environment; its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = ["dagster_webserver", *_MODULE, "-h", "127.0.0.1", "-p", str(port), *options]
    with _process(command, env, log):
        until(lambda: _answers(url))
        yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2):
            return True
    except OSError:
        return False


@contextmanager
def _process(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=env, cwd=log.parent, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with suppress(ProcessLookupError):
        # its code servers and runs are of its session: nothing of a test outlives it
        os.killpg(process.pid, 9)
    process.wait()
