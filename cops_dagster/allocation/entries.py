"""A plan's splits as rows of the engine, beside the direct entries that never leave SQL.

Belongs here: their columns, and how an amount becomes a cell. Does not belong here: the plan
(`allocation/allocate.py`), writing a run's entries (`allocation/post.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cops_dagster.allocation.rules import Plan, Split
from cops_dagster.lake.engine import Engine
from cops_dagster.money import amount
from cops_dagster.period import Period

_SPLIT_COLUMNS = (
    ("service", "VARCHAR"), ("service_component", "VARCHAR"), ("charge_class", "VARCHAR"),
    ("tenant_id", "VARCHAR"), ("plan_id", "VARCHAR"), ("rule_id", "VARCHAR"), ("rule_version", "BIGINT"),
    ("key_name", "VARCHAR"), ("key_value", "DECIMAL(38,18)"), ("key_total", "DECIMAL(38,18)"),
    ("pool_cost_usd", "DECIMAL(38,18)"), ("allocated_cost_usd", "DECIMAL(38,18)"),
    ("allocated_amortized_cost_usd", "DECIMAL(38,18)"),
    ("allocated_net_amortized_cost_usd", "DECIMAL(38,18)"), ("delivery_id", "VARCHAR"),
)  # fmt: skip


def provide(engine: Engine, made: Plan, plans: Mapping[str, str | None], period: Period) -> None:
    """What a plan posts, as the engine's `posted_entries`: direct cost, what is held, what the rules split.

    Args:
        plans: tenant → plan, for everybody that a split names.
    """
    engine.table("split_entries", _SPLIT_COLUMNS, (_row(split, plans) for split in made.splits))
    engine.keep(
        "posted_entries",
        "gather_entries",
        {"period_start": period.start, "holds_unknown": made.holds_unknown},
    )


def _row(split: Split, plans: Mapping[str, str | None]) -> tuple[Any, ...]:
    figures = (split.key_value, split.key_total, split.pool_cost, *split.costs)
    return (
        split.service, split.service_component, split.charge_class, split.tenant_id,
        plans.get(split.tenant_id), split.rule_id, split.rule_version, split.key_name,
        *(None if one is None else amount.to_decimal(one) for one in figures), split.delivery_id,
    )  # fmt: skip
