"""What is due: the alerts that must be looked at, what each receiver is told of them, and when to look again.

Belongs here: reading no more than that. Which alerts those are is a filter that is always wider than the
decision (`telling.decide`): an alert that changed, whose time has come, that was looked at by a clock that
was ahead, or for other receivers. Does not belong here: sending (`alerts/tick.py`), wording
(`alerts/message.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts import board, escalation, telling
from cops_dagster.alerts.lifecycle import Alert
from cops_dagster.alerts.message import Entry, Message
from cops_dagster.alerts.telling import Sent, Silence
from cops_dagster.money.digest import digest
from cops_dagster.settings_sections import Receiver as Configured
from cops_dagster.stores import tables as t
from cops_dagster.stores.alert_tables import NEVER
from cops_dagster.verdict import Teams

AT_MOST = 5_000
"""Alerts that one tick looks at, the gravest first; the others are due at the next one."""
ALGORITHM = "look-1"
"""Rises when `decide` may say something at another moment than before: then all are looked at once."""
_AT_ONCE = 500  # names in one statement


@dataclass
class Due:
    """The alerts that a tick looks at, read in one snapshot, and what became of them.

    `log` and `silences` are what `telling.decide` decides by; `inhibited` are months in which a P1 fires;
    `whose` are the teams of each check.
    """

    receivers: Mapping[str, Configured]
    at: datetime
    whose: Mapping[str, Teams]
    looked: list[tuple[Alert, int]] = field(default_factory=list)
    log: dict[tuple[str, str], list[Sent]] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    inhibited: set[Any] = field(default_factory=set)
    firing: dict[str, list[Any]] = field(default_factory=dict)

    @cached_property
    def entries(self) -> dict[str, dict[tuple[str, str], list[Entry]]]:
        """What every receiver is due, by priority and month."""
        return {name: self._entries_of(name) for name in self.receivers}

    def _entries_of(self, name: str) -> dict[tuple[str, str], list[Entry]]:
        groups: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        for alert, _ in self.looked:
            before = self.log.get((name, alert.fingerprint), [])
            decision = telling.decide(
                alert, before, self.silences, inhibited=self._is_inhibited(alert), now=self.at
            )
            # whoever was told of it hears its end, also when it got too mild for them meanwhile
            if decision and (decision.meant == "RESOLVED" or self._is_for(self.receivers[name], alert)):
                number = sum(
                    row.times for row in before if row.episode == alert.episode and row.status == "accepted"
                )
                groups[alert.severity, str(alert.period or "")].append(
                    Entry(alert, decision.reason, decision.meant, number)
                )
        return dict(groups)

    def _is_inhibited(self, alert: Alert) -> bool:
        return alert.severity != "P1" and alert.period in self.inhibited

    def _is_for(self, configured: Configured, alert: Alert) -> bool:
        return self._concerns(configured, alert.severity, alert.rule, alert.scope, str(alert.period or ""))

    def _concerns(self, configured: Configured, severity: str, rule: str, scope: str, period: str) -> bool:
        teams = escalation.teams_of(rule, severity, self.whose)
        return (
            severity in configured.priorities
            and (not configured.teams or bool(set(configured.teams) & set(teams)))
            and (
                not configured.scopes
                or any(fnmatchcase(f"{rule}/{scope}/{period}", pattern) for pattern in configured.scopes)
            )
        )

    def messages(self) -> dict[str, list[Message]]:
        """One message of each priority and month for each receiver, the gravest first."""
        return {
            name: [
                Message(severity, period, group, self._also_firing(name, period, group), self.at)
                for (severity, period), group in sorted(groups.items())
            ]
            for name, groups in self.entries.items()
        }

    def _also_firing(self, name: str, period: str, told: Sequence[Entry]) -> list[str]:
        here, configured = {one.alert.fingerprint for one in told}, self.receivers[name]
        return [
            row.title
            for row in self.firing.get(period, [])
            if row.fingerprint not in here
            and self._concerns(configured, row.severity, row.alert_rule, row.scope, period)
        ]

    def answered(self, con: sa.Connection, name: str, message: Message, status: str, detail: str) -> None:
        """Logs what a receiver made of a message."""
        con.execute(
            sa.insert(t.notification_log),
            [
                {
                    "fingerprint": one.alert.fingerprint,
                    "episode": one.alert.episode,
                    "receiver": name,
                    "reason": one.reason,
                    "retried_reason": one.meant if one.reason == "RETRY" else None,
                    "severity": one.alert.severity,
                    "step": one.alert.step,
                    "status": status,
                    "detail": detail[:500],
                    "sent_at": self.at,
                }
                for one in message.entries
            ],
        )
        for one in message.entries:
            alert = one.alert
            row = Sent(alert.episode, one.meant, None, alert.severity, alert.step, status, self.at)
            self.log.setdefault((name, alert.fingerprint), []).append(row)

    def put_off(self, con: sa.Connection, unsent: Iterable[Message]) -> None:
        """Says of every alert that was looked at when to look again.

        What changed meanwhile, and what could not be sent for want of time, is due as before.
        """
        waits = {one.alert.fingerprint for message in unsent for one in message.entries}
        looks_for = _looks_for(self.receivers)
        rows = [
            {
                "looked_name": alert.fingerprint,
                "looked_version": version,
                "due_at": self._next(alert),
                "looked_at": self.at,
                "looked_for": looks_for,
            }
            for alert, version in self.looked
            if alert.fingerprint not in waits
        ]
        if rows:
            alerts = t.alert_state
            con.execute(
                sa.update(alerts).where(
                    alerts.c.fingerprint == sa.bindparam("looked_name"),
                    alerts.c.version == sa.bindparam("looked_version"),
                ),
                rows,
            )

    def _next(self, alert: Alert) -> datetime:
        moments = [
            telling.look_again(
                alert,
                self.log.get((name, alert.fingerprint), []),
                self.silences,
                inhibited=self._is_inhibited(alert),
                now=self.at,
            )
            for name, configured in self.receivers.items()
            if alert.state == "resolved" or self._is_for(configured, alert)
        ]
        return min((moment for moment in moments if moment is not None), default=NEVER)


def read(
    con: sa.Connection,
    receivers: Mapping[str, Configured],
    priorities: Sequence[str],
    at: datetime,
    *,
    whose: Mapping[str, Teams],
) -> Due:
    """What is to be looked at, of some priorities.

    Args:
        whose: check → its teams.
    """
    found = Due(receivers, at, whose)
    found.looked = _looked(con, _looks_for(receivers), priorities, at)
    if not found.looked:
        return found
    found.log = _sent(con, sorted(receivers), [alert.fingerprint for alert, _ in found.looked])
    found.silences = board.silences(con, at)
    alerts = t.alert_state
    frozen = (
        sa.select(alerts.c.period_start)
        .distinct()
        .where(alerts.c.period_start.is_not(None), alerts.c.state == "firing", alerts.c.severity == "P1")
    )
    found.inhibited = {board.period_of(start) for start in con.execute(frozen).scalars()}
    told = {group[0].alert.period for groups in found.entries.values() for group in groups.values()}
    found.firing = _firing(con, {month.start if month else None for month in told})
    return found


def notice_clock(con: sa.Connection, at: datetime) -> int | None:
    """The number of the newest row of the log that was sent later than now, if that is news.

    Then the clock went back, or was ahead elsewhere: how long ago those rows were sent is not known, but it
    was before now. `record_clock` keeps that, and intervals count from then.
    """
    notifications, clock = t.notification_log, t.alert_clock
    last = con.execute(sa.select(clock).order_by(clock.c.clock_seq.desc()).limit(1)).one_or_none()
    known = last.notification_seq if last is not None and last.seen_at <= at else 0
    ahead: int | None = con.execute(
        sa.select(sa.func.max(notifications.c.notification_seq)).where(
            notifications.c.sent_at > at, notifications.c.notification_seq > known
        )
    ).scalar_one_or_none()
    return ahead


def record_clock(con: sa.Connection, ahead: int, at: datetime) -> None:
    """Keeps that rows of the log up to a number were sent at a moment at the latest."""
    con.execute(sa.insert(t.alert_clock).values(seen_at=at, notification_seq=ahead))


def _looks_for(receivers: Mapping[str, Configured]) -> str:
    """Who is told of what: where that changes, every alert is looked at once."""
    told = [
        [name, sorted(one.priorities), sorted(one.teams), sorted(one.scopes)]
        for name, one in sorted(receivers.items())
    ]
    intervals = [str(value) for table in (telling.WAIT, telling.REPEAT) for value in table.items()]
    return digest(ALGORITHM, told, intervals)


def _looked(
    con: sa.Connection, looks_for: str, priorities: Sequence[str], at: datetime
) -> list[tuple[Alert, int]]:
    """Alerts and their versions, by the time that they are known for."""
    given = {"priorities": list(priorities), "at": at, "looks_for": looks_for, "at_most": AT_MOST}
    names = {*con.execute(_DUE, given).scalars(), *con.execute(_FOR_OTHERS, given).scalars()}
    rows = [row for some in _parts(sorted(names)) for row in con.execute(_STATES, {"names": list(some)})]
    return sorted(
        ((board.alert_of(row), row.version) for row in rows),
        key=lambda one: (one[0].since, one[0].fingerprint),
    )


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _AT_ONCE):
        yield names[first : first + _AT_ONCE]


def _sent(
    con: sa.Connection, receivers: Sequence[str], names: Sequence[str]
) -> dict[tuple[str, str], list[Sent]]:
    """What the log says of each receiver and alert, as far as it decides anything, in order.

    Of the running episode: what was accepted, each kind once with its number and its last time; what was
    refused after that. Of earlier episodes: that something was accepted.
    """
    found: defaultdict[tuple[str, str], list[tuple[int, Sent]]] = defaultdict(list)
    clock = _clock(con)
    for some in _parts(names):
        for row in con.execute(_SENT, {"names": list(some), "receivers": list(receivers)}):
            at = row.sent_at
            if row.status == "accepted":
                at = min([at, *(seen_at for seen_at, up_to in clock if row.newest <= up_to)])
            sent = Sent(
                row.episode, row.reason, row.retried_reason, row.severity, row.step, row.status, at, row.times
            )
            found[row.receiver, row.fingerprint].append((row.newest, sent))
    return {key: [sent for _, sent in sorted(rows, key=lambda one: one[0])] for key, rows in found.items()}


def _clock(con: sa.Connection) -> list[tuple[datetime, int]]:
    clock = t.alert_clock
    return [
        (row.seen_at, row.notification_seq)
        for row in con.execute(sa.select(clock).order_by(clock.c.clock_seq))
    ]


def _sent_statement() -> sa.Select[Any]:
    notifications, alerts = t.notification_log.alias("n"), t.alert_state.alias("s")
    same = alerts.c.fingerprint == notifications.c.fingerprint
    chosen = (
        notifications.c.fingerprint.in_(sa.bindparam("names", expanding=True)),
        notifications.c.receiver.in_(sa.bindparam("receivers", expanding=True)),
    )
    is_running = notifications.c.episode == alerts.c.episode
    meant = sa.func.coalesce(notifications.c.retried_reason, notifications.c.reason)
    kind = [
        sa.case((is_running, column)) for column in (meant, notifications.c.severity, notifications.c.step)
    ]
    whose = (notifications.c.fingerprint, notifications.c.receiver)
    newest = sa.func.max(notifications.c.notification_seq).label("newest")
    times = sa.func.count().label("times")
    accepted = (
        sa.select(*whose, newest, times)
        .join(alerts, same)
        .where(*chosen, notifications.c.status == "accepted")
        .group_by(*whose, *kind)
    )
    notification_log = t.notification_log.alias("a")
    last = (
        sa.select(sa.func.coalesce(sa.func.max(notification_log.c.notification_seq), 0))
        .where(
            notification_log.c.fingerprint == notifications.c.fingerprint,
            notification_log.c.receiver == notifications.c.receiver,
            notification_log.c.status == "accepted",
        )
        .correlate(notifications)
        .scalar_subquery()
    )
    refused = (
        sa.select(*whose, newest, times)
        .join(alerts, same)
        .where(
            *chosen, notifications.c.status != "accepted", is_running, notifications.c.notification_seq > last
        )
        .group_by(*whose, meant)
    )
    both, row = sa.union_all(accepted, refused).subquery(), t.notification_log
    return sa.select(row, both.c.newest, both.c.times).join(both, row.c.notification_seq == both.c.newest)


def _due_statements() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Whose time has come, the gravest and longest first; and who was looked at for others."""
    alerts = t.alert_state
    at: Any = sa.bindparam("at")
    looks_for: Any = sa.bindparam("looks_for")
    here = (
        alerts.c.state.in_(("firing", "resolved")),
        alerts.c.severity.in_(sa.bindparam("priorities", expanding=True)),
    )
    order = (alerts.c.fingerprint, alerts.c.severity, alerts.c.due_at)
    come = sa.union(
        *(sa.select(*order).where(*here, its) for its in (alerts.c.due_at <= at, alerts.c.looked_at > at))
    )
    due = come.subquery()
    first = sa.select(due.c.fingerprint).order_by(due.c.severity, due.c.due_at, due.c.fingerprint)
    # never only a part of these: processes with unlike receivers would each look at the same part for ever
    other = sa.union_all(
        *(
            sa.select(alerts.c.fingerprint).where(*here, its)
            for its in (alerts.c.looked_for < looks_for, alerts.c.looked_for > looks_for)
        )
    ).subquery()
    return first.limit(sa.bindparam("at_most")), sa.select(other.c.fingerprint)


_DUE, _FOR_OTHERS = _due_statements()
_STATES = sa.select(t.alert_state).where(
    t.alert_state.c.fingerprint.in_(sa.bindparam("names", expanding=True))
)
_SENT = _sent_statement()


def _firing(con: sa.Connection, months: set[date | None]) -> dict[str, list[Any]]:
    """What fires in some months, the gravest and oldest first, as far as a message names it."""
    alerts = t.alert_state
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for start in months:
        rows = con.execute(
            sa.select(
                alerts.c.fingerprint, alerts.c.alert_rule, alerts.c.scope, alerts.c.severity, alerts.c.title
            )
            .where(alerts.c.period_start.is_(None) if start is None else alerts.c.period_start == start)
            .where(alerts.c.state == "firing")
            .order_by(alerts.c.severity, alerts.c.since, alerts.c.fingerprint)
        )
        found[str(board.period_of(start) or "")] = list(rows)
    return dict(found)
