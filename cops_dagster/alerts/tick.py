"""One tick: what every receiver is due now is sent, and logged once it was accepted.

Belongs here: who is called when, under one lock and within a time. Does not belong here: which alerts are
looked at (`alerts/due.py`), whether a message is due (`alerts/telling.py`), the deadline of a call
(`alerts/calls.py`).

Receivers are called side by side, P1 before anything else, and P1 that came meanwhile once more at the end.
A crash between acceptance and log repeats one message, with the same key; so does an answer that comes
after the deadline. Nothing is ever lost, since a message that is not in the log is due at the next tick.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from cops_dagster.alerts import board, calls, due, escalation, lifecycle
from cops_dagster.alerts.calls import Outcome, Overdue
from cops_dagster.alerts.message import Message
from cops_dagster.alerts.receivers import NotAccepted, Receiver, load
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Teams

_LOCK_KEY = 0x434F5054  # "COPT": PostgreSQL advisory lock of the tick
SECONDS = 30.0
"""After so long a tick begins no further call: what is left is due at the next one."""


@dataclass(frozen=True)
class Ticked:
    """What a tick did: messages accepted and refused; `busy` when another process is at it."""

    accepted: int = 0
    failed: int = 0
    busy: bool = False


def tick(
    books: Books, receivers: Mapping[str, Receiver], whose: Mapping[str, Teams], *, at: datetime | None = None
) -> Ticked:
    """Sends what is due. Harmless when repeated, and when two processes do it at once.

    Args:
        whose: check → its teams.
        at: the time it is; by default now, UTC.
    """
    with _alone(books) as is_alone:
        if not is_alone:
            return Ticked(busy=True)
        moment, until = at or now(), time.monotonic() + SECONDS
        _watch_the_watchers(books, moment)
        _watch_the_clock(books, moment)
        serve = partial(_serve, books, receivers, whose, moment=moment, until=until)
        done = serve(("P2", "P3", "P4"), serve(("P1",), Ticked()))
        return done if done == Ticked() else serve(("P1",), done)


def _watch_the_watchers(books: Books, moment: datetime) -> None:
    with books.admin.read() as con:
        seen = escalation.of_silence(board.judged_at(con, moment), moment)
        fires = con.execute(
            sa.select(t.alert_state.c.fingerprint).where(
                t.alert_state.c.fingerprint == lifecycle.fingerprint(escalation.SILENT, "", None),
                t.alert_state.c.state == "firing",
            )
        ).first()
    if seen is not None and (seen.holds or fires):
        with books.admin.write() as con:
            board.observe(con, [seen], actor="cops", at=moment)


def _watch_the_clock(books: Books, moment: datetime) -> None:
    with books.admin.read() as con:
        ahead = due.notice_clock(con, moment)
    if ahead is not None:
        with books.admin.write() as con:
            due.record_clock(con, ahead, moment)


def _serve(
    books: Books,
    receivers: Mapping[str, Receiver],
    whose: Mapping[str, Teams],
    priorities: Sequence[str],
    done: Ticked,
    *,
    moment: datetime,
    until: float,
) -> Ticked:
    """Everything that receivers are due of some priorities; one that is down is left alone until later."""
    set_to = {name: books.settings.notify.receivers[name] for name in receivers}
    with books.admin.read() as con:
        found = due.read(con, set_to, priorities, moment, whose=whose)
    if not found.looked:
        return done
    messages = found.messages()
    told = _Told(books, found, messages)
    load(set_to[name].kind for name, wanted in messages.items() if wanted)
    calls.side_by_side(
        {
            name: [partial(receivers[name].send, message) for message in wanted]
            for name, wanted in messages.items()
        },
        told.hear,
        until=until,
    )
    with books.admin.write() as con:
        found.put_off(con, told.unsent)
    return Ticked(done.accepted + told.accepted, done.failed + told.failed)


class _Told:
    """What came of the calls of one round, logged as it comes, in the thread of the tick."""

    def __init__(self, books: Books, found: due.Due, messages: Mapping[str, Sequence[Message]]) -> None:
        self._books, self._found = books, found
        self._left = {name: list(wanted) for name, wanted in messages.items()}
        self.accepted = self.failed = 0

    @property
    def unsent(self) -> list[Message]:
        """What there was no time for."""
        return [message for wanted in self._left.values() for message in wanted]

    def hear(self, outcome: Outcome) -> bool:
        """Logs an answer, and what the receiver would not take either; whether it would take more."""
        problem = outcome.problem
        if problem is not None and not isinstance(problem, Exception):
            raise problem
        status, detail, is_down = _meaning(outcome)
        waiting = self._left[outcome.name]
        said = [waiting.pop(0)] if not is_down else [waiting.pop(0) for _ in list(waiting)]
        with self._books.admin.write() as con:
            for message in said:
                self._found.answered(con, outcome.name, message, status, detail)
        self.accepted += len(said) * (status == "accepted")
        self.failed += len(said) * (status == "failed")
        return not is_down


def _meaning(outcome: Outcome) -> tuple[str, str, bool]:
    """Status and detail for the log, and whether the receiver would not take another message either."""
    match outcome.problem:
        case None:
            return "accepted", outcome.answer, False
        case Overdue():
            return "failed", f"no answer within {calls.SECONDS:g} s", True
        case NotAccepted() as refusal:
            return "failed", refusal.why, refusal.is_down
        case other:  # a fault of one receiver keeps no other from its message
            return "failed", f"unforeseen: {type(other).__name__}", False


@contextmanager
def _alone(books: Books) -> Iterator[bool]:
    """One tick at a time, on one machine and over one database."""
    place = books.settings.home / "alerts.lock"
    with place.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        if books.admin.engine.dialect.name != "postgresql":
            yield True
            return
        with books.admin.engine.connect() as con:
            taken = bool(con.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK_KEY))).scalar_one())
            try:
                yield taken
            finally:
                if taken:
                    con.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK_KEY)))
