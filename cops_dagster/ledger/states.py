"""The states of a month, the moves between them, and the phase that people see. Pure.

Belongs here: which state may follow which, which take writes, what COPS gives as its reason for a move, and
the eighth day before which nothing is final. Does not belong here: the row that holds the state
(`ledger/lock.py`), what a month must fulfil (`closing/readiness.py`).

    open ⇄ delayed → provisional ⇄ final → closing → closed          closing → final only when no seal could
                                                                      be made; closed → nothing, ever
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from cops_dagster.period import Period

State = Literal["open", "delayed", "provisional", "final", "closing", "closed"]
"""What `period_lock` holds."""

Phase = Literal["open", "delayed", "provisional", "final candidate", "final", "closing", "closed"]
"""What people see: a month is also what it waits for."""

WRITABLE: tuple[State, ...] = ("open", "delayed", "provisional")
"""States in which runs are published."""
UNATTENDED = WRITABLE  # a run may start by itself; a final month waits for its close, a closed one for people

MOVES: frozenset[tuple[State, State]] = frozenset(
    {
        ("open", "delayed"), ("delayed", "open"), ("open", "provisional"), ("delayed", "provisional"),
        ("provisional", "delayed"), ("provisional", "final"), ("final", "provisional"),
        ("final", "closing"), ("closing", "final"), ("closing", "closed"),
    }
)  # fmt: skip
"""Every move there is."""

MONTH_IS_OVER = "the month is over and reconciled for the first time"
IS_FINAL = "everything that makes a month final holds"
OTHER_BYTES = "AWS delivered other bytes"
DELIVERED_AGAIN = "a newer delivery arrived"
DELIVERY_IS_LATE = "AWS has delivered nothing within the lag that is allowed"
SOURCE_DECIDED = "a source was retired, restored or withdrawn"
AUTOMATIC = (MONTH_IS_OVER, IS_FINAL, OTHER_BYTES, DELIVERED_AGAIN, DELIVERY_IS_LATE, SOURCE_DECIDED)
"""Reasons that COPS gives itself; any other reason is a person's."""

FINAL_DAY = 8
"""Support fees of a month land on the 6th and 7th of the next (CUR guide), so nothing is final before."""


def may_move(here: str, there: str) -> bool:
    """Whether the state machine has this move."""
    return (here, there) in MOVES


def order(state: str) -> int:
    """How far a state is on the way to closed."""
    return ("open", "delayed", "provisional", "final", "closing", "closed").index(state)


def phase(period: Period, today: date, state: str, *, waiting: bool, invoiced: bool) -> Phase:
    """Where a month stands.

    Args:
        state: of `period_lock`; what people decided wins.
        waiting: a newer delivery is refused, torn or held for approval.
        invoiced: every Anniversary row of every source carries an invoice id.
    """
    if state in ("final", "closing", "closed", "delayed"):
        return state  # type: ignore[return-value]
    if waiting:
        return "delayed"
    if today < period.end:
        return "open"
    settled = today >= period.end.replace(day=FINAL_DAY)
    return "final candidate" if invoiced and settled and state != "provisional" else "provisional"


def first_final_moment(period: Period) -> datetime:
    """Midnight UTC of the 8th of the next month."""
    return datetime.combine(period.end.replace(day=FINAL_DAY), datetime.min.time())
