"""What a rule set does to a tagged month: rule by rule, and tenant by tenant against another set.

Belongs here: questions about allocation that post nothing. The figures come from what a run itself
computes (`allocation/allocate.py`), so that the answer is what the run would book.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from cops_dagster.allocation import allocate, in_force, tenant_usage
from cops_dagster.allocation.inputs import Inputs, gather
from cops_dagster.allocation.rules import UNKNOWN_TENANT, Key, Plan, Pool, Rule
from cops_dagster.errors import CopsError
from cops_dagster.inputs import load, rule_check
from cops_dagster.lake.engine import Engine, Row, Rows, Value
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.words import OPERATOR, UNALLOCATED

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class KeyTotal:
    """A key that a rule splits by: its denominator, and how many tenants have a share of it."""

    key_name: str
    measure: str
    total: Decimal
    tenants: int


@dataclass(frozen=True)
class Claim:
    """A rule in force, what it claims of a month, and where that ends up. Amounts are unblended USD.

    A rule that hands an empty key to another one keeps the cost on its own line: claimed = tenants +
    operator + unallocated, exactly.
    """

    rule_id: str
    version: int
    priority: int
    matches: Mapping[str, str]
    method: str
    key_name: str | None
    on_zero_key: str
    keys: tuple[KeyTotal, ...]
    pools: int
    claimed_usd: Decimal
    tenants_usd: Decimal
    operator_usd: Decimal
    unallocated_usd: Decimal
    stops_the_run: bool


@dataclass(frozen=True)
class Unclaimed:
    """Cost of one service and class that no rule claims."""

    service: str
    charge_class: str
    pools: int
    unblended_usd: Decimal


@dataclass(frozen=True)
class Explained:
    """A month's rules by priority, and what they leave."""

    period: str
    pools: int
    pooled_usd: Decimal
    rules: tuple[Claim, ...]
    unclaimed: tuple[Unclaimed, ...]


@dataclass(frozen=True)
class Effect:
    """One bearer's share of the pools under two rule sets; direct cost is the same and not in it."""

    tenant_id: str
    unblended_before_usd: Decimal
    unblended_after_usd: Decimal
    unblended_difference_usd: Decimal
    basis_before_usd: Decimal
    basis_after_usd: Decimal
    basis_difference_usd: Decimal


@dataclass(frozen=True)
class RuleChange:
    """A rule whose version in force differs; `None` where it is not in force."""

    rule_id: str
    version_before: int | None
    version_after: int | None


@dataclass(frozen=True)
class Difference:
    """What another rule set would do to a month. `stops_the_run`: rules whose key is empty, afterwards."""

    period: str
    basis: str
    rules: tuple[RuleChange, ...]
    effects: tuple[Effect, ...]
    stops_the_run: tuple[str, ...]


# --- one set ------------------------------------------------------------------------------------------


def explain(books: Books, period: Period) -> Explained:
    """What each rule in force does to the tagged month.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is tagged, or what is wrong with the rule set.
    """
    with books.engine() as engine, books.admin.read() as con:
        inputs = gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        holds = allocate.holds_unknown(engine, inputs, period)
        rows = engine.fetch("fetch_pools", {"period_start": period.start, "holds_unknown": holds})
        claimed: defaultdict[Rule | None, list[tuple[Row, Pool]]] = defaultdict(list)
        for row, pool in zip(rows.rows, map(in_force.pool, rows.dicts()), strict=True):
            rule = next((rule for rule in inputs.rules if rule.claims(pool)), None)
            claimed[rule].append((row, pool))
        month = _Narrowed(engine)
        claims = [_held(engine, period)] if holds else []
        for rule in inputs.rules:
            month.pools = Rows(rows.columns, [row for row, _ in claimed[rule]])
            made = (
                allocate.compute(cast(Engine, month), inputs, period, holds=False)
                if claimed[rule]
                else Plan()
            )
            claims.append(_claim(rule, [pool for _, pool in claimed[rule]], made, inputs.usage))
    left = [pool for _, pool in claimed[None]]
    return Explained(
        str(period),
        len(left) + sum(one.pools for one in claims),
        _usd(left) + sum((one.claimed_usd for one in claims), Decimal(0)),
        tuple(claims),
        _unclaimed(left),
    )


class _Narrowed:
    """The engine of a run, which has only the pools it is given; other answers are asked for once.

    So what becomes of a rule's claims is computed by the run's own code, not by a second version of it.
    """

    def __init__(self, engine: Engine) -> None:
        self.pools = Rows((), [])
        self._engine = engine
        self._known: dict[str, Rows] = {}

    def fetch(self, statement: str, params: Mapping[str, Value] | None = None) -> Rows:
        """As `Engine.fetch`, of one period."""
        if statement == "fetch_pools":
            return self.pools
        if statement not in self._known:
            self._known[statement] = self._engine.fetch(statement, params)
        return self._known[statement]

    def each(self, statement: str, params: Mapping[str, Value] | None = None) -> Iterator[Row]:
        """As `Engine.each`, of one period."""
        return iter(self.fetch(statement, params).rows)


def _held(engine: Engine, period: Period) -> Claim:
    """Too much cost of tags that name nobody, shown like a rule; its pools are those tags."""
    held = [row for row in _pooled_of_tags(engine, period) if row["pooled_unblended_usd"]]
    cost = sum((row["pooled_unblended_usd"] for row in held), Decimal(0))
    return Claim(
        rule_id=UNKNOWN_TENANT,
        version=0,
        priority=0,
        matches={"tenant_tag": "that names nobody"},
        method="hold",
        key_name=None,
        on_zero_key="hold",
        keys=(),
        pools=len(held),
        claimed_usd=cost,
        tenants_usd=Decimal(0),
        operator_usd=Decimal(0),
        unallocated_usd=cost,
        stops_the_run=False,
    )


def _pooled_of_tags(engine: Engine, period: Period) -> list[dict[str, Any]]:
    return engine.fetch("find_unknown_tenants", {"period_start": period.start}).dicts()


def _claim(rule: Rule, pools: Sequence[Pool], made: Plan, usage: Mapping[str, Key]) -> Claim:
    ends: defaultdict[str, int] = defaultdict(int)
    for split in made.splits:
        bearer = split.tenant_id if split.tenant_id in (OPERATOR, UNALLOCATED) else "tenants"
        ends[bearer] += split.costs.unblended
    keys = dict(made.keys)
    if (
        rule.key_name is not None and rule.key_name in usage
    ):  # shown also while the month has nothing for the rule
        keys[rule.key_name] = usage[rule.key_name]
    return Claim(
        rule.rule_id,
        rule.version,
        rule.priority,
        dict(rule.matches),
        rule.method,
        rule.key_name,
        rule.on_zero_key,
        tuple(_key_total(keys[name]) for name in sorted(keys)),
        len(pools),
        _usd(pools),
        amount.to_decimal(ends["tenants"]),
        amount.to_decimal(ends[OPERATOR]),
        amount.to_decimal(ends[UNALLOCATED]),
        bool(made.zero_keys),
    )


def _key_total(key: Key) -> KeyTotal:
    bearing = sum(weight > 0 for weight in key.weights.values())
    return KeyTotal(key.key_name, key.measure, amount.to_decimal(key.total), bearing)


def _unclaimed(pools: Iterable[Pool]) -> tuple[Unclaimed, ...]:
    by_class: defaultdict[tuple[str, str], list[Pool]] = defaultdict(list)
    for pool in pools:
        by_class[pool.service, pool.charge_class].append(pool)
    return tuple(
        Unclaimed(service, charge_class, len(left), _usd(left))
        for (service, charge_class), left in sorted(by_class.items())
    )


def _usd(pools: Iterable[Pool]) -> Decimal:
    return amount.to_decimal(sum(pool.costs.unblended for pool in pools))


# --- two sets -----------------------------------------------------------------------------------------


def other_set(text: str) -> Path | date:
    """What `--with` names: a day written YYYY-MM-DD, else a CSV file or folder.

    Raises:
        CopsError: `E-PARAM` for a day that does not exist.
    """
    if not _DATE.fullmatch(text):
        return Path(text)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CopsError(
            "E-PARAM",
            "--with",
            expected="a day that exists, or a CSV file or folder",
            found=repr(text),
            next_step="write it like --with 2025-08-01 or --with rules/allocation_rules.csv",
        ) from None


def diff(books: Books, period: Period, other: Path | date) -> Difference:
    """The tagged month under the rules of today and under others; nothing is posted or stored.

    Args:
        other: CSV files over the stored rows, or the day whose rules in force are meant.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is tagged, what `load` raises for the files, or what
            is wrong with either rule set.
    """
    before, after = _on(books, period, other) if isinstance(other, date) else _over(books, period, other)
    with books.engine() as engine, books.admin.read() as con:
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        one, two = (allocate.compute(engine, inputs, period) for inputs in (before, after))
        held = _pooled_of_tags(engine, period) if one.holds_unknown else []
    return Difference(
        str(period),
        before.basis,
        tuple(_rule_changes(before.rules, after.rules)),
        tuple(_effects(one, two, before.basis, held)),
        tuple(dict.fromkeys(rule.rule_id for rule, _, _ in two.zero_keys)),
    )


def _over(books: Books, period: Period, path: Path) -> tuple[Inputs, Inputs]:
    given = load.read_files([path])
    with rule_check.rehearsal(books.admin) as con:
        before = gather(con, books.policy, period)
        load.store(con, given, tags=books.policy.tags)
        return before, gather(con, books.policy, period)


def _on(books: Books, period: Period, day: date) -> tuple[Inputs, Inputs]:
    with books.admin.read() as con:
        before = gather(con, books.policy, period)
        rules = in_force.in_force(con, day)
        names = {rule.key_name for rule in rules if rule.method == "usage_key" and rule.key_name}
        # usage stays that of the month: only who splits what comes from the other day
        usage = {name: tenant_usage.key(con, name, period) for name in sorted(names)}
    return before, replace(before, rules=tuple(rules), usage=usage, rules_as_of=day)


def _rule_changes(before: Iterable[Rule], after: Iterable[Rule]) -> Iterable[RuleChange]:
    versions = [{rule.rule_id: rule.version for rule in rules} for rules in (before, after)]
    for rule_id in sorted({*versions[0], *versions[1]}):
        was, will = (one.get(rule_id) for one in versions)
        if was != will:
            yield RuleChange(rule_id, was, will)


def _effects(
    before: Plan, after: Plan, basis: str, held: Iterable[Mapping[str, Decimal]]
) -> Iterable[Effect]:
    sides = [_borne(plan, basis) for plan in (before, after)]
    for side in sides:  # what is held of tags that name nobody is the same under every rule set
        for row in held:
            costs = [amount.from_decimal(row[f"pooled_{name}_usd"]) for name in ("unblended", basis)]
            other = side.get(UNALLOCATED, (0, 0))
            side[UNALLOCATED] = (other[0] + costs[0], other[1] + costs[1])
    for tenant in sorted({*sides[0], *sides[1]}):
        (was, was_basis), (will, will_basis) = (side.get(tenant, (0, 0)) for side in sides)
        figures = (was, will, will - was, was_basis, will_basis, will_basis - was_basis)
        yield Effect(tenant, *map(amount.to_decimal, figures))


def _borne(plan: Plan, basis: str) -> dict[str, tuple[int, int]]:
    borne: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for split in plan.splits:
        borne[split.tenant_id][0] += split.costs.unblended
        borne[split.tenant_id][1] += getattr(split.costs, basis)
    return {tenant: (costs[0], costs[1]) for tenant, costs in borne.items()}
