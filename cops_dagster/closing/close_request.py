"""Requests to close a period: which state of it somebody wants closed, for a second person to agree to.

Belongs here: `close_request`, what state it is about, whether that state still stands. Does not belong here:
what must hold before one asks (`closing/readiness.py`), the close itself (`closing/close.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import consent, decisions, signatures
from cops_dagster.evidence.consent import Asked
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation import record
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class State:
    """What a close would seal: the heads, the newest journal row and the newest reconciliation of a period.

    `run_ids` is JSON: table, source and run of every head. Numbers are 0 where there is none.
    """

    run_ids: str
    journal_seq: int
    recon_seq: int
    recon_id: str


def subject(period: Period) -> str:
    """What people call the close of a period."""
    return f"close-{period}"


def state_of(con: sa.Connection, period: Period) -> State:
    """The state of a period as it is now."""
    stands, newest = month.read(con, period), record.newest(con, period)
    return State(
        json.dumps(stands.heads),
        stands.journal_seq,
        newest.recon_seq if newest else 0,
        newest.recon_id if newest else "",
    )


def newest(con: sa.Connection, period: Period) -> Any:
    """The newest request of a period, or `None`."""
    requests = t.close_request
    return con.execute(
        sa.select(requests)
        .where(requests.c.period_start == period.start)
        .order_by(requests.c.request_seq.desc())
        .limit(1)
    ).one_or_none()


def named(con: sa.Connection, name: str) -> Sequence[Any]:
    """The newest request of the period that is named like `close-2025-07`."""
    requests = t.close_request
    starts = con.execute(sa.select(requests.c.period_start).distinct()).scalars().all()
    return [newest(con, one) for one in map(Period.of, starts) if subject(one) == name]


def stands(con: sa.Connection, row: Any) -> bool:
    """Whether a request is about the state that its period is in now."""
    there = state_of(con, Period.of(row.period_start))
    return there == State(row.run_ids, row.journal_seq, row.recon_seq, row.recon_id)


def approved(con: sa.Connection, period: Period) -> Any:
    """The newest request of a period if it stands and was approved, else `None`."""
    row = newest(con, period)
    if row is None or not stands(con, row):
        return None
    return row if consent.given(con, consent.CLOSE, row.subject_id) is not None else None


def waiting(con: sa.Connection, period: Period) -> Any:
    """The request that waits for a second person, or `None`."""
    row = newest(con, period)
    if row is None or lock.is_sealed(con, period) or not stands(con, row):
        return None
    return row if consent.given(con, consent.CLOSE, row.subject_id) is None else None


def ask(con: sa.Connection, books: Books, period: Period, *, readiness_sha256: str, evidence_id: str) -> Any:
    """Records who wants the period closed as it is now, within the caller's write transaction; the request.

    Raises:
        CopsError: `E-EVIDENCE-…`.
    """
    requests, state = t.close_request, state_of(con, period)
    before = con.execute(
        sa.select(sa.func.count()).select_from(requests).where(requests.c.period_start == period.start)
    ).scalar_one()
    name = subject(period) if before == 0 else f"{subject(period)}-{before + 1}"
    form = _form(period, state, readiness_sha256)
    made = con.execute(
        sa.insert(requests)
        .values(
            subject_id=name,
            subject_digest=form,
            period_start=period.start,
            run_ids=state.run_ids,
            journal_seq=state.journal_seq,
            recon_seq=state.recon_seq,
            recon_id=state.recon_id,
            readiness_sha256=readiness_sha256,
            evidence_id=evidence_id,
            requested_by=books.actor,
            requested_at=now(),
        )
        .returning(requests.c.request_seq)
    ).scalar_one()
    decisions.keep(con, books, requests, made)
    signatures.require(books, con, "close", (consent.CLOSE, name), form, period_start=period.start)
    return newest(con, period)


def asked_of(row: Any) -> Asked:
    """What a second person is asked about a close.

    Raises:
        CopsError: `E-CONSENT` when the row is not what was asked for.
    """
    period = Period.of(row.period_start)
    form = _form(
        period, State(row.run_ids, row.journal_seq, row.recon_seq, row.recon_id), row.readiness_sha256
    )
    consent.require_same(f"close of {period}", row.subject_digest, form)
    return Asked(
        consent.CLOSE,
        row.subject_id,
        form,
        row.requested_by,
        row.requested_login,
        f"close of {period}",
        period.start,
    )


def _form(period: Period, state: State, readiness_sha256: str) -> str:
    return digest(
        "close-1",
        str(period),
        state.run_ids,
        state.journal_seq,
        state.recon_seq,
        state.recon_id,
        readiness_sha256,
    )


def unanswered(row: Any) -> CopsError:
    """The answer to whoever closes while a second person has not agreed."""
    period = Period.of(row.period_start)
    return CopsError(
        "E-SECOND-PERSON",
        f"close of {period}",
        expected="a second person who agrees to this state",
        found=f"asked for by {row.requested_by!r} on {row.requested_at:%Y-%m-%d %H:%M} UTC, not approved yet",
        next_step=f"somebody else runs `cops approve {subject(period)} --reason …`",
        details={
            "waits_for": subject(period),
            "requested_by": row.requested_by,
            "requested_at": row.requested_at.isoformat(),
            "subject_digest": row.subject_digest,
        },
    )


def require_standing(con: sa.Connection, row: Any) -> None:
    """Refuses a yes to a state that is not there any more.

    Raises:
        CopsError: `E-CLOSE-STALE`.
    """
    if stands(con, row):
        return
    period = Period.of(row.period_start)
    there = state_of(con, period)
    raise CopsError(
        "E-CLOSE-STALE",
        f"close of {period}",
        expected=f"what was asked for: journal row {row.journal_seq}, reconciliation {row.recon_seq}",
        found=f"journal row {there.journal_seq}, reconciliation {there.recon_seq}",
        next_step=f"`cops close {period}` asks anew; look at what changed, then let a second person approve",
    )
