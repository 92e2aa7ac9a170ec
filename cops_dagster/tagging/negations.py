"""Savings-plan negations: which covered usage they take back, and the shares of those that take a part.

Belongs here: `negations` and `negation_shares`, which `sql/group_lines_by_tags.sql` reads (docs/adr/0028).
Does not belong here: when a negation that finds nothing is grave (`ingestion/commitments.py`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlglot import exp

from cops_dagster.lake import alike, statements
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.tables import USD
from cops_dagster.money import amount
from cops_dagster.money.split import split
from cops_dagster.period import Period

_TAGS = (
    "source_id", "delivery_id", "service", "account_id", "charge_class", "usage_slice", "component_tag",
    "resource_tenant", "account_tenant", "category_tenant", "inherited_tenant", "resource_plan",
    "account_plan", "category_plan", "container_of",
)  # fmt: skip
_COLUMNS = (
    *((name, "DATE" if name == "usage_slice" else "VARCHAR") for name in _TAGS),
    ("unblended_cost", USD),
    ("net_unblended_cost", USD),
)


def provide(engine: Engine, period: Period, *, follow: bool = True) -> None:
    """Keeps `negations` and `negation_shares` of the engine's `hourly_cost_lines`.

    Args:
        follow: they take back usage; else, as in revision 1 of the rules, both are empty.
    """
    start = {"period_start": period.start}
    if not follow:
        none = statements.parsed("find_negations").subquery("n")
        engine.keep("negations", exp.select("*").from_(none).where(exp.false()), start)
        engine.table("negation_shares", _COLUMNS, [])
        return
    engine.keep("negations", "find_negations", start)
    parts = exp.select("negation_key").from_("negations").where("taken_back = 'part'").limit(1)
    rows = engine.fetch("fetch_part_negations", start).dicts() if engine.fetch(parts).rows else []
    engine.table("negation_shares", _COLUMNS, shares(rows))


def keep_lines(engine: Engine) -> None:
    """Keeps `alike_cost_lines`, and `hourly_cost_lines` as those of them that meet hour by hour.

    Engines elsewhere compute a view each time a statement names it, `find_negations` five times: 2.2 times
    the delivered bytes, and with this once 0.9 (the demo's month, by columns). DuckDB has each once anyway.
    """
    there = engine.columns("alike_cost_lines")
    asked = {
        column.name
        for name in ("find_negations", "fetch_part_negations", "group_lines_by_tags")
        for column in statements.parsed(name).find_all(exp.Column)
    }
    named = [exp.column(name, quoted=True) for name in there if name in asked]
    engine.keep("alike_cost_lines", exp.select(*named).from_("alike_cost_lines"))
    hourly = exp.column("line_item_line_item_type").isin(*alike.COVERED)
    every = [exp.column(one.name, quoted=True) for one in named]
    engine.keep("hourly_cost_lines", exp.select(*every).from_("alike_cost_lines").where(hourly))


def shares(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What each tag group has of the negations that take back a part of it: split by what its lines cost.

    Args:
        rows: `fetch_part_negations`, in its order: one group's usage by tags.
    """
    by_group: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_group[tuple(row[name] for name in _GROUP)].append(row)
    made: list[tuple[Any, ...]] = []
    for group in by_group.values():
        unblended = _split(group, "negated_usd", "covered_usd")
        net = _split(group, "negated_net_usd", "covered_net_usd")
        made += [
            (*(row[name] for name in _TAGS), amount.to_decimal(cost), amount.to_decimal(net_cost))
            for row, cost, net_cost in zip(group, unblended, net, strict=True)
        ]
    return made


_GROUP = ("negation_key", "group_zone", "group_start", "group_end")


def _split(group: list[dict[str, Any]], negated: str, covered: str) -> list[int]:
    whole = amount.from_decimal(group[0][negated])
    weights = _weights(group, covered) or _weights(group, "covered_usd")
    parts = split(whole, weights)
    return [parts[name] for name in weights]


def _weights(group: list[dict[str, Any]], covered: str) -> dict[str, int]:
    """Row number → how far its usage points the way of the group's; empty where nothing does."""
    costs = [amount.from_decimal(row[covered]) for row in group]
    sign = 1 if sum(costs) > 0 else -1
    weights = {f"{number:09d}": max(0, sign * cost) for number, cost in enumerate(costs)}
    return weights if any(weights.values()) else {}
