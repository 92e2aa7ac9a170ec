"""Whether a period has work: each layer's inputs against those its head was made from; and who did it.

Belongs here: the decision "nothing to do", on sizes, times and ids alone, before Dagster is imported; which
months a run may start for by itself; whether what stands answers the registers of now; whether a run wrote
anything, or came second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cops_dagster.adjustments import late
from cops_dagster.allocation import allocate
from cops_dagster.allocation.inputs import answers, gather
from cops_dagster.closing import close_request, repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import live
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.states import UNATTENDED
from cops_dagster.period import Period
from cops_dagster.policy import Policy
from cops_dagster.reconciliation import reconcile, record
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag


def is_current(books: Books, period: Period) -> bool:
    """Every layer's inputs are those of its head: decided on size, time and ids alone."""
    with books.admin.read() as con:
        if sweep.pending(con) or not look.unchanged(books, con, period):
            return False
        if late.waiting(con, period):
            return False
        if lock.is_sealed(con, period):
            return not repair.lost(books, con, period)  # what stands is the answer to any inputs
        if not ingest.is_current(con, period):
            return False
        try:
            for table in LAKE_TABLES:
                files = live.live_files(con, books.lake, table, period_start=period.start)
                live.verify(files, digests=False)
        except CopsError:
            return False  # the run itself will say what is wrong
        return stands(con, books.policy, period)


def stands(con: sa.Connection, policy: Policy, period: Period) -> bool:
    """Tags, entries and reconciliation answer what the registers say now; those of a sealed month always."""
    if lock.is_sealed(con, period):
        return True
    try:
        tagged = head(con, tag.TABLE, period)
        if tagged is None or tagged.inputs_id != tag.inputs_of(con, policy, period):
            return False
        gathered = gather(con, policy, period)
        if not answers(con, head(con, allocate.TABLE, period), gathered.inputs_id):
            return False
        made = record.newest(con, period)
        return made is not None and made.inputs_id == reconcile.inputs_of(con, policy, period)
    except CopsError:
        return False  # the run itself will say what is wrong


def waits(books: Books, period: Period) -> str | None:
    """Why a month with another delivery can get no run for now, or `None`. Nothing is decided about it."""
    with books.admin.read() as con:
        here = lock.state_of(con, period)
    return None if here in (*UNATTENDED, "final", "closed") else f"it is {here}"


def needs_none(books: Books, period: Period) -> str | None:
    """Why a month needs no run, ever, for the bytes that lie there; or `None`."""
    with books.admin.read() as con:
        if lock.state_of(con, period) == "closed":
            return "closed: late_deliveries proposes adjustments"
    if is_current(books, period):
        return "nothing to do, the ledger was made from these bytes"
    return None


def unattended(books: Books) -> list[Period]:
    """The months, on record or in a report root, whose run may start by itself."""
    months = look.months(books)
    with books.admin.read() as con:
        return [one for one in months if lock.state_of(con, one) in UNATTENDED]


@dataclass(frozen=True)
class Made:
    """What a run wrote: anything at all, and if not, who published its month meanwhile."""

    wrote: bool
    by: str | None = None
    at: datetime | None = None


def newest(books: Books, period: Period) -> tuple[int, int]:
    """The numbers of a month's newest journal row and reconciliation; 0 for none."""
    with books.admin.read() as con:
        there = close_request.state_of(con, period)
    return there.journal_seq, there.recon_seq


def made_since(books: Books, period: Period, before: tuple[int, int], run_id: str) -> Made:
    """Whether a Dagster run wrote anything since `before` (`newest`), or another one did instead."""
    journal, recons = t.publish_journal, t.recon_run
    with books.admin.read() as con:
        published = con.execute(
            sa.select(journal.c.dagster_run_id, journal.c.actor, journal.c.published_at.label("at"))
            .where(journal.c.period_start == period.start, journal.c.journal_seq > before[0])
            .order_by(journal.c.journal_seq)
        ).all()
        reconciled = con.execute(
            sa.select(recons.c.recon_seq)
            .where(recons.c.period_start == period.start, recons.c.recon_seq > before[1])
            .limit(1)
        ).first()
    others = [row for row in published if row.dagster_run_id != run_id]
    if len(others) < len(published) or (reconciled and not others):
        return Made(True)
    return Made(False, others[-1].actor, others[-1].at) if others else Made(False)
