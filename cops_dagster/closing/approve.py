"""Approvals: a second person's yes to what the books hold back (design rule 5.14).

Belongs here: what waits, and recording the yes. Does not belong here: why something waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.closing import close_request
from cops_dagster.errors import CopsError
from cops_dagster.evidence import consent, signatures, signing
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.consent import ADJUSTMENT, CLOSE, EXCEPTION, FREEZE, NOTE, Asked
from cops_dagster.ingestion.holds import Waiting, held
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions, freeze
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Approved:
    """Outcome: what was approved, by whom and by what proof, whether this call did it, and what it led to."""

    subject_type: str
    subject_id: str
    period: Period
    what: str
    was_new: bool
    next_step: str
    approved_by: str
    approved_at: datetime
    identity: str = signing.CLAIMED


def approve(books: Books, subject: str, *, reason: str) -> Approved:
    """Approves what waits under an id or an unambiguous beginning of it, and does what waited for it.

    A delivery, an adjustment, a variance note, a decided exception, the release of a freeze, a close.
    What was approved before is answered with who did.

    Raises:
        CopsError: `E-APPROVAL-UNKNOWN`, `E-APPROVER` (the one who asked cannot approve), `E-PARAM`;
            `E-ADJUSTMENT-STALE`, `E-CLOSE-STALE` when the books changed since it was asked for;
            `E-UNDECIDED` for an exception that nobody decided on; `E-FREEZE-CAUSE`; `E-CONSENT` for a row
            that was changed past the acts; what `close.close` raises.
    """
    require_policy(books)
    if not reason.strip():
        raise CopsError(
            "E-PARAM",
            "reason",
            expected="why this is right, in words",
            found="nothing",
            next_step="add --reason '…'; it stands beside the approval for ever",
        )
    with books.admin.read() as con:
        kind, found = _one(con, subject)
    done = _ACTS[kind](books, found, reason.strip())
    with books.admin.read() as con:
        return replace(done, identity=signatures.told(con, "approve", (done.subject_type, done.subject_id)))


def _one(con: sa.Connection, subject: str) -> tuple[str, Any]:
    adjustments, exceptions = t.adjustment, t.recon_exceptions
    found: list[tuple[str, Any]] = [
        (consent.DELIVERY, one) for one in held(con) if subject and one.subject_id.startswith(subject)
    ]
    if subject:
        named = sa.select(adjustments).where(
            adjustments.c.adjustment_id.startswith(subject, autoescape=True), adjustments.c.line_count > 0
        )
        found += [(ADJUSTMENT, row) for row in con.execute(named)]
        named = sa.select(exceptions).where(
            exceptions.c.exception_id.startswith(subject, autoescape=True),
            exceptions.c.withdrawn_at.is_(None),
        )
        found += [(NOTE if row.stage is None else EXCEPTION, row) for row in con.execute(named)]
        found += [(FREEZE, row) for row in freeze.requested(con) if consent.name_of(row) == subject]
        found += [(CLOSE, row) for row in close_request.named(con, subject)]
    if len(found) != 1:
        raise CopsError(
            "E-APPROVAL-UNKNOWN",
            f"id {subject!r}",
            expected="one thing that waits for approval",
            found=f"{len(found) or 'none of this id'}",
            next_step="take the id from `cops status PERIOD`, `cops adjust list` or `cops exceptions list`",
        )
    return found[0]


def _answer(asked: Asked, period: Period, approval: Any, next_step: str, *, was_new: bool) -> Approved:
    return Approved(
        asked.kind,
        asked.subject_id,
        period,
        asked.what,
        was_new,
        next_step,
        approval.approved_by,
        approval.approved_at,
    )


def _delivery(books: Books, waiting: Waiting, reason: str) -> Approved:
    asked = Asked(
        consent.DELIVERY,
        waiting.subject_id,
        waiting.subject_id,
        waiting.requested_by,
        waiting.requested_login,
        f"delivery {waiting.subject_id[:16]} of {waiting.source_id}",
        waiting.period.start,
    )
    with books.admin.write() as con:
        approval, is_new = consent.give(con, books, asked, reason=reason)
    return _answer(asked, waiting.period, approval, f"cops materialize {waiting.period}", was_new=is_new)


def _adjustment(books: Books, row: Any, reason: str) -> Approved:
    from cops_dagster.adjustments import proposals  # the engine, which reading the books does not need

    asked = proposals.asked_of(row)
    done = proposals.book(books, row.adjustment_id, reason=reason)
    posting = done.period
    asked = replace(asked, what=f"{asked.what}, booked in {posting},")
    return _answer(asked, posting, done.approval, f"cops materialize {posting}", was_new=done.wrote)


def _exception(books: Books, row: Any, reason: str) -> Approved:
    """A decided exception, or a note."""
    period = Period.of(row.period_start)
    with books.admin.write() as con:
        now_there = exceptions.row_of(con, row.exception_id)
        asked = exceptions.asked_of(now_there)
        if now_there.resolved_at is None:
            exceptions.require_unchanged(row, now_there)
        approval, is_new = consent.give(con, books, asked, reason=reason)
        exceptions.resolve(con, books, now_there, approval)
    step = f"cops status {period}" if asked.kind == NOTE else f"cops materialize {period}"
    return _answer(asked, period, approval, step, was_new=is_new)


def _release(books: Books, row: Any, reason: str) -> Approved:
    period = Period.of(row.period_start)
    with books.admin.write() as con:
        now_there = freeze.row_of(con, row.freeze_seq)
        asked = freeze.asked_of(now_there)
        approval, is_new = consent.give(con, books, asked, reason=reason)
        freeze.release(con, books, now_there, approval)
    return _answer(asked, period, approval, f"cops freeze check {period}", was_new=is_new)


def _close(books: Books, row: Any, reason: str) -> Approved:
    from cops_dagster.closing import close  # the engine, which reading the books does not need

    period, asked = Period.of(row.period_start), close_request.asked_of(row)
    is_new = close.close_approved(books, period, reason=reason)
    with books.admin.read() as con:
        approval = consent.given(con, asked.kind, asked.subject_id)
    return _answer(asked, period, approval, f"cops status {period}", was_new=is_new)


_ACTS: dict[str, Callable[[Books, Any, str], Approved]] = {
    consent.DELIVERY: _delivery, ADJUSTMENT: _adjustment, NOTE: _exception, EXCEPTION: _exception,
    FREEZE: _release, CLOSE: _close,
}  # fmt: skip
