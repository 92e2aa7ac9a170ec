"""Deliveries that were refused: an attempt too, each a row of `cur_ingestion_log`; and when none is any more.

Belongs here: writing those rows and reading which refusals stand. Does not belong here: refusing
(`ingestion/look.py`), the rows of ingestions (`ingestion/ingest.py`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import claims
from cops_dagster.ingestion.plausible import UNPRICED
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

WAITING = (
    "E-DELIVERY-TORN", "E-DELIVERY-UPDATING", "E-MANIFEST-MISSING", "E-EMPTY", "E-SHRINK", "E-GROWTH",
    *UNPRICED,
)  # fmt: skip
"""Refusals that time or a person resolves: the month is `delayed`, nothing has failed."""
UNCHOSEN = (claims.CODE, "E-SOURCE-CLASH")
"""Refusals that end when a person says which source counts."""


def record(books: Books, source_id: str, period: Period, refusal: CopsError) -> None:
    """One failed or delayed row for a refused delivery."""
    at = now()
    status = "delayed" if refusal.code in (*WAITING, *UNCHOSEN) else "failed"
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.cur_ingestion_log).values(
                attempt_id="",
                source_id=source_id,
                period_start=period.start,
                status=status,
                error_code=refusal.code,
                error_detail=str(refusal),
                actor=books.actor,
                dagster_run_id=books.dagster_run_id,
                started_at=at,
                finished_at=at,
            )
        )


def newest(con: sa.Connection, period: Period) -> dict[str, Any]:
    """By source, the newest row of the ingestion log where that is a refusal; of retired sources none."""
    log, away = t.cur_ingestion_log, claims.retired_in(con, period)
    newest = {
        row.source_id: row
        for row in con.execute(
            sa.select(log).where(log.c.period_start == period.start).order_by(log.c.log_seq)
        )
    }
    return {
        source: row
        for source, row in newest.items()
        if row.status in ("failed", "delayed") and source not in away
    }


def end(books: Books, period: Period, refusing: set[str]) -> None:
    """What was refused and lies there no more, or was mended, is recorded once, so that nobody waits for it.

    A delivery that is about to be ingested, or whose ingestion failed, speaks for itself.
    """
    shown, log = t.cur_billing_head, t.cur_ingestion_log
    with books.admin.write() as con:
        for source, row in newest(con, period).items():
            if source in refusing or row.attempt_id:
                continue
            head = con.execute(
                sa.select(shown.c.delivery_id).where(
                    shown.c.source_id == source, shown.c.period_start == period.start
                )
            ).scalar_one_or_none()
            ingested = (
                head is None
                or con.execute(
                    sa.select(log.c.log_seq)
                    .where(log.c.delivery_id == head, log.c.status == "succeeded")
                    .limit(1)
                ).first()
            )
            if ingested:
                con.execute(
                    sa.insert(log).values(
                        attempt_id="",
                        source_id=source,
                        period_start=period.start,
                        status="skipped",
                        error_detail="what was refused is no longer there, or holds now",
                        actor=books.actor,
                        dagster_run_id=books.dagster_run_id,
                        started_at=now(),
                        finished_at=now(),
                    )
                )
