"""Closing a period: the readiness list, the second person, the seal, and no way back.

Belongs here: `cops close`, and what follows a second person's yes to it. What the list is judged on is read
in `closing/checklist.py`, what one person wants closed is a request (`closing/close_request.py`), the seal is
made in `closing/sealing.py`. The steps after the yes are closing (nothing more is published) → every
published run projected → entries digested twice → delivered bytes and seal in the evidence store → closed →
anchored. Each is harmless when repeated, so a close that a crash cut short is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.closing import checklist, close_request, readiness, sealing
from cops_dagster.errors import CopsError
from cops_dagster.evidence import (
    certificate,
    chain,
    consent,
    documents,
    seal,
    signatures,
    signing,
    sweep,
    verify,
)
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.evidence.chain import Kept, Piece
from cops_dagster.ledger import lock, states
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import key_of

ROUNDS = 3
"""How often a seal is made anew because rows that it binds were written meanwhile."""


@dataclass(frozen=True)
class Closed:
    """Outcome: the seal of the period, whether this call made it, who closed it when, and what proves who."""

    period: Period
    seal_digest: str
    journal_seq: int
    wrote: bool
    closed_by: str
    closed_at: datetime
    identity: str


def close(books: Books, period: Period) -> Closed:
    """Closes a period that two people want closed, or asks for the second one; finishes what was cut short.

    Closed already is an answer, not an error.

    Raises:
        CopsError: `E-NOT-READY` naming what blocks (`details` holds the whole list); `E-SECOND-PERSON` while
            nobody else agreed to the state as it is: the request is recorded, nothing else changed; `E-SEAL`
            when the two digests differ: the period is final again and nothing is sealed; `E-DIGEST`; in
            signed books what `signatures.require` raises, and the period is final again.
    """
    require_policy(books)
    here = _here(books, period)
    if here == "closed":
        return _anchored_again(books, period)
    if here != "closing":
        _begin(books, period)
    return _complete(books, period)


def close_approved(books: Books, period: Period, *, reason: str) -> bool:
    """A second person's yes to the newest request, and the close; whether the yes is news.

    Raises:
        CopsError: `E-APPROVER`, `E-CLOSE-STALE` when something was published or reconciled since it was asked
            for, and what `close` raises but `E-SECOND-PERSON`.
    """
    require_policy(books)
    here = _here(books, period)
    if here in ("closing", "closed"):
        close(books, period)
        return False
    is_new = _begin(books, period, agreed=reason)
    _complete(books, period)
    return is_new


def _here(books: Books, period: Period) -> str:
    """The period's state. A close that began before a second person was asked is taken back first."""
    with books.admin.read() as con:
        here = lock.state_of(con, period)
        if here != "closing" or close_request.approved(con, period) is not None:
            return here
    _step_back(books, period, "nobody approved this close")
    return "final"


def _complete(books: Books, period: Period) -> Closed:
    sweep.project(books)
    try:
        entries = sealing.digested_twice(books, period)
        return _sealed(books, period, entries)
    except CopsError as problem:
        if problem.code == "E-SEAL" or problem.code in signing.REFUSALS:
            _step_back(books, period, str(problem))
        raise


def _sealed(books: Books, period: Period, entries: seal.Digests) -> Closed:
    """Seals what stands, and again while rows about the month are written meanwhile."""
    for _ in range(ROUNDS):
        document, kept = sealing.sealed(books, period, entries)
        done = sealing.finish(books, period, document, kept)
        if done != "moved":
            return _anchored(books, period, wrote=done == "sealed")
    raise CopsError(
        "E-CONTENTION",
        f"period {period}",
        expected="books that hold still while they are sealed",
        found="rows about the month were written meanwhile",
        next_step="run `cops close` again",
    )


def _begin(books: Books, period: Period, *, agreed: str | None = None) -> bool:
    """Moves a ready period to closing once two people want it; whether the yes `agreed` is news."""
    with books.admin.read() as con:
        seen = _seen(con, period)
        asked = close_request.newest(con, period)
        stands = asked is not None and close_request.stands(con, asked)
        if agreed is not None:
            close_request.require_standing(con, asked)
            consent.require_another(con, books, close_request.asked_of(asked))
    requirements = checklist.requirements(books, period)
    blocking = readiness.unmet(requirements)
    if blocking:
        raise CopsError(
            "E-NOT-READY",
            f"period {period}",
            expected=", ".join(one.name.replace("_", " ") for one in blocking),
            found="; ".join(one.found for one in blocking),
            next_step=blocking[0].next_step,
            details={"readiness": [one.__dict__ for one in requirements]},
        )
    kept = [] if stands else _kept_readiness(books, period, requirements)
    with books.admin.write() as con:
        if states.order(lock.hold(con, books, period)) >= states.order("closing"):
            return False  # another process began; this one helps it to the end
        # what was judged must still be what closes: nobody published between the list and the lock
        if _seen(con, period) != seen:
            raise CopsError(
                "E-CONTENTION",
                f"period {period}",
                expected="no other run while it closes",
                found="a run was published after the readiness list was made",
                next_step="run `cops close` again",
            )
        row = close_request.newest(con, period)
        if kept and (row is None or not close_request.stands(con, row)):
            proof = str(chain.index(con, books, kept)[0])
            row = close_request.ask(con, books, period, readiness_sha256=kept[0].sha256, evidence_id=proof)
        request, is_new = close_request.asked_of(row), False
        approval = consent.given(con, request.kind, request.subject_id)
        if agreed is not None:
            approval, is_new = consent.give(con, books, request, reason=agreed)
        if approval is not None:
            _move_to_closing(con, books, period, row, approval)
            return is_new
    raise close_request.unanswered(row)


def _move_to_closing(con: sa.Connection, books: Books, period: Period, request: Any, approval: Any) -> None:
    consent.require_closer(con, period)
    for there in ("provisional", "final", "closing"):
        if states.order(lock.state_of(con, period)) < states.order(there):
            lock.move(
                con,
                books,
                period,
                there,
                evidence_id=request.evidence_id,
                reason=f"the readiness list holds, and {approval.approved_by} agreed",
            )


def _kept_readiness(
    books: Books, period: Period, requirements: Sequence[readiness.Requirement]
) -> list[Kept]:
    document = documents.document({"readiness": [one.__dict__ for one in requirements]})
    return chain.store(books, [Piece("readiness", "period", str(period), certificate.JSON, data=document)])


def _seen(con: sa.Connection, period: Period) -> Any:
    """What the readiness list was made over."""
    return close_request.state_of(con, period), lock.state_of(con, period)


def _step_back(books: Books, period: Period, reason: str) -> None:
    with books.admin.write() as con:
        if lock.state_of(con, period) == "closing":
            lock.move(con, books, period, "final", reason=reason)


def _anchored_again(books: Books, period: Period) -> Closed:
    """What is left of a close that a crash cut short between seal and anchor; of any other nothing.

    Raises:
        CopsError: `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`: an anchor is written only behind a chain of
            which everything earlier is there and right.
    """
    chain.require_store(books)
    found = verify.verify(books)
    others = [one for one in found.findings if one.what != f"anchor of {period}"]
    if others:
        worst = next((one for one in others if one.status == "mismatch"), others[0])
        raise CopsError(
            "E-EVIDENCE-TAMPERED" if found.status == "mismatch" else "E-EVIDENCE-MISSING",
            f"evidence of {period}, which is closed",
            expected=f"{worst.what}: {worst.expected}",
            found=worst.found,
            next_step=found.next_step,
        )
    return _anchored(books, period, wrote=False)


def _anchored(books: Books, period: Period, *, wrote: bool) -> Closed:
    """The seal gets its name in the evidence store, and the head of the chain is written down there."""
    with books.admin.read() as con:
        row = con.execute(sa.select(t.period_lock).where(t.period_lock.c.period_start == period.start)).one()
        moves = t.period_lock_event
        event = con.execute(
            sa.select(moves.c.actor, moves.c.changed_at)
            .where(moves.c.period_start == period.start, moves.c.to_state == "closed")
            .order_by(moves.c.state_seq.desc())
            .limit(1)
        ).one()
        identity = signatures.told(con, "seal", ("period", str(period)))
    chain.anchor(books)
    # the name comes last: a seal that has one was anchored, whatever the store says later
    chain.objects(books).name(seal.name_of(period), key_of(row.seal_digest))
    return Closed(
        period, row.seal_digest, row.seal_journal_seq, wrote, event.actor, event.changed_at, identity
    )
