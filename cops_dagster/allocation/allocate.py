"""Allocation: the pools of a period split by the rules in force, published as entries that add up.

Belongs here: gathering rules and keys, freezing the keys used, staging entries with the reversal of the
run they replace, and the attempt's row in `allocation_run_log`. How a pool is split is in
`allocation/rules.py`; Python sees pool totals and keys only, direct entries never leave SQL.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster import verdict, words
from cops_dagster.alerts.publish import publish
from cops_dagster.allocation import in_force, mismatch, rule_date, run_log, tenant_usage
from cops_dagster.allocation import rules as allocation
from cops_dagster.allocation.rules import Costs, Key, Keys, Plan, Rule
from cops_dagster.allocation.verdicts import (
    allocated_equals_pool,
    key_totals_positive,
    rules_cover_every_pool,
)
from cops_dagster.errors import CopsError
from cops_dagster.evidence import certificate, chain
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.lake.engine import Engine, Value
from cops_dagster.lake.tables import FACT_COST_ALLOCATED
from cops_dagster.lake.views import over_files, view
from cops_dagster.ledger import lock, month, revision
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import Head, head
from cops_dagster.ledger.publish import Publication, Staged, refuse
from cops_dagster.ledger.run import Attempt, attempt, settle
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.policy import Policy
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.tagging import unknown_tags

TABLE = month.ALLOCATED
ALGORITHM = "allocated-2"
STATEMENT = "stage_fact_cost_allocated"

SORT_MEMORY = "320MiB"
"""What numbering the entries may take; more than 150,000 of them are sorted on disk (300,000: measured)."""
_ROWS_AT_A_TIME = 5_000

_SPLIT_COLUMNS = (
    ("service", "VARCHAR"), ("service_component", "VARCHAR"), ("charge_class", "VARCHAR"),
    ("tenant_id", "VARCHAR"), ("plan_id", "VARCHAR"), ("rule_id", "VARCHAR"), ("rule_version", "BIGINT"),
    ("key_name", "VARCHAR"), ("key_value", "DECIMAL(38,18)"), ("key_total", "DECIMAL(38,18)"),
    ("pool_cost_usd", "DECIMAL(38,18)"), ("allocated_cost_usd", "DECIMAL(38,18)"),
    ("allocated_amortized_cost_usd", "DECIMAL(38,18)"),
    ("allocated_net_amortized_cost_usd", "DECIMAL(38,18)"), ("delivery_id", "VARCHAR"),
)  # fmt: skip


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


@dataclass(frozen=True)
class Allocated:
    """Outcome: the run that readers see now, and whether this call made it."""

    run_id: str
    wrote: bool
    reversed_run_id: str | None = None


def gather(con: sa.Connection, policy: Policy, period: Period, *, of: int = revision.CURRENT) -> Inputs:
    """Rules in force, key figures, active tenants and the tagged month, with their common id.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is tagged; `E-RULE-OVERLAP`.
    """
    tagged = head(con, "fact_cost_tagged", period)
    if tagged is None:
        raise CopsError(
            "E-PERIOD-UNKNOWN",
            f"period {period}",
            expected="a tagged month",
            found="nothing tagged",
            next_step=f"run `cops materialize {period}`",
        )
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
    named = set(active)
    named |= {tenant for key in usage.values() for tenant in key.weights}
    named |= {tenant for rule in rules for tenant, _ in rule.shares}
    plans = {tenant: plan for tenant, plan in registered.items() if tenant in named}
    heads = t.period_head
    deliveries = con.execute(
        sa.select(t.cur_delivery.c.delivery_id)
        .join(t.lake_file, t.lake_file.c.delivery_id == t.cur_delivery.c.delivery_id)
        .join(heads, heads.c.run_id == t.lake_file.c.run_id)
        .where(heads.c.table_name == "fact_cost_raw", heads.c.period_start == period.start)
        .order_by(t.cur_delivery.c.delivery_id)
    ).scalars()
    inputs_id = digest(
        TABLE,
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


def compute(engine: Engine, inputs: Inputs, period: Period, *, holds: bool | None = None) -> Plan:
    """Pools and direct cost from the engine's `fact_cost_tagged`, split by the rules.

    Args:
        holds: cost of tags that name nobody is held; without it, as `tagging/unknown_tags.py` says.
    """
    pools = [
        in_force.pool(row) for row in engine.fetch("fetch_pools", {"period_start": period.start}).dicts()
    ]
    if inputs.revision == revision.FIRST:
        pools, holds = [replace(pool, matched_class=None) for pool in pools], False
    direct = _direct(engine, inputs, period)
    active = frozenset(inputs.tenants) or frozenset(name for costs in direct.values() for name in costs)
    if holds is None:
        holds = inputs.has_registry and unknown_tags.outweigh(engine, inputs.basis, period)
    return allocation.plan(pools, inputs.rules, Keys(inputs.usage, active, direct), holds_unknown=holds)


def _direct(engine: Engine, inputs: Inputs, period: Period) -> Mapping[str, dict[str, int]]:
    """Service → tenant → direct cost. One row for each of them: their names are kept once."""
    direct: defaultdict[str, dict[str, int]] = defaultdict(dict)
    at = Costs._fields.index(inputs.basis)
    for service, tenant, *costs in engine.each("fetch_direct_cost", {"period_start": period.start}):
        direct[service][sys.intern(tenant)] = amount.from_decimal(costs[at])
    return direct


def snapshot_keys(books: Books, period: Period) -> tuple[Inputs, Plan]:
    """Freezes the keys that a run over today's inputs uses, also of a run that will be refused."""
    require_policy(books, is_run=True)
    with books.engine() as engine, books.admin.read() as con:
        inputs = gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        made = compute(engine, inputs, period)
    _freeze(books, period, inputs, made)
    return inputs, made


def _freeze(books: Books, period: Period, inputs: Inputs, made: Plan) -> None:
    snapshots, at = t.allocation_key_snapshot, now()
    rows = (
        {
            "inputs_id": inputs.inputs_id,
            "key_name": key.key_name,
            "tenant_id": tenant,
            "period_start": period.start,
            "measure": key.measure,
            "key_value": amount.to_decimal(weight),
            "key_total": amount.to_decimal(key.total),
            "refreshed_at": key.refreshed_at,
            "frozen_at": at,
        }
        for key in made.keys.values()
        for tenant, weight in sorted(key.weights.items() or {words.UNALLOCATED: 0}.items())
    )
    with books.admin.write() as con:
        frozen = con.execute(
            sa.select(snapshots.c.inputs_id).where(snapshots.c.inputs_id == inputs.inputs_id).limit(1)
        ).first()
        while not frozen and (batch := list(islice(rows, _ROWS_AT_A_TIME))):
            con.execute(sa.insert(snapshots), batch)


def plan_verdicts(made: Plan, inputs: Inputs) -> list[verdict.Verdict]:
    """`key_totals_positive` and `rules_cover_every_pool` over a plan."""
    zero = [
        {"rule_id": rule.rule_id, "key_name": key.key_name, "pool_usd": amount.to_text(costs.unblended)}
        for rule, key, costs in made.zero_keys
    ]
    unclaimed: defaultdict[tuple[str, str], int] = defaultdict(int)
    for pool in made.unclaimed:
        unclaimed[pool.service, pool.charge_class] += pool.costs.unblended
    return [
        key_totals_positive(zero, len(made.keys)),
        rules_cover_every_pool(
            [
                {"service": service, "charge_class": charge_class, "unblended_usd": amount.to_text(cost)}
                for (service, charge_class), cost in sorted(unclaimed.items(), key=lambda i: -abs(i[1]))
                if cost
            ],
            len(inputs.rules),
        ),
    ]


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


def allocate(books: Books, period: Period) -> Allocated:
    """Allocates the tagged month. With the head's own inputs, or once it is closed, nothing is written.

    Raises:
        CopsError: `E-KEY-ZERO` when a key that a pool needs is empty and its rule says `fail`;
            `E-VERDICT` when the staged entries do not equal the pool; the head stays in each case.
    """
    require_policy(books, is_run=True)

    def once() -> Allocated:
        # one snapshot from the plan to the last line read: what is planned over one tagged month must not
        # be computed from the next one, and the published entries must be those of the head planned over
        with attempt(books) as trying, books.admin.read() as con:
            before = head(con, TABLE, period)
            if before and lock.is_sealed(con, period):
                return Allocated(before.run_id, wrote=False)
            inputs = gather(con, books.policy, period, of=books.revision)
            if before and answers(con, before, inputs.inputs_id):
                return Allocated(before.run_id, wrote=False)
            predecessor = before.run_id if before else None
            run_id = digest(inputs.inputs_id, predecessor)
            _run(books, con, trying, period, inputs, run_id, predecessor)
        return Allocated(run_id, wrote=True, reversed_run_id=predecessor)

    return settle(f"allocation of {period}", once)


def _run(
    books: Books,
    con: sa.Connection,
    trying: Attempt,
    period: Period,
    inputs: Inputs,
    run_id: str,
    predecessor: str | None,
) -> None:
    decided = rule_date.newest(con, period)
    run = run_log.Run(
        run_id,
        inputs.inputs_id,
        predecessor,
        inputs.delivery_ids,
        [(rule.rule_id, rule.version) for rule in inputs.rules],
        {"charge_basis": inputs.basis, "rules_as_of": str(inputs.rules_as_of)},
        ALGORITHM,
        STATEMENT,
        note=decided.note if decided else None,
        evidence_links=decided.evidence_links if decided else None,
    )
    with run_log.logged(books, trying, period, run):
        with books.engine(at_most=SORT_MEMORY) as engine:
            names = books.namespace(engine, con, period)
            names.provide(["line_pool", "fact_cost_tagged", TABLE])
            made = compute(engine, inputs, period)
            _freeze(books, period, inputs, made)
            _refuse_zero_keys(period, made)
            post(engine, inputs, made, period)
            target = trying.target(TABLE, period, run_id)
            posted = stage(engine, target, names.paths[TABLE], period, run)
            judged = [*posted.judged, *plan_verdicts(made, inputs)]
            refuse(judged, f"{TABLE} of {period}")
        publish_run(
            books,
            con,
            trying,
            period,
            run,
            posted,
            judged,
            sql=(
                "fetch_pools",
                "fetch_direct_cost",
                "find_unknown_tenants",
                "fetch_pool_by_service",
                "gather_entries",
                STATEMENT,
                "fetch_conservation",
            ),
        )


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


def post(engine: Engine, inputs: Inputs, made: Plan, period: Period) -> None:
    """What a plan posts, as the engine's `posted_entries`: direct cost and what the rules split."""
    engine.table("split_entries", _SPLIT_COLUMNS, (_row(split, inputs.plans) for split in made.splits))
    engine.keep("posted_entries", "gather_entries", {"period_start": period.start})


@dataclass(frozen=True)
class Posted:
    """A staged run: its file, what was measured of it (`faults` as in `mismatch`), the verdicts on it."""

    staged: Staged
    figures: dict[str, Any]
    conservation: list[dict[str, Any]]
    judged: list[verdict.Verdict]
    faults: tuple[Decimal, Decimal]


def stage(engine: Engine, target: Path, published: list[Path], period: Period, run: run_log.Run) -> Posted:
    """Stages the engine's `posted_entries` with the reversal of the run that they replace, and measures."""
    predecessor = run.predecessor_run_id or ""
    params = write(engine, target, period, run.run_id, run.predecessor_run_id)
    before = engine.fetch(
        "measure_fact_cost_allocated", {"period_start": period.start, "run_id": predecessor}
    ).one()
    # from here on the table is what readers would see: everything published plus this file
    view(engine, TABLE, over_files(FACT_COST_ALLOCATED, [*published, target]))
    figures = engine.fetch("measure_fact_cost_allocated", params).one()
    conservation = engine.fetch("fetch_conservation", {"period_start": period.start}).dicts()
    tagged = engine.fetch("measure_fact_cost_tagged", {"period_start": period.start}).one()
    own = (
        ("this run", figures["allocated_usd"] - tagged["unblended_usd"]),
        ("its reversal", figures["reversed_usd"] + before["allocated_usd"]),
    )
    differing = [
        *unequal(conservation),
        *({"service": part, "unblended_difference_usd": left} for part, left in own if left),
    ]
    staged = Staged(
        target,
        "",
        ",".join(run.delivery_ids),
        figures["entry_count"],
        figures["net_usd"],
        tuple(name for name, _ in FACT_COST_ALLOCATED),
    )
    judged = [allocated_equals_pool(differing, figures["allocated_usd"])]
    return Posted(staged, figures, conservation, judged, mismatch.measured(engine, period))


def write(
    engine: Engine, target: Path, period: Period, run_id: str, predecessor_run_id: str | None
) -> dict[str, Value]:
    """Writes a run's entries: the engine's `posted_entries`, and the reversal of the run they replace."""
    params: dict[str, Value] = {
        "period_start": period.start,
        "run_id": run_id,
        "predecessor_run_id": predecessor_run_id or "",
    }
    engine.stage(STATEMENT, target, params)
    return params


def unequal(conservation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The services and classes of which not every delivered cent was posted."""
    return [row for row in conservation if any(row[name] for name in row if name.endswith("_difference_usd"))]


def publish_run(
    books: Books,
    con: sa.Connection,
    trying: Attempt,
    period: Period,
    run: run_log.Run,
    posted: Posted,
    judged: list[verdict.Verdict],
    *,
    sql: tuple[str, ...],
    also: Callable[[sa.Connection], None] = lambda _: None,
) -> None:
    """Stores what proves a staged run, then publishes it with its log row and its evidence index."""
    about = {
        "run_id": run.run_id, "inputs_id": run.inputs_id, "predecessor_run_id": run.predecessor_run_id,
        "algorithm": run.algorithm, "params": run.params, "rules": [list(rule) for rule in run.rules],
        "note": run.note,
    }  # fmt: skip
    pieces = certificate.of_run(
        books,
        con,
        period,
        about,
        sql=sql,
        delivery_ids=run.delivery_ids,
        conservation=posted.conservation,
        figures=posted.figures,
        staged=posted.staged,
        judged=judged,
    )
    kept = chain.store(books, pieces)

    def with_it(writing: sa.Connection) -> None:
        numbers = chain.index(writing, books, kept, run_id=run.run_id)
        run_log.published(writing, trying, posted.figures, numbers[-1])
        also(writing)

    publish(
        books,
        Publication(
            TABLE,
            period,
            "",
            run.run_id,
            run.inputs_id,
            run.predecessor_run_id,
            [posted.staged],
            [*judged, mismatch.verdict(con, period, posted.figures["allocated_usd"], *posted.faults)],
            reverses_run_id=run.predecessor_run_id,
        ),
        also=with_it,
    )


def _row(split: allocation.Split, plans: Mapping[str, str | None]) -> tuple[Any, ...]:
    def decimal(value: int | None) -> Decimal | None:
        return None if value is None else amount.to_decimal(value)

    return (
        split.service, split.service_component, split.charge_class, split.tenant_id,
        plans.get(split.tenant_id), split.rule_id, split.rule_version, split.key_name,
        decimal(split.key_value), decimal(split.key_total), decimal(split.pool_cost),
        *(decimal(cost) for cost in split.costs), split.delivery_id,
    )  # fmt: skip
