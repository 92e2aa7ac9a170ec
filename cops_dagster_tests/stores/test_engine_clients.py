"""What the clients of Trino and Athena make of answers that are no result; no engine is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.stores.aws import athena_client, call
from cops_dagster.stores.aws.athena_client import Athena
from cops_dagster.stores.trino_client import Trino
from cops_dagster_tests.engines import athena_server
from cops_dagster_tests.engines.athena_server import Athena as Fake
from cops_dagster_tests.engines.trino_server import KEYS

SECRET = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQW"


@contextmanager
def answering(status: int, said: bytes) -> Iterator[str]:
    """A server that says the same to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (404, b"Query not found", "E-ENGINE-BUSY.*404"),  # of a server that was started anew
        (503, b"", "E-ENGINE-BUSY.*503"),
        (500, b"oops", "E-ENGINE-BUSY.*500"),
        (401, SECRET.encode(), "E-ENGINE-FAILED.*401"),
        (200, b"<html>sign in</html>", "E-ENGINE-BUSY.*no answer of Trino"),
        (200, b"{}", "E-ENGINE-BUSY.*no answer of Trino"),
    ],
)
def test_an_answer_that_is_no_result_of_trino_has_a_code_and_none_of_its_text(
    status: int, said: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trino.client.sleep", lambda _: None)
    with answering(status, said) as url, pytest.raises(CopsError, match=code) as refused:
        Trino(url, "glue", "cops", user="cops", max_bytes=1, max_minutes=1).run("SELECT 1")
    assert SECRET not in str(refused.value)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    with athena_server.serving(0) as made:
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_ATHENA", made.url)
        monkeypatch.setattr(athena_client, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(call, "ATTEMPTS", 1)
        yield made


def client() -> Athena:
    return Athena("glue", "cops", workgroup=None, output="s3://bucket/athena/", max_minutes=1)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (("TooManyRequestsException", "Rate exceeded"), "E-AWS-THROTTLED"),
        (("AccessDeniedException", f"{SECRET} is not authorized"), "E-AWS-DENIED"),
        (("ExpiredTokenException", f"The token {SECRET} is expired"), "E-AWS-DENIED.*sign in again"),
        (("InvalidRequestException", "line 1:1: mismatched input"), "E-ENGINE-FAILED.*mismatched input"),
        (("FAILED", "SYNTAX_ERROR: line 1:1"), "E-ENGINE-FAILED"),
        (("FAILED", "Status Code: 403, Access Denied"), "E-AWS-DENIED.*cops-engine-policy"),
        (("CANCELLED", "Query was cancelled by the user"), "E-ENGINE-STOPPED"),
        (("CANCELLED", "Bytes scanned limit was exceeded"), "E-ENGINE-LIMIT"),
    ],
)
def test_how_a_statement_of_athena_ended_has_a_code_and_no_key_of_anybody(
    end: tuple[str, str], code: str, fake: Fake
) -> None:
    fake.ends[:] = [end]
    with pytest.raises(CopsError, match=code) as refused:
        client().run("SELECT 1")
    assert SECRET not in str(refused.value)
    assert fake.ends == []  # it was asked once: tries are the engine's affair


def test_a_statement_that_athena_took_after_its_time_was_over_is_stopped(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(athena_client, "MINUTE", 0.0)
    fake.ends[:] = [("QUEUED", "")]
    with pytest.raises(CopsError, match="E-ENGINE-LIMIT"):
        client().run("SELECT 1")
    assert set(fake.stopped) == set(fake.runs)
