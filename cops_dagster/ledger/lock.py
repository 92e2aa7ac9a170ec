"""The row that says whether a period takes writes: read under lock, moved only as the state machine says.

Belongs here: `period_lock` and `period_lock_event`, within the caller's transaction; every move is a
decision in the chain of evidence. Does not belong here: why a period moves (`closing/periods.py`,
`closing/close.py`).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import states
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def state_of(con: sa.Connection, period: Period) -> str:
    """The period's state; `open` before anything was written to it."""
    lock = t.period_lock
    return con.scalar(sa.select(lock.c.state).where(lock.c.period_start == period.start)) or "open"


def is_sealed(con: sa.Connection, period: Period) -> bool:
    """What stands is the answer to any inputs: the period is closed, or being closed."""
    return state_of(con, period) in ("closing", "closed")


def closed(con: sa.Connection) -> list[Period]:
    """The closed months, the oldest first."""
    lock = t.period_lock
    starts = con.execute(sa.select(lock.c.period_start).where(lock.c.state == "closed")).scalars()
    return [Period.of(start) for start in sorted(starts)]


def hold(con: sa.Connection, books: Books, period: Period) -> str:
    """The period's state, its row locked until the transaction ends; made open when it has none.

    Raises:
        CopsError: `E-EVIDENCE-…` where its first move cannot be proved.
    """
    table = t.period_lock
    mine = sa.select(table.c.state).where(table.c.period_start == period.start)
    if (found := con.scalar(mine.with_for_update())) is not None:
        return str(found)
    at = now()
    con.execute(  # the event first: the database lets no period begin or move without one
        sa.insert(t.period_lock_event).values(
            period_start=period.start,
            state_seq=1,
            from_state=None,
            to_state="open",
            reason="first run of the period",
            actor=books.actor,
            changed_at=at,
        )
    )
    con.execute(sa.insert(table).values(period_start=period.start, state="open", state_seq=1, changed_at=at))
    books.keep(con, books, t.period_lock_event, period.start, 1)
    return "open"


def move(
    con: sa.Connection,
    books: Books,
    period: Period,
    there: str,
    *,
    reason: str,
    evidence_id: str | None = None,
    at: datetime | None = None,
    **sealed: object,
) -> bool:
    """Moves a period within the caller's write transaction; `False` when it is there already.

    Args:
        at: when, if that is said elsewhere too: a close and its seal have one time.
        sealed: columns that only the move to `closed` sets.

    Raises:
        CopsError: `E-PERIOD-STATE` when the state machine has no such move; `E-EVIDENCE-…`.
    """
    here = hold(con, books, period)
    if here == there:
        return False
    if not states.may_move(here, there):
        raise CopsError(
            "E-PERIOD-STATE",
            f"period {period}",
            expected=f"a state that can become {there}",
            found=here,
            next_step="a closed period stays closed: adjust it in an open one"
            if here == "closed"
            else f"see `cops period show {period}`",
        )
    table, at = t.period_lock, at or now()
    row = con.execute(sa.select(table).where(table.c.period_start == period.start)).one()
    con.execute(
        sa.insert(t.period_lock_event).values(
            period_start=period.start,
            state_seq=row.state_seq + 1,
            from_state=here,
            to_state=there,
            reason=reason,
            evidence_id=evidence_id,
            actor=books.actor,
            changed_at=at,
        )
    )
    con.execute(
        sa.update(table)
        .where(table.c.period_start == period.start)
        .values(state=there, state_seq=row.state_seq + 1, changed_at=at, **sealed)
    )
    books.keep(con, books, t.period_lock_event, period.start, row.state_seq + 1)
    return True
