"""Receivers that starve whoever calls them: each call has a deadline, and nobody else waits for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board, calls, trial
from cops_dagster.alerts import tick as ticking
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.alerts.message import Message
from cops_dagster.alerts.receivers import open_receivers
from cops_dagster.alerts.tick import tick
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.alerts.receiving import ARN, BEGIN, at, fire, logged, opened
from cops_dagster_tests.alerts.servers import Seen, starving, web

HEADERS = b"HTTP/1.1 200 OK\r\nX-Slow: "
STARVING: dict[str, tuple[str, bytes]] = {
    "a webhook that drips its headers": ("webhook", HEADERS),
    "a webhook that drips its status": ("webhook", b"HTTP/1."),
    "a webhook that takes all and says nothing": ("webhook", b""),
    "a webhook that goes on and on to come": ("webhook", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a webhook that never ends its handshake": ("https", b""),
    "a Slack that drips": ("slack", HEADERS),
    "a mail server that drips its greeting": ("smtp", b"220-here\r\n220-"),
    "a mail server that never ends its handshake": ("smtps", b""),
    "a topic that drips its answer": ("sns", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n<"),
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SECONDS", 1.0)


@contextmanager
def receiver(
    kind: str, answer: bytes, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A receiver of a kind that starves."""
    with starving(seen, answer) as port:
        if kind in ("smtp", "smtps"):
            tls = "none" if kind == "smtp" else "tls"
            yield {
                "kind": "smtp", "host": "127.0.0.1", "port": port, "tls": tls, "sender": "cops@example.com",
                "to": ["lead@example.com"],
            }  # fmt: skip
        elif kind == "sns":
            monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
            yield {"kind": "sns", "topic_arn": ARN}
        else:
            scheme, named = ("https", "webhook") if kind == "https" else ("http", kind)
            yield {"kind": named, "url": f"{scheme}://127.0.0.1:{port}/hook"}


def test_those_that_starve_are_given_up_and_cut_off_while_another_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte every few seconds kept the tick, its lock and every other receiver for as long as it liked."""
    monkeypatch.setattr(calls, "SECONDS", 3.0)
    starved, told = {name: Seen() for name in STARVING}, Seen()
    with ExitStack() as servers:
        set_to = {
            f"r{number}": servers.enter_context(receiver(*STARVING[name], starved[name], monkeypatch))
            for number, name in enumerate(STARVING)
        }
        good = servers.enter_context(web(told))
        books = opened(tmp_path, **set_to, z={"kind": "webhook", "url": good})
        fire(books)
        done = tick(books, open_receivers(books.settings), {}, at=at(0))
        for name, seen in starved.items():
            assert not seen.calls or seen.ended.wait(10), name
    assert (done.accepted, done.failed) == (1, len(STARVING))
    with books.admin.read() as con:
        details = con.execute(sa.select(t.notification_log.c.detail)).scalars().all()
    assert sorted(details) == ["HTTP 200", *["no answer within 3 s"] * len(STARVING)]


def test_a_name_that_is_never_found_keeps_nobody_and_is_connected_to_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, told, found = Seen(), Seen(), threading.Event()
    look_up = socket.getaddrinfo

    def never(host: Any, *more: Any, **others: Any) -> Any:
        if host == "slow.example.com":
            found.wait(30)
            host = "127.0.0.1"
        return look_up(host, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", never)
    with starving(slow) as port, web(told) as good:
        books = opened(
            tmp_path, a={"kind": "webhook", "url": f"http://slow.example.com:{port}/"},
            b={"kind": "webhook", "url": good},
        )  # fmt: skip
        fire(books)
        done = tick(books, open_receivers(books.settings), {}, at=at(0))
        assert (done.accepted, done.failed) == (1, 1)
        waiting = [one for one in threading.enumerate() if one.name == "receiver a"]
        assert waiting
        assert all(one.daemon for one in waiting)  # the process may end meanwhile
        found.set()
        for one in waiting:
            one.join(10)
        assert not any(one.is_alive() for one in waiting)
    assert slow.calls == 0
    assert len(logged(books)) == 2  # nothing was written after the tick


def test_an_answer_after_the_deadline_is_sent_again_with_the_same_key(tmp_path: Path) -> None:
    seen = Seen(mode="late")
    with web(seen) as address:
        books = opened(tmp_path, a={"kind": "webhook", "url": address})
        fire(books)
        tick(books, open_receivers(books.settings), {}, at=at(0))
        seen.mode = "ok"
        for minute in (1, 2):
            tick(books, open_receivers(books.settings), {}, at=at(minute))
    first, second = (headers["Idempotency-Key"] for headers, _ in seen.taken)
    assert first == second
    assert logged(books) == [("a", "FIRST", "failed"), ("a", "RETRY", "accepted")]


class Box:
    """A receiver in this process; `before` runs before it takes a message."""

    def __init__(self, before: Any = None) -> None:
        self.taken: list[str] = []
        self.before = before

    def send(self, message: Message) -> str:
        if self.before:
            self.before(message)
        self.taken.append(f"{message.severity} {message.period}")
        return "ok"

    def inspect(self) -> list[str]:
        return []


def observed(books: Books, severity: Any, month: int = 9, *, when: Any = BEGIN) -> None:
    seen = Observation("rule", severity, Period(2025, month), severity, True, when, when, "t")
    with books.admin.write() as con:
        board.observe(con, [seen], actor="kim")


def boxes(folder: Path, **others: Any) -> tuple[Books, dict[str, Any]]:
    books = opened(folder, **{name: {"kind": "console"} for name in others})
    return books, others


def test_p1_of_all_receivers_goes_before_anything_else(tmp_path: Path) -> None:
    said: list[str] = []
    books, receivers = boxes(
        tmp_path, a=Box(lambda m: said.append(m.severity)), b=Box(lambda m: said.append(m.severity))
    )
    observed(books, "P2", 8)
    observed(books, "P1", 9)
    observed(books, "P3", 10)
    tick(books, receivers, {}, at=at(20))
    assert said[:2] == ["P1", "P1"]
    assert sorted(said[2:]) == ["P2", "P2", "P3", "P3"]


def test_a_p1_that_fires_while_others_are_told_is_told_in_the_same_tick(tmp_path: Path) -> None:
    books, receivers = boxes(tmp_path, a=Box(lambda m: m.severity == "P2" and observed(books, "P1")))
    observed(books, "P2", 8)
    tick(books, receivers, {}, at=at(20))
    assert receivers["a"].taken == ["P2 2025-08", "P1 2025-09"]


def test_what_there_is_no_time_for_is_neither_lost_nor_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books, receivers = boxes(tmp_path, a=Box())
    observed(books, "P2")
    monkeypatch.setattr(ticking, "SECONDS", -1.0)
    tick(books, receivers, {}, at=at(20))
    assert (receivers["a"].taken, logged(books)) == ([], [])
    monkeypatch.setattr(ticking, "SECONDS", 30.0)
    tick(books, receivers, {}, at=at(21))
    assert receivers["a"].taken == ["P2 2025-09"]


def test_a_receiver_that_starves_is_asked_once_in_a_tick_and_owes_the_rest(tmp_path: Path) -> None:
    never = threading.Event()
    books, receivers = boxes(tmp_path, a=Box(lambda _: never.wait(30)), b=Box())
    for month in (8, 9, 10):
        observed(books, "P1", month)
    done = tick(books, receivers, {}, at=at(0))
    never.set()
    assert (done.accepted, done.failed) == (3, 3)
    assert len(receivers["b"].taken) == 3
    assert len(receivers["a"].taken) <= 1


def test_a_trial_of_receivers_that_starve_ends(tmp_path: Path) -> None:
    with starving(Seen(), HEADERS) as port, web(Seen()) as good:
        books = opened(
            tmp_path, a={"kind": "webhook", "url": f"http://127.0.0.1:{port}/"},
            b={"kind": "webhook", "url": good},
        )  # fmt: skip
        bad, fine = trial.try_out(books.settings, None)
    assert (bad["accepted"], bad["answer"]) == (False, "no answer within 1 s")
    assert fine["accepted"]
