"""The 2 % mismatch of an allocation: what no rule claimed or whose key failed, and what is not allocated yet.

Belongs here: measuring it, on staged files as on published ones: the run that makes it can tell of it. Does
not belong here: when it is too much (`allocation/verdicts.py`).
"""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.allocation.verdicts import unallocated_within_2_pct
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger import month
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict


def measured(engine: Engine, period: Period) -> tuple[Decimal, Decimal]:
    """Of the allocation that the engine shows: Σ|cost that no rule claimed or failed|, Σ|pooled|, in USD."""
    start = {"period_start": period.start}
    unclaimed = engine.fetch("fetch_unclaimed_by_service", start).dicts()
    pools = engine.fetch("fetch_pool_by_service", start).dicts()
    return (
        sum((abs(row["unclaimed_usd"]) for row in unclaimed), Decimal(0)),
        sum((abs(row["unblended_usd"]) for row in pools), Decimal(0)),
    )


def verdict(
    con: sa.Connection, period: Period, allocated: Decimal, fault: Decimal, pooled: Decimal
) -> Verdict:
    """`unallocated_within_2_pct`, with the gap between what was allocated and the newest deliveries, USD."""
    newest = sum((row.cost_usd for row in month.shown(con, period)), Decimal(0))
    return unallocated_within_2_pct(fault, abs(allocated - newest), pooled)
