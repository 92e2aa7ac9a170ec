"""The readiness list of a month that somebody wants to close: every fact of it, asked in one place.

Belongs here: reading what the list is judged on. Does not belong here: what must hold
(`closing/readiness.py`, pure), closing (`closing/close.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import allocate
from cops_dagster.allocation.checks import allocated, keys
from cops_dagster.allocation.inputs import gather
from cops_dagster.closing import current, periods, proof, readiness
from cops_dagster.errors import unknown_month
from cops_dagster.evidence import consent, verify
from cops_dagster.ingestion import claims, sources
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import freeze, record
from cops_dagster.reconciliation.checks import reconciled
from cops_dagster.stores import tables as t
from cops_dagster.tagging.checks import named


def requirements(books: Books, period: Period) -> list[readiness.Requirement]:
    """The readiness list of a period; nothing is written.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a month without a delivery or without an allocation.
    """
    with books.admin.read() as con:
        if head(con, allocate.TABLE, period) is None:
            raise unknown_month(period, expected="an allocated month", found="nothing allocated")
        facts = periods.facts_of(books, con, period)
        exceptions, table, approvals = t.recon_exceptions, t.period_lock, t.approval
        closed = con.execute(sa.select(table.c.period_start).where(table.c.state == "closed")).scalars().all()
        known = con.execute(sa.select(t.cur_billing_head.c.period_start).distinct()).scalars().all()
        explained = con.execute(
            sa.select(exceptions.c.tenant_id, exceptions.c.amount_usd).where(
                exceptions.c.period_start == period.start,
                exceptions.c.resolved_at.is_not(None),
                exceptions.c.withdrawn_at.is_(None),
                exceptions.c.stage == "tenant_invoice",
                # a second person's yes explains a difference, not a mark on the row
                sa.exists().where(
                    approvals.c.subject_type == consent.EXCEPTION,
                    approvals.c.subject_id == exceptions.c.exception_id,
                ),
            )
        ).all()
        tenants = _off_tolerance(con, period)
        frozen = _frozen(con, period)
        twice = claims.booked_twice(con, period)
    verified = verify.verify(books, period)  # the chain whole; of the objects those of this month
    unproven = proof.beside_the_chain(books)
    verdicts = [
        *allocated(books, period),
        *named(books, period),
        *keys(books, period),
    ]
    if facts.reconciled:
        verdicts += reconciled(books, period)
    return readiness.readiness(
        facts,
        readiness.ClosingFacts(
            is_current=current.is_current(books, period) and _head_is_plain(books, period),
            earlier_open=open_before(period, closed, known),
            verdicts=verdicts,
            unexplained=_unexplained(tenants, explained),
            frozen_by=frozen,
            evidence=verified.status,
            booked_twice=[f"{one.one} and {one.other}" for one in twice],
            placeless=[one.source_id for one in sources.placeless(books, period)],
            unproven=[f"{one.what}: expected {one.expected}, found {one.found}" for one in unproven],
        ),
    )


def open_before(period: Period, closed: Sequence[date], known: Sequence[date]) -> list[Period]:
    """Earlier periods of the books that are not closed, oldest first: months close in order.

    Args:
        closed: first days of the closed periods.
        known: first days of the periods that were ever delivered; the first of them is the beginning.
    """
    if not known or period.start <= min(known):
        return []
    at, found = Period.of(min(known)), []
    while at < period:
        if at.start not in closed:
            found.append(at)
        at = at.next()
    return found


def _off_tolerance(con: sa.Connection, period: Period) -> Sequence[Any]:
    newest, tenants = record.newest(con, period), t.recon_run_tenant
    if newest is None:
        return []
    return con.execute(
        sa.select(tenants)
        .where(tenants.c.recon_seq == newest.recon_seq, tenants.c.status.not_in(("ok",)))
        .order_by(tenants.c.tenant_id)
    ).all()


def _unexplained(tenants: Sequence[Any], explained: Sequence[Any]) -> list[str]:
    """Tenants off tolerance whose decided exceptions leave more than the tolerance open."""
    found = []
    for row in tenants:
        decided = sum((one.amount_usd for one in explained if one.tenant_id == row.tenant_id), Decimal(0))
        left = row.variance_usd - decided
        if abs(left) > row.warning_tolerance_usd:
            found.append(f"{row.tenant_id} {amount.shown(left)} USD")
    return found


def _frozen(con: sa.Connection, period: Period) -> str | None:
    found = freeze.in_force(con, period)
    return (
        f"{consent.name_of(found[0])} since {found[0].set_at:%Y-%m-%d}: {found[0].reason}" if found else None
    )


def _head_is_plain(books: Books, period: Period) -> bool:
    """The head was computed from today's inputs; a run that took one back is no answer to close on."""
    with books.admin.read() as con:
        found = head(con, allocate.TABLE, period)
        gathered = gather(con, books.policy, period)
    return found is not None and found.inputs_id == gathered.inputs_id
