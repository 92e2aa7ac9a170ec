"""What people read: alerts of one priority and month in one bounded message.

Belongs here: wording, grouping bounds, and the escaping of each channel. Every text in an alert may come
from a tag or a CUR line: control characters are shown as spaces, markup is escaped, length is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cops_dagster.alerts.lifecycle import Alert
from cops_dagster.money.digest import digest

ENTRIES_MAX = 20
"""Alerts written out in one message; the rest are counted, none is dropped."""
DETAIL_MAX = 600
TITLE_MAX = 140


@dataclass(frozen=True)
class Entry:
    """One alert in a message, and why it is told now (a RETRY keeps the reason it retries).

    `number` counts the messages of the episode that the receiver took before.
    """

    alert: Alert
    reason: str
    meant: str
    number: int = 0

    @property
    def key(self) -> str:
        """The same when the same thing is said again, because nobody knows whether it was heard."""
        alert = self.alert
        return digest("entry-1", alert.fingerprint, alert.episode, self.meant, self.number)[:32]


@dataclass(frozen=True)
class Message:
    """Alerts of one severity and period for one receiver. `key` is the same when sent again.

    `also_firing` are the titles of what else fires there, the gravest first.
    """

    severity: str
    period: str
    entries: Sequence[Entry]
    also_firing: Sequence[str]
    at: datetime

    @property
    def key(self) -> str:
        """What a receiver may drop a duplicate by."""
        return digest("message-1", *sorted(one.key for one in self.entries))[:32]

    @property
    def subject(self) -> str:
        """One line: priority, reason, what."""
        first = self.entries[0]
        more = f" and {len(self.entries) - 1} more" if len(self.entries) > 1 else ""
        return f"[COPS {self.severity}] {first.meant}: {line(first.alert.title, TITLE_MAX)}{more}"

    @property
    def text(self) -> str:
        """The whole message as plain text."""
        parts = [self.subject, ""]
        for one in self.entries[:ENTRIES_MAX]:
            parts += [*lines(one, self.at), ""]
        if len(self.entries) > ENTRIES_MAX:
            left = len(self.entries) - ENTRIES_MAX
            parts += [f"and {left} more of {len(self.entries)}: cops alerts list", ""]
        if self.also_firing:
            names = ", ".join(line(title, 60) for title in self.also_firing[:5])
            parts.append(f"also firing here: {len(self.also_firing)} ({names})")
        parts.append(f"message {self.key}")
        return "\n".join(parts)


def line(text: str, limit: int) -> str:
    """Any text as one bounded line of printable characters."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= limit else f"{plain[:limit]} … (cut)"


def lines(entry: Entry, at: datetime) -> list[str]:
    """One alert: what, how much, since when, what to do."""
    alert = entry.alert
    ended = entry.meant == "RESOLVED"
    since = alert.fired_at or alert.since
    made = [f"{alert.severity} {_reason(entry)}: {line(alert.title, TITLE_MAX)}"]
    if ended:
        made.append(f"  over   {line(alert.resolved_because or '', DETAIL_MAX)}")
    elif alert.detail:
        made.append(f"  what   {line(alert.detail, DETAIL_MAX)}")
    made.append(f"  since  {since:%Y-%m-%d %H:%M} UTC ({_age(at, since)}), episode {alert.episode}")
    if not ended and alert.next_step:
        made.append(f"  next   {line(alert.next_step, DETAIL_MAX)}")
    if alert.dagster_run_id:
        made.append(f"  run    {line(alert.dagster_run_id, 80)}")
    made.append(f"  id     {alert.fingerprint[:16]}")
    return made


def _reason(entry: Entry) -> str:
    return f"{entry.meant} (sent again)" if entry.reason == "RETRY" else entry.meant


def _age(at: datetime, since: datetime) -> str:
    minutes = max(0, int((at - since).total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def for_slack(text: str) -> str:
    """Slack's three control characters escaped: no mention, no link, no channel-wide call can be made."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def for_subject(text: str, limit: int = 100) -> str:
    """A subject as SNS takes it: printable ASCII, at most 100 characters."""
    plain = line(text, 10 * limit).encode("ascii", "replace").decode()
    return plain if len(plain) <= limit else f"{plain[: limit - 3]}..."
