"""The checks' questions, asked of what was published: figures re-read, verdicts by `allocation/verdicts`.

Belongs here: one function per asset, giving that asset's verdicts for a period. Does not belong here:
deliveries (`ingestion/checks.py`), when a check holds (`allocation/verdicts.py`) or how Dagster shows it
(`graph/checks.py`).
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import allocate, mismatch, post, rule_date, tenant_usage, verdicts
from cops_dagster.allocation.chain import goes_on, sent_to
from cops_dagster.allocation.chained import Chained
from cops_dagster.allocation.inputs import Inputs, gather
from cops_dagster.allocation.key_shares import KeyMonths, key_shares_steady
from cops_dagster.allocation.rules import MATCHED, Key, Plan, Shared
from cops_dagster.clocks import APART, is_within
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Verdict
from cops_dagster.words import CHARGE_CLASSES, OPERATOR


def keys(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `allocation_key_snapshot`: are rules and keys fit to run with?"""
    with books.engine() as engine, books.admin.read() as con:
        inputs = gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        made = allocate.compute(engine, inputs, period)
        rules = t.allocation_rules
        changed = con.execute(
            sa.select(rules.c.rule_id, rules.c.version)
            .where(rules.c.effective_from > period.start, rules.c.effective_from < period.end)
            .order_by(rules.c.rule_id)
        ).all()
        decided = rule_date.newest(con, period)
        allocation_keys = t.allocation_keys
        ages = {row.key_name: row.max_age_hours for row in con.execute(sa.select(allocation_keys))}
        steady = _steady(con, period, inputs, made)
        matched = _matched(books, engine, con, period, inputs)
    return [
        *verdicts.of_plan(made, len(inputs.rules)),
        matched,
        verdicts.rules_unchanged_in_period(
            [f"{row.rule_id} v{row.version}" for row in changed],
            inputs.rules_as_of,
            decided.note if decided else None,
            is_decided=decided is not None,
        ),
        verdicts.keys_name_every_tenant(
            {name: key.weights for name, key in inputs.usage.items() if not _names_services(key, inputs)},
            inputs.tenants,
        ),
        steady,
        keys_fresh(period, {name: key.refreshed_at for name, key in made.keys.items()}, ages),
    ]


def _names_services(key: Key, inputs: Inputs) -> bool:
    """A key that sends cost to services need not name each tenant: those bear by the services' own keys."""
    return any(goes_on(name, inputs.plans) for name in key.weights)


def _steady(con: sa.Connection, period: Period, inputs: Inputs, made: Plan) -> Verdict:
    """Usage keys beside those that last month's run was frozen with."""
    before = period.previous()
    run = head(con, allocate.TABLE, before)
    snapshots = t.allocation_key_snapshot
    frozen: dict[str, dict[str, int]] = {}
    for row in con.execute(
        sa.select(snapshots).where(snapshots.c.inputs_id == (run.inputs_id if run else ""))
    ):
        frozen.setdefault(row.key_name, {})[row.tenant_id] = amount.from_decimal(row.key_value)
    pools: dict[str, int] = {}
    for one in made.claimed:  # a pool is what its entries are: it is summed without making them
        name = one.key.key_name if isinstance(one, Shared) else one.key_name
        parts = one.way.through if isinstance(one, Chained) else {str(name): Fraction(1)}
        for key_name, part in parts.items():
            if key_name in inputs.usage:
                cost = math.trunc(getattr(one.costs, inputs.basis) * part)
                pools[key_name] = pools.get(key_name, 0) + cost
    then, today = set(tenant_usage.active_tenants(con, before)), set(inputs.tenants)
    return key_shares_steady(
        [
            KeyMonths(name, frozen[name], key.weights, pools.get(name, 0))
            for name, key in inputs.usage.items()
            if name in frozen
        ],
        come=today - then,
        gone=then - today,
    )


def _matched(books: Books, engine: Engine, con: sa.Connection, period: Period, inputs: Inputs) -> Verdict:
    """What rules match on, against the values that have cost in the month or had some the month before."""
    wanted = [(rule.rule_id, *match) for rule in inputs.rules for match in rule.matches]
    known: dict[str, set[str]] = {column: set() for column in MATCHED}
    known["service"] |= sent_to(inputs.rules, inputs.usage.values(), inputs.plans)
    if wanted:
        known["charge_class"] |= set(CHARGE_CLASSES)  # a month without refunds is no misspelt rule
        _learn(engine, period, known)
        if any(value not in known[column] for _, column, value in wanted):
            with books.engine() as other:
                before = period.previous()
                books.namespace(other, con, before).provide(["fact_cost_tagged"])
                _learn(other, before, known)
    idle = [(rule, column, value) for rule, column, value in wanted if value not in known[column]]
    return verdicts.rules_match_something(idle, known, len(inputs.rules))


def _learn(engine: Engine, period: Period, known: dict[str, set[str]]) -> None:
    for row in engine.fetch("find_matched_values", {"period_start": period.start}).dicts():
        known[row["matched_column"]].add(row["matched_value"])


def keys_fresh(period: Period, used: dict[str, datetime | None], max_age_hours: dict[str, int]) -> Verdict:
    """Keys were refreshed within their age, in an ended month after its end (design rule 5.15).

    Args:
        used: key → when its usage was refreshed, UTC; max_age_hours: of the keys that have an age.
    """
    stale: list[tuple[str, datetime | None]] = []
    ended = now().date() >= period.end
    end = datetime.combine(period.end, datetime.min.time())
    for name, refreshed in used.items():
        if name not in max_age_hours:
            continue  # computed from the month itself, so as fresh as the month
        fresh = refreshed is not None and (
            end <= refreshed <= now() + APART
            if ended
            else is_within(refreshed, timedelta(hours=max_age_hours[name]), now())
        )
        if not fresh:
            stale.append((name, refreshed))
    return verdicts.keys_fresh_24h(len(used), stale)


def allocated(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_allocated`: conservation, faults, the operator's share."""
    start = {"period_start": period.start}
    with books.admin.read() as con, books.engine() as engine:
        run = head(con, allocate.TABLE, period)
        books.namespace(engine, con, period).provide(["line_pool", "fact_cost_tagged", allocate.TABLE])
        differing = post.unequal(engine.fetch("fetch_conservation", start).dicts())
        totals = engine.fetch(
            "measure_fact_cost_allocated", {**start, "run_id": run.run_id if run else ""}
        ).one()
        faulty = mismatch.verdict(con, period, totals["allocated_usd"], *mismatch.measured(engine, period))
        share = _operator_share(engine, period)
        with books.engine() as other:
            previous = period.previous()
            books.namespace(other, con, previous).provide([allocate.TABLE])
            before = _operator_share(other, previous)
    return [
        verdicts.allocated_equals_pool(differing, totals["allocated_usd"]),
        faulty,
        verdicts.operator_share_steady(share, before),
    ]


def _operator_share(engine: Any, period: Period) -> Fraction | None:
    rows = engine.fetch("fetch_allocated_by_tenant", {"period_start": period.start}).dicts()
    total = sum((row["unblended_usd"] for row in rows), Decimal(0))
    operator = sum((row["unblended_usd"] for row in rows if row["tenant_id"] == OPERATOR), Decimal(0))
    return Fraction(operator) / Fraction(total) if total else None
