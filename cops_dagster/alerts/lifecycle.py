"""The alert state machine: what an observation makes of an alert. Pure.

Belongs here: the states, the decision `observe`. Does not belong here: which facts are alerts
(`alerts/escalation.py`), keeping states (`alerts/board.py`), who is told of them and how often
(`alerts/telling.py`).

    inactive → pending → firing → resolved → firing (next episode)         pending → inactive

Order is that of the log. A time on record that lies ahead of now was written by a clock that was wrong: it
keeps nothing back, and what it would have ordered counts as if it were not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from cops_dagster.money.digest import digest
from cops_dagster.period import Period

Severity = Literal["P1", "P2", "P3", "P4"]
State = Literal["inactive", "pending", "firing", "resolved"]

RANK: dict[str, int] = {"P1": 4, "P2": 3, "P3": 2, "P4": 1}
ACK_FOR = timedelta(hours=8)
DEAD_AFTER = timedelta(hours=2)
"""Twice the hourly evaluation: after that, no news is an alert of its own."""


@dataclass(frozen=True)
class Observation:
    """What was seen of one condition. Times UTC.

    Attributes:
        rule: what is watched; with scope and period it is the alert's identity.
        holds: the bad condition holds; `None` when it could not be judged, which changes nothing.
        data_at: how far the data reaches that was judged; older data than known changes nothing.
        held_for: the condition must hold strictly longer than this, in data time.
        step: how many of the amounts worth another message are passed.
    """

    rule: str
    scope: str
    period: Period | None
    severity: Severity
    holds: bool | None
    data_at: datetime
    observed_at: datetime
    title: str
    detail: str = ""
    next_step: str = ""
    measured: str | None = None
    step: int = 0
    held_for: timedelta = timedelta(0)
    because: str = "the condition does not hold any more"
    dagster_run_id: str | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of the alert: neither severity, nor what was measured, nor when."""
        return fingerprint(self.rule, self.scope, self.period)


def fingerprint(rule: str, scope: str, period: Period | None) -> str:
    """Identity of an alert."""
    return digest("alert-1", rule, scope, str(period) if period else None)


@dataclass(frozen=True)
class Alert:
    """The state of one alert, as `alert_state` holds it."""

    fingerprint: str
    rule: str
    scope: str
    period: Period | None
    state: State
    severity: Severity
    episode: int
    step: int
    title: str
    measured: str | None
    detail: str
    next_step: str
    dagster_run_id: str | None
    since: datetime
    since_data: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    resolved_because: str | None
    last_data_at: datetime
    last_evaluated_at: datetime
    acked_by: str | None = None
    ack_expires_at: datetime | None = None

    def is_acked(self, now: datetime) -> bool:
        """Somebody took it, and the acknowledgement has not run out; none is known that begins later."""
        return self.ack_expires_at is not None and now < self.ack_expires_at <= now + ACK_FOR


@dataclass(frozen=True)
class Event:
    """A change of state worth keeping for ever."""

    event: str
    severity: Severity
    detail: str = ""


def observe(
    alert: Alert | None, seen: Observation, now: datetime | None = None
) -> tuple[Alert | None, list[Event]]:
    """What an observation makes of an alert. No data is not recovery, and old data is no news.

    Args:
        now: the time it is. What was seen later than now is seen now; what is on record as later is not
            known, so that a clock that was ahead once makes nothing look old. By default nothing is later.
    """
    if seen.holds is None:
        return alert, []
    if now is not None:
        seen = replace(seen, data_at=min(seen.data_at, now), observed_at=min(seen.observed_at, now))
    if alert is None:
        return (None, []) if not seen.holds else _begin(_new(seen), seen)
    if now is not None:
        alert = _put_right(alert, seen, now)
    if (seen.data_at, seen.observed_at) < (alert.last_data_at, alert.last_evaluated_at):
        return alert, []
    looked = replace(alert, last_data_at=seen.data_at, last_evaluated_at=seen.observed_at)
    if seen.holds:
        if alert.state == "firing":
            return _again(looked, seen)
        return _begin(looked, seen)
    if alert.state == "pending":
        return replace(looked, state="inactive"), [Event("cleared", alert.severity)]
    if alert.state == "firing":
        return resolve(looked, seen.observed_at, seen.because)
    return looked, []


def _put_right(alert: Alert, seen: Observation, now: datetime) -> Alert:
    """Times that lie ahead are replaced by those of the observation."""

    def right(moment: datetime, other: datetime) -> datetime:
        return moment if moment <= now else other

    return replace(
        alert,
        since=right(alert.since, seen.observed_at),
        since_data=right(alert.since_data, seen.data_at),
        last_data_at=right(alert.last_data_at, seen.data_at),
        last_evaluated_at=right(alert.last_evaluated_at, seen.observed_at),
        fired_at=alert.fired_at and right(alert.fired_at, seen.observed_at),
        resolved_at=alert.resolved_at and right(alert.resolved_at, seen.observed_at),
    )


def resolve(alert: Alert, at: datetime, because: str) -> tuple[Alert, list[Event]]:
    """Ends an episode, for a reason that is recorded."""
    ended = replace(
        alert, state="resolved", resolved_at=at, resolved_because=because, acked_by=None, ack_expires_at=None
    )
    return ended, [Event("resolved", alert.severity, because)]


def _new(seen: Observation) -> Alert:
    return Alert(
        seen.fingerprint,
        seen.rule,
        seen.scope,
        seen.period,
        "inactive",
        seen.severity,
        0,
        0,
        seen.title,
        None,
        "",
        "",
        None,
        seen.observed_at,
        seen.data_at,
        None,
        None,
        None,
        seen.data_at,
        seen.observed_at,
    )


def _described(alert: Alert, seen: Observation) -> Alert:
    return replace(
        alert,
        title=seen.title,
        measured=seen.measured,
        detail=seen.detail,
        next_step=seen.next_step,
        dagster_run_id=seen.dagster_run_id or alert.dagster_run_id,
    )


def _begin(alert: Alert, seen: Observation) -> tuple[Alert, list[Event]]:
    """The condition holds and the alert does not fire: it becomes pending, or fires."""
    if alert.state != "pending":
        alert = replace(alert, state="pending", since=seen.observed_at, since_data=seen.data_at)
        began = [Event("pending", seen.severity, seen.measured or "")]
    else:
        began = []
    alert = replace(_described(alert, seen), severity=seen.severity)
    if seen.held_for and seen.data_at - alert.since_data <= seen.held_for:
        return alert, began
    fired = replace(
        alert,
        state="firing",
        episode=alert.episode + 1,
        step=seen.step,
        fired_at=seen.observed_at,
        resolved_at=None,
        resolved_because=None,
        acked_by=None,
        ack_expires_at=None,
    )
    return fired, [*(began if seen.held_for else []), Event("firing", seen.severity, seen.measured or "")]


def _again(alert: Alert, seen: Observation) -> tuple[Alert, list[Event]]:
    """The condition still holds: graver, milder or the same."""
    rises = RANK[seen.severity] > RANK[alert.severity] or seen.step > alert.step
    changed = replace(_described(alert, seen), severity=seen.severity, step=max(alert.step, seen.step))
    if rises:
        return (
            replace(changed, acked_by=None, ack_expires_at=None),
            [Event("escalated", seen.severity, seen.measured or "")],
        )
    if seen.severity != alert.severity:
        return changed, [Event("de-escalated", seen.severity, seen.measured or "")]
    return changed, []
