"""Deliveries that wait for a second person's yes (design rule 5.14).

Belongs here: `cur_delivery_hold`: what is held, and whether it was released. Does not belong here: why one is
held back (`ingestion/plausible.py`); which one readers see (`ingestion/shown.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cops_dagster.cur import layout
from cops_dagster.errors import CopsError
from cops_dagster.evidence import consent
from cops_dagster.evidence.consent import DELIVERY
from cops_dagster.ingestion.plausible import Hold
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class Waiting:
    """Something held back. `subject_id` of a delivery is the digest of its files: what is approved."""

    subject_id: str
    period: Period
    source_id: str
    code: str
    found: str
    requested_by: str
    held_at: datetime
    approved_by: str | None
    requested_login: str | None = None


def held(con: sa.Connection, period: Period | None = None) -> list[Waiting]:
    """Every delivery that was ever held, the oldest first; with who approved it, if anybody."""
    holds, approvals = t.cur_delivery_hold, t.approval
    query = (
        sa.select(holds, approvals.c.approved_by)
        .outerjoin(
            approvals,
            sa.and_(
                approvals.c.subject_type == consent.DELIVERY,
                approvals.c.subject_id == holds.c.delivery_id,
                approvals.c.subject_digest == holds.c.delivery_id,
            ),
        )
        .order_by(holds.c.held_at)
    )
    if period is not None:
        query = query.where(holds.c.period_start == period.start)
    return [
        Waiting(
            row.delivery_id,
            Period.of(row.period_start),
            row.source_id,
            row.error_code,
            row.found,
            row.requested_by,
            row.held_at,
            row.approved_by,
            row.requested_login,
        )
        for row in con.execute(query)
    ]


def hold(books: Books, month: layout.ReportMonth, delivery_id: str, reason: Hold) -> None:
    """Keeps a delivery back until a second person approves it."""
    holds = t.cur_delivery_hold
    with books.admin.write() as con:
        if con.execute(sa.select(holds.c.delivery_id).where(holds.c.delivery_id == delivery_id)).first():
            return
        con.execute(
            sa.insert(holds).values(
                delivery_id=delivery_id,
                source_id=month.source_id,
                period_start=month.period.start,
                error_code=reason.code,
                found=f"{reason.found} (expected {reason.expected})",
                requested_by=books.actor,
                held_at=now(),
            )
        )


def check_released(books: Books, delivery_id: str) -> None:
    """Raises why a delivery is held, unless it was approved."""
    holds, approvals = t.cur_delivery_hold, t.approval
    with books.admin.read() as con:
        held = con.execute(sa.select(holds).where(holds.c.delivery_id == delivery_id)).one_or_none()
        if held is None:
            return
        approved = con.execute(
            sa.select(approvals.c.approved_by).where(
                approvals.c.subject_type == DELIVERY,
                approvals.c.subject_id == delivery_id,
                approvals.c.subject_digest == delivery_id,
            )
        ).first()
    if approved:
        return
    raise CopsError(
        held.error_code,
        f"delivery {held.source_id} {Period.of(held.period_start)}, id {delivery_id[:16]}",
        expected="a delivery that needs no second look",
        found=held.found,
        next_step="the ingested month stays and the period is delayed; wait for the next delivery, or let a"
        f" second person run `cops approve {delivery_id[:16]} --reason …`",
    )
