"""The two logs of attempts, of ingestions and of allocations: a row as an attempt begins, completed once.

Belongs here: what both logs tell alike. Does not belong here: what one of them tells alone
(`ingestion/log.py`, `allocation/run_log.py`), rows that a crash left (`evidence/sweep.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt, Run
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

LOGS = (t.cur_ingestion_log, t.allocation_run_log)


@contextmanager
def logged_in(
    books: Books,
    trying: Attempt,
    run: Run,
    log: sa.Table,
    ending: Callable[[BaseException], tuple[str, str]],
    **columns: object,
) -> Iterator[None]:
    """Opens the attempt's row in a log; a problem completes it and goes on.

    Args:
        ending: the status and the code that a problem gives the row.
        columns: what this log alone tells.
    """
    with books.admin.write() as con:
        con.execute(
            sa.insert(log).values(
                attempt_id=trying.attempt_id,
                run_id=run.id,
                period_start=run.period.start,
                status="running",
                actor=books.actor,
                dagster_run_id=books.dagster_run_id,
                started_at=now(),
                **columns,
            )
        )
    try:
        yield
    except BaseException as problem:
        status, code = ending(problem)
        with books.admin.write() as con:
            complete(con, trying, log, status, error_code=code, error_detail=str(problem))
        raise


def complete(con: sa.Connection, trying: Attempt, log: sa.Table, status: str, **columns: object) -> None:
    """Completes the attempt's row; once, since it is `running` no more."""
    con.execute(
        sa.update(log)
        .where(log.c.attempt_id == trying.attempt_id, log.c.status == "running")
        .values(status=status, finished_at=now(), **columns)
    )
