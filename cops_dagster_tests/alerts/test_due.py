"""A tick looks at what may be due and at nothing else; whatever may make something due is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cops_dagster.alerts import board, due
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.alerts.message import Message
from cops_dagster.alerts.tick import tick
from cops_dagster.cli.main import app
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.settings_sections import Receiver
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.deliveries import home

BEGIN = datetime(2025, 10, 1)
EVERY = ("P1", "P2", "P3", "P4")
TO_ALL = {"all": Receiver(kind="console")}


class Box:
    """A receiver that takes everything; titles, in order."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def send(self, message: Message) -> str:
        self.taken += [f"{one.meant} {one.alert.title}" for one in message.entries]
        return "ok"

    def inspect(self) -> list[str]:
        return []


@pytest.fixture(params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    url = {"admin_db": postgres.database()} if request.param == "postgresql" else {}
    receivers = {"all": {"kind": "console"}, "other": {"kind": "console", "priorities": ["P4"]}}
    opened = home(tmp_path, inputs=None, notify={"receivers": receivers}, **url)
    yield opened
    opened.admin.close()


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def observe(books: Books, *seen: tuple[str, Any], minutes: float = 0, month: int = 9) -> None:
    """Scopes and priorities; no priority: it does not hold."""
    found = [
        Observation(
            "rule", scope, Period(2025, month), severity or "P2", severity is not None, at(minutes),
            at(minutes), scope,
        )
        for scope, severity in seen
    ]  # fmt: skip
    with books.admin.write() as con:
        board.observe(con, found, actor="kim", at=at(minutes))


def looked(books: Books, minutes: float, receivers: Any = None) -> list[str]:
    """What a tick would look at."""
    with books.admin.read() as con:
        found = due.read(con, receivers or TO_ALL, EVERY, at(minutes), whose={})
    return sorted(alert.scope for alert, _ in found.looked)


def ticked(books: Books, minutes: float) -> list[str]:
    box = Box()
    tick(books, {"all": box}, {}, at=at(minutes))
    return box.taken


def test_what_was_told_is_looked_at_when_it_is_due_again(books: Books) -> None:
    observe(books, ("a", "P1"), ("b", "P2"))
    assert ticked(books, 0) == ["FIRST a"]
    assert [looked(books, minutes) for minutes in (0, 59, 60)] == [[], [], ["a"]]  # b is beside a P1
    observe(books, ("a", None), minutes=61)
    assert ticked(books, 61) == ["RESOLVED a", "FIRST b"]
    assert [looked(books, minutes) for minutes in (62, 780, 781)] == [[], [], ["b"]]


def test_a_new_figure_alone_is_not_looked_at_and_a_graver_one_is(books: Books) -> None:
    observe(books, ("a", "P3"))
    ticked(books, 15)
    observe(books, ("a", "P3"), minutes=20)
    assert looked(books, 20) == []
    observe(books, ("a", "P2"), minutes=21)
    assert looked(books, 21) == ["a"]


def test_what_a_p1_kept_back_is_looked_at_when_it_becomes_milder(books: Books) -> None:
    observe(books, ("a", "P1"), ("b", "P2"))
    ticked(books, 10)
    assert looked(books, 20) == []
    observe(books, ("a", "P3"), minutes=20)
    assert "b" in looked(books, 20)


def test_a_silence_is_looked_at_again_when_it_ends(books: Books) -> None:
    observe(books, ("a", "P3"))
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.alert_silence).values(
                silence_id="s", severity="P3", reason="r", actor="kim", starts_at=BEGIN, ends_at=at(100)
            )
        )
    ticked(books, 15)
    assert [looked(books, minutes) for minutes in (16, 99, 100)] == [[], [], ["a"]]


def test_for_other_receivers_everything_is_looked_at_once(books: Books) -> None:
    observe(books, ("a", "P3"), ("b", "P2"))
    ticked(books, 15)
    assert looked(books, 16) == []
    assert looked(books, 16, TO_ALL | {"new": Receiver(kind="console")}) == ["a", "b"]
    assert looked(books, 16, {"all": Receiver(kind="console", priorities=("P4",))}) == ["a", "b"]


def test_what_was_looked_at_by_a_clock_that_was_ahead_is_looked_at_again(books: Books) -> None:
    observe(books, ("a", "P3"))
    ticked(books, 500_000)
    assert looked(books, 16) == ["a"]


def test_what_changes_while_a_tick_runs_is_looked_at_by_the_next_one(books: Books) -> None:
    """The tick would have put it off by what it had read before."""

    class Meddling(Box):
        def send(self, message: Message) -> str:
            observe(books, ("a", None), minutes=15)
            observe(books, ("a", "P1"), minutes=15)
            return super().send(message)

    observe(books, ("a", "P3"))
    tick(books, {"all": Meddling()}, {}, at=at(15))
    assert ticked(books, 16) == ["REFIRED a"]


def test_a_crash_after_the_log_is_looked_at_and_tells_nobody_again(books: Books) -> None:
    observe(books, ("a", "P1"))
    ticked(books, 0)
    with books.admin.write() as con:
        con.execute(sa.update(t.alert_state).values(due_at=BEGIN))
    assert looked(books, 1) == ["a"]
    assert ticked(books, 1) == []
    assert looked(books, 2) == []


def test_a_tick_looks_at_a_bounded_number_the_gravest_first(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "AT_MOST", 2)
    observe(books, ("a", "P3"), ("b", "P2"), ("c", "P1"), month=8)
    observe(books, ("d", "P1"), ("e", "P1"), month=7)
    said = [sorted(ticked(books, 20 + minutes)) for minutes in range(4)]
    # in a tick's last round it looks at P1 once more; a and b are beside one
    assert sorted(chain(*said)) == ["FIRST c", "FIRST d", "FIRST e"]
    assert looked(books, 30) == []


def test_of_a_long_history_each_kind_is_read_once(books: Books) -> None:
    observe(books, ("a", "P1"))
    for hour in range(6):
        ticked(books, 60 * hour)
    with books.admin.read() as con:
        log = due.read(con, TO_ALL, EVERY, at(360), whose={}).log
    (rows,) = log.values()
    assert [(row.meant, row.times, row.sent_at) for row in rows] == [
        ("FIRST", 1, at(0)), ("REPEAT", 5, at(300)),
    ]  # fmt: skip


def test_a_receiver_that_was_told_of_an_earlier_episode_hears_that_it_fires_again(books: Books) -> None:
    observe(books, ("a", "P1"))
    said = ticked(books, 0)
    observe(books, ("a", None), minutes=1)
    said += ticked(books, 1)
    observe(books, ("a", "P1"), minutes=2)
    assert [*said, *ticked(books, 2)] == ["FIRST a", "RESOLVED a", "REFIRED a"]


def test_alerts_are_listed_in_pages_the_gravest_first(books: Books) -> None:
    observe(books, *((f"{number:02}", ("P1", "P2", "P3")[number % 3]) for number in range(9)), ("x", "P3"))
    observe(books, ("x", None), minutes=1)
    with books.admin.read() as con:
        pages = [board.alerts(con, limit=4, offset=offset) for offset in (0, 4, 8)]
        assert [one.severity for page in pages for one in page] == ["P1"] * 3 + ["P2"] * 3 + ["P3"] * 3
        assert board.counted(con) == {("firing", name): 3 for name in ("P1", "P2", "P3")}
        assert board.counted(con, everything=True)["resolved", "P3"] == 1


def test_the_command_shows_some_and_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = home(tmp_path, inputs=None)
    observe(books, ("a", "P4"), ("b", "P4"), ("c", "P3"))
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    first = CliRunner().invoke(app, ["alerts", "list", "--json", "--limit", "1"])
    assert [one["scope"] for one in json.loads(first.stdout)] == ["c"]
    assert "1 of 3 shown; the next: --offset 1" in first.stderr
    rest = CliRunner().invoke(app, ["alerts", "list", "--json", "--offset", "1"])
    assert {one["scope"] for one in json.loads(rest.stdout)} == {"a", "b"}
    assert (first.exit_code, rest.exit_code) == (1, 1)  # of all, not of those shown
