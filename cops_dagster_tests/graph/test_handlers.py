"""The Lambda handlers against a real webserver: the playbook's payload, bad ones, and Dagster down."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cops_dagster.graph.storage import dagster_home
from cops_dagster_tests.deliveries import MONTH, home, lines, write
from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.graph.homes import handlers


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


@pytest.mark.long
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


ANSWER = b'{"data": {"repositoriesOrError": %b}}'
PLACES = ANSWER % b'{"__typename": "RepositoryConnection", "nodes": [%b]}'
JOBS = b'"jobs": [{"name": "materialise_period"}]'
ODD = {
    "data is null": b'{"data": null}',
    "a list": b"[]",
    "an empty object": b"{}",
    "null": b"null",
    "a number": b"7",
    "errors are texts": b'{"errors": ["no schema"]}',
    "errors are one text": b'{"errors": "no schema"}',
    "errors are an object": b'{"errors": {"message": "no schema"}}',
    "an error without a message": b'{"errors": [null]}',
    "a page": b"<!doctype html><title>Sign in</title>",
    "nothing": b"",
    "bytes": b"\xff\xfe\x00",
    "cut": b'{"data": {"repositories',
    "deep": b"[" * 100_000,
    "a number of many digits": b'{"data": %b}' % (b"9" * 5000),
    "huge": b'{"data": "%b"}' % (b"x" * 5_000_000),
    "another question's answer": b'{"data": {"version": "1"}}',
    "places are null": b'{"data": {"repositoriesOrError": null}}',
    "places are a list": b'{"data": {"repositoriesOrError": []}}',
    "definitions do not load": ANSWER % b'{"__typename": "PythonError", "message": 7}',
    "nodes are null": ANSWER % b'{"__typename": "RepositoryConnection", "nodes": null}',
    "a node is null": PLACES % b"null",
    "jobs are texts": PLACES % b'{"jobs": ["materialise_period"]}',
    "no place": PLACES % (b'{"name": "r", %b}' % JOBS),
    "the run is missing": PLACES % (b'{"name": "r", "location": {"name": "l"}, %b}' % JOBS),
}  # fmt: skip


@pytest.fixture(scope="module")
def odd() -> Iterator[HTTPServer]:
    """A server that answers everything with `said`; where that is no HTTP, with its bare bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if server.said.startswith(b"bare "):  # type: ignore[attr-defined]
                self.wfile.write(server.said[5:])  # type: ignore[attr-defined]
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(server.said)  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the other side has read enough
                super().handle()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "said", [*ODD.values(), b"bare SSH-2.0-x\r\n", b"bare "], ids=[*ODD, "no HTTP", "silence"]
)
def test_an_odd_answer_is_refused_with_a_code(
    odd: HTTPServer, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Null data, a list and errors as texts once raised TypeError and AttributeError."""
    odd.said = said  # type: ignore[attr-defined]
    monkeypatch.setenv("DAGSTER_URL", f"http://127.0.0.1:{odd.server_port}")
    error = handlers().ingest({"period": "2025-09"})["error"]
    assert error["code"] == "E-DAGSTER"
    assert all(error[name] and len(error[name]) <= 500 for name in ("expected", "found", "next_step"))
