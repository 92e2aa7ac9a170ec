"""Real receivers: each message is delivered, once; what fails, hangs and comes back loses none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board, receivers, trial
from cops_dagster.alerts import tick as ticking
from cops_dagster.alerts.lifecycle import Alert, Observation
from cops_dagster.alerts.message import DETAIL_MAX, ENTRIES_MAX, Entry, Message
from cops_dagster.alerts.receivers import open_receivers
from cops_dagster.alerts.tick import tick
from cops_dagster.errors import CopsError
from cops_dagster.settings_sections import Receiver
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.alerts.receiving import ARN, BEGIN, at, fire, logged, opened
from cops_dagster_tests.alerts.servers import Seen, smtp, sns, web
from cops_dagster_tests.deliveries import SEPTEMBER, home

HOSTILE = "acme <!channel> <script>alert(1)</script> @here\r\nBcc: all@example.com\x00 & more"


@contextmanager
def listening(kind: str, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A server of a kind, and the receiver that is set to it."""
    if kind == "smtp":
        with smtp(seen) as port:
            yield {
                "kind": "smtp", "host": "127.0.0.1", "port": port, "tls": "none",
                "sender": "cops@example.com", "to": ["lead@example.com", "oncall@example.com"],
            }  # fmt: skip
    elif kind == "sns":
        with sns(seen) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", address)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
            yield {"kind": "sns", "topic_arn": ARN}
    else:
        with web(seen) as address:
            yield {"kind": kind, "url": address}


KINDS = ("smtp", "sns", "slack", "webhook")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "SECONDS", 0.5)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trouble", ["fail", "hang", "refuse"])
def test_what_fails_and_recovers_gets_each_message_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, trouble: str
) -> None:
    seen = Seen(mode=trouble)
    with listening(kind, seen, monkeypatch) as receiver:
        books = opened(tmp_path, finance=receiver)
        fire(books)
        done = tick(books, open_receivers(books.settings), {}, at=at(0))
        assert (done.accepted, done.failed, seen.taken) == (0, 1, [])
        seen.mode = "ok"
        tick(books, open_receivers(books.settings), {}, at=at(0.5))
        assert seen.taken == []  # not before the pause is over
        for minute in (1, 2, 3):
            tick(books, open_receivers(books.settings), {}, at=at(minute))
        assert len(seen.taken) == 1
        fire(books, holds=False, at=at(4))
        for minute in (4, 5):
            tick(books, open_receivers(books.settings), {}, at=at(minute))
    assert len(seen.taken) == 2
    assert logged(books) == [
        ("finance", "FIRST", "failed"), ("finance", "RETRY", "accepted"), ("finance", "RESOLVED", "accepted"),
    ]  # fmt: skip


def test_one_receiver_that_is_down_keeps_no_other_from_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down, up = Seen(mode="fail"), Seen()
    with web(down) as one, web(up) as other:
        books = opened(tmp_path, a={"kind": "webhook", "url": one}, b={"kind": "webhook", "url": other})
        fire(books)
        for minute in range(5):
            tick(books, open_receivers(books.settings), {}, at=at(minute))
        down.mode = "ok"
        tick(books, open_receivers(books.settings), {}, at=at(7))
    assert (len(down.taken), len(up.taken)) == (1, 1)


def test_a_receiver_that_answers_too_late_gets_one_duplicate_with_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(mode="late")
    with web(seen) as address:
        books = opened(tmp_path, a={"kind": "webhook", "url": address})
        fire(books)
        tick(books, open_receivers(books.settings), {}, at=at(0))
        seen.mode = "ok"
        for minute in (1, 2):
            tick(books, open_receivers(books.settings), {}, at=at(minute))
    assert len(seen.taken) == 2
    first, second = (headers["Idempotency-Key"] for headers, _ in seen.taken)
    assert first == second


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    seen = Seen(mode="redirect")
    with web(seen) as address:
        books = opened(tmp_path, a={"kind": "webhook", "url": address})
        fire(books)
        assert tick(books, open_receivers(books.settings), {}, at=at(0)).failed == 1
    assert seen.calls == 1


def test_a_mail_that_some_addresses_refuse_went_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(mode="partly")
    with listening("smtp", seen, monkeypatch) as receiver:
        books = opened(tmp_path, finance=receiver)
        fire(books)
        assert tick(books, open_receivers(books.settings), {}, at=at(0)).accepted == 1
    with books.admin.read() as con:
        assert (
            con.execute(sa.select(t.notification_log.c.detail)).scalar_one()
            == "accepted for 1 of 2 recipient(s)"
        )


def read_mail(taken: str) -> tuple[str, str]:
    mail = message_from_string(taken, policy=policy.default)
    assert mail["Bcc"] is None
    assert set(mail.keys()) >= {"Subject", "From", "To", "Date", "Message-ID"}
    return str(mail["Subject"]), mail.get_content()


READERS: dict[str, Callable[[Any], tuple[str, str]]] = {
    "smtp": read_mail,
    "sns": lambda taken: (taken["Subject"], taken["Message"]),
    "slack": lambda taken: ("", taken[1]["text"]),
    "webhook": lambda taken: (taken[1]["subject"], taken[1]["text"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_data_is_text_in_every_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    seen = Seen()
    with listening(kind, seen, monkeypatch) as receiver:
        books = opened(tmp_path, finance=receiver)
        fire(books, title=HOSTILE, detail=HOSTILE, next_step="docs/reconciliation.md", dagster_run_id="run-1")
        tick(books, open_receivers(books.settings), {}, at=at(0))
    subject, text = READERS[kind](seen.taken[0])
    assert "\n" not in subject
    assert "\x00" not in subject + text
    for line in text.splitlines():
        assert not line.startswith("Bcc")
    for needed in (
        "P1 FIRST",
        "since  2025-10-01 00:00 UTC",
        "next   docs/reconciliation.md",
        "run    run-1",
        "acme",
    ):
        assert needed in text
    if kind == "slack":
        assert "<" not in text
        assert "&lt;!channel&gt;" in text
    if kind == "sns":
        assert subject.isascii()
        assert len(subject) <= 100


def test_a_thousand_alerts_are_one_bounded_message_that_says_how_many(tmp_path: Path) -> None:
    seen = Seen()
    with web(seen) as address:
        books = opened(tmp_path, a={"kind": "webhook", "url": address})
        fire(books, count=1000, detail="x" * 1_000_000)
        tick(books, open_receivers(books.settings), {}, at=at(0))
        tick(books, open_receivers(books.settings), {}, at=at(1))
    ((_, body),) = seen.taken
    assert f"and {1000 - ENTRIES_MAX} more of 1000" in body["text"]
    assert len(body["text"]) < ENTRIES_MAX * (DETAIL_MAX + 400) + 500
    assert len(logged(books)) == 1000  # none dropped


def test_another_alert_of_the_month_names_what_fires_already(tmp_path: Path) -> None:
    seen = Seen()
    with web(seen) as address:
        books = opened(tmp_path, a={"kind": "webhook", "url": address})
        fire(books)
        tick(books, open_receivers(books.settings), {}, at=at(0))
        fire(books, count=2, at=at(1))
        tick(books, open_receivers(books.settings), {}, at=at(1))
    assert len(seen.taken) == 2
    assert "also firing here: 1" in seen.taken[1][1]["text"]


def test_receivers_get_what_is_for_them(tmp_path: Path) -> None:
    boxes = {name: Seen() for name in ("finance", "billing", "budgets", "all")}
    with (
        web(boxes["finance"]) as a,
        web(boxes["billing"]) as b,
        web(boxes["budgets"]) as c,
        web(boxes["all"]) as d,
    ):
        books = opened(
            tmp_path,
            finance={"kind": "webhook", "url": a, "priorities": ["P1"]},
            billing={"kind": "webhook", "url": b, "teams": ["billing-ops"]},
            budgets={"kind": "webhook", "url": c, "scopes": ["budget_level/tenant-*/*"]},
            all={"kind": "webhook", "url": d},
        )
        seen = [
            Observation(rule, scope, SEPTEMBER, severity, True, BEGIN, BEGIN, f"{rule} {scope}")
            for rule, scope, severity in (
                ("reconciliation_failed", "", "P1"),
                ("budget_level", "tenant-acme", "P2"),
                ("budget_level", "total", "P2"),
            )
        ]  # fmt: skip
        with books.admin.write() as con:
            board.observe(con, seen[1:], actor="kim")
        tick(books, open_receivers(books.settings), {}, at=at(6))
        with books.admin.write() as con:
            board.observe(con, seen[:1], actor="kim")
        tick(books, open_receivers(books.settings), {}, at=at(7))
    told = {
        name: sorted(one["rule"] + " " + one["scope"] for _, body in box.taken for one in body["alerts"])
        for name, box in boxes.items()
    }
    assert told == {
        "finance": ["reconciliation_failed "],
        "billing": ["budget_level tenant-acme", "budget_level total"],
        "budgets": ["budget_level tenant-acme"],
        "all": ["budget_level tenant-acme", "budget_level total", "reconciliation_failed "],
    }


def test_a_trial_says_what_each_receiver_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("sns", Seen(), monkeypatch) as topic, web(Seen(mode="refuse")) as address:
        books = opened(tmp_path, topic=topic, hook={"kind": "webhook", "url": address})
        hook, found = trial.try_out(books.settings, None)
        assert (hook["accepted"], hook["answer"]) == (False, "HTTP 400")
        assert found["accepted"]
        assert found["found"] == [
            "topic policy: 2 statement(s), 1 deny",
            "subscriptions: 1 confirmed, 1 pending",
        ]
        with pytest.raises(CopsError, match="E-RECEIVER-UNKNOWN"):
            trial.try_out(books.settings, "nobody")
    assert logged(books) == []


def test_a_refused_topic_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("sns", Seen(mode="refuse"), monkeypatch) as topic:
        books = opened(tmp_path, topic=topic)
        (found,) = trial.try_out(books.settings, None)
    assert found["answer"] == "AuthorizationError"
    assert "s3cret" not in json.dumps(found)


def test_an_address_is_a_secret_in_every_output(tmp_path: Path) -> None:
    books = opened(tmp_path, a={"kind": "webhook", "url": "http://127.0.0.1:9/hook/s3cret"})
    fire(books)
    tick(books, open_receivers(books.settings), {}, at=at(0))
    with books.admin.read() as con:
        said = str(con.execute(sa.select(t.notification_log)).all())
    assert "s3cret" not in said + repr(books.settings) + books.settings.model_dump_json()


def test_the_console_prints(capsys: pytest.CaptureFixture[str]) -> None:
    alert = Alert(
        "f" * 64, "rule", "", None, "firing", "P2", 1, 0, "title", None, "", "", None, BEGIN, BEGIN, BEGIN,
        None, None, BEGIN, BEGIN,
    )  # fmt: skip
    message = Message("P2", "", [Entry(alert, "RETRY", "FIRST")], [], at(180))
    receivers.open_receiver(Receiver(kind="console")).send(message)
    said = capsys.readouterr().err
    assert "P2 FIRST (sent again): title" in said
    assert "(3 h), episode 1" in said


def test_over_postgresql_two_ticks_at_once_send_one_message(tmp_path: Path) -> None:
    seen = Seen()
    with web(seen) as address:
        receiver = {"kind": "webhook", "url": address}
        one, other = (
            home(tmp_path / name, inputs=None, admin_db=url, notify={"receivers": {"a": receiver}})
            for url in [postgres.database()]
            for name in ("here", "there")
        )
        fire(one)
        with ticking._alone(one) as alone:
            assert alone
            assert tick(other, open_receivers(other.settings), {}, at=at(0)).busy
        assert tick(other, open_receivers(other.settings), {}, at=at(0)).accepted == 1
        assert tick(one, open_receivers(one.settings), {}, at=at(0)).accepted == 0
    assert len(seen.taken) == 1
