"""How a run ended is on its alert, and whoever must be told of an alert is told now.

Belongs here: the one call for a command, a sensor and the hourly controls: the tick with the receivers and
the checks of this house. Does not belong here: the tick itself (`alerts/tick.py`), which checks there are
(`operations/all_checks.py`).
"""

from __future__ import annotations

from datetime import datetime

from cops_dagster.alerts import board
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.alerts.receivers import open_receivers
from cops_dagster.alerts.tick import Ticked, tick
from cops_dagster.ledger.books import Books
from cops_dagster.operations.all_checks import WHOSE


def observe(books: Books, ended: Observation | None) -> int:
    """Applies how a run ended to its alert; how many changed."""
    with books.admin.write() as con:
        return len(board.observe(con, [ended], actor="cops"))


def send(books: Books, *, at: datetime | None = None) -> Ticked:
    """Sends what is due. Harmless when repeated.

    Args:
        at: the time it is; by default now, UTC.
    """
    return tick(books, open_receivers(books.settings), WHOSE, at=at)
