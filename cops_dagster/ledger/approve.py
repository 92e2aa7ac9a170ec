"""Approvals: a second person's yes to what the books hold back (design rule 5.14).

Belongs here: what waits, and recording the yes. Does not belong here: why something waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import exceptions, freeze, signatures
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.policy import require_policy
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.rules import signing
from cops_dagster.rules.people import is_same_person
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

SUBJECT = "cur_delivery"
"""What an approval of a held delivery is about."""
ADJUSTMENT = "adjustment"
NOTE = "variance_note"
EXCEPTION = "exception"
FREEZE = "invoice_freeze"


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


@dataclass(frozen=True)
class Approved:
    """Outcome: what was approved, whether this call did it, what it led to, whose yes counts, by what proof."""

    subject_type: str
    subject_id: str
    period: Period
    what: str
    was_new: bool
    next_step: str
    approved_by: str = ""
    approved_at: datetime | None = None
    identity: str = signing.CLAIMED


def approve(books: Books, subject: str, *, reason: str) -> Approved:
    """Approves what waits under an id or an unambiguous beginning of it.

    A delivery, an adjustment, a variance note, a decided exception, the release of a freeze.

    Raises:
        CopsError: `E-APPROVAL-UNKNOWN`, `E-APPROVER` (the one who asked cannot approve), `E-PARAM`;
            `E-ADJUSTMENT-STALE` when the books changed since the adjustment was proposed;
            `E-UNDECIDED` for an exception that nobody decided on; `E-FREEZE-CAUSE`.
    """
    require_policy(books)
    if not reason.strip():
        raise CopsError(
            "E-PARAM", "reason", expected="why this is right, in words", found="nothing",
            next_step="add --reason '…'; it stands beside the approval for ever",
        )  # fmt: skip
    with books.admin.read() as con:
        kind, found = _one(con, subject)
    approval = {
        "subject_type": kind, "reason": reason.strip(), "approved_by": books.actor, "approved_at": now(),
    }  # fmt: skip
    act = {ADJUSTMENT: _adjustment, NOTE: _note, EXCEPTION: _exception, FREEZE: _release}.get(kind, _delivery)
    done = act(books, found, approval)
    with books.admin.read() as con:
        first = _standing(con, kind, done.subject_id)
        done = replace(done, identity=signatures.told(con, "approve", (kind, done.subject_id)))
    if first is None:
        return done
    is_mine = (first.approved_by, first.approved_at) == (books.actor, approval["approved_at"])
    return replace(done, was_new=is_mine, approved_by=first.approved_by, approved_at=first.approved_at)


def _standing(con: sa.Connection, kind: str, subject_id: str) -> Any:
    """The approval that counts: the first one; who comes later is told whose it is."""
    a = t.approval
    return con.execute(
        sa.select(a).where(a.c.subject_type == kind, a.c.subject_id == subject_id)
    ).one_or_none()


def _one(con: sa.Connection, subject: str) -> tuple[str, Any]:
    a, e = t.adjustment, t.recon_exceptions
    found: list[tuple[str, Any]] = [
        (SUBJECT, one) for one in held(con) if subject and one.subject_id.startswith(subject)
    ]
    if subject:
        named = sa.select(a).where(a.c.adjustment_id.startswith(subject, autoescape=True), a.c.line_count > 0)
        found += [(ADJUSTMENT, row) for row in con.execute(named)]
        named = sa.select(e).where(
            e.c.exception_id.startswith(subject, autoescape=True), e.c.withdrawn_at.is_(None)
        )
        found += [(NOTE if row.stage is None else EXCEPTION, row) for row in con.execute(named)]
        found += [(FREEZE, row) for row in freeze.requested(con) if freeze.name_of(row) == subject]
    if len(found) != 1:
        raise CopsError(
            "E-APPROVAL-UNKNOWN",
            f"id {subject!r}",
            expected="one thing that waits for approval",
            found=f"{len(found)}",
            next_step="take the id from `cops status PERIOD`, `cops adjust list` or `cops exceptions list`",
        )
    return found[0]


def _require_another(books: Books, what: str, requested_by: str) -> None:
    if is_same_person(requested_by, books.actor):
        raise CopsError(
            "E-APPROVER",
            what,
            expected="somebody other than who asked for it",
            found=f"{requested_by!r} and {books.actor!r}, one person",
            next_step="let a second person approve, with COPS_ACTOR or a user of their own",
        )


def _delivery(books: Books, waiting: Waiting, approval: dict[str, Any]) -> Approved:
    what = f"delivery {waiting.subject_id[:16]} of {waiting.source_id}"
    done = Approved(
        SUBJECT, waiting.subject_id, waiting.period, what, waiting.approved_by is None,
        f"cops materialize {waiting.period}",
    )  # fmt: skip
    if waiting.approved_by:
        return done
    _require_another(books, what, waiting.requested_by)
    with books.admin.write() as con:
        if _standing(con, SUBJECT, waiting.subject_id):
            return done
        con.execute(
            sa.insert(t.approval).values(
                subject_id=waiting.subject_id, subject_digest=waiting.subject_id,
                requested_by=waiting.requested_by, **approval,
            )
        )  # fmt: skip
        _sign(books, con, done, waiting.subject_id)
    return done


def _adjustment(books: Books, row: Any, approval: dict[str, Any]) -> Approved:
    from cops_dagster.ledger import adjustments  # the engine, which reading the books does not need

    what = f"adjustment {row.adjustment_id[:16]} of {Period.of(row.usage_period_start)}"
    with books.admin.read() as con:
        b = t.adjustment_booking
        is_new = not con.execute(
            sa.select(b.c.run_id).where(b.c.adjustment_id == row.adjustment_id)
        ).first()  # fmt: skip
    if is_new:
        _require_another(books, what, row.requested_by)
    posting = adjustments.book(
        books,
        row.adjustment_id,
        approval=approval
        | {
            "subject_id": row.adjustment_id, "subject_digest": row.document_sha256,
            "requested_by": row.requested_by,
        },
    )  # fmt: skip
    return Approved(
        ADJUSTMENT, row.adjustment_id, posting, f"{what}, booked in {posting},", is_new,
        f"cops materialize {posting}",
    )  # fmt: skip


def _note(books: Books, row: Any, approval: dict[str, Any]) -> Approved:
    period = Period.of(row.period_start)
    done = Approved(
        NOTE, row.exception_id, period, f"variance note {row.exception_id[:16]} of {period}",
        row.resolved_at is None, f"cops status {period}",
    )  # fmt: skip
    if row.resolved_at is not None:
        return done
    _require_another(books, done.what, row.opened_by)
    e = t.recon_exceptions
    with books.admin.write() as con:
        if _standing(con, NOTE, row.exception_id):
            return done
        con.execute(
            sa.update(e)
            .where(e.c.exception_id == row.exception_id, e.c.resolved_at.is_(None))
            .values(decision=approval["reason"], resolved_by=books.actor, resolved_at=approval["approved_at"])
        )
        con.execute(
            sa.insert(t.approval).values(
                subject_id=row.exception_id, subject_digest=row.exception_id, requested_by=row.opened_by,
                **approval,
            )
        )  # fmt: skip
        _sign(books, con, done, row.exception_id)
    return done


def _exception(books: Books, row: Any, approval: dict[str, Any]) -> Approved:
    period = Period.of(row.period_start)
    done = Approved(
        EXCEPTION, row.exception_id, period, f"exception {row.exception_id[:16]} of {period}",
        row.resolved_at is None, f"cops materialize {period}",
    )  # fmt: skip
    if row.resolved_at is not None:
        return done
    if row.decided_at is None:
        raise CopsError(
            "E-UNDECIDED", done.what, expected="a decision with evidence, made by somebody else",
            found="none yet",
            next_step=f"cops exceptions decide {row.exception_id[:16]} --decision … --evidence LINK",
        )  # fmt: skip
    _require_another(books, done.what, row.decided_by)
    subject = digest(row.exception_id, row.decision, row.evidence_id)
    with books.admin.write() as con:
        if _standing(con, EXCEPTION, row.exception_id):
            return done
        exceptions.resolve(con, row, by=books.actor, at=approval["approved_at"])
        con.execute(
            sa.insert(t.approval).values(
                subject_id=row.exception_id, subject_digest=subject, requested_by=row.decided_by, **approval
            )
        )
        _sign(books, con, done, subject)
    return done


def _release(books: Books, row: Any, approval: dict[str, Any]) -> Approved:
    period, name = Period.of(row.period_start), freeze.name_of(row)
    done = Approved(
        FREEZE, name, period, f"release of the invoice freeze {name}", True, f"cops freeze check {period}"
    )
    _require_another(books, done.what, row.release_requested_by)
    with books.admin.write() as con:
        if _standing(con, FREEZE, name):
            return done
        freeze.release(con, row, by=books.actor, at=approval["approved_at"])
        subject = digest(name, row.cause, row.release_reason, row.release_evidence_id)
        con.execute(
            sa.insert(t.approval).values(
                subject_id=name, subject_digest=subject, requested_by=row.release_requested_by, **approval
            )
        )
        _sign(books, con, done, subject)
    return done


def _sign(books: Books, con: sa.Connection, done: Approved, subject_digest: str) -> None:
    subject = (done.subject_type, done.subject_id)
    signatures.require(books, con, "approve", subject, subject_digest, period_start=done.period.start)
