"""Which rows of the books are decisions of people, and what of each is signed.

Belongs here: reading them off every table that holds one, as effects as well (a freeze that is released was
approved by somebody). Does not belong here: whether the signature is right (`evidence/signatures.py`).

An act signs the same kind, subject and digest that this reads; a kind that is new is added to both.

    approve     a second person's yes to what waits for one (`closing/approve.py`)
    close       asking for the close of a month: over its state and its readiness list
    seal        the seal of a month
    load        a load, of any table
    policy      a version of the policy
    source      a source retired, restored or withdrawn
    rule_date   which day's rules a month follows
    decide      what is done about an exception
    note        why a closed month differs
    propose     an adjustment that a person proposes
    request     asking for the release of a freeze
    signer      a change of the list of signers
    security    the beginning of signing
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from cops_dagster.money.digest import digest
from cops_dagster.stores import tables as t

ONE_TIME = "one_time_rule"
"""The kind of adjustment that a person proposes; late changes are proposed by runs, which sign nothing."""

RECONCILED = "cops"
"""Who settles what a reconciliation settles as it opens it (`exceptions.SETTLED_BY`)."""


@dataclass(frozen=True)
class Made:
    """A decision that the books say was made; `actor` as recorded with it."""

    kind: str
    subject_type: str
    subject_id: str
    digest: str
    actor: str
    period_start: date | None = None

    @property
    def key(self) -> list[str]:
        """What names it: kind, type, id, digest."""
        return [self.kind, self.subject_type, self.subject_id, self.digest]


def of(con: sa.Connection) -> list[Made]:
    """Every decision that stands in the books."""
    proofs = dict(con.execute(sa.select(t.evidence_index.c.evidence_seq, t.evidence_index.c.sha256)).all())
    return [
        *_approvals(con), *_exceptions(con), *_freezes(con), *_adjustments(con), *_periods(con),
        *_loads(con), *_policies(con), *_sources(con, proofs), *_rule_dates(con), *_signers(con),
    ]  # fmt: skip


def of_exception(row: Any) -> str:
    """What is decided about an exception, and approved. Before migration 0009 a row had no digest."""
    return row.subject_digest or digest(row.exception_id, row.decision, row.evidence_id)


def of_note(row: Any) -> str:
    """What a variance note says, and what is approved."""
    return row.subject_digest or str(row.exception_id)


def of_freeze(name: str, row: Any) -> str:
    """What is asked for when a freeze shall be released, and approved."""
    return row.subject_digest or digest(name, row.cause, row.release_reason, row.release_evidence_id)


def of_policy(policy_json: str) -> str:
    """What is adopted: every value of the policy."""
    return hashlib.sha256(policy_json.encode()).hexdigest()


def of_rule_date(row: Any) -> str:
    """What is decided about the rules of a month."""
    return digest(
        row.period_start, row.decision_seq, row.rules_as_of, row.note, row.evidence_links, row.decided_at
    )


def _approvals(con: sa.Connection) -> Iterator[Made]:
    for row in con.execute(sa.select(t.approval)):
        yield Made("approve", row.subject_type, row.subject_id, row.subject_digest, row.approved_by)


def _exceptions(con: sa.Connection) -> Iterator[Made]:
    for row in con.execute(sa.select(t.recon_exceptions)):
        month, subject = row.period_start, row.exception_id
        if row.stage is None:
            yield Made("note", "variance_note", subject, of_note(row), row.opened_by, month)
            if row.resolved_at is not None:
                yield Made("approve", "variance_note", subject, of_note(row), str(row.resolved_by), month)
            continue
        if row.decided_by == row.resolved_by == RECONCILED and row.resolved_at == row.opened_at:
            continue  # two differences that make up for one another: no person decided anything
        if row.decided_at is not None:
            yield Made("decide", "exception", subject, of_exception(row), str(row.decided_by), month)
        if row.resolved_at is not None:
            yield Made("approve", "exception", subject, of_exception(row), str(row.resolved_by), month)


def _freezes(con: sa.Connection) -> Iterator[Made]:
    for row in con.execute(sa.select(t.invoice_freeze)):
        name, month = f"freeze-{row.freeze_seq}", row.period_start
        decided = of_freeze(name, row)
        if row.release_requested_by is not None:
            yield Made("request", "invoice_freeze", name, decided, row.release_requested_by, month)
        if row.released_at is not None:
            yield Made("approve", "invoice_freeze", name, decided, str(row.released_by), month)


def _adjustments(con: sa.Connection) -> Iterator[Made]:
    adjustments, bookings = t.adjustment, t.adjustment_booking
    for row in con.execute(
        sa.select(adjustments, bookings.c.booked_by).outerjoin(
            bookings, bookings.c.adjustment_id == adjustments.c.adjustment_id
        )
    ):
        about = ("adjustment", row.adjustment_id, row.document_sha256)
        if row.kind == ONE_TIME:
            yield Made("propose", *about, row.requested_by, row.usage_period_start)
        if row.booked_by is not None:
            yield Made("approve", *about, row.booked_by, row.usage_period_start)


def _periods(con: sa.Connection) -> Iterator[Made]:
    locks, moves = t.period_lock, t.period_lock_event
    for row in con.execute(sa.select(t.close_request)):
        yield Made("close", "close", row.subject_id, row.subject_digest, row.requested_by, row.period_start)
    closed = con.execute(sa.select(moves.c.period_start, moves.c.actor).where(moves.c.to_state == "closed"))
    sealed_by: dict[date, str] = {row.period_start: row.actor for row in closed}
    for row in con.execute(sa.select(locks).where(locks.c.state == "closed")):
        yield Made(
            "seal",
            "period",
            f"{row.period_start:%Y-%m}",
            str(row.seal_digest),
            sealed_by.get(row.period_start, ""),
            row.period_start,
        )


def _loads(con: sa.Connection) -> Iterator[Made]:
    log = t.load_log
    for row in con.execute(sa.select(log.c.load_id, log.c.actor).distinct()):
        yield Made("load", "load", row.load_id, row.load_id, row.actor)


def _policies(con: sa.Connection) -> Iterator[Made]:
    for row in con.execute(sa.select(t.policy)):
        yield Made("policy", "policy", str(row.policy_version), of_policy(row.policy_json), row.adopted_by)


def _sources(con: sa.Connection, proofs: dict[int, str]) -> Iterator[Made]:
    for row in con.execute(sa.select(t.source_event)):
        yield Made("source", "source", row.source_id, _proof(proofs, row.evidence_id), row.actor)


def _rule_dates(con: sa.Connection) -> Iterator[Made]:
    for row in con.execute(sa.select(t.allocation_rule_date)):
        subject = f"{row.period_start:%Y-%m}/{row.decision_seq}"
        yield Made("rule_date", "rules", subject, of_rule_date(row), row.actor, row.period_start)


def _signers(con: sa.Connection) -> Iterator[Made]:
    """Changes of the list; those that signing begins with are bound by the beginning."""
    signers, entries = t.allowed_signers, t.evidence_index
    begun = con.execute(
        sa.select(sa.func.min(entries.c.evidence_seq)).where(entries.c.kind == "signing_begins")
    ).scalar()
    for row in con.execute(sa.select(signers)):
        if begun is not None and int(row.evidence_id) > begun:
            yield Made("signer", "signer", row.event_id, row.event_id, row.actor)


def _proof(proofs: dict[int, str], evidence_id: str | None) -> str:
    """The digest of the document that an event names, or nothing that a signature could be about."""
    return proofs.get(int(evidence_id), "") if evidence_id and evidence_id.isdigit() else ""
