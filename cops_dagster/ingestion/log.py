"""The log row of an ingestion's attempt: `cur_ingestion_log`, opened before anything is read.

Belongs here: writing those rows. Does not belong here: refused deliveries (`ingestion/refusals.py`).
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.attempts import complete, logged_in
from cops_dagster.ingestion.measures import Part
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt, Run, Superseded
from cops_dagster.stores import tables as t


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


def _ending(problem: BaseException) -> tuple[str, str]:
    status = "skipped" if isinstance(problem, Superseded) else "failed"
    if isinstance(problem, CopsError):
        return status, problem.code
    return status, "E-INTERNAL" if isinstance(problem, Exception) else "E-INTERRUPTED"
