"""The invoice freeze: while a month's reconciliation has failed, no new invoice is issued (rule 5.13).

Belongs here: setting it beside the alert that causes it, what it refuses, its release by two people. Credit
notes, and reissues that name the invoice they correct, are never refused: they are the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError, require_said
from cops_dagster.evidence import consent, decisions, signatures
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.consent import Asked, name_of
from cops_dagster.evidence.people import is_same_person
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import record
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def in_force(con: sa.Connection, period: Period | None = None) -> Sequence[Any]:
    """Freezes that are not released; of a period those that reach it: its own and earlier ones."""
    freezes = t.invoice_freeze
    query = sa.select(freezes).where(freezes.c.released_at.is_(None)).order_by(freezes.c.freeze_seq)
    if period is not None:
        query = query.where(freezes.c.period_start <= period.start)
    return con.execute(query).all()


def requested(con: sa.Connection) -> Sequence[Any]:
    """Freezes whose release somebody asked for, released since or not."""
    freezes = t.invoice_freeze
    return con.execute(sa.select(freezes).where(freezes.c.release_requested_by.is_not(None))).all()


def of(con: sa.Connection, period: Period) -> Sequence[Any]:
    """Every freeze that a month itself ever had, released ones too, in order."""
    freezes = t.invoice_freeze
    return con.execute(
        sa.select(freezes).where(freezes.c.period_start == period.start).order_by(freezes.c.freeze_seq)
    ).all()


def put(con: sa.Connection, books: Books, period: Period, *, cause: str, reason: str) -> None:
    """Freezes a month for one cause, once; another cause is another freeze, released by itself.

    Raises:
        CopsError: `E-EVIDENCE-…`.
    """
    freezes = t.invoice_freeze
    if con.execute(sa.select(freezes.c.freeze_seq).where(freezes.c.cause == cause)).first():
        return
    made = con.execute(
        sa.insert(freezes)
        .values(period_start=period.start, reason=reason, cause=cause, set_by=books.actor, set_at=now())
        .returning(freezes.c.freeze_seq)
    ).scalar_one()
    decisions.keep(con, books, freezes, made)


def require_none(con: sa.Connection, where: str, row: dict[str, Any]) -> None:
    """Refuses a new invoice of a frozen month or later; what corrects another document passes.

    Raises:
        CopsError: `E-FREEZE`.
    """
    if row["document_type"] != "invoice" or row["corrects_invoice_id"] is not None:
        return
    found = in_force(con, Period.of(row["period_start"]))
    if found:
        raise CopsError(
            "E-FREEZE",
            where,
            expected="no new invoice while invoices are frozen",
            found=f"{name_of(found[0])} since {found[0].set_at:%Y-%m-%d %H:%M} UTC: {found[0].reason}",
            next_step="find the cause (`cops docs reconciliation`); a credit note, or a reissue that names"
            " the invoice it corrects, is taken",
        )


def request_release(books: Books, period: Period, *, reason: str, evidence: str) -> dict[str, bool]:
    """Asks for the release of a month's own freezes; by name to approve, whether the request is ours.

    What somebody else has asked for already stays theirs: it waits for an approval, not for another request.

    Raises:
        CopsError: `E-PARAM`; `E-FREEZE-CAUSE` while the newest reconciliation does not pass.
    """
    require_policy(books)
    require_said(reason, evidence, subject="release")
    freezes = t.invoice_freeze
    with books.admin.write() as con:
        mine = [row for row in in_force(con, period) if row.period_start == period.start]
        if mine:
            _require_passing(con, period)
        was_new: dict[str, bool] = {}
        for row in mine:
            asked_by = row.release_requested_by
            was_new[name_of(row)] = not asked_by or is_same_person(asked_by, books.actor)
            if not was_new[name_of(row)]:
                continue
            asked = {
                "release_requested_by": books.actor,
                "release_reason": reason.strip(),
                "release_evidence_id": evidence.strip(),
            }
            form = consent.of_release({**row._mapping, **asked})
            con.execute(
                sa.update(freezes)
                .where(freezes.c.freeze_seq == row.freeze_seq)
                .values(**asked, subject_digest=form)
            )
            decisions.keep(con, books, freezes, row.freeze_seq)
            signatures.require(
                books, con, "request", (consent.FREEZE, name_of(row)), form, period_start=period.start
            )
        return was_new


def asked_of(row: Any) -> Asked:
    """What a second person is asked about a freeze.

    Raises:
        CopsError: `E-CONSENT` when the row is not what was asked for.
    """
    name, form = name_of(row), consent.of_release({**row._mapping})
    what = f"release of the invoice freeze {name}"
    consent.require_same(what, row.subject_digest, form)
    return Asked(
        consent.FREEZE,
        name,
        form,
        row.release_requested_by,
        row.requested_login,
        what,
        row.period_start,
    )


def release(con: sa.Connection, books: Books, row: Any, approval: Any) -> None:
    """Releases one freeze that two people agree on; released already is left as it is.

    Raises:
        CopsError: `E-FREEZE-CAUSE` when its cause is back; `E-EVIDENCE-…`.
    """
    if row.released_at is not None:
        return
    _require_passing(con, Period.of(row.period_start))
    freezes = t.invoice_freeze
    con.execute(
        sa.update(freezes)
        .where(freezes.c.freeze_seq == row.freeze_seq)
        .values(released_by=approval.approved_by, released_at=approval.approved_at)
    )
    decisions.keep(con, books, freezes, row.freeze_seq)


def row_of(con: sa.Connection, freeze_seq: int) -> Any:
    """A freeze as it is now; one of a time before there were digests gets its own."""
    freezes = t.invoice_freeze
    this = freezes.c.freeze_seq == freeze_seq
    row = con.execute(sa.select(freezes).where(this)).one()
    if row.subject_digest is None and row.released_at is None:
        con.execute(
            sa.update(freezes).where(this).values(subject_digest=consent.of_release({**row._mapping}))
        )
        row = con.execute(sa.select(freezes).where(this)).one()
    return row


def _require_passing(con: sa.Connection, period: Period) -> None:
    newest = record.newest(con, period)
    if newest is None or newest.status not in ("ok", "warning"):
        raise CopsError(
            "E-FREEZE-CAUSE",
            f"invoice freeze of {period}",
            expected="a newest reconciliation that is ok or warning",
            found=newest.status if newest else "none",
            next_step=f"correct the invoices or the ledger, then run `cops materialize {period}`",
        )
