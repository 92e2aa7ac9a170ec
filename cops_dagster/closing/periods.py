"""The state of each period: who moved it, why, on what evidence.

Belongs here: what people mark and what moves on by itself; the facts that finality is judged on. Does not
belong here: which moves there are and what makes a month final (`closing/readiness.py`); the row itself
(`ledger/lock.py`); closing (`closing/close.py`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cops_dagster.closing import readiness
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import claims, holds, refusals
from cops_dagster.ledger import month, states
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.lock import move, state_of
from cops_dagster.ledger.states import AUTOMATIC, DELIVERED_AGAIN, IS_FINAL, MONTH_IS_OVER
from cops_dagster.period import Period
from cops_dagster.reconciliation import invoicing, reconcile, record
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def mark(books: Books, period: Period, there: str, *, reason: str, evidence: str | None = None) -> bool:
    """A person's move of an open period: delayed, provisional, final; `False` when it is there already.

    Raises:
        CopsError: `E-PARAM` without a reason, `E-PERIOD-STATE`, `E-PERIOD-UNKNOWN` for a month that was
            never delivered, `E-NOT-FINAL` when it cannot be final yet.
    """
    require_policy(books)
    if not reason.strip():
        raise CopsError(
            "E-PARAM",
            "reason",
            expected="why, in words",
            found="nothing",
            next_step="add --reason '…'; it stands in the period's history for ever",
        )
    if there == "final":
        with books.admin.read() as con:
            facts = facts_of(books, con, period)
        missing = readiness.against_marking(facts, has_evidence=bool((evidence or "").strip()))
        if missing:
            raise CopsError(
                "E-NOT-FINAL",
                f"period {period}",
                expected=", ".join(one.name.replace("_", " ") for one in missing),
                found="; ".join(one.found for one in missing),
                next_step=missing[0].next_step,
            )
    with books.admin.write() as con:
        if not month.shown(con, period) and there != "delayed":
            raise CopsError(
                "E-PERIOD-UNKNOWN",
                f"period {period}",
                expected="a month with a delivery",
                found="none seen",
                next_step=f"run `cops materialize {period}`",
            )
        if there == "final" and state_of(con, period) == "open":
            move(con, books, period, "provisional", reason=reason)
        moved = move(con, books, period, there, reason=reason.strip(), evidence_id=evidence)
    if there == "final":  # that no invoice is to come is an input of the reconciliation
        reconcile.reconcile(books, period)
    return moved


def advance(books: Books, period: Period) -> str:
    """Moves a period on where nothing is left to decide; its state afterwards.

    An open month that is over and reconciled becomes provisional; a provisional one of which everything
    holds becomes final; a delayed one that was delivered since goes on. Never beyond final.
    """
    require_policy(books)
    with books.admin.read() as con:
        here = state_of(con, period)
        if here not in states.WRITABLE:
            return here
        facts = facts_of(books, con, period)
        event = _newest_event(con, period)
        seen = _newest_seen(con, period)
    if here == "delayed" and not (event and seen and seen > event.changed_at):
        return here
    with books.admin.write() as con:
        if here == "delayed":
            move(con, books, period, "open", reason=DELIVERED_AGAIN)
            facts = replace(facts, is_delayed=False)
        if here != "provisional" and facts.now.date() >= period.end and facts.reconciled:
            move(con, books, period, "provisional", reason=MONTH_IS_OVER)
        if state_of(con, period) == "provisional" and not readiness.unmet(readiness.finality(facts)):
            move(con, books, period, "final", reason=IS_FINAL)
        return state_of(con, period)


def mark_late(books: Books, at: datetime) -> list[Period]:
    """Marks open months delayed that AWS should have delivered by now; which ones it marked.

    The month goes on by itself with the next delivery (`advance`). Books that never saw a delivery wait for
    none.
    """
    require_policy(books)
    lag = timedelta(hours=books.policy.controls.delivery_lag_hours)
    running = Period.of(at.date())
    with books.admin.read() as con:
        known = con.execute(sa.select(sa.func.max(t.cur_billing_head.c.period_start))).scalar_one_or_none()
        late = [
            period
            for period in (running.previous(), running)
            if known is not None
            and period.previous() <= Period.of(known)  # a feed that is alive, not an archive
            and state_of(con, period) == "open"
            and readiness.is_late(period, facts_of(books, con, period).deliveries, at, lag)
        ]
    marked = []
    for period in late:
        try:
            with books.admin.write() as con:
                move(con, books, period, "delayed", reason=states.DELIVERY_IS_LATE)
        except CopsError as problem:
            if problem.code not in _UNPROVABLE:
                raise
            continue  # controls are judged all the same; the month is marked once its move can be proved
        marked.append(period)
    return marked


_UNPROVABLE = ("E-EVIDENCE-MISSING", "E-EVIDENCE-STORE", "E-EVIDENCE-TAMPERED")


def facts_of(books: Books, con: sa.Connection, period: Period) -> readiness.Facts:
    """What is known of a period, from the admin database alone."""
    stands = month.read(con, period)
    reconciled = record.newest(con, period)
    return readiness.Facts(
        period,
        now(),
        [
            readiness.Delivered(
                one.source_id, one.delivered_at, one.is_invoiced, one.names_invoices, one.ever_named
            )
            for one in invoicing.sources(con, period)
        ],
        _waiting(con, period),
        stands.quarantined[0],
        None if stands.posted_usd is None else stands.posted_usd - stands.delivered_usd,
        reconciled.status if reconciled else None,
        _marked_by(con, period),
        stands.state == "delayed",
        reconciled.worst_tenant_status if reconciled else None,
        _said_by(con, period),
    )


def _waiting(con: sa.Connection, period: Period) -> list[str]:
    refused = [f"{source}: {row.error_code}" for source, row in refusals.newest(con, period).items()]
    away, taken_out = claims.retired_in(con, period), claims.withdrawals(con, period)
    held = [
        f"{one.source_id}: {one.code} waits for approval"
        for one in holds.held(con, period)
        if not one.approved_by
        and one.source_id not in away
        and (one.source_id not in taken_out or one.held_at > taken_out[one.source_id])
    ]
    return refused or held


def _newest_event(con: sa.Connection, period: Period) -> Any:
    moves = t.period_lock_event
    return con.execute(
        sa.select(moves)
        .where(moves.c.period_start == period.start)
        .order_by(moves.c.state_seq.desc())
        .limit(1)
    ).one_or_none()


def _newest_seen(con: sa.Connection, period: Period) -> datetime | None:
    return max((row.first_seen_at for row in month.shown(con, period)), default=None)


def _marked_by(con: sa.Connection, period: Period) -> str | None:
    event = _newest_event(con, period)
    if event is None or event.to_state != "provisional" or event.reason in AUTOMATIC:
        return None
    seen = _newest_seen(con, period)
    return None if seen and seen > event.changed_at else str(event.actor)


def _said_by(con: sa.Connection, period: Period) -> str | None:
    """Who made the month final that is final now; on the way to closed it stays so."""
    if state_of(con, period) not in ("final", "closing", "closed"):
        return None
    moves = t.period_lock_event
    return con.execute(
        sa.select(moves.c.actor)
        .where(moves.c.period_start == period.start, moves.c.to_state == "final")
        .order_by(moves.c.state_seq.desc())
        .limit(1)
    ).scalar_one_or_none()


def history(books: Books, period: Period) -> list[dict[str, Any]]:
    """Every move of a period, the oldest first."""
    moves = t.period_lock_event
    with books.admin.read() as con:
        return [
            dict(row)
            for row in con.execute(
                sa.select(moves).where(moves.c.period_start == period.start).order_by(moves.c.state_seq)
            ).mappings()
        ]
