"""One tick: what every receiver is due now is sent, and logged once it was accepted.

Belongs here: putting together states, log, silences and receivers, under one lock. Does not belong here:
whether a message is due (`rules/alerts.py`), what becomes of observations (`ledger/watch.py`).

A crash between acceptance and log repeats one message, with the same key; nothing is ever lost, since a
message that is not in the log is due at the next tick.
"""

from __future__ import annotations

import fcntl
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts.message import Entry, Message
from cops_dagster.alerts.receivers import NotAccepted, Receiver
from cops_dagster.ledger import watch
from cops_dagster.ledger.books import Books
from cops_dagster.rules import alerts as rules
from cops_dagster.rules import escalation
from cops_dagster.rules.alerts import Alert, Sent, Silence
from cops_dagster.settings import Receiver as Configured
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_LOCK_KEY = 0x434F5054  # "COPT": PostgreSQL advisory lock of the tick
_SEVERITIES = ("P1", "P2", "P3", "P4")


@dataclass(frozen=True)
class Ticked:
    """What a tick did: messages accepted and refused; `busy` when another process is at it."""

    accepted: int = 0
    failed: int = 0
    busy: bool = False


def tick(books: Books, receivers: Mapping[str, Receiver], *, at: datetime | None = None) -> Ticked:
    """Sends what is due. Harmless when repeated, and when two processes do it at once.

    Args:
        at: the time it is; by default now, UTC.
    """
    with _alone(books) as is_alone:
        if not is_alone:
            return Ticked(busy=True)
        moment = at or now()
        _watch_the_watchers(books, moment)
        accepted = failed = 0
        for name, receiver in receivers.items():
            configured = books.settings.notify.receivers[name]
            sent, refused = _serve(books, name, receiver, configured, moment)
            accepted, failed = accepted + sent, failed + refused
        return Ticked(accepted, failed)


def _watch_the_watchers(books: Books, moment: datetime) -> None:
    c = t.control_status
    with books.admin.read() as con:
        newest = con.execute(sa.select(sa.func.max(c.c.evaluated_at))).scalar_one_or_none()
        seen = escalation.of_silence(newest, moment)
        fires = con.execute(
            sa.select(t.alert_state.c.fingerprint).where(
                t.alert_state.c.alert_rule == escalation.SILENT, t.alert_state.c.state == "firing"
            )
        ).first()
    if seen is not None and (seen.holds or fires):
        with books.admin.write() as con:
            watch.observe(con, [seen], actor="cops")


def _serve(
    books: Books, name: str, receiver: Receiver, configured: Configured, moment: datetime
) -> tuple[int, int]:
    """Everything one receiver is due, the gravest first; one that is down is left alone until later."""
    accepted = failed = 0
    is_down = None
    for message in _due(books, name, configured, moment):
        try:
            answer = receiver.send(message) if is_down is None else None
            status, detail = ("accepted", answer) if is_down is None else ("failed", is_down)
        except NotAccepted as problem:
            status, detail = "failed", problem.why
            is_down = problem.why if problem.is_down else None
        except Exception as problem:  # noqa: BLE001  a fault of one receiver keeps no other from its message
            status, detail = "failed", f"unforeseen: {type(problem).__name__}"
        _log(books, name, message, status, detail or "", moment)
        accepted, failed = accepted + (status == "accepted"), failed + (status == "failed")
    return accepted, failed


def _due(books: Books, name: str, configured: Configured, moment: datetime) -> list[Message]:
    with books.admin.read() as con:
        s = t.alert_state
        found = [
            watch.alert_of(row)
            for row in con.execute(sa.select(s).where(s.c.state.in_(("firing", "resolved"))))
        ]
        log = _sent(con, name)
        silences = watch.silences(con, moment)
    frozen = {alert.period for alert in found if alert.state == "firing" and alert.severity == "P1"}
    groups = _grouped(configured, found, log, silences, frozen - {None}, moment)
    made = []
    for (severity, period), entries in sorted(groups.items()):
        told = {one.alert.fingerprint for one in entries}
        also = [
            alert for alert in found
            if alert.state == "firing" and str(alert.period or "") == period and _is_for(configured, alert)
            and alert.fingerprint not in told
        ]  # fmt: skip
        made.append(Message(severity, period, entries, also, moment))
    return made


def _grouped(
    configured: Configured,
    found: Sequence[Alert],
    log: Mapping[str, list[Sent]],
    silences: Sequence[Silence],
    inhibited: set[Any],
    moment: datetime,
) -> dict[tuple[str, str], list[Entry]]:
    groups: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for alert in sorted(found, key=lambda one: (one.since, one.fingerprint)):
        decision = rules.decide(
            alert, log.get(alert.fingerprint, []), silences, now=moment,
            inhibited=alert.severity != "P1" and alert.period in inhibited,
        )  # fmt: skip
        # whoever was told of it hears its end, also when it got too mild for them meanwhile
        if decision and (decision.meant == "RESOLVED" or _is_for(configured, alert)):
            before = log.get(alert.fingerprint, [])
            number = sum(row.episode == alert.episode and row.status == "accepted" for row in before)
            groups[alert.severity, str(alert.period or "")].append(
                Entry(alert, decision.reason, decision.meant, number)
            )
    return groups


def _is_for(configured: Configured, alert: Alert) -> bool:
    named = f"{alert.rule}/{alert.scope}/{alert.period or ''}"
    return (
        alert.severity in configured.priorities
        and (
            not configured.teams
            or bool(set(configured.teams) & set(escalation.teams_of(alert.rule, alert.severity)))
        )
        and (not configured.scopes or any(fnmatchcase(named, pattern) for pattern in configured.scopes))
    )


def _sent(con: sa.Connection, receiver: str) -> dict[str, list[Sent]]:
    """What went to a receiver about each alert that still matters, in order."""
    n, s = t.notification_log, t.alert_state
    rows = con.execute(
        sa.select(n)
        .join(s, s.c.fingerprint == n.c.fingerprint)
        .where(n.c.receiver == receiver, s.c.state.in_(("firing", "resolved")))
        .order_by(n.c.notification_seq)
    )
    found: defaultdict[str, list[Sent]] = defaultdict(list)
    for row in rows:
        found[row.fingerprint].append(
            Sent(
                row.episode, row.reason, row.retried_reason, row.severity, row.step, row.status, row.sent_at
            )
        )  # fmt: skip
    return found


def _log(books: Books, receiver: str, message: Message, status: str, detail: str, moment: datetime) -> None:
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.notification_log),
            [
                {
                    "fingerprint": one.alert.fingerprint, "episode": one.alert.episode,
                    "receiver": receiver, "reason": one.reason,
                    "retried_reason": one.meant if one.reason == "RETRY" else None,
                    "severity": one.alert.severity, "step": one.alert.step, "status": status,
                    "detail": detail[:500], "sent_at": moment,
                }
                for one in message.entries
            ],
        )  # fmt: skip


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
