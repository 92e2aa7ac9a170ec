"""Rule sets as they are stored, or would be after a load, checked whole.

Belongs here: reading a set with what it refers to, the day it is asked for, and a rehearsed load. What
is wrong with a set is in `allocation/rule_set.py`, what a set does to a month in `inputs/rule_effects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import rule_set, rules
from cops_dagster.allocation.rules import Costs, Pool, Rule
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class RuleSet:
    """Every version of every rule, and the names that rules may use."""

    rules: tuple[Rule, ...]
    keys: Collection[str]
    tenants: Collection[str]


def read(con: sa.Connection) -> RuleSet:
    """The stored set."""
    rows = con.execute(sa.select(t.allocation_rules)).mappings()
    return RuleSet(
        tuple(Rule.from_row(dict(row)) for row in rows),
        frozenset(con.execute(sa.select(t.allocation_keys.c.key_name)).scalars()),
        frozenset(con.execute(sa.select(t.tenants.c.tenant_id)).scalars()),
    )


def in_force(con: sa.Connection, day: date) -> list[Rule]:
    """The rules in force on a day, by priority, of a set that has no error then.

    Raises:
        CopsError: the code of the first error of the whole set; `details["problems"]` has them all.
    """
    held = read(con)
    rule_set.require(rule_set.problems(held.rules, held.keys, held.tenants, day, pools=()))
    return rules.in_force(held.rules, day)


def newest_open(con: sa.Connection) -> Period:
    """The newest month that runs may still change; the present one while there is none."""
    lock = t.period_lock
    newest: date | None = con.execute(
        sa.select(sa.func.max(lock.c.period_start)).where(
            lock.c.state.in_(("open", "delayed", "provisional"))
        )
    ).scalar_one_or_none()
    return Period.of(newest or now().date())


def pools_of(books: Books, period: Period) -> list[Pool] | None:
    """What the tagged month has for rules to split; `None` while nothing is tagged."""
    with books.admin.read() as con:
        if head(con, "fact_cost_tagged", period) is None:
            return None
        with books.engine() as engine:
            books.namespace(engine, con, period).provide(["fact_cost_tagged"])
            rows = engine.fetch("fetch_pools", {"period_start": period.start, "holds_unknown": False}).dicts()
    return [pool(row) for row in rows]


def services(engine: Engine, period: Period) -> Callable[[], frozenset[str]]:
    """The services that the tagged month has, asked for once and only when somebody wants them."""

    @cache
    def found() -> frozenset[str]:
        rows = engine.fetch("find_matched_values", {"period_start": period.start}).dicts()
        return frozenset(row["matched_value"] for row in rows if row["matched_column"] == "service")

    return found


def pool(row: Mapping[str, Any]) -> Pool:
    """A row of `fetch_pools`."""
    return Pool(
        row["service"],
        row["service_component"],
        row["charge_class"],
        row["usage_account_id"],
        row["plan_id"],
        row["delivery_id"],
        Costs(*(amount.from_decimal(row[f"{name}_usd"]) for name in Costs._fields)),
        row["matched_class"],
    )
