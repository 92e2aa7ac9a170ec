"""The log row of an ingestion's attempt: `cur_ingestion_log`, opened before anything is read.

Belongs here: writing those rows. Does not belong here: refused deliveries (`ingestion/refusals.py`).
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def started(books: Books, trying: Attempt, run_id: str, delivery: Any, period_start: date) -> int:
    """Opens the row of an attempt, `running`; its number."""
    with books.admin.write() as con:
        delivered = t.cur_delivery_file
        digests = con.execute(
            sa.select(delivered.c.name, delivered.c.sha256)
            .where(delivered.c.delivery_id == delivery.delivery_id)
            .order_by(delivered.c.position)
        ).all()
        inserted = con.execute(
            sa.insert(t.cur_ingestion_log)
            .values(
                run_id=run_id,
                attempt_id=trying.attempt_id,
                source_id=delivery.source_id,
                delivery_id=delivery.delivery_id,
                period_start=period_start,
                status="running",
                rows_in=delivery.row_count,
                cost_in_usd=delivery.cost_usd,
                digest_list=json.dumps([[row.name, row.sha256] for row in digests]),
                actor=books.actor,
                dagster_run_id=books.dagster_run_id,
                started_at=now(),
            )
            .returning(t.cur_ingestion_log.c.log_seq)
        )
        return int(inserted.scalar_one())


def finished(
    con: sa.Connection,
    log_seq: int,
    status: str,
    *,
    accepted: tuple[int, Decimal] | None = None,
    aside: tuple[int, Decimal] = (0, Decimal(0)),
    problem: BaseException | None = None,
) -> None:
    """Ends the row of an attempt, with rows and cost of the delivery or why nothing was published."""
    values: dict[str, object] = {"status": status, "finished_at": now()}
    if accepted:
        values |= {
            "rows_accepted": accepted[0], "rows_quarantined": aside[0],
            "cost_accepted_usd": accepted[1], "cost_quarantined_usd": aside[1],
        }  # fmt: skip
    if problem:
        values |= {
            "error_code": problem.code
            if isinstance(problem, CopsError)
            else "E-INTERNAL"
            if isinstance(problem, Exception)
            else "E-INTERRUPTED",
            "error_detail": str(problem),
        }
    con.execute(
        sa.update(t.cur_ingestion_log).where(t.cur_ingestion_log.c.log_seq == log_seq).values(**values)
    )
