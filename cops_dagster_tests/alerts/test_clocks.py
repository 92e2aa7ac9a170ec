"""Clocks that are wrong: one that was ahead silences nothing, one that goes back repeats nothing early.

True time runs in minutes; the books see it through a clock that is ahead by some minutes, or behind. What is
right follows from true time alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cops_dagster.alerts import board, escalation
from cops_dagster.alerts import lifecycle as rules
from cops_dagster.alerts.lifecycle import ACK_FOR, Observation
from cops_dagster.alerts.telling import REPEAT
from cops_dagster.alerts.tick import tick
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.alerts.acknowledged import acknowledge
from cops_dagster_tests.alerts.receiving import BEGIN, Inbox
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.examples import examples

YEAR = 525_600
MONTH = Period(2025, 9)
_folders = count()


@dataclass
class World:
    """True time, a clock, and the books that are kept by it."""

    books: Books
    minute: int = 0
    ahead: int = 0
    box: Inbox = field(default_factory=Inbox)
    firing: dict[str, str] = field(default_factory=dict)

    @property
    def clock(self) -> datetime:
        return BEGIN + timedelta(minutes=self.minute + self.ahead)

    def observe(self, scope: str, severity: Any) -> None:
        holds = severity is not None
        seen = Observation(
            "rule", scope, MONTH, severity or "P2", holds, self.clock, self.clock, "title"
        )  # fmt: skip
        with self.books.admin.write() as con:
            board.observe(con, [seen], actor="kim", at=self.clock)
        self.firing.pop(scope, None)
        if holds:
            self.firing[scope] = severity

    def ack(self, scope: str) -> None:
        with self.books.admin.write() as con:
            acknowledge(con, t.alert_state.c.scope == scope, self.clock + ACK_FOR)

    def silence(self, minutes: int) -> None:
        with self.books.admin.write() as con:
            con.execute(
                sa.insert(t.alert_silence).values(
                    silence_id=f"s{self.minute}-{self.ahead}", severity="P2", reason="r", actor="kim",
                    starts_at=self.clock, ends_at=self.clock + timedelta(minutes=minutes),
                )
            )  # fmt: skip

    def tick(self) -> None:
        self.box.minute = self.minute
        tick(self.books, {"all": self.box}, {}, at=self.clock)  # type: ignore[dict-item]

    def told(self, scope: str) -> list[tuple[int, str]]:
        return [(at, why) for at, who, why, _ in self.box.taken if who == scope]

    def tick_at(self, *minutes: int) -> None:
        for minute in minutes:
            self.minute = minute
            self.tick()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return opened(tmp_path)


def opened(folder: Path) -> World:
    books = home(
        folder / str(next(_folders)), inputs=None, notify={"receivers": {"all": {"kind": "console"}}}
    )
    return World(books)


def test_a_send_that_failed_a_year_ahead_is_tried_again_at_once(world: World) -> None:
    """The pause was a year: `now - failed` was negative for as long as the clock had been ahead."""
    world.observe("a", "P1")
    world.ahead, world.box.mood = YEAR, "down"
    world.tick()
    world.ahead, world.box.mood = 0, "up"
    world.tick_at(1)
    assert world.told("a") == [(1, "FIRST")]


def test_an_observation_a_year_ahead_makes_none_after_it_old(world: World) -> None:
    """A check that passed a year ahead left 30 days of failures unseen."""
    world.ahead = YEAR
    world.observe("a", "P1")
    world.observe("a", None)
    world.ahead, world.minute = 0, 1
    world.observe("a", "P1")
    world.tick()
    assert world.told("a") == [(1, "FIRST")]


def test_an_alert_that_fired_a_year_ahead_is_told_now(world: World) -> None:
    world.ahead = YEAR
    for scope, severity in (("a", "P1"), ("b", "P1")):
        world.observe(scope, severity)
    world.ahead = 0
    world.tick()
    assert [world.told(scope) for scope in "ab"] == [[(0, "FIRST")]] * 2


def test_what_was_told_a_year_ahead_is_repeated_an_interval_after_the_clock_went_back(world: World) -> None:
    world.ahead = YEAR
    world.observe("a", "P1")
    world.tick()
    world.ahead = 0
    world.tick_at(1, 30, 60, 61, 120, 121)
    assert world.told("a") == [(0, "FIRST"), (61, "REPEAT"), (121, "REPEAT")]


def test_a_clock_that_went_back_a_little_repeats_neither_early_nor_an_interval_late(world: World) -> None:
    """By the times in the log alone the repeat came 50 minutes late; by treating them as due, 59 early."""
    world.ahead = 50
    world.observe("a", "P1")
    world.tick()
    world.ahead = 0
    world.tick_at(1, 59, 60, 61)
    assert world.told("a") == [(0, "FIRST"), (61, "REPEAT")]


def test_an_acknowledgement_by_a_clock_that_was_ahead_does_not_last_for_a_year(world: World) -> None:
    world.observe("a", "P1")
    world.tick()
    world.ahead = YEAR
    world.ack("a")
    world.ahead = 0
    world.tick_at(60, 541)
    assert (541, "REPEAT") in world.told("a")


def test_a_silence_by_a_clock_that_was_ahead_does_not_last_for_a_year(world: World) -> None:
    world.ahead = YEAR
    world.silence(120)
    world.ahead = 0
    world.observe("a", "P2")
    world.tick_at(5, 121)
    assert len(world.told("a")) == 1


def test_low_coverage_that_began_a_year_ahead_waits_a_day_and_no_longer(world: World) -> None:
    def below(at: datetime) -> None:
        seen = Observation(
            "coverage", "a", MONTH, "P3", True, at, at, "t", held_for=escalation.COVERAGE_HELD_FOR
        )
        with world.books.admin.write() as con:
            board.observe(con, [seen], actor="kim", at=world.clock)

    world.ahead = YEAR
    below(world.clock)
    world.ahead = 0
    below(world.clock)
    world.minute = 24 * 60 + 1
    below(world.clock)
    world.tick_at(world.minute + 15)
    assert len(world.told("a")) == 1


def test_data_that_names_a_time_ahead_makes_no_later_data_old(world: World) -> None:
    """The time of a file may be anything."""
    seen = Observation("rule", "a", MONTH, "P1", True, BEGIN + timedelta(days=365), BEGIN, "t")
    later = BEGIN + timedelta(minutes=5)
    fine = Observation("rule", "a", MONTH, "P1", False, later, later, "t")
    with world.books.admin.write() as con:
        board.observe(con, [seen], actor="kim", at=BEGIN)
        (ended,) = board.observe(con, [fine], actor="kim", at=later)
    assert ended.state == "resolved"


def test_the_watch_over_the_watchers_is_not_put_off_by_an_evaluation_ahead(world: World) -> None:
    def judged(at: datetime) -> None:
        with world.books.admin.write() as con:
            con.execute(
                sa.insert(t.control_status).values(
                    control=controls.NAMES[0], evaluated_at=at, status="ok", target="", measured="",
                    evidence="", owner="", next_step="",
                )
            )  # fmt: skip

    judged(BEGIN)
    judged(BEGIN + timedelta(days=365))
    world.tick_at(60, 181, 187)
    assert world.told("") == [(187, "FIRST")]  # nobody judged for two hours, and a P2 waits five minutes
    with world.books.admin.read() as con:
        (row,) = controls.newest(con, BEGIN + timedelta(minutes=5))
    assert row.evaluated_at == BEGIN


ADVANCE = st.sampled_from([1, 1, 5, 30, 61, 400, 800])
SEEN = st.tuples(st.sampled_from("ab"), st.sampled_from(["P1", "P2", "P2", None]))
STEP = st.tuples(
    ADVANCE, st.none() | SEEN, st.sampled_from(["up", "up", "up", "down"]),
    st.sampled_from(["", "", "", "", "ack", "silence"]),
)  # fmt: skip
AHEAD = st.sampled_from([YEAR, 10 * YEAR, 1440, 120, 59, 3, 0, -45, -300])


def play(world: World, steps: list[Any], clocks: list[int]) -> None:
    for (advance, seen, mood, act), ahead in zip(steps, clocks, strict=True):
        world.minute, world.ahead, world.box.mood = world.minute + advance, ahead, mood
        if seen:
            world.observe(*seen)
        if act == "ack":
            world.ack("a")
        if act == "silence":
            world.silence(200)
        world.tick()


@settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(STEP, AHEAD), min_size=3, max_size=8))
def test_once_the_clock_is_right_whatever_fires_is_told_within_its_interval(
    tmp_path_factory: pytest.TempPathFactory, timeline: list[Any]
) -> None:
    world = opened(tmp_path_factory.mktemp("clocks"))
    play(world, [step for step, _ in timeline], [ahead for _, ahead in timeline])
    world.ahead, world.box.mood = 0, "up"
    right = world.minute = world.minute + 1
    for scope in list(world.firing):
        world.observe(scope, world.firing[scope])  # conditions are judged again every hour
    states = {one.scope: one.state for one in everything(world)}
    assert {scope for scope, state in states.items() if state == "firing"} == set(world.firing)
    world.tick_at(*(right + later for later in (1, 31, 62, 205, 490, 550, 730, 960, 1250)))
    p1 = "P1" in world.firing.values()
    for scope, severity in world.firing.items():
        if severity == "P2" and p1:
            continue
        # an acknowledgement may last its 8 hours, or a silence its 200 minutes, from when the clock was right
        limit = (REPEAT[severity] + ACK_FOR).total_seconds() / 60 + 61
        assert [at for at, _ in world.told(scope) if right <= at <= right + limit], (scope, severity)


@settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(STEP, AHEAD), min_size=3, max_size=8))
def test_a_clock_that_only_goes_back_repeats_nothing_early(
    tmp_path_factory: pytest.TempPathFactory, timeline: list[Any]
) -> None:
    world = opened(tmp_path_factory.mktemp("clocks"))
    clocks = sorted((ahead for _, ahead in timeline), reverse=True)
    play(world, [step for step, _ in timeline], clocks)
    world.tick_at(*(world.minute + later for later in (1, 30, 60, 61, 90, 121)))
    for scope in "ab":
        told = world.told(scope)
        for (before, _), (at, why) in pairwise(told):
            assert why != "REPEAT" or at - before >= REPEAT["P1"].total_seconds() / 60, told


def everything(world: World) -> list[rules.Alert]:
    with world.books.admin.read() as con:
        return board.alerts(con, everything=True)
