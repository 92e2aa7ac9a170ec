"""What stands in a month: its runs that readers see, what was posted and set aside.

Belongs here: every join of a month with its heads and shown deliveries, once; months that the books know.
Does not belong here: writing (`ledger/publish.py`, `ledger/lock.py`), judging.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

ALLOCATED = "fact_cost_allocated"
"""The entries: what a month is about."""


@dataclass(frozen=True)
class Head:
    """The run that readers see of a table, period and source."""

    run_id: str
    inputs_id: str
    journal_seq: int


def head(con: sa.Connection, table_name: str, period: Period, source_id: str = "") -> Head | None:
    """The current head, if any run was published."""
    heads = t.period_head
    row = con.execute(
        sa.select(heads).where(
            heads.c.table_name == table_name,
            heads.c.period_start == period.start,
            heads.c.source_id == source_id,
        )
    ).one_or_none()
    return Head(row.run_id, row.inputs_id, row.journal_seq) if row else None


def allocated_usd(con: sa.Connection, period: Period) -> Decimal | None:
    """Everything posted for a period; `None` when nothing ever was."""
    journal = t.publish_journal
    costs = (
        con.execute(
            sa.select(journal.c.cost_usd).where(
                journal.c.table_name == ALLOCATED, journal.c.period_start == period.start
            )
        )
        .scalars()
        .all()
    )
    return sum(costs, Decimal(0)) if costs else None  # each row holds its run's net, reversal included


def quarantined(con: sa.Connection, period: Period) -> tuple[int, Decimal]:
    """Lines of a period that are set aside, and their cost in USD."""
    heads, journal = t.period_head, t.publish_journal
    rows = con.execute(
        sa.select(journal.c.row_count, journal.c.cost_usd)
        .join(heads, heads.c.run_id == journal.c.run_id)
        .where(heads.c.table_name == "cur_quarantine", heads.c.period_start == period.start)
    ).all()
    return sum(row.row_count for row in rows), sum((row.cost_usd for row in rows), Decimal(0))


def journal_seq_of(books: Books, run_prefix: str) -> int:
    """The journal number of a run, named by its id or an unambiguous beginning of it.

    Raises:
        CopsError: `E-RUN-UNKNOWN`.
    """
    journal = t.publish_journal
    with books.admin.read() as con:
        found = (
            con.execute(
                sa.select(journal.c.journal_seq).where(
                    journal.c.run_id.startswith(run_prefix, autoescape=True)
                )
            )
            .scalars()
            .all()
        )
    if len(found) != 1:
        raise CopsError(
            "E-RUN-UNKNOWN",
            f"run {run_prefix!r}",
            expected="one published run",
            found=f"{len(found)} runs",
            next_step="take a run id from `cops runs PERIOD`",
        )
    return int(found[0])


def known(con: sa.Connection) -> list[Period]:
    """Months with a delivery, a state or a freeze, the oldest first."""
    columns = (
        t.cur_delivery.c.period_start, t.cur_billing_head.c.period_start, t.cur_delivery_hold.c.period_start,
        t.period_lock.c.period_start, t.invoice_freeze.c.period_start,
    )  # fmt: skip
    starts = con.execute(sa.union(*(sa.select(column) for column in columns))).scalars()
    return [Period.of(start) for start in sorted(starts)]


def require_known(con: sa.Connection, period: Period) -> None:
    """Refuses a month that the books never heard of: it may be mistyped, or the books another's.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN`.
    """
    there = known(con)
    if period in there:
        return
    raise CopsError(
        "E-PERIOD-UNKNOWN",
        f"period {period}",
        expected="a month with a delivery, a state or a freeze",
        found=f"months from {there[0]} to {there[-1]}, not this one" if there else "no month at all",
        next_step=f"correct the month or COPS_HOME; a new month comes with `cops materialize {period}`",
    )
