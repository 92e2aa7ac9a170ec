"""Random timelines of alerts, receivers and crashes, against a model that shares no code with COPS.

The books, the tick and its log are the real ones over SQLite; receivers are lists that may refuse, or kill
the tick before or after they took a message. The model keeps what each receiver was told as running state,
where COPS derives it from the log; after every tick both must have said the same, message by message. Before
every tick what it is going to look at is compared with everything.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board, due, telling
from cops_dagster.alerts import lifecycle as rules
from cops_dagster.alerts import tick as ticking
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.alerts.telling import Sent
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.alerts.acknowledged import acknowledge
from cops_dagster_tests.alerts.receiving import BEGIN, Inbox, Killed
from cops_dagster_tests.deliveries import home

SCOPES = {"a": "2025-09", "b": "2025-09", "c": "2025-10"}
RECEIVERS = {"all": ("P1", "P2", "P3", "P4"), "pager": ("P1", "P2")}
RANK = {"P1": 1, "P2": 2, "P3": 3, "P4": 4}
REPEAT = {"P1": 60, "P2": 720, "P3": 1440, "P4": 1440}
WAIT = {"P1": 0, "P2": 5, "P3": 15, "P4": 15}


# --- the model --------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What one receiver knows of one alert."""

    episode: int = 0
    top: int = 9
    step: int = -1
    at: int = 0
    open: bool = False
    ever: bool = False
    tries: int = 0
    trying: tuple[int, str] = (0, "")
    tried_at: int = 0


@dataclass
class Fact:
    """One alert: whether it fires, how gravely, since when."""

    on: bool = False
    severity: str = "P4"
    step: int = 0
    episode: int = 0
    since: int = 0
    born: int = -1
    ack_until: int = -1


class Model:
    def __init__(self) -> None:
        self.facts = {scope: Fact() for scope in SCOPES}
        self.told = {(name, scope): Told() for name in RECEIVERS for scope in SCOPES}
        self.silence = (-1, -1, 9)
        self.said: list[tuple[int, str, str, str]] = []

    def observe(self, scope: str, severity: str | None, step: int, minute: int) -> None:
        fact = self.facts[scope]
        if severity is None:
            if fact.on:
                fact.on, fact.ack_until = False, -1
            return
        if not fact.on:
            fact.on, fact.severity, fact.step, fact.since = True, severity, step, minute
            fact.episode, fact.ack_until, fact.born = fact.episode + 1, -1, minute
            return
        if RANK[severity] < RANK[fact.severity] or step > fact.step:
            fact.ack_until = -1
        fact.severity, fact.step = severity, max(fact.step, step)

    def due(self, name: str, scope: str, minute: int) -> str | None:
        fact, told = self.facts[scope], self.told[name, scope]
        knows = told.episode == fact.episode and fact.episode > 0
        if not fact.episode:
            return None
        if not fact.on:
            return "RESOLVED" if knows and told.open else None
        if fact.severity not in RECEIVERS[name]:
            return None
        rank = RANK[fact.severity]
        quiet = self.silence[0] <= minute < self.silence[1] and rank > 1 and rank >= self.silence[2]
        p1 = any(o.on and o.severity == "P1" and SCOPES[s] == SCOPES[scope] for s, o in self.facts.items())
        if quiet or (p1 and rank > 1):
            return None
        if not (knows and told.open):
            if minute - fact.since < WAIT[fact.severity]:
                return None
            return "REFIRED" if told.ever else "FIRST"
        if rank < told.top or fact.step > told.step:
            return "ESCALATED"
        if minute < fact.ack_until or minute - told.at < REPEAT[fact.severity]:
            return None
        return "REPEAT"

    def ripe(self, name: str, scope: str, minute: int) -> str | None:
        reason, told = self.due(name, scope, minute), self.told[name, scope]
        if reason and told.tries and told.trying == (self.facts[scope].episode, reason):
            return reason if minute - told.tried_at >= min(2 ** (told.tries - 1), 30) else None
        return reason

    def tick(self, moods: dict[str, str], minute: int) -> None:
        for name in sorted(RECEIVERS):
            groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
            for scope, reason in self.due_now(name, minute):
                fact = self.facts[scope]
                groups.setdefault((fact.severity, SCOPES[scope]), []).append((scope, reason))
            down = False
            for _, entries in sorted(groups.items()):
                down = down or moods[name] == "down"
                if not down:
                    self.said += [(minute, name, scope, reason) for scope, reason in entries]
                for scope, reason in entries:
                    self.hear(name, scope, reason, minute, down=down)

    def due_now(self, name: str, minute: int) -> list[tuple[str, str]]:
        found = ((scope, self.ripe(name, scope, minute)) for scope in self.facts)
        return [(scope, reason) for scope, reason in found if reason]

    def crash(
        self, minute: int, taken: list[tuple[str, str, str]], logged: list[tuple[str, str, str, str]]
    ) -> None:
        """Killed while receivers took messages side by side: any of what was due may have been taken,
        and any of that logged; nothing else."""
        due = {(name, *one) for name in RECEIVERS for one in self.due_now(name, minute)}
        assert set(taken) <= due
        for name, scope, reason, status in logged:
            assert (name, scope, reason) in due
            assert status == "failed" or (name, scope, reason) in taken
            self.hear(name, scope, reason, minute, down=status == "failed")
        self.said += [(minute, *one) for one in taken]

    def hear(self, name: str, scope: str, reason: str, minute: int, *, down: bool) -> None:
        fact, told = self.facts[scope], self.told[name, scope]
        if down:
            again = told.trying == (fact.episode, reason) and told.tries
            told.tries = told.tries + 1 if again else 1
            told.trying, told.tried_at = (fact.episode, reason), minute
            return
        told.tries = 0
        if reason == "RESOLVED":
            told.open = False
            return
        if reason in ("FIRST", "REFIRED"):
            told.top, told.step = 9, -1
        told.open, told.ever, told.episode, told.at = True, True, fact.episode, minute
        told.top, told.step = min(told.top, RANK[fact.severity]), max(told.step, fact.step)


# --- the system -------------------------------------------------------------------------------------------


def opened(folder: Path) -> Books:
    receivers = {name: {"kind": "console", "priorities": wanted} for name, wanted in RECEIVERS.items()}
    return home(folder, inputs=None, notify={"receivers": receivers})


@dataclass
class Run:
    """One timeline: COPS and the model side by side."""

    books: Books
    boxes: dict[str, Inbox] = field(default_factory=lambda: {name: Inbox() for name in RECEIVERS})
    model: Model = field(default_factory=Model)
    crashes: int = 0
    probes: Counter[str] = field(default_factory=Counter)

    def observe(self, scope: str, severity: str | None, step: int, minute: int) -> None:
        at = BEGIN + timedelta(minutes=minute)
        before = self.model.facts[scope].severity
        seen = Observation(
            "rule", scope, Period.parse(SCOPES[scope]), severity or before, severity is not None, at, at,  # type: ignore[arg-type]
            f"title of {scope}", step=step,
        )  # fmt: skip
        with self.books.admin.write() as con:
            board.observe(con, [seen], actor="kim")
        self.model.observe(scope, severity, step, minute)

    def ack(self, scope: str, minute: int) -> None:
        if not self.model.facts[scope].on:
            return
        until = BEGIN + timedelta(minutes=minute + 480)
        name = rules.fingerprint("rule", scope, Period.parse(SCOPES[scope]))
        with self.books.admin.write() as con:
            acknowledge(con, t.alert_state.c.fingerprint == name, until)
        self.model.facts[scope].ack_until = minute + 480
        self.probes["acked"] += 1

    def silence(self, minute: int, length: int, severity: str) -> None:
        if minute < self.model.silence[1]:
            return
        start = BEGIN + timedelta(minutes=minute)
        with self.books.admin.write() as con:
            con.execute(
                sa.insert(t.alert_silence).values(
                    silence_id=f"s-{minute}", severity=severity, reason="r", actor="kim", starts_at=start,
                    ends_at=start + timedelta(minutes=length),
                )
            )  # fmt: skip
        self.model.silence = (minute, minute + length, RANK[severity])
        self.probes["silenced"] += 1

    def tick(self, minute: int) -> None:
        moods = {name: box.mood for name, box in self.boxes.items()}
        before = {name: len(box.taken) for name, box in self.boxes.items()}
        rows = len(self.logged())
        for box in self.boxes.values():
            box.minute = minute
        at = BEGIN + timedelta(minutes=minute)
        self.check_the_filter(at)
        try:
            ticking.tick(self.books, dict(sorted(self.boxes.items())), {}, at=at)
        except Killed:
            self.crashes += 1
            for thread in threading.enumerate():
                if thread.name.startswith("receiver"):
                    thread.join()
            taken = [
                (name, scope, why)
                for name, box in self.boxes.items()
                for _, scope, why, _ in box.taken[before[name] :]
            ]
            self.model.crash(minute, taken, self.logged()[rows:])
        else:
            self.model.tick(moods, minute)
        heard = sorted(
            (at, name, scope, why) for name, box in self.boxes.items() for at, scope, why, _ in box.taken
        )
        assert heard == sorted(self.model.said)

    def logged(self) -> list[tuple[str, str, str, str]]:
        """Receiver, scope, reason and status of every row of the log."""
        notifications, alerts = t.notification_log, t.alert_state
        meant = sa.func.coalesce(notifications.c.retried_reason, notifications.c.reason)
        with self.books.admin.read() as con:
            rows = con.execute(
                sa.select(notifications.c.receiver, alerts.c.scope, meant, notifications.c.status)
                .join(alerts, alerts.c.fingerprint == notifications.c.fingerprint)
                .order_by(notifications.c.notification_seq)
            )  # fmt: skip
            return [tuple(row) for row in rows]

    def check_the_filter(self, at: datetime) -> None:
        """What a tick looks at, and the part of the log that it reads, decide as everything would."""
        set_to = self.books.settings.notify.receivers
        with self.books.admin.read() as con:
            looked = due.read(con, set_to, ("P1", "P2", "P3", "P4"), at, whose={})
            every = [board.alert_of(row) for row in con.execute(sa.select(t.alert_state))]
            log = everything_logged(con)
        found = {
            (name, one.alert.scope, one.reason, one.meant, one.number)
            for name, groups in looked.entries.items() for group in groups.values() for one in group
        }  # fmt: skip
        p1 = {one.period for one in every if one.state == "firing" and one.severity == "P1"}
        wanted = set()
        for name, configured in set_to.items():
            for one in every:
                rows = log.get((name, one.fingerprint), [])
                decision = telling.decide(
                    one, rows, looked.silences or silences(self.books, at), now=at,
                    inhibited=one.severity != "P1" and one.period in p1,
                )  # fmt: skip
                if decision and (decision.meant == "RESOLVED" or one.severity in configured.priorities):
                    number = sum(row.episode == one.episode and row.status == "accepted" for row in rows)
                    wanted.add((name, one.scope, decision.reason, decision.meant, number))
        assert found == wanted
        self.probes["left out"] += len(every) - len(looked.looked)


def silences(books: Books, at: datetime) -> list[telling.Silence]:
    with books.admin.read() as con:
        return board.silences(con, at)


def everything_logged(con: sa.Connection) -> dict[tuple[str, str], list[Sent]]:
    """The whole log, row by row."""
    found: dict[tuple[str, str], list[Sent]] = {}
    notifications = t.notification_log
    for row in con.execute(sa.select(notifications).order_by(notifications.c.notification_seq)):
        found.setdefault((row.receiver, row.fingerprint), []).append(
            Sent(row.episode, row.reason, row.retried_reason, row.severity, row.step, row.status, row.sent_at)
        )
    return found


def play(books: Books, seed: int, steps: int) -> Run:
    dice, run, minute = random.Random(seed), Run(books), 0
    for _ in range(steps):
        minute += dice.choice((1, 1, 2, 5, 15, 60, 61, 400, 1440))
        for _ in range(dice.randint(0, 2)):
            scope = dice.choice(list(SCOPES))
            severity = dice.choice(("P1", "P2", "P3", None, None))
            run.observe(scope, severity, dice.choice((0, 0, 1, 2)), minute)
        if dice.random() < 0.15:
            run.ack(dice.choice(list(SCOPES)), minute)
        if dice.random() < 0.08:
            run.silence(minute, dice.choice((10, 100, 2000)), dice.choice(("P2", "P3")))
        for box in run.boxes.values():
            box.mood = dice.choices(("up", "down", "kill before", "kill after"), (8, 2, 1, 1))[0]
        run.tick(minute)
    return run


def finish(run: Run, minute: int = 1_000_000) -> None:
    """Everybody is up, nothing is silenced: whatever is firing must be known to whom it is for."""
    for box in run.boxes.values():
        box.mood = "up"
    for later in range(3):
        run.tick(minute + 100 * later)
    for scope, fact in run.model.facts.items():
        p1 = any(
            o.on and o.severity == "P1" and SCOPES[s] == SCOPES[scope] for s, o in run.model.facts.items()
        )
        if fact.on and (fact.severity == "P1" or not p1):
            for name, priorities in RECEIVERS.items():
                if fact.severity in priorities:
                    assert run.model.told[name, scope].open, "lost"


def judge(run: Run) -> None:
    """0 early repeats, duplicates within the crashes, no end without a beginning: from messages alone."""
    duplicates = 0
    for box in run.boxes.values():
        keys = Counter(key for _, _, _, key in box.taken)
        duplicates += sum(count - 1 for count in keys.values())
        last: dict[str, Any] = {}
        told: set[str] = set()
        for at, scope, why, key in box.taken:
            if why == "REPEAT" and last[scope][1] != key:
                assert at - last[scope][0] >= 60, "early"
            assert why != "RESOLVED" or scope in told, "an end without a beginning"
            told.add(scope)
            last[scope] = (at, key)
    assert duplicates <= run.crashes * len(SCOPES)


def campaign(folder: Path, timelines: int, steps: int, first_seed: int = 0) -> Counter[str]:
    probes = Counter[str]()
    for seed in range(first_seed, first_seed + timelines):
        try:
            run = play(opened(folder / str(seed)), seed, steps)
            finish(run)
            judge(run)
        except AssertionError as problem:
            raise AssertionError(f"seed {seed}: {problem}") from problem
        probes += run.probes
        probes["crashes"] += run.crashes
        probes += Counter(why for _, _, _, why in run.model.said)
    return probes


REASONS = ("FIRST", "ESCALATED", "REFIRED", "REPEAT", "RESOLVED")


@pytest.mark.long
def test_random_timelines_with_crashes_lose_nothing_and_repeat_nothing_early(tmp_path: Path) -> None:
    probes = campaign(tmp_path, timelines=8, steps=45)
    assert all(probes[name] >= 5 for name in (*REASONS, "crashes", "acked", "silenced", "left out")), probes


@pytest.mark.long
def test_500_random_timelines(tmp_path: Path) -> None:
    probes = campaign(tmp_path, timelines=500, steps=40, first_seed=1000)
    assert all(probes[name] >= 200 for name in (*REASONS, "crashes", "acked", "silenced", "left out")), probes
