"""What comes back from an address that is not AWS, or answers oddly: a code for each, never a traceback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cops_dagster import settings
from cops_dagster.alerts.trial import try_out
from cops_dagster.errors import CopsError
from cops_dagster.stores.aws import athena, budgets, cost_explorer, glue
from cops_dagster.stores.places import open_objects

TOPIC = "arn:aws:sns:eu-west-1:123456789012:cops-alerts"


class Said:
    """What the server answers to everything."""

    body = b""


@pytest.fixture(scope="module")
def said() -> Iterator[Said]:
    held = Said()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(held.body)))
            self.end_headers()
            self.wfile.write(held.body)

        do_GET = do_POST  # noqa: N815  the name that the library asks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "AWS_PROFILE",
            "AWS_CA_BUNDLE",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
        ):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        patch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        yield held
    server.shutdown()
    server.server_close()


BODIES = {
    "nothing": b"", "null": b"null", "a list": b"[]", "a text": b'"x"', "an object without fields": b"{}",
    "a page": b"<!doctype html><title>Sign in</title>", "bytes": b"\xff\xfe", "cut": b'{"Crawler": {"Na',
    "deep": b"[" * 100_000,
}  # fmt: skip
READERS: dict[str, tuple[Callable[[], object], tuple[bytes, ...]]] = {
    "crawler": (lambda: glue.crawler("c"), (b'{"Crawler": null}', b'{"Crawler": []}', b'{"Crawler": "x"}')),
    "partitions": (
        lambda: glue.partitions("a.b"),
        (b'{"Partitions": null}', b'{"Partitions": [{}]}', b'{"Partitions": "x"}', b'{"Partitions": [7]}'),
    ),
    "execution": (lambda: athena.execution("q"), (b'{"QueryExecution": []}', b'{"QueryExecution": null}')),
}
EMPTY_IS_AN_ANSWER: dict[str, tuple[Callable[[], object], tuple[bytes, ...]]] = {
    "budgets": (
        lambda: budgets.describe_budgets("123456789012"),
        (b'{"Budgets": [{}]}', b'{"Budgets": 7}', b'{"Budgets": [{"BudgetName": "a", "BudgetType": "COST", '
         b'"TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": "much", "Unit": "USD"}}]}'),
    ),
    "cost allocation tags": (cost_explorer.list_cost_allocation_tags, (b'{"CostAllocationTags": 7}',)),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("reader", READERS)
def test_an_answer_without_what_was_asked_for_is_refused(said: Said, reader: str) -> None:
    read, others = READERS[reader]
    for body in (*BODIES.values(), *others):
        said.body = body
        with pytest.raises(CopsError) as refusal:
            read()
        assert refusal.value.code == "E-AWS-UNREACHABLE", body


@pytest.mark.parametrize("reader", EMPTY_IS_AN_ANSWER)
def test_an_answer_of_other_types_is_refused_where_no_entry_is_a_good_answer(said: Said, reader: str) -> None:
    read, others = EMPTY_IS_AN_ANSWER[reader]
    for body in others:
        said.body = body
        with pytest.raises(CopsError) as refusal:
            read()
        assert refusal.value.code == "E-AWS-UNREACHABLE", body


@pytest.mark.parametrize("body", [b"<!doctype html><title>Sign in</title>", b"[]", b"<a/>"])
def test_a_store_that_answers_a_listing_with_something_else_is_refused(said: Said, body: bytes) -> None:
    said.body = body
    objects = open_objects("s3://proof/cops")
    if body == b"<a/>":  # an empty listing of a store without anything
        assert objects.anchors() == []
        return
    with pytest.raises(CopsError) as refusal:
        objects.anchors()
    assert refusal.value.code == "E-EVIDENCE-STORE"


@pytest.mark.long
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b"<PublishResponse/>"])
def test_a_topic_that_answers_oddly_did_not_take_the_message(said: Said, body: bytes) -> None:
    said.body = body
    receivers = {"topic": {"kind": "sns", "topic_arn": TOPIC}}
    (tried,) = try_out(settings.load(notify={"receivers": receivers}), None)
    assert (tried["accepted"], tried["answer"]) == (False, "an answer that is none of this service")
    assert tried["found"] == ["topic policy and subscriptions: an answer that is none of this service"]
