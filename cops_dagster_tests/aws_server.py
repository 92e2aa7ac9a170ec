"""AWS's JSON protocol on this machine: what it answers, in order, and what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SECRET = "wJalrXUtnFEMI-canary"
TOKEN = "session-token-canary"


@dataclass
class Aws:
    """What the server answers, in order, and what it was asked. The last answer is repeated."""

    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    targets: set[str | None] = field(default_factory=set)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An HTTP server that speaks AWS JSON 1.1, and an environment that leads there and nowhere else."""
    said = Aws()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said.asked.append(json.loads(body))
            said.targets.add(self.headers["X-Amz-Target"])
            status, answer = said.answers.pop(0) if len(said.answers) > 1 else said.answers[0]
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN,
        "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)  # the pauses between attempts
    yield said
    server.shutdown()
    server.server_close()


def failure(code: str) -> dict[str, str]:
    """As AWS words it: a refused signature quotes the request, token and all."""
    return {"__type": code, "message": f"x-amz-security-token:{TOKEN} key {SECRET}"}
