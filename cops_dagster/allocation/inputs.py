"""What decides an allocation: the rules in force, key figures, tenants and the tagged month, with one id.

Belongs here: gathering them, and whether a run is the answer to them already. Does not belong here: how a
pool is split (`allocation/rules.py`), where a key's figures come from (`allocation/tenant_usage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from cops_dagster import revision
from cops_dagster.allocation import in_force, rule_date, tenant_usage
from cops_dagster.allocation.rules import Key, Rule
from cops_dagster.errors import unknown_month
from cops_dagster.ledger.month import ALLOCATED, Head, head
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.policy import Policy
from cops_dagster.stores import tables as t

ALGORITHM = "allocated-2"


@dataclass(frozen=True)
class Inputs:
    """Everything that decides a run, and the id made of it.

    Attributes:
        tenants: tenants that are active in the month, with their plans.
        plans: plan of every tenant that a split may name, active or not: one that has ended has its plan yet.
        has_registry: tenants are registered; without any, no tag can name nobody.
    """

    inputs_id: str
    rules: tuple[Rule, ...]
    usage: Mapping[str, Key]
    tenants: Mapping[str, str | None]
    delivery_ids: tuple[str, ...]
    basis: str
    rules_as_of: date
    plans: Mapping[str, str | None]
    has_registry: bool
    revision: int


def gather(con: sa.Connection, policy: Policy, period: Period, *, of: int = revision.CURRENT) -> Inputs:
    """Rules in force, key figures, active tenants and the tagged month, with their common id.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is tagged; `E-RULE-OVERLAP`.
    """
    tagged = head(con, "fact_cost_tagged", period)
    if tagged is None:
        raise unknown_month(period, expected="a tagged month", found="nothing tagged")
    decided = rule_date.newest(con, period)
    rules_as_of = decided.rules_as_of if decided else period.start
    rules = in_force.in_force(con, rules_as_of)
    usage = {
        rule.key_name: tenant_usage.key(con, rule.key_name, period)
        for rule in rules
        if rule.method == "usage_key" and rule.key_name
    }
    active = tenant_usage.active_tenants(con, period)
    registered = {row.tenant_id: row.plan_id for row in con.execute(sa.select(t.tenants))}
    weighed = {tenant for key in usage.values() for tenant in key.weights}
    named = {*active, *weighed, *(tenant for rule in rules for tenant, _ in rule.shares)}
    plans = {tenant: plan for tenant, plan in registered.items() if tenant in named}
    files, heads = t.lake_file, t.period_head
    deliveries = con.execute(
        sa.select(files.c.delivery_id)
        .join(heads, heads.c.run_id == files.c.run_id)
        .where(heads.c.table_name == "fact_cost_raw", heads.c.period_start == period.start)
        .order_by(files.c.delivery_id)
    ).scalars()
    inputs_id = digest(
        ALLOCATED,
        ALGORITHM,
        str(period),
        tagged.inputs_id,
        [_rule_fields(rule) for rule in rules],
        [(name, key.measure, sorted(key.weights.items())) for name, key in sorted(usage.items())],
        list(active.items()),
        sorted(plans.items()),
        policy.charge.basis,
    )
    return Inputs(
        inputs_id,
        tuple(rules),
        usage,
        active,
        tuple(dict.fromkeys(deliveries)),
        policy.charge.basis,
        rules_as_of,
        plans,
        bool(registered),
        of,
    )


def _rule_fields(rule: Rule) -> tuple[Any, ...]:
    return (
        rule.rule_id, rule.version, rule.priority, rule.matches, rule.method, rule.key_name, rule.shares,
        rule.on_zero_key,
    )  # fmt: skip


def answers(con: sa.Connection, found: Head | None, inputs_id: str) -> bool:
    """Whether a head is the answer to these inputs.

    It is when it was made from them, and also when it took back the run made from them: what people
    reversed does not come back by itself, only with other inputs or a decision of its own.
    """
    if found is None:
        return False
    if found.inputs_id == inputs_id:
        return True
    journal, reversals, dates = t.publish_journal, t.run_reversal, t.allocation_rule_date
    taken_back = con.execute(
        sa.select(reversals.c.period_start, reversals.c.reversed_at)
        .join(journal, journal.c.run_id == reversals.c.reversed_run_id)
        .where(reversals.c.run_id == found.run_id, journal.c.inputs_id == inputs_id)
    ).one_or_none()
    if taken_back is None:
        return False
    decided = con.execute(
        sa.select(dates.c.decision_seq).where(
            dates.c.period_start == taken_back.period_start, dates.c.decided_at > taken_back.reversed_at
        )
    ).first()
    return decided is None
