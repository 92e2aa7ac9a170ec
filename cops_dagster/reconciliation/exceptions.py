"""Exceptions of the reconciliation: opened by it, decided by people, with evidence.

Belongs here: keeping `recon_exceptions` in step with what differs now, listing them, deciding on one. Does
not belong here: what differs and what kind it is (`reconciliation/differences.py`); a second person's yes
(`closing/approve.py`). A difference keeps its id while its amount and class stay; when either changes the old
exception is withdrawn, for a decision is about one amount.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError, not_one, require_said
from cops_dagster.evidence import consent, decisions, signatures
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.consent import Asked
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation.differences import Difference
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

OPENED_BY = "cops"
"""Who opens what a reconciliation finds; so nobody who decides on it is its opener."""
SETTLED_BY = decisions.SETTLED_BY
NO_OTHER = "{}"
"""What stands for the stored version where there is none: what corrects a closed month, or is disputed."""
DISPUTES = "disputes"
"""The table of what tenants dispute."""


@dataclass(frozen=True)
class Exceptional:
    """One exception as people see it. `status`: open, decided (a second person must approve), resolved."""

    exception_id: str
    period: Period
    stage: str
    subject_id: str
    tenant_id: str | None
    kind: str
    amount_usd: Decimal
    status: str
    owner: str
    note: str
    decision: str | None
    evidence: str | None
    decided_by: str | None
    resolved_by: str | None
    opened_at: datetime


def replace(con: sa.Connection, period: Period, recon_seq: int, found: Sequence[Difference]) -> None:
    """Makes the current exceptions of a period those of a reconciliation; nothing is deleted."""
    exceptions = t.recon_exceptions
    known = {
        row.exception_id: row
        for row in con.execute(
            sa.select(exceptions).where(
                exceptions.c.period_start == period.start, exceptions.c.stage.is_not(None)
            )
        )
    }
    at = now()
    every = [(one, one.subject_id) for one in found] + _conflicting(con, period)
    current: set[str] = set()
    for one, subject in every:
        exception_id = _free_id(known, period, one, subject, current)
        current.add(exception_id)
        row = known.get(exception_id)
        if row is None:
            con.execute(sa.insert(exceptions).values(_row(period, recon_seq, one, subject, exception_id, at)))
        elif row.withdrawn_at is not None:
            con.execute(
                sa.update(exceptions)
                .where(exceptions.c.exception_id == exception_id)
                .values(withdrawn_at=None)
            )
    gone = [name for name, row in known.items() if name not in current and row.withdrawn_at is None]
    for begin in range(0, len(gone), 500):
        batch = gone[begin : begin + 500]
        con.execute(
            sa.update(exceptions)
            .where(exceptions.c.exception_id.in_(batch))
            .values(withdrawn_at=at, withdrawn_recon_seq=recon_seq)
        )


def open_documents(con: sa.Connection, period: Period) -> None:
    """Opens the exceptions of a period's documents at once, before any reconciliation finds them."""
    exceptions, at = t.recon_exceptions, now()
    known = {
        row.exception_id: row
        for row in con.execute(
            sa.select(exceptions).where(
                exceptions.c.period_start == period.start, exceptions.c.stage == "document"
            )
        )
    }
    held = {row.subject_id for row in known.values() if row.withdrawn_at is None}
    for one, subject in _conflicting(con, period):
        if subject not in held:
            exception_id = _free_id(known, period, one, subject, set())
            con.execute(sa.insert(exceptions).values(_row(period, None, one, subject, exception_id, at)))


def _free_id(known: dict[str, Any], period: Period, one: Difference, subject: str, taken: set[str]) -> str:
    """The id of a difference. One that was resolved, went away and is back is decided on anew."""
    repeat = 0
    while True:
        made = digest("exception-1", str(period), one.stage, subject, one.kind, one.amount, repeat)
        row = known.get(made)
        if made not in taken and (row is None or row.withdrawn_at is None or row.resolved_at is None):
            return made
        repeat += 1


def _row(
    period: Period, recon_seq: int | None, one: Difference, subject: str, exception_id: str, at: datetime
) -> dict[str, Any]:
    settled = {
        "decision": one.settled, "decided_by": SETTLED_BY, "decided_at": at, "resolved_by": SETTLED_BY,
        "resolved_at": at, "evidence_id": f"reconciliation {recon_seq}",
    }  # fmt: skip
    return {
        "exception_id": exception_id, "period_start": period.start, "recon_seq": recon_seq,
        "stage": one.stage, "subject_id": subject, "tenant_id": one.tenant_id, "class": one.kind,
        "amount_usd": amount.to_decimal(one.amount), "owner": one.owner, "opened_by": OPENED_BY,
        "opened_at": at, "note": one.note, **(settled if one.settled else {}),
    }  # fmt: skip


def _conflicting(con: sa.Connection, period: Period) -> list[tuple[Difference, str]]:
    """One exception per dispute, and per document that came again or corrects one of a closed month."""
    conflicts = t.document_conflict
    made = []
    for row in con.execute(
        sa.select(conflicts).where(conflicts.c.period_start == period.start).order_by(conflicts.c.conflict_id)
    ):
        if row.table_name == DISPUTES:
            made.append((_disputed(row), row.conflict_id))
            continue
        apart = amount.shown(row.difference_usd)
        if row.stored_json == NO_OTHER:
            month = json.loads(row.given_json)["period"]
            note = (
                f"{row.document_id} corrects {month}, which is closed and stays as it is ({apart}):"
                f" {_few(row.given_json)}"
            )
            late = Difference("document", row.document_id, "late_change", 0, note, row.tenant_id)
            made.append((late, row.conflict_id))
            continue
        note = (
            f"{row.document_id} came again with other content ({apart} USD apart):"
            f" stored {_few(row.stored_json)}, given {_few(row.given_json)}"
        )
        made.append(
            (Difference("document", row.document_id, "unknown", 0, note, row.tenant_id), row.conflict_id)
        )
    return made


def _disputed(row: Any) -> Difference:
    given = json.loads(row.given_json)
    amount_of_it = f"{given['amount']} {given['currency']} of {given['period']} ({given['about']})"
    note = f"{row.document_id}: {row.tenant_id} disputes {amount_of_it}: {given['reason']}"
    return Difference("document", row.document_id, "dispute", 0, note, row.tenant_id)


def _few(text: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in json.loads(text).items())[:200]


def current(con: sa.Connection, period: Period, *, everything: bool = False) -> list[Exceptional]:
    """The exceptions of a period, open ones and large ones first; with `everything` withdrawn ones too."""
    exceptions = t.recon_exceptions
    query = sa.select(exceptions).where(exceptions.c.period_start == period.start)
    if not everything:
        query = query.where(exceptions.c.withdrawn_at.is_(None))
    found = [_seen(row) for row in con.execute(query)]
    order = ("open", "decided", "resolved", "withdrawn")
    return sorted(found, key=lambda one: (order.index(one.status), -abs(one.amount_usd), one.exception_id))


def _seen(row: Any) -> Exceptional:
    values = row._mapping
    status = (
        "withdrawn"
        if row.withdrawn_at
        else "resolved"
        if row.resolved_at
        else "decided"
        if row.decided_at or row.stage is None
        else "open"
    )
    return Exceptional(
        row.exception_id,
        Period.of(row.period_start),
        row.stage or "note",
        row.subject_id or "",
        row.tenant_id,
        values["class"],
        row.amount_usd,
        status,
        row.owner or "",
        row.note or "",
        row.decision,
        row.evidence_id,
        row.decided_by or (row.opened_by if row.stage is None else None),
        row.resolved_by,
        row.opened_at,
    )


def late_documents(con: sa.Connection) -> list[Exceptional]:
    """Documents that correct closed months and wait for a decision, in whatever month."""
    exceptions = t.recon_exceptions
    rows = con.execute(
        sa.select(exceptions)
        .where(exceptions.c.stage == "document", exceptions.c["class"] == "late_change")
        .where(exceptions.c.withdrawn_at.is_(None), exceptions.c.resolved_at.is_(None))
        .order_by(exceptions.c.opened_at, exceptions.c.exception_id)
    )
    return [_seen(row) for row in rows]


def decide(books: Books, exception_id: str, *, decision: str, evidence: str) -> Exceptional:
    """Records what a person decided about an exception; a second person approves it.

    Raises:
        CopsError: `E-PARAM` without decision or evidence; `E-APPROVAL-UNKNOWN` for an id that is not one
            open exception; `E-EXCEPTION-RESOLVED` for one that is resolved or withdrawn.
    """
    require_policy(books)
    require_said(
        decision,
        evidence,
        subject="decision",
        expected="what was decided, and evidence (a link or a ticket)",
        next_step="add --decision '…' and --evidence LINK",
    )
    exceptions = t.recon_exceptions
    with books.admin.write() as con:
        rows = (
            con.execute(
                sa.select(exceptions).where(
                    exceptions.c.exception_id.startswith(exception_id, autoescape=True),
                    exceptions.c.stage.is_not(None),
                )
            ).all()
            if exception_id
            else []
        )
        if len(rows) != 1:
            raise not_one(
                len(rows),
                "E-APPROVAL-UNKNOWN",
                f"id {exception_id!r}",
                expected="one exception",
                next_step="take the id from `cops exceptions list PERIOD`",
            )
        row = rows[0]
        if row.resolved_at is not None or row.withdrawn_at is not None:
            raise CopsError(
                "E-EXCEPTION-RESOLVED",
                f"exception {row.exception_id[:16]}",
                expected="an open exception",
                found="withdrawn: the difference is not there any more"
                if row.withdrawn_at
                else f"resolved by {row.resolved_by}: {row.decision}",
                next_step="see `cops exceptions list PERIOD`; what is resolved stays as it is",
            )
        decided = {
            "decision": decision.strip(), "evidence_id": evidence.strip(), "decided_by": books.actor,
            "decided_at": now(),
        }  # fmt: skip
        con.execute(
            sa.update(exceptions)
            .where(exceptions.c.exception_id == row.exception_id)
            .values(**decided, subject_digest=consent.of_exception({**row._mapping, **decided}))
        )
        decisions.keep(con, books, exceptions, row.exception_id)
        made = con.execute(sa.select(exceptions).where(exceptions.c.exception_id == row.exception_id)).one()
        signatures.require(
            books,
            con,
            "decide",
            (consent.EXCEPTION, made.exception_id),
            made.subject_digest,
            period_start=made.period_start,
        )
        return _seen(made)


def asked_of(row: Any) -> Asked:
    """What a second person is asked about a decided exception, or about a note.

    Raises:
        CopsError: `E-UNDECIDED` when there is no decision; `E-CONSENT` when the row is not what was decided.
    """
    is_note = row.stage is None
    what = f"{'variance note' if is_note else 'exception'} {row.exception_id[:16]} of"
    what = f"{what} {Period.of(row.period_start)}"
    if not is_note and row.decided_at is None:
        raise CopsError(
            "E-UNDECIDED",
            what,
            expected="a decision with evidence, made by somebody else",
            found="none yet",
            next_step=f"cops exceptions decide {row.exception_id[:16]} --decision … --evidence LINK",
        )
    form = consent.of_exception({**row._mapping})
    consent.require_same(what, row.subject_digest, form)
    kind, by = (consent.NOTE, row.opened_by) if is_note else (consent.EXCEPTION, row.decided_by)
    return Asked(kind, row.exception_id, form, by, row.requested_login, what, row.period_start)


def resolve(con: sa.Connection, books: Books, row: Any, approval: Any) -> None:
    """Marks a decided exception or a note as resolved by who approved it; resolved already stays.

    Raises:
        CopsError: `E-UNDECIDED` when the difference went away meanwhile; `E-EVIDENCE-…`.
    """
    if row.resolved_at is not None:
        return
    if row.withdrawn_at is not None:
        raise CopsError(
            "E-UNDECIDED",
            f"exception {row.exception_id[:16]}",
            expected="the decision that you looked at",
            found="the difference went away",
            next_step="look again: cops exceptions list",
        )
    exceptions = t.recon_exceptions
    # the answer to a note is its decision
    answer = {"decision": approval.reason} if row.stage is None else {}
    con.execute(
        sa.update(exceptions)
        .where(exceptions.c.exception_id == row.exception_id)
        .values(resolved_by=approval.approved_by, resolved_at=approval.approved_at, **answer)
    )
    decisions.keep(con, books, exceptions, row.exception_id)


def require_unchanged(seen: Any, there: Any) -> None:
    """Refuses to agree to a decision that is not any more the one that was looked at.

    Raises:
        CopsError: `E-UNDECIDED`.
    """
    names = ("decision", "evidence_id", "decided_by")
    if any(getattr(seen, name) != getattr(there, name) for name in names):
        raise CopsError(
            "E-UNDECIDED",
            f"exception {there.exception_id[:16]}",
            expected="the decision that you looked at",
            found="it was decided anew",
            next_step="look again: cops exceptions list",
        )


def row_of(con: sa.Connection, exception_id: str) -> Any:
    """An exception as it is now; one that was decided before there were digests gets its own."""
    exceptions = t.recon_exceptions
    this = exceptions.c.exception_id == exception_id
    row = con.execute(sa.select(exceptions).where(this)).one()
    waits = row.resolved_at is None and (row.stage is None or row.decided_at is not None)
    if row.subject_digest is None and waits:
        con.execute(
            sa.update(exceptions).where(this).values(subject_digest=consent.of_exception({**row._mapping}))
        )
        row = con.execute(sa.select(exceptions).where(this)).one()
    return row
