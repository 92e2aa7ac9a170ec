"""The alert state machine: what an observation makes of an alert, and what a receiver is told of it. Pure.

Belongs here: the two decisions, `observe` and `decide`, and their intervals. Does not belong here: which
facts are alerts (`alerts/escalation.py`), keeping states (`alerts/board.py`), sending (`alerts/`).

    inactive → pending → firing → resolved → firing (next episode)         pending → inactive

Nothing is queued: who must be told what follows from the state of the alert and from what each receiver
has accepted, so that a crash, a restart or an unreachable receiver loses nothing and repeats at most once.

Order is that of the log. A time on record that lies ahead of now was written by a clock that was wrong: it
keeps nothing back, and what it would have ordered counts as if it were not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from cops_dagster.money.digest import digest
from cops_dagster.period import Period

Severity = Literal["P1", "P2", "P3", "P4"]
State = Literal["inactive", "pending", "firing", "resolved"]
Reason = Literal["FIRST", "ESCALATED", "REFIRED", "REPEAT", "RESOLVED", "RETRY"]

RANK: dict[str, int] = {"P1": 4, "P2": 3, "P3": 2, "P4": 1}
WAIT: dict[str, timedelta] = {
    "P1": timedelta(0), "P2": timedelta(minutes=5), "P3": timedelta(minutes=15), "P4": timedelta(minutes=15),
}  # fmt: skip
"""How long a firing alert waits before the first message: one that resolves meanwhile sends none."""
REPEAT: dict[str, timedelta] = {
    "P1": timedelta(hours=1), "P2": timedelta(hours=12), "P3": timedelta(hours=24), "P4": timedelta(hours=24),
}  # fmt: skip
"""How long after the last accepted message a still firing alert is told again."""
ACK_FOR = timedelta(hours=8)
SILENCE_MAX = timedelta(days=7)
RETRY_FIRST, RETRY_MAX = timedelta(minutes=1), timedelta(minutes=30)
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
            known,
            so that a clock that was ahead once makes nothing look old. By default nothing is later.
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


@dataclass(frozen=True)
class Sent:
    """What `notification_log` says of a receiver; `status` accepted or failed.

    Attributes:
        sent_at: if it was accepted no later than now, however the clock was (`alerts/due.py` sees to it).
        times: how many rows of the kind there are; the last of them is described.
    """

    episode: int
    reason: str
    retried_reason: str | None
    severity: str
    step: int
    status: str
    sent_at: datetime
    times: int = 1

    @property
    def meant(self) -> str:
        """The reason of the message, also when it went out as a retry."""
        return self.retried_reason or self.reason


@dataclass(frozen=True)
class Silence:
    """Messages somebody does not want for a while. `severity` is the gravest that it covers."""

    rule: str | None
    period: Period | None
    severity: Severity
    starts_at: datetime
    ends_at: datetime

    def covers(self, alert: Alert, now: datetime) -> bool:
        """A P1 is never silenced; a graver alert only when the silence names its severity.

        A silence that was set by a clock that was ahead has not begun.
        """
        return (
            alert.severity != "P1"
            and RANK[alert.severity] <= RANK[self.severity]
            and self.starts_at <= now < self.ends_at
            and self.rule in (None, alert.rule)
            and (self.period is None or self.period == alert.period)
        )


@dataclass(frozen=True)
class Decision:
    """A message that is due. `meant` is its reason; `reason` says RETRY when it was refused before."""

    reason: Reason
    meant: Reason


def decide(
    alert: Alert, log: Sequence[Sent], silences: Sequence[Silence], *, inhibited: bool, now: datetime
) -> Decision | None:
    """What one receiver must be told of an alert now, or `None`.

    Args:
        log: what went to this receiver about this alert, in order; a row that is missing was not sent.
        inhibited: a P1 of the same period fires, beside which lesser messages are noise.
    """
    meant = _meant(alert, log, silences, inhibited=inhibited, now=now)
    if meant is None:
        return None
    refused = _refused(alert, log).get(meant)
    if refused is None:
        return Decision(meant, meant)
    times, newest = refused
    return None if _is_within(newest, pause_after(times), now) else Decision("RETRY", meant)


def look_again(
    alert: Alert, log: Sequence[Sent], silences: Sequence[Silence], *, inhibited: bool, now: datetime
) -> datetime | None:
    """The first moment after now at which `decide` may say something else, if nothing happens until then.

    `None`: time alone changes nothing. What may happen is a change of the alert, a row of the log, the end
    of the P1 that inhibits, another receiver, or a clock that goes back.
    """
    moments = [newest + pause_after(times) for times, newest in _refused(alert, log).values()]
    if alert.state == "firing" and alert.fired_at is not None and not inhibited:
        told = _told(alert, log)
        moments.append(alert.fired_at + WAIT[alert.severity])
        moments += [row.sent_at + REPEAT[alert.severity] for row in told[-1:]]
        moments += [silence.ends_at for silence in silences if silence.covers(alert, now)]
        moments += [alert.ack_expires_at] if alert.ack_expires_at else []
    return min((moment for moment in moments if moment > now), default=None)


def pause_after(times: int) -> timedelta:
    """How long a receiver is left alone that refused a message so many times in a row."""
    return min(RETRY_FIRST * 2 ** min(times - 1, 10), RETRY_MAX)


def _is_within(begin: datetime, length: timedelta, now: datetime) -> bool:
    """Whether a span still runs; one that would begin later does not."""
    return timedelta(0) <= now - begin < length


def _refused(alert: Alert, log: Sequence[Sent]) -> dict[str, tuple[int, datetime]]:
    """What was refused of this episode since the receiver took anything: how often, and when last."""
    found: dict[str, tuple[int, datetime]] = {}
    for row in log:
        if row.status == "accepted":
            found = {}  # whatever was refused before it, the receiver is there again
        elif row.episode == alert.episode:
            times, _ = found.get(row.meant, (0, row.sent_at))
            found[row.meant] = (times + row.times, row.sent_at)
    return found


def _told(alert: Alert, log: Sequence[Sent]) -> list[Sent]:
    return [
        row
        for row in log
        if row.status == "accepted" and row.episode == alert.episode and row.meant != "RESOLVED"
    ]


def _meant(
    alert: Alert, log: Sequence[Sent], silences: Sequence[Silence], *, inhibited: bool, now: datetime
) -> Reason | None:
    accepted = [row for row in log if row.status == "accepted"]
    told = _told(alert, log)
    if alert.state == "resolved":
        ended = any(row.episode == alert.episode and row.meant == "RESOLVED" for row in accepted)
        return "RESOLVED" if told and not ended else None
    if alert.state != "firing" or alert.fired_at is None:
        return None
    if inhibited or any(silence.covers(alert, now) for silence in silences):
        return None
    if not told:
        if _is_within(alert.fired_at, WAIT[alert.severity], now):
            return None
        return "REFIRED" if accepted else "FIRST"
    graver = RANK[alert.severity] > max(RANK[row.severity] for row in told)
    if graver or alert.step > max(row.step for row in told):
        return "ESCALATED"
    if alert.is_acked(now):
        return None
    # a last message that lies ahead was sent at most now; more than an interval ahead it says nothing at all
    silent, interval = now - told[-1].sent_at, REPEAT[alert.severity]
    return "REPEAT" if silent >= interval or silent < -interval else None
