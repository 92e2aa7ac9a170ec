"""Allocation rules: which rule claims a pool, and how it splits it, to difference 0. Pure.

Belongs here: everything between pool totals with keys and the split entries. Amounts are
atto-dollars. Does not belong here: loading rules (`inputs/load.py`), SQL, publishing.

A *pool* is cost without a tenant, summed by service, component, charge class, account and plan. The
rule with the lowest priority number among those that match claims it whole.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from cops_dagster.money import amount
from cops_dagster.money.split import split
from cops_dagster.words import UNALLOCATED

UNKNOWN_TENANT = "__unknown_tenant__"
"""The rule that COPS adds: it holds cost whose tenant tag names nobody, once that is too much to spread."""

MATCHED = ("service", "service_component", "charge_class", "usage_account_id", "plan_id")
"""Columns of `fact_cost_tagged` that a rule may match on, as `match_<column>`."""


class Costs(NamedTuple):
    """The three cost columns that are split, in atto-dollars."""

    unblended: int = 0
    amortized: int = 0
    net_amortized: int = 0

    def plus(self, other: Costs) -> Costs:
        """Column by column."""
        return Costs(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Rule:
    """One version of a rule. `matches` holds only the columns it constrains."""

    rule_id: str
    version: int
    effective_from: date
    effective_to: date | None
    priority: int
    matches: tuple[tuple[str, str], ...]
    method: str
    key_name: str | None
    shares: tuple[tuple[str, int], ...]
    on_zero_key: str

    @classmethod
    def from_row(cls, row: Mapping[str, object]) -> Rule:
        """From a row of `allocation_rules` (validated when it was loaded)."""
        given = row["shares"]
        shares = json.loads(str(given), parse_float=Decimal, parse_int=Decimal) if given else {}
        return cls(
            rule_id=str(row["rule_id"]),
            version=int(str(row["version"])),
            effective_from=row["effective_from"],  # type: ignore[arg-type]
            effective_to=row["effective_to"],  # type: ignore[arg-type]
            priority=int(str(row["priority"])),
            matches=tuple((name, str(row[f"match_{name}"])) for name in MATCHED if row[f"match_{name}"]),
            method=str(row["method"]),
            key_name=str(row["key_name"]) if row["key_name"] else None,
            shares=tuple(
                sorted((name, amount.from_decimal(Decimal(str(share)))) for name, share in shares.items())
            ),
            on_zero_key=str(row["on_zero_key"]),
        )

    @property
    def since(self) -> tuple[date, int]:
        """What makes one version newer than another."""
        return self.effective_from, self.version

    def claims(self, pool: Pool) -> bool:
        """Every constrained column has the pool's value; of the charge class, the one it is matched by."""
        return all(pool.offered(name) == value for name, value in self.matches)


@dataclass(frozen=True)
class Pool:
    """Cost without a tenant, at the grain that rules match on.

    `matched_class` is the charge class that rules see where it is not the pool's own: a refund of a
    commitment goes to who bears the commitment's fee (docs/adr/0028).
    `tenant_tag` is the delivered value that names nobody; no rule matches on it.
    """

    service: str
    service_component: str | None
    charge_class: str
    usage_account_id: str | None
    plan_id: str | None
    delivery_id: str
    costs: Costs
    matched_class: str | None = None

    def offered(self, column: str) -> str | None:
        """The value of one of `MATCHED` that a rule's constraint is held against."""
        if column == "charge_class":
            return self.matched_class or self.charge_class
        value: str | None = getattr(self, column)
        return value


@dataclass(frozen=True)
class Key:
    """One key's frozen figures: tenant → weight in atto-units of its measure."""

    key_name: str
    measure: str
    weights: Mapping[str, int]
    refreshed_at: datetime | None = None

    @cached_property
    def total(self) -> int:
        """Sum of the weights: the denominator of every share. Summed once, since each entry shows it."""
        return sum(self.weights.values())


@dataclass(frozen=True)
class Keys:
    """Everything a split can be keyed by in one period."""

    usage: Mapping[str, Key]  # key_name → figures of its measure
    active_tenants: frozenset[str]
    direct_cost: Mapping[str, Mapping[str, int]]  # service → tenant → direct cost on the charge basis

    def of(self, rule: Rule, pool_service: str) -> Key | None:
        """The key a rule splits a pool of this service by; `None` where the method needs none."""
        match rule.method:
            case "usage_key":
                name = str(rule.key_name)
                return self.usage.get(name, Key(name, name, {}))
            case "even":
                return self.even()
            case "proportional_cost" if rule.key_name == "service":
                costs = self.direct_cost.get(pool_service, {})
                return Key(f"direct_cost:{pool_service}", "direct_cost_usd", _positive(costs))
            case "proportional_cost":
                return self._all_direct
            case "fixed":
                return Key(f"fixed:{rule.rule_id}", "percent", dict(rule.shares))
        return None

    @cached_property
    def _all_direct(self) -> Key:
        total: defaultdict[str, int] = defaultdict(int)
        for costs in self.direct_cost.values():
            for tenant, cost in costs.items():
                total[tenant] += cost
        return Key("direct_cost", "direct_cost_usd", _positive(total))

    def even(self) -> Key:
        """Weight one for each tenant active in the period."""
        return Key("even", "active_tenants", dict.fromkeys(sorted(self.active_tenants), amount.ATTO))


Head = tuple[str, str | None, str, str]
"""Service, component, charge class and delivery: the grain of what is split."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split entry: what a tenant bears of a pool, and why this much."""

    service: str
    service_component: str | None
    charge_class: str
    tenant_id: str
    rule_id: str | None
    rule_version: int | None
    key_name: str | None
    key_value: int | None
    key_total: int | None
    pool_cost: int
    costs: Costs
    delivery_id: str


@dataclass(frozen=True)
class Shared:
    """A pool that a rule splits by a key; its entries are made when they are asked for."""

    head: Head
    rule: Rule
    key: Key
    costs: Costs

    def entries(self) -> Iterator[Split]:
        """What each tenant of the key bears, by name; those that bear nothing are left out."""
        done: dict[int, dict[str, int]] = {}  # most pools cost the same in all three columns
        for cost in self.costs:
            if cost not in done:
                done[cost] = split(cost, self.key.weights)
        columns = [done[cost] for cost in self.costs]
        for tenant in sorted(self.key.weights):
            share = Costs(*(column[tenant] for column in columns))
            if any(share):
                yield line(self.head, tenant, self.rule, self.key, self.costs, share)


@dataclass
class Plan:
    """The outcome for one period: entries, the keys they used, and what stops the run.

    Attributes:
        holds_unknown: cost of tags that name nobody is in no pool: it is held (sql/gather_entries.sql).
        claimed: pools in order: split by a key, or one entry. A month of 60 services and 5,000 tenants has
            300,000 entries; held all at once they were most of a run's memory.
    """

    claimed: list[Shared | Split] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    zero_keys: list[tuple[Rule, Key, Costs]] = field(default_factory=list)
    unclaimed: list[Pool] = field(default_factory=list)
    holds_unknown: bool = False

    @property
    def splits(self) -> Iterator[Split]:
        """Every entry in order, made anew each time."""
        for one in self.claimed:
            if isinstance(one, Shared):
                yield from one.entries()
            else:
                yield one


def in_force(rules: Iterable[Rule], day: date) -> list[Rule]:
    """The version of each rule that is in force on `day`, by priority (design rule 5.5).

    It never refuses: what is wrong with a set, two rules of one priority too, is in `allocation/rule_set.py`.
    """
    newest: dict[str, Rule] = {}
    for rule in rules:
        held = newest.get(rule.rule_id)
        if rule.effective_from <= day and (held is None or rule.since > held.since):
            newest[rule.rule_id] = rule
    standing = [rule for rule in newest.values() if rule.effective_to is None or rule.effective_to > day]
    return sorted(standing, key=lambda rule: (rule.priority, rule.rule_id))


def plan(pools: Sequence[Pool], rules: Sequence[Rule], keys: Keys, *, holds_unknown: bool = False) -> Plan:
    """Claims every pool and splits it; Σ of the splits equals Σ of the pools in every cost column.

    Args:
        pools: untagged cost of one period.
        rules: rules in force, by priority.
        keys: figures of the same period.
        holds_unknown: of the plan.
    """
    made = Plan(holds_unknown=holds_unknown)
    by_id = {rule.rule_id: rule for rule in rules}
    claimed: defaultdict[tuple[Rule | None, Head], Costs] = defaultdict(Costs)
    for pool in pools:
        place = (pool.service, pool.service_component, pool.charge_class, pool.delivery_id)
        rule = next((rule for rule in rules if rule.claims(pool)), None)
        if rule is None:
            made.unclaimed.append(pool)
        claimed[rule, place] = claimed[rule, place].plus(pool.costs)
    for (rule, head), costs in claimed.items():
        if not any(costs):  # nothing to split, so an empty key does no harm; the pool stays visible
            made.claimed.append(line(head, UNALLOCATED, rule, None, costs, costs))
            continue
        made.claimed.append(_claimed(made, head, rule, costs, keys, by_id))
    return made


def _claimed(
    made: Plan, head: Head, rule: Rule | None, costs: Costs, keys: Keys, by_id: Mapping[str, Rule]
) -> Shared | Split:
    if rule is None:
        return line(head, UNALLOCATED, None, None, costs, costs)
    key = keys.of(rule, head[0])
    if key is None:  # hold: parked, shown with its rule
        return line(head, UNALLOCATED, rule, None, costs, costs)
    made.keys[key.key_name] = key
    if key.total > 0:
        return Shared(head, rule, key, costs)
    # the key is empty: the rule says what happens, and the snapshot keeps the zero to be seen
    fallback = rule.on_zero_key
    if fallback == "even" and keys.active_tenants:
        even = keys.even()
        made.keys[even.key_name] = even
        return Shared(head, rule, even, costs)
    if fallback.startswith("rule:") and fallback.removeprefix("rule:") in by_id:
        return _claimed(made, head, by_id[fallback.removeprefix("rule:")], costs, keys, by_id)
    if fallback != "hold":
        made.zero_keys.append((rule, key, costs))
    return line(head, UNALLOCATED, rule, key, costs, costs)


def line(head: Head, tenant: str, rule: Rule | None, key: Key | None, pool: Costs, share: Costs) -> Split:
    """The entry of what a tenant bears of a pool."""
    service, component, charge_class, delivery_id = head
    return Split(
        service=service,
        service_component=component,
        charge_class=charge_class,
        tenant_id=tenant,
        rule_id=rule.rule_id if rule else None,
        rule_version=rule.version if rule else None,
        key_name=key.key_name if key else None,
        key_value=key.weights.get(tenant, 0) if key else None,
        key_total=key.total if key else None,
        pool_cost=pool.unblended,
        costs=share,
        delivery_id=delivery_id,
    )


def _positive(costs: Mapping[str, int]) -> dict[str, int]:
    return {tenant: cost for tenant, cost in costs.items() if cost > 0}
