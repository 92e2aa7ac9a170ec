"""Secrets: refused in `cops.toml` wherever they stand, allowed in the environment, masked in every text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.cli.start import coded
from cops_dagster.errors import CopsError
from cops_dagster.redaction import found, masked
from cops_dagster.stores.admin import open_admin
from cops_dagster.stores.aws.reports import fetch
from cops_dagster.stores.places import open_objects

CANARY = "hunter2canary"
SECRET = [
    f"postgresql://cops:{CANARY}@db/cops",
    f"postgresql+psycopg2://cops:{CANARY}@db:5432/cops?sslmode=require",
    f"postgresql://:{CANARY}@db/cops",
    f"postgresql://cops:a/b#{CANARY}@db/cops",
    f"postgresql://cops:a@b{CANARY}@db/cops",
    f"postgresql://cops@db/cops?password={CANARY}",
    f"postgresql://cops@db/cops?sslmode=require&passwd={CANARY}",
    f"postgresql://db/cops?user=cops&PASSWORD={CANARY}",
    f"postgresql://db/cops?sslpassword={CANARY}",
    f"host=db user=cops password={CANARY}",
    f"host=db password='{CANARY} with blanks'",
    f"s3://AKIAABCDEFGHIJKLMNOP:{CANARY}@bucket/prefix",
    f"s3://bucket/prefix?aws_secret_access_key={CANARY}",
    f"https://bucket.s3.amazonaws.com/x?X-Amz-Signature={CANARY}",
    f"https://bucket.s3.amazonaws.com/x?X-Amz-Security-Token={CANARY}",
    f"https://user:{CANARY}@host/x",
    f"https://{CANARY}@host/x",
    f"https://host/hook?token={CANARY}",
    f"https://host/hook?api_key={CANARY}&x=1",
    f"https://chat.googleapis.com/v1/spaces/A/messages?key={CANARY}",
    f"https://hooks.slack.com/services/T0/B0/{CANARY}",
    f"https://discord.com/api/webhooks/1/{CANARY}",
    f"https://example.webhook.office.com/webhookb2/{CANARY}/IncomingWebhook/x",
    f"https://api.telegram.org/bot1:{CANARY}/sendMessage",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----",
    f"Authorization: Bearer {CANARY}0123456789",
    f'{{"password": "{CANARY}"}}',
]
PLAIN = [
    "postgresql://cops@db/cops", "postgresql+psycopg2://cops@db:5432/cops?sslmode=require&application_name=x",
    "sqlite:////data/admin.db", "s3://bucket/prefix", "eu=s3://bucket/eu,us=s3://bucket/us",
    "auth=s3://bucket/auth",
    "/data/cur/2025@09", "https://host:8080/x@y", "~/cur", "finance@example.com", "user_token",
    "user:CostCenter",
    "billing.cur", "arn:aws:sns:eu-west-1:123456789012:cops-alerts", "budget_level/tenant-*/*", "anna:b@c",
    "postgresql://cops@db/cops?passfile=/run/pgpass", "postgresql://cops@db/cops?sslkey=/run/key", "design=1",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRET)
def test_a_secret_is_known_and_masked(text: str) -> None:
    assert found(text)
    assert CANARY not in masked(text)
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert (found(text), masked(text)) == (None, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SECRET[0], "postgresql://cops:***@db/cops"),
        (SECRET[5], "postgresql://cops@db/cops?password=***"),
        ("s3://k:s@bucket/prefix", "s3://k:***@bucket/prefix"),
        ("connection to postgresql://u:p@db failed", "connection to postgresql://u:***@db failed"),
    ],
)
def test_what_is_around_a_secret_stays_readable(text: str, shown: str) -> None:
    assert masked(text) == shown


FILES = {
    "admin_db": ('admin_db = "{}"', "COPS_ADMIN_DB", SECRET[:11]),
    "cur": ('cur = "s3://plain/x,{}"', "COPS_CUR", SECRET[11:15]),
    "evidence": ('evidence = "{}"', "COPS_EVIDENCE", SECRET[11:15]),
    "lake": ('lake = "{}"', "COPS_LAKE", SECRET[11:13]),
    "actor": ('actor = "{}"', "COPS_ACTOR", SECRET[15:17]),
    "a receiver's addresses": (
        '[notify.receivers.oncall]\nkind = "smtp"\nhost = "h"\nsender = "a@b"\nto = ["x@y", "{}"]',
        "COPS_NOTIFY__RECEIVERS__ONCALL__TO", SECRET[17:21],
    ),
    "a receiver's address": (
        '[notify.receivers.oncall]\nkind = "slack"\nurl = "{}"', "COPS_NOTIFY__RECEIVERS__ONCALL__URL",
        ["https://plain.example/x", SECRET[20]],
    ),
    "a receiver's host": (
        '[notify.receivers.oncall]\nkind = "smtp"\nhost = "{}"', "COPS_NOTIFY__RECEIVERS__ONCALL__HOST",
        ["smtp://u:" + CANARY + "@h"],
    ),
    "a table": ('[controls]\ncrawler = "{}"', "COPS_CONTROLS__CRAWLER", [SECRET[12]]),
}  # fmt: skip


@pytest.mark.parametrize("place", FILES)
def test_a_secret_in_the_file_is_refused_with_the_variable_that_it_belongs_in(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, variable, secrets = FILES[place]
    monkeypatch.setenv("COPS_CONFIG", str(tmp_path / "cops.toml"))
    for secret in secrets:
        (tmp_path / "cops.toml").write_text(line.format(secret) + "\n")
        with pytest.raises(CopsError) as refusal:
            settings.load()
        assert refusal.value.code == "E-SETTING"
        assert refusal.value.next_step.endswith(f"and set {variable}")
        assert CANARY not in json.dumps(refusal.value.as_dict())
        with pytest.raises(CopsError):
            settings.policy_of(tmp_path / "cops.toml")


def test_the_advice_of_that_refusal_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cops.toml").write_text('actor = "anna"\n')
    monkeypatch.setenv("COPS_CONFIG", str(tmp_path / "cops.toml"))
    monkeypatch.setenv("COPS_ADMIN_DB", SECRET[0])
    made = settings.load()
    assert made.admin_url == SECRET[0].replace("postgresql:", "postgresql+psycopg2:")
    assert CANARY not in repr(made)
    assert CANARY not in str(made)


def test_init_writes_no_secret_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CopsError) as refusal:
        CliRunner().invoke(app, ["init", "--cur", SECRET[11], "--json"], catch_exceptions=False)
    assert refusal.value.code == "E-SETTING"
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_shows_no_secret_whatever_it_is_made_of() -> None:
    refusal = CopsError(
        "E-X", SECRET[0], expected=SECRET[5], found=SECRET[11], next_step=SECRET[20],
        details={"a": [SECRET[0], {"b": SECRET[9]}], "n": 1},
    )  # fmt: skip
    for text in (
        str(refusal),
        repr(refusal),
        json.dumps(refusal.as_dict()),
        json.dumps(refusal.as_figures()),
    ):
        assert CANARY not in text
    assert CANARY not in json.dumps(coded(RuntimeError(f"cannot reach {SECRET[0]}")).as_dict())


@pytest.mark.parametrize(
    "url", [f"postgresql://cops:{CANARY}@127.0.0.1:9/x", f"postgresql://cops@127.0.0.1:9/x?password={CANARY}"]
)
def test_a_database_that_does_not_answer_tells_no_password(url: str) -> None:
    with pytest.raises(CopsError) as refusal:
        open_admin(url.replace("postgresql:", "postgresql+psycopg2:"))
    assert refusal.value.code == "E-DB-UNREACHABLE"
    assert CANARY not in json.dumps(refusal.value.as_dict())


def test_keys_in_front_of_a_bucket_are_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    for address in (SECRET[11], f"s3://k:{CANARY}@bucket/x"):
        for act in (lambda at: open_objects(at).anchors(), lambda at: fetch(at, Path("nowhere"), None)):
            with pytest.raises(CopsError) as refusal:
                act(address)
            assert refusal.value.code in ("E-EVIDENCE-STORE", "E-AWS-BUCKET")
            assert CANARY not in json.dumps(refusal.value.as_dict())
