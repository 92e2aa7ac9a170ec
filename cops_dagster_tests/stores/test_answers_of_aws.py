"""What AWS answers, each with its own words and way out; addresses of S3 as people write them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import places
from cops_dagster.settings_places import s3_meant
from cops_dagster.stores import network
from cops_dagster.stores.aws import reports
from cops_dagster.stores.aws.call import meaning
from cops_dagster.stores.places import open_objects, open_volume
from cops_dagster_tests.deliveries import SEPTEMBER, home
from cops_dagster_tests.stores.s3_server import SECRET, Bucket, serving


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(monkeypatch) as held:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        yield held


ANSWERS = {
    "NoSuchBucket": (404, "E-AWS-BUCKET", "bucket billing does not exist", "correct its name"),
    "AuthorizationHeaderMalformed": (400, "E-AWS-REGION", "in another region", "AWS_DEFAULT_REGION"),
    "InvalidAccessKeyId": (403, "E-AWS-DENIED", "does not exist or is switched off", "another access key"),
    "SignatureDoesNotMatch": (403, "E-AWS-DENIED", "does not fit the access key", "AWS_SECRET_ACCESS_KEY"),
    "ExpiredToken": (400, "E-AWS-DENIED", "have expired", "sign in again"),
    "AccessDenied": (403, "E-AWS-DENIED", "lack the right", "sign in to that account"),
    "RequestTimeTooSkewed": (403, "E-AWS-CLOCK", "clock is off", "set the clock"),
    "SlowDown": (503, "E-AWS-THROTTLED", "SlowDown each time", "wait some minutes"),
    "InternalError": (500, "E-AWS-UNREACHABLE", "InternalError (HTTP 500)", "check network"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("said", ANSWERS)
def test_each_answer_has_its_words_and_its_way_out(bucket: Bucket, tmp_path: Path, said: str) -> None:
    status, code, found, next_step = ANSWERS[said]
    bucket.always = (status, said)
    with pytest.raises(CopsError) as refusal:
        reports.fetch("s3://billing/exports", tmp_path, SEPTEMBER)
    assert (refusal.value.code, found in refusal.value.found) == (code, True), refusal.value
    assert next_step in refusal.value.next_step
    assert SECRET not in str(refusal.value.as_dict())


@pytest.mark.sampled(5)
@pytest.mark.parametrize("said", ANSWERS)
def test_lake_and_evidence_keep_their_code_and_say_the_same(
    bucket: Bucket, tmp_path: Path, said: str
) -> None:
    status, _, found, next_step = ANSWERS[said]
    bucket.always = (status, said)
    for code, act in (
        ("E-EVIDENCE-STORE", lambda: open_objects("s3://billing/proof").anchors()),
        ("E-LAKE-STORE", lambda: open_volume(tmp_path, "s3://billing/lake").bring("x", "0", 0)),
    ):
        with pytest.raises(CopsError) as refusal:
            act()
        assert (refusal.value.code, found in refusal.value.found) == (code, True), refusal.value
        if said not in ("AccessDenied", "InternalError"):
            assert next_step in refusal.value.next_step


def test_a_bucket_of_another_region_is_told_which_one() -> None:
    answer: Any = {
        "Error": {"Code": "PermanentRedirect"},
        "ResponseMetadata": {"HTTPStatusCode": 301, "HTTPHeaders": {"x-amz-bucket-region": "eu-west-1"}},
    }
    said = meaning(ClientError(answer, "ListObjectsV2"), "billing")
    assert said.code == "E-AWS-REGION"
    assert said.found.startswith("bucket billing is in another region, eu-west-1")
    assert "AWS_DEFAULT_REGION=eu-west-1" in said.next_step


def test_without_credentials_nothing_is_called_unreachable(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CopsError) as refusal:
        reports.fetch("s3://billing/exports", tmp_path, SEPTEMBER)
    assert (refusal.value.code, "no usable credentials" in refusal.value.found) == ("E-AWS-DENIED", True)


def test_an_endpoint_where_nobody_listens_is_said_in_words(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with pytest.raises(CopsError) as refusal:
        reports.fetch("s3://billing/exports", tmp_path, SEPTEMBER)
    assert (refusal.value.code, refusal.value.found) == ("E-AWS-UNREACHABLE", "nobody listens there")


WRITINGS = {
    "https://billing.s3.amazonaws.com/cur/daily/": "s3://billing/cur/daily",
    "https://billing.s3.eu-west-1.amazonaws.com": "s3://billing",
    "https://s3.eu-west-1.amazonaws.com/billing/cur": "s3://billing/cur",
    "https://s3.console.aws.amazon.com/s3/buckets/billing?region=eu-west-1&prefix=cur/": "s3://billing/cur",
    "arn:aws:s3:::billing/cur/*": "s3://billing/cur",
    "arn:aws:s3:::billing": "s3://billing",
    "s3:billing/cur": "s3://billing/cur",
    "S3://billing/cur": "s3://billing/cur",
    "s3a://billing/cur": "s3://billing/cur",
    "s3:///billing": "s3://billing",
}
RIGHT = ["s3://billing", "s3://billing/cur/", "cur", "/data/s3/cur", "file:/data/cur", "~/s3"]


@pytest.mark.parametrize("written", WRITINGS)
def test_another_writing_of_a_place_in_s3_is_told_the_right_one(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = WRITINGS[written]
    assert s3_meant(written) == right
    books = home(tmp_path, inputs=None)
    rooted = replace(books, settings=books.settings.model_copy(update={"cur": written}))
    with pytest.raises(CopsError) as refusal:
        places.months(rooted.settings)
    assert (refusal.value.code, f"write {right}" in refusal.value.next_step) == ("E-SOURCE-UNKNOWN", True)
    with pytest.raises(CopsError) as refusal:
        open_objects(written)
    assert f"write {right}" in refusal.value.next_step
    monkeypatch.setenv("COPS_LAKE", written)
    with pytest.raises(CopsError) as refusal:
        settings.load()
    assert f"write {right}" in refusal.value.found


@pytest.mark.parametrize("written", RIGHT)
def test_an_address_that_is_right_is_left_as_it_is(written: str) -> None:
    assert s3_meant(written) is None


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no such host"),
        (ConnectionRefusedError(111, "refused"), "nobody listens there"),
        (ConnectionResetError(104, "reset"), "the connection was cut"),
        (TimeoutError("timed out"), "no answer in time"),
        (ssl.SSLError(1, "wrong version"), "no TLS is spoken there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failure_of_the_network_is_said_in_words_wherever_it_stands_in_the_chain(
    problem: Exception, words: str
) -> None:
    assert network.why(problem) == words
    assert network.why(RuntimeError(problem)) == words


def test_a_failure_that_nobody_knows_is_called_by_its_class() -> None:
    assert network.why(ValueError("hunter2")) == "ValueError"
