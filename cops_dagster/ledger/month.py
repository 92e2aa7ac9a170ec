"""What stands in a month: its state, the deliveries and runs that readers see, what was posted and set aside.

Belongs here: the joins of a month's pointers with its deliveries and with the journal, which nobody else
writes; months that the books know. Does not belong here: writing (`ledger/publish.py`, `ledger/lock.py`),
judging, the newest reconciliation (`reconciliation/record.py`) or ingestion (`ingestion/record.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import unknown_month
from cops_dagster.ledger import lock
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

ALLOCATED = "fact_cost_allocated"
"""The entries: what a month is about."""
QUARANTINE = "cur_quarantine"


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


@dataclass(frozen=True)
class Month:
    """What stands in a period, as one transaction sees it. Costs in USD.

    Attributes:
        shown: the deliveries that readers see (`shown`).
        runs: the runs that readers see (`runs`).
        posted_usd: everything posted; `None` when nothing ever was.
        journal_seq: the newest journal row; 0 when nothing was published.
    """

    period: Period
    state: str
    shown: Sequence[Any]
    runs: Sequence[Any]
    posted_usd: Decimal | None
    journal_seq: int

    @property
    def delivered_usd(self) -> Decimal:
        """Cost of the deliveries that readers see."""
        return sum((row.cost_usd for row in self.shown), Decimal(0))

    @property
    def quarantined(self) -> tuple[int, Decimal]:
        """Lines that are set aside, and their cost."""
        aside = [row for row in self.runs if row.table_name == QUARANTINE]
        return sum(row.row_count for row in aside), sum((row.cost_usd for row in aside), Decimal(0))

    @property
    def heads(self) -> list[tuple[str, str, str]]:
        """Table, source and run of every head."""
        return [(row.table_name, row.source_id, row.run_id) for row in self.runs]


def read(con: sa.Connection, period: Period) -> Month:
    """What stands in a period, read once."""
    journal = t.publish_journal
    rows = con.execute(
        sa.select(journal.c.journal_seq, journal.c.table_name, journal.c.cost_usd).where(
            journal.c.period_start == period.start
        )
    ).all()
    costs = [row.cost_usd for row in rows if row.table_name == ALLOCATED]
    return Month(
        period,
        lock.state_of(con, period),
        shown(con, period),
        runs(con, period),
        sum(costs, Decimal(0)) if costs else None,  # each row holds its run's net, reversal included
        max((row.journal_seq for row in rows), default=0),
    )


def shown(con: sa.Connection, period: Period | None = None) -> Sequence[Any]:
    """The deliveries that readers see, by month and source: `cur_delivery`, location and profile."""
    heads, deliveries, profiles = t.cur_billing_head, t.cur_delivery, t.cur_delivery_profile
    query = (
        sa.select(deliveries, heads.c.location_json, profiles.c.file_format, profiles.c.figures_json)
        .join(heads, heads.c.delivery_id == deliveries.c.delivery_id)
        .outerjoin(profiles, profiles.c.delivery_id == deliveries.c.delivery_id)
        .order_by(heads.c.period_start, heads.c.source_id)
    )
    return con.execute(query if period is None else query.where(heads.c.period_start == period.start)).all()


def runs(con: sa.Connection, period: Period, table_name: str | None = None) -> Sequence[Any]:
    """The runs that readers see of a period, by table and source: rows of `publish_journal`."""
    heads, journal = t.period_head, t.publish_journal
    query = (
        sa.select(journal)
        .join(heads, heads.c.run_id == journal.c.run_id)
        .where(heads.c.period_start == period.start)
        .order_by(heads.c.table_name, heads.c.source_id)
    )
    return con.execute(query if table_name is None else query.where(heads.c.table_name == table_name)).all()


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
    raise unknown_month(
        period,
        expected="a month with a delivery, a state or a freeze",
        found=f"months from {there[0]} to {there[-1]}, not this one" if there else "no month at all",
        next_step=f"correct the month or COPS_HOME; a new month comes with `cops materialize {period}`",
    )
