"""What a receiver is told of an alert, and when it may be told something else. Pure.

Belongs here: the decision `decide`, the moment at which it may change (`look_again`), silences and the
intervals between messages. Does not belong here: what becomes of an alert (`alerts/lifecycle.py`), reading
what is due (`alerts/due.py`), wording (`alerts/message.py`), sending (`alerts/tick.py`).

Nothing is queued: who must be told what follows from the state of the alert and from what each receiver
has accepted, so that a crash, a restart or an unreachable receiver loses nothing and repeats at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cops_dagster.alerts.lifecycle import RANK, Alert, Severity
from cops_dagster.period import Period

Reason = Literal["FIRST", "ESCALATED", "REFIRED", "REPEAT", "RESOLVED", "RETRY"]


WAIT: dict[str, timedelta] = {
    "P1": timedelta(0), "P2": timedelta(minutes=5), "P3": timedelta(minutes=15), "P4": timedelta(minutes=15),
}  # fmt: skip
"""How long a firing alert waits before the first message: one that resolves meanwhile sends none."""


REPEAT: dict[str, timedelta] = {
    "P1": timedelta(hours=1), "P2": timedelta(hours=12), "P3": timedelta(hours=24), "P4": timedelta(hours=24),
}  # fmt: skip
"""How long after the last accepted message a still firing alert is told again."""


SILENCE_MAX = timedelta(days=7)


RETRY_FIRST, RETRY_MAX = timedelta(minutes=1), timedelta(minutes=30)


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
