"""Cost of tags that name nobody: how much of the month it is, and whether it is too much to spread (ADR 30).

Belongs here: measuring it in the engine's `fact_cost_tagged`. Does not belong here: holding it
(`allocation/rules.py`), telling it (`allocation/checks.py`).
"""

from __future__ import annotations

from decimal import Decimal

from cops_dagster.lake.engine import Engine
from cops_dagster.period import Period
from cops_dagster.tagging import lookups


def outweigh(engine: Engine, basis: str, period: Period) -> bool:
    """Cost of tags that name nobody is more than 2 % of the month: too much to spread over the others."""
    return lookups.outweighs(*measured(engine, basis, period))


def measured(engine: Engine, basis: str, period: Period) -> tuple[Decimal, Decimal]:
    """Σ|cost| of tags that name nobody, and of the month, in USD on the charge basis.

    Summed per tag before the sign goes, since what a tag is charged and credited is one thing; the month as
    in rule 5.8, per service and charge class.
    """
    start = {"period_start": period.start}
    tags = engine.fetch("find_unknown_tenants", start).dicts()
    month = engine.fetch("fetch_pool_by_service", start).dicts()
    return (
        sum((abs(row[f"pooled_{basis}_usd"]) for row in tags), Decimal(0)),
        sum((abs(row[f"{basis}_usd"]) for row in month), Decimal(0)),
    )
