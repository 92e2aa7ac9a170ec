"""Allocation: the pools of a period split by the rules in force, published as entries that add up.

Belongs here: gathering rules and keys, freezing the keys used, staging entries with the reversal of the
run they replace, and the attempt's row in `allocation_run_log`. How a pool is split is in
`rules/allocation.py`; Python sees pool totals and keys only, direct entries never leave SQL.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.lake import statements
from cops_dagster.lake.engine import Engine, Value
from cops_dagster.lake.namespace import over_files, view
from cops_dagster.lake.tables import FACT_COST_ALLOCATED
from cops_dagster.ledger.attempt import Attempt, attempt
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import Publication, Staged, Superseded, head, publish, refuse, settle
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.rules import allocation, verdicts
from cops_dagster.rules.allocation import Costs, Key, Keys, Plan, Pool, Rule
from cops_dagster.settings import Settings
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

TABLE = "fact_cost_allocated"
ALGORITHM = "allocated-1"
STATEMENT = "stage_fact_cost_allocated"

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
    """Everything that decides a run, and the id made of it."""

    inputs_id: str
    rules: tuple[Rule, ...]
    usage: Mapping[str, Key]
    tenants: Mapping[str, str | None]  # active tenant → plan
    delivery_ids: tuple[str, ...]
    basis: str


@dataclass(frozen=True)
class Allocated:
    """Outcome: the run that readers see now, and whether this call made it."""

    run_id: str
    wrote: bool
    reversed_run_id: str | None = None


def gather(con: sa.Connection, settings: Settings, period: Period) -> Inputs:
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
    rules = allocation.in_force(
        (Rule.from_row(dict(row._mapping)) for row in con.execute(sa.select(t.allocation_rules))),
        period.start,
    )
    usage = {
        rule.key_name: _usage_key(con, rule.key_name, period)
        for rule in rules
        if rule.method == "usage_key" and rule.key_name
    }
    active = con.execute(
        sa.select(t.tenants.c.tenant_id, t.tenants.c.plan_id)
        .where(
            t.tenants.c.active_from < period.end,
            sa.or_(t.tenants.c.active_to.is_(None), t.tenants.c.active_to > period.start),
        )
        .order_by(t.tenants.c.tenant_id)
    ).all()
    h = t.period_head
    deliveries = con.execute(
        sa.select(t.cur_delivery.c.delivery_id)
        .join(t.lake_file, t.lake_file.c.delivery_id == t.cur_delivery.c.delivery_id)
        .join(h, h.c.run_id == t.lake_file.c.run_id)
        .where(h.c.table_name == "fact_cost_raw", h.c.period_start == period.start)
        .order_by(t.cur_delivery.c.delivery_id)
    ).scalars()
    inputs_id = digest(
        TABLE,
        ALGORITHM,
        str(period),
        tagged.inputs_id,
        [_rule_fields(rule) for rule in rules],
        [(name, key.measure, sorted(key.weights.items())) for name, key in sorted(usage.items())],
        [tuple(row) for row in active],
        settings.charge.basis,
    )
    return Inputs(
        inputs_id,
        tuple(rules),
        usage,
        {row.tenant_id: row.plan_id for row in active},
        tuple(dict.fromkeys(deliveries)),
        settings.charge.basis,
    )


def _rule_fields(rule: Rule) -> tuple[Any, ...]:
    return (
        rule.rule_id, rule.version, rule.priority, rule.matches, rule.method, rule.key_name, rule.shares,
        rule.on_zero_key,
    )  # fmt: skip


def _usage_key(con: sa.Connection, key_name: str, period: Period) -> Key:
    k, u = t.allocation_keys, t.tenant_usage
    measure = con.execute(sa.select(k.c.measure).where(k.c.key_name == key_name)).scalar_one_or_none()
    if measure is None:
        raise CopsError(
            "E-KEY-UNKNOWN",
            f"key {key_name}",
            expected="a row in allocation_keys",
            found="none",
            next_step="load allocation_keys.csv with this key",
        )
    rows = con.execute(
        sa.select(u.c.tenant_id, u.c.value, u.c.refreshed_at)
        .where(u.c.measure == measure, u.c.period_start == period.start)
        .order_by(u.c.tenant_id)
    ).all()
    return Key(
        key_name,
        measure,
        {row.tenant_id: amount.from_decimal(row.value) for row in rows},
        min((row.refreshed_at for row in rows), default=None),
    )


def compute(engine: Engine, inputs: Inputs, period: Period) -> Plan:
    """Pools and direct cost from the engine's `fact_cost_tagged`, split by the rules."""
    start = {"period_start": period.start}
    pools = [
        Pool(
            row["service"], row["service_component"], row["charge_class"], row["usage_account_id"],
            row["plan_id"], row["delivery_id"],
            Costs(*(amount.from_decimal(row[name]) for name in _COSTS)),
        )
        for row in engine.fetch("fetch_pools", start).dicts()
    ]  # fmt: skip
    direct: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in engine.fetch("fetch_direct_cost", start).dicts():
        direct[row["service"]][row["tenant_id"]] = amount.from_decimal(row[f"{inputs.basis}_usd"])
    active = frozenset(inputs.tenants) or frozenset(name for costs in direct.values() for name in costs)
    return allocation.plan(pools, inputs.rules, Keys(inputs.usage, active, direct))


_COSTS = ("unblended_usd", "amortized_usd", "net_amortized_usd")


def snapshot_keys(books: Books, period: Period) -> tuple[Inputs, Plan]:
    """Freezes the keys that a run over today's inputs uses, also of a run that will be refused."""
    with books.engine() as engine, books.admin.read() as con:
        inputs = gather(con, books.settings, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        made = compute(engine, inputs, period)
    _freeze(books, period, inputs, made)
    return inputs, made


def _freeze(books: Books, period: Period, inputs: Inputs, made: Plan) -> None:
    s, at = t.allocation_key_snapshot, now()
    rows = [
        {
            "inputs_id": inputs.inputs_id, "key_name": key.key_name, "tenant_id": tenant,
            "period_start": period.start, "measure": key.measure,
            "key_value": amount.to_decimal(weight), "key_total": amount.to_decimal(key.total),
            "refreshed_at": key.refreshed_at, "frozen_at": at,
        }
        for key in made.keys.values()
        for tenant, weight in sorted(key.weights.items() or {allocation.UNALLOCATED: 0}.items())
    ]  # fmt: skip
    with books.admin.write() as con:
        frozen = con.execute(
            sa.select(s.c.inputs_id).where(s.c.inputs_id == inputs.inputs_id).limit(1)
        ).first()
        if rows and not frozen:
            con.execute(sa.insert(s), rows)


def plan_verdicts(made: Plan, inputs: Inputs) -> list[verdicts.Verdict]:
    """`key_totals_positive` and `rules_cover_every_pool` over a plan."""
    zero = [
        {"rule_id": rule.rule_id, "key_name": key.key_name, "pool_usd": amount.to_text(costs.unblended)}
        for rule, key, costs in made.zero_keys
    ]
    unclaimed: defaultdict[tuple[str, str], int] = defaultdict(int)
    for pool in made.unclaimed:
        unclaimed[pool.service, pool.charge_class] += pool.costs.unblended
    return [
        verdicts.key_totals_positive(zero, len(made.keys)),
        verdicts.rules_cover_every_pool(
            [
                {"service": service, "charge_class": charge_class, "unblended_usd": amount.to_text(cost)}
                for (service, charge_class), cost in sorted(unclaimed.items(), key=lambda i: -abs(i[1]))
                if cost
            ],
            len(inputs.rules),
        ),
    ]


def allocate(books: Books, period: Period, *, note: str | None = None) -> Allocated:
    """Allocates the tagged month. With the head's own inputs nothing is written.

    Raises:
        CopsError: `E-KEY-ZERO` when a key that a pool needs is empty and its rule says `fail`;
            `E-VERDICT` when the staged entries do not equal the pool; the head stays in each case.
    """

    def once() -> Allocated:
        # one snapshot from the plan to the last line read: what is planned over one tagged month must not
        # be computed from the next one, and the published entries must be those of the head planned over
        with attempt(books) as trying, books.admin.read() as con:
            inputs = gather(con, books.settings, period)
            before = head(con, TABLE, period)
            if before and before.inputs_id == inputs.inputs_id:
                return Allocated(before.run_id, wrote=False)
            predecessor = before.run_id if before else None
            run_id = digest(inputs.inputs_id, predecessor)
            _run(books, con, trying, period, inputs, run_id, predecessor, note)
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
    note: str | None,
) -> None:
    _started(books, trying, period, inputs, run_id, predecessor, note)
    try:
        with books.engine() as engine:
            names = books.namespace(engine, con, period)
            names.provide(["fact_cost_raw", "fact_cost_tagged", TABLE])
            published = names.paths[TABLE]
            made = compute(engine, inputs, period)
            _freeze(books, period, inputs, made)
            _refuse_zero_keys(period, made)
            staged, figures, judged = _stage(
                engine, trying.target(TABLE, period, run_id), published, period, inputs, run_id,
                predecessor, made,
            )  # fmt: skip
        publish(
            books,
            Publication(
                TABLE, period, "", run_id, inputs.inputs_id, predecessor, [staged], judged,
                reverses_run_id=predecessor,
            ),
            also=lambda con: _finished(con, trying, "published", figures=figures),
        )  # fmt: skip
    except Exception as problem:
        status = "refused" if isinstance(problem, (CopsError, Superseded)) else "failed"
        with books.admin.write() as writing:
            _finished(writing, trying, status, problem=problem)
        raise


def _refuse_zero_keys(period: Period, made: Plan) -> None:
    if made.zero_keys:
        rule, key, costs = made.zero_keys[0]
        raise CopsError(
            "E-KEY-ZERO",
            f"rule {rule.rule_id} of {period}",
            expected=f"a positive total of key {key.key_name}",
            found=f"total 0 for a pool of {amount.show(costs.unblended)} USD",
            next_step=f"load the usage of measure {key.measure} for {period}, then materialize again",
            details={"zero_keys": [rule.rule_id for rule, _, _ in made.zero_keys]},
        )


def _stage(
    engine: Engine,
    target: Path,
    published: list[Path],
    period: Period,
    inputs: Inputs,
    run_id: str,
    predecessor: str | None,
    made: Plan,
) -> tuple[Staged, dict[str, Any], list[verdicts.Verdict]]:
    engine.table("split_entries", _SPLIT_COLUMNS, [_row(split, inputs.tenants) for split in made.splits])
    params: dict[str, Value] = {
        "period_start": period.start,
        "run_id": run_id,
        "predecessor_run_id": predecessor or "",
    }
    engine.stage(STATEMENT, target, params)
    before = engine.fetch(
        "measure_fact_cost_allocated", {"period_start": period.start, "run_id": predecessor or ""}
    ).one()
    # from here on the table is what readers would see: everything published plus this file
    view(engine, TABLE, over_files(FACT_COST_ALLOCATED, [*published, target]))
    figures = engine.fetch("measure_fact_cost_allocated", params).one()
    differing = engine.fetch("compare_allocated_with_raw", {"period_start": period.start}).dicts()
    tagged = engine.fetch("measure_fact_cost_tagged", {"period_start": period.start}).one()
    own = (
        ("this run", figures["allocated_usd"] - tagged["unblended_usd"]),
        ("its reversal", figures["reversed_usd"] + before["allocated_usd"]),
    )
    differing += [{"service": part, "unblended_difference_usd": left} for part, left in own if left]
    judged = [
        verdicts.allocated_equals_pool(differing, figures["allocated_usd"]),
        *plan_verdicts(made, inputs),
    ]
    refuse(judged, f"{TABLE} of {period}")
    staged = Staged(
        target, "", ",".join(inputs.delivery_ids), figures["entry_count"], figures["net_usd"],
        tuple(name for name, _ in FACT_COST_ALLOCATED),
    )  # fmt: skip
    return staged, figures, judged


def _row(split: allocation.Split, plans: Mapping[str, str | None]) -> tuple[Any, ...]:
    def decimal(value: int | None) -> Decimal | None:
        return None if value is None else amount.to_decimal(value)

    return (
        split.service, split.service_component, split.charge_class, split.tenant_id,
        plans.get(split.tenant_id), split.rule_id, split.rule_version, split.key_name,
        decimal(split.key_value), decimal(split.key_total), decimal(split.pool_cost),
        *(decimal(cost) for cost in split.costs), split.delivery_id,
    )  # fmt: skip


def _started(
    books: Books,
    trying: Attempt,
    period: Period,
    inputs: Inputs,
    run_id: str,
    predecessor: str | None,
    note: str | None,
) -> None:
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.allocation_run_log).values(
                attempt_id=trying.attempt_id,
                run_id=run_id,
                inputs_id=inputs.inputs_id,
                predecessor_run_id=predecessor,
                period_start=period.start,
                status="running",
                delivery_ids=json.dumps(inputs.delivery_ids),
                rules_json=json.dumps([[rule.rule_id, rule.version] for rule in inputs.rules]),
                params_json=json.dumps({"charge_basis": inputs.basis}),
                algorithm_version=ALGORITHM,
                sql_sha256=statements.sha256(STATEMENT),
                note=note,
                actor=books.actor,
                dagster_run_id=books.dagster_run_id,
                started_at=now(),
            )
        )


def _finished(
    con: sa.Connection,
    trying: Attempt,
    status: str,
    *,
    figures: dict[str, Any] | None = None,
    problem: Exception | None = None,
) -> None:
    values: dict[str, object] = {"status": status, "finished_at": now()}
    if figures:
        values |= {
            "pool_total_usd": figures["allocated_usd"],
            "allocated_total_usd": figures["allocated_usd"],
            "unallocated_total_usd": figures["unallocated_usd"],
            "entry_count": figures["entry_count"],
        }
    if problem:
        code = problem.code if isinstance(problem, CopsError) else type(problem).__name__
        values |= {"error_code": code, "error_detail": str(problem)}
    log = t.allocation_run_log
    con.execute(sa.update(log).where(log.c.attempt_id == trying.attempt_id).values(**values))
