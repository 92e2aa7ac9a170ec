"""The Lambda handlers against a real webserver: the playbook's payload, bad ones, and Dagster down."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from cops_dagster.graph.launch import dagster_home
from cops_dagster_tests.deliveries import MONTH, home, lines, write
from cops_dagster_tests.docs.pages import ROOT


def handlers() -> Any:
    spec = importlib.util.spec_from_file_location("handlers", ROOT / "deploy" / "aws" / "handlers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "COPS_HOME": str(folder / "home"), "COPS_CUR": str(folder / "cur"), "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(dagster_home(books.settings.home)), "DAGSTER_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "dagster_webserver", "-m", "cops_dagster.definitions", "-p", str(port)],
        env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/server_info", timeout=2).close()
                break
            except OSError:
                time.sleep(0.25)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def test_the_playbooks_payload_starts_a_run(webserver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_URL", webserver)
    lambdas = handlers()
    seen = set()
    for handler in (lambdas.ingest, lambdas.allocate, lambdas.refresh_budgets):
        answer = handler({"period": "2025-09"})
        assert "error" not in answer, answer
        assert answer["period"] == "2025-09"
        assert answer["status"] in ("QUEUED", "STARTING", "STARTED", "NOT_STARTED")
        seen.add(answer["run_id"])
    assert len(seen) == 3
    assert lambdas.refresh_budgets({})["job"] == "refresh_budgets"


@pytest.mark.parametrize(
    "event",
    [
        None, {}, [], "2025-09", {"period": "2025-13"}, {"period": "2025-9"}, {"period": 202509},
        {"period": "../../x"}, {"period": "2025-09\n"}, {"Period": "2025-09"},
    ],
)  # fmt: skip
def test_a_bad_payload_is_refused_before_anything_is_asked(
    event: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_URL", "http://127.0.0.1:9")
    answer = handlers().ingest(event)
    assert answer["error"]["code"] == "E-PERIOD"
    assert set(answer["error"]) == {"code", "expected", "found", "next_step"}


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://127.0.0.1:9", "E-DAGSTER"), ("", "E-SETTING"), ("file:///etc/passwd", "E-SETTING")],
)
def test_without_dagster_the_answer_says_so(url: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_URL", url)
    assert handlers().allocate({"period": "2025-09"})["error"]["code"] == code
