"""Approvals: a second person's yes to what the books hold back (design rule 5.14).

Belongs here: what waits, and recording the yes. Does not belong here: why something waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

SUBJECT = "cur_delivery"
"""What an approval of a held delivery is about."""


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


def held(con: sa.Connection, period: Period | None = None) -> list[Waiting]:
    """Every delivery that was ever held, the oldest first; with who approved it, if anybody."""
    h, a = t.cur_delivery_hold, t.approval
    query = (
        sa.select(h, a.c.approved_by)
        .outerjoin(a, sa.and_(a.c.subject_type == SUBJECT, a.c.subject_id == h.c.delivery_id))
        .order_by(h.c.held_at)
    )
    if period is not None:
        query = query.where(h.c.period_start == period.start)
    return [
        Waiting(
            row.delivery_id, Period.of(row.period_start), row.source_id, row.error_code, row.found,
            row.requested_by, row.held_at, row.approved_by,
        )
        for row in con.execute(query)
    ]  # fmt: skip


def approve(books: Books, subject: str, *, reason: str) -> tuple[Waiting, bool]:
    """Approves what waits under an id or an unambiguous beginning of it; whether that was news.

    Raises:
        CopsError: `E-APPROVAL-UNKNOWN`, `E-APPROVER` (the one who asked cannot approve), `E-PARAM`.
    """
    if not reason.strip():
        raise CopsError(
            "E-PARAM", "reason", expected="why this is right, in words", found="nothing",
            next_step="add --reason '…'; it stands beside the approval for ever",
        )  # fmt: skip
    with books.admin.write() as con:
        found = [one for one in held(con) if subject and one.subject_id.startswith(subject)]
        if len(found) != 1:
            raise CopsError(
                "E-APPROVAL-UNKNOWN",
                f"id {subject!r}",
                expected="one thing that waits for approval",
                found=f"{len(found)}",
                next_step="take the id from `cops status PERIOD`",
            )
        waiting = found[0]
        if waiting.approved_by:
            return waiting, False
        if waiting.requested_by == books.actor:
            raise CopsError(
                "E-APPROVER",
                f"delivery {waiting.subject_id[:16]}",
                expected="somebody other than who brought it in",
                found=f"{books.actor} for both",
                next_step="let a second person approve, with COPS_ACTOR or a user of their own",
            )
        con.execute(
            sa.insert(t.approval).values(
                subject_type=SUBJECT, subject_id=waiting.subject_id,
                subject_digest=waiting.subject_id, requested_by=waiting.requested_by,
                approved_by=books.actor, reason=reason.strip(), approved_at=now(),
            )
        )  # fmt: skip
    return waiting, True
