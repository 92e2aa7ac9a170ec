"""What tests of receivers share: one under their control, alerts that begin and end, what was logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.alerts.message import Message
from cops_dagster.alerts.receivers import NotAccepted
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import SEPTEMBER, home

BEGIN = datetime(2025, 10, 1)


class Killed(BaseException):
    """The process died."""


@dataclass
class Inbox:
    """A receiver under the test's control; `taken` holds what it took: minute, scope, reason, key."""

    taken: list[tuple[int, str, str, str]] = field(default_factory=list)
    mood: str = "up"
    minute: int = 0

    def send(self, message: Message) -> str:
        if self.mood == "kill before":
            raise Killed
        if self.mood == "down":
            raise NotAccepted("down")
        self.taken += [(self.minute, one.alert.scope, one.meant, one.key) for one in message.entries]
        if self.mood == "kill after":
            raise Killed
        return "ok"

    def inspect(self) -> list[str]:
        return []


BEGIN = datetime(2025, 10, 1)


ARN = "arn:aws:sns:eu-west-1:111111111111:cops-alerts"


def fire(books: Books, *, at: datetime = BEGIN, holds: bool = True, count: int = 1, **more: Any) -> None:
    """One or many P1 alerts begin or end."""
    values = {"title": "Reconciliation of 2025-09 failed", "detail": "variance 120 USD"} | more
    seen = [
        Observation("reconciliation_failed", str(number), SEPTEMBER, "P1", holds, at, at, **values)
        for number in range(count)
    ]
    with books.admin.write() as con:
        board.observe(con, seen, actor="kim")


def opened(folder: Path, **set_to: dict[str, Any]) -> Books:
    return home(folder, inputs=None, notify={"receivers": set_to})


def logged(books: Books) -> list[tuple[str, str, str]]:
    notifications = t.notification_log
    with books.admin.read() as con:
        rows = con.execute(
            sa.select(notifications.c.receiver, notifications.c.reason, notifications.c.status).order_by(
                notifications.c.notification_seq
            )
        )
        return [tuple(row) for row in rows]


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)
