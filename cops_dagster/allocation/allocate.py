"""Allocation: the pools of a period split by the rules in force, published as entries that add up.

Belongs here: the plan of a month and the act that posts it. How a pool is split is in `allocation/rules.py`,
what decides a run in `allocation/inputs.py`, how a plan is posted in `allocation/post.py`; Python sees pool
totals and keys only, direct entries never leave SQL.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cops_dagster import revision
from cops_dagster.allocation import chained, entries, in_force, key_snapshot, post, rule_date, run_log
from cops_dagster.allocation.inputs import ALGORITHM, Inputs, answers, gather
from cops_dagster.allocation.rules import Costs, Keys, Plan
from cops_dagster.allocation.run_log import Recipe
from cops_dagster.allocation.verdicts import of_plan
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import refuse
from cops_dagster.ledger.run import Attempt, Run, attempt, settle
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.tagging import unknown_tags

TABLE = month.ALLOCATED

SORT_MEMORY = "320MiB"
"""What numbering the entries may take; more than 150,000 of them are sorted on disk (300,000: measured)."""


@dataclass(frozen=True)
class Allocated:
    """Outcome: the run that readers see now, and whether this call made it."""

    run_id: str
    wrote: bool
    reversed_run_id: str | None = None


def compute(engine: Engine, inputs: Inputs, period: Period, *, holds: bool | None = None) -> Plan:
    """Pools and direct cost from the engine's `fact_cost_tagged`, split by the rules.

    Args:
        holds: cost of tags that name nobody is held; without it, as `tagging/unknown_tags.py` says.
    """
    if holds is None:
        holds = holds_unknown(engine, inputs, period)
    rows = engine.fetch("fetch_pools", {"period_start": period.start, "holds_unknown": holds})
    pools = [in_force.pool(row) for row in rows.dicts()]
    if inputs.revision == revision.FIRST:
        pools = [replace(pool, matched_class=None) for pool in pools]
    keys, services = keys_of(engine, inputs, period), in_force.services(engine, period)
    return chained.plan(pools, inputs, keys, services, holds_unknown=holds)


def holds_unknown(engine: Engine, inputs: Inputs, period: Period) -> bool:
    """Whether cost of tags that name nobody is held, before any rule (`tagging/unknown_tags.py`)."""
    if inputs.revision == revision.FIRST or not inputs.has_registry:
        return False
    return unknown_tags.outweigh(engine, inputs.basis, period)


def keys_of(engine: Engine, inputs: Inputs, period: Period) -> Keys:
    """What pools can be split by. One row for each service and tenant: their names are kept once."""
    direct: defaultdict[str, dict[str, int]] = defaultdict(dict)
    at = Costs._fields.index(inputs.basis)
    for service, tenant, *costs in engine.each("fetch_direct_cost", {"period_start": period.start}):
        direct[service][sys.intern(tenant)] = amount.from_decimal(costs[at])
    active = frozenset(inputs.tenants) or frozenset(name for costs in direct.values() for name in costs)
    return Keys(inputs.usage, active, direct)


def snapshot_keys(books: Books, period: Period) -> tuple[Inputs, Plan]:
    """Freezes the keys that a run over today's inputs uses, also of a run that will be refused."""
    require_policy(books, is_run=True)
    with books.engine() as engine, books.admin.read() as con:
        inputs = gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        made = compute(engine, inputs, period)
    key_snapshot.freeze(books, period, inputs, made)
    return inputs, made


def allocate(books: Books, period: Period) -> Allocated:
    """Allocates the tagged month. With the head's own inputs, or once it is closed, nothing is written.

    Raises:
        CopsError: `E-KEY-ZERO` when a key that a pool needs is empty and its rule says `fail`;
            `E-VERDICT` when the staged entries do not equal the pool; what `chained.plan` raises. The head
            stays in each case.
    """
    require_policy(books, is_run=True)
    return settle(f"allocation of {period}", _planned, books, period)


def _planned(books: Books, period: Period) -> Allocated:
    # one snapshot from the plan to the last line read: what is planned over one tagged month must not
    # be computed from the next one, and the published entries must be those of the head planned over
    with attempt(books) as trying, books.admin.read() as con:
        before = head(con, TABLE, period)
        if before and lock.is_sealed(con, period):
            return Allocated(before.run_id, wrote=False)
        inputs = gather(con, books.policy, period, of=books.revision)
        if before and answers(con, before, inputs.inputs_id):
            return Allocated(before.run_id, wrote=False)
        run = Run(TABLE, period, "", inputs.inputs_id, before.run_id if before else None)
        _post(books, con, trying, run, inputs)
    return Allocated(run.id, wrote=True, reversed_run_id=run.predecessor)


def _post(books: Books, con: sa.Connection, trying: Attempt, run: Run, inputs: Inputs) -> None:
    period = run.period
    decided = rule_date.newest(con, period)
    recipe = Recipe(
        run,
        inputs.delivery_ids,
        [(rule.rule_id, rule.version) for rule in inputs.rules],
        {"charge_basis": inputs.basis, "rules_as_of": str(inputs.rules_as_of)},
        ALGORITHM,
        post.STATEMENT,
        note=decided.note if decided else None,
        evidence_links=decided.evidence_links if decided else None,
    )
    with run_log.logged(books, trying, recipe):
        with books.engine(at_most=SORT_MEMORY) as engine:
            names = books.namespace(engine, con, period)
            names.provide(["line_pool", "fact_cost_tagged", TABLE])
            plan = compute(engine, inputs, period)
            key_snapshot.freeze(books, period, inputs, plan)
            _refuse_zero_keys(period, plan)
            entries.provide(engine, plan, inputs.plans, period)
            target = trying.target(TABLE, period, run.id)
            posted = post.stage(engine, target, names.paths[TABLE], recipe)
            judged = [*posted.judged, *of_plan(plan, len(inputs.rules))]
            refuse(judged, f"{TABLE} of {period}")
        post.publish_run(books, con, trying, recipe, posted, judged, sql=_SQL)


_SQL = (
    "fetch_pools", "fetch_direct_cost", "find_unknown_tenants", "fetch_pool_by_service", "gather_entries",
    post.STATEMENT, "fetch_conservation",
)  # fmt: skip
"""The statements that make a run, in the order of their work."""


def _refuse_zero_keys(period: Period, made: Plan) -> None:
    if made.zero_keys:
        rule, key, costs = made.zero_keys[0]
        raise CopsError(
            "E-KEY-ZERO",
            f"rule {rule.rule_id} of {period}",
            expected=f"a positive total of key {key.key_name}",
            found=f"total 0 for a pool of {amount.show(costs.unblended)} USD",
            next_step=f"load the usage of measure {key.measure} for {period}, then materialize again"
            if rule.method == "usage_key"
            else "no tenant has what it splits by: name tenants by tag or account, or load a new version of"
            " the rule with on_zero_key hold, even or rule:ID",
            details={"zero_keys": [rule.rule_id for rule, _, _ in made.zero_keys]},
        )
