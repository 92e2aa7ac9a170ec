"""The log of ingestions, `cur_ingestion_log`: a row for every attempt, opened before anything is read.

Belongs here: those rows, one for each delivery that came late, and what the newest says. Does not belong
here: refused deliveries, which stand in the same log (`ingestion/refusals.py`).
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.cur import layout
from cops_dagster.errors import CopsError
from cops_dagster.evidence.attempts import complete, logged_in
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt, Run, Superseded
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

if TYPE_CHECKING:
    from cops_dagster.ingestion.measures import Part  # which loads the engine


def logged(books: Books, trying: Attempt, run: Run, delivery: Any) -> AbstractContextManager[None]:
    """Logs the attempt; an exception completes its row as skipped or failed and goes on."""
    delivered = t.cur_delivery_file
    with books.admin.read() as con:
        digests = con.execute(
            sa.select(delivered.c.name, delivered.c.sha256)
            .where(delivered.c.delivery_id == delivery.delivery_id)
            .order_by(delivered.c.position)
        ).all()
    return logged_in(
        books,
        trying,
        run,
        t.cur_ingestion_log,
        _ending,
        source_id=run.source_id,
        delivery_id=delivery.delivery_id,
        rows_in=delivery.row_count,
        cost_in_usd=delivery.cost_usd,
        digest_list=json.dumps([[row.name, row.sha256] for row in digests]),
    )


def succeeded(con: sa.Connection, trying: Attempt, accepted: Part, aside: Part) -> None:
    """Completes the row in the transaction that publishes, with what the delivery came to."""
    complete(
        con,
        trying,
        t.cur_ingestion_log,
        "succeeded",
        rows_accepted=accepted.rows,
        rows_quarantined=aside.rows,
        cost_accepted_usd=accepted.cost,
        cost_quarantined_usd=aside.cost,
    )


def newest_ingestion(con: sa.Connection, period: Period, source_id: str | None = None) -> Any:
    """The newest row of `cur_ingestion_log` about a period, or about one source of it; `None` for none."""
    log = t.cur_ingestion_log
    query = sa.select(log).where(log.c.period_start == period.start).order_by(log.c.log_seq.desc()).limit(1)
    if source_id is not None:
        query = query.where(log.c.source_id == source_id)
    return con.execute(query).one_or_none()


def record_late(books: Books, month: layout.ReportMonth, delivery_id: str) -> None:
    """A delivery that changes nothing for readers is recorded once, as skipped."""
    with books.admin.write() as con:
        newest = newest_ingestion(con, month.period, month.source_id)
        if newest and (newest.delivery_id, newest.status) == (delivery_id, "skipped"):
            return
        con.execute(
            sa.insert(t.cur_ingestion_log).values(
                attempt_id="",
                source_id=month.source_id,
                delivery_id=delivery_id,
                period_start=month.period.start,
                status="skipped",
                error_detail="an older delivery, or one of a closed period: kept aside",
                actor=books.actor,
                dagster_run_id=books.dagster_run_id,
                started_at=now(),
                finished_at=now(),
            )
        )


def skipped(con: sa.Connection, period: Period) -> dict[str, str | None]:
    """By source, the delivery that was skipped last; `None` where a refused one ended."""
    log = t.cur_ingestion_log
    rows = con.execute(
        sa.select(log.c.source_id, log.c.delivery_id)
        .where(log.c.period_start == period.start, log.c.status == "skipped")
        .order_by(log.c.log_seq)
    )
    return {row.source_id: row.delivery_id for row in rows}


def _ending(problem: BaseException) -> tuple[str, str]:
    status = "skipped" if isinstance(problem, Superseded) else "failed"
    if isinstance(problem, CopsError):
        return status, problem.code
    return status, "E-INTERNAL" if isinstance(problem, Exception) else "E-INTERRUPTED"
