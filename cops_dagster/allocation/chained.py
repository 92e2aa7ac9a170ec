"""The plan of a month whose rules may send pools to services first.

Belongs here: which pools go by a chain, and the entries of those. Does not belong here: the chain's solution
(`allocation/chain.py`), pools that a rule splits among tenants at once (`allocation/rules.py`): a month whose
rules name no service is planned there alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from cops_dagster.allocation import chain, rules
from cops_dagster.allocation.chain import Graph, Place, Step
from cops_dagster.allocation.inputs import Inputs
from cops_dagster.allocation.rule_set import fallback
from cops_dagster.allocation.rules import Costs, Head, Key, Keys, Plan, Pool, Rule, Shared, Split
from cops_dagster.money import amount
from cops_dagster.money.split import split
from cops_dagster.words import UNALLOCATED

PREFIX = "chain:"
"""How the key of a chain begins: `chain:SERVICE:CLASS:RULE > RULE`, unique for what its cost comes to."""


@dataclass(frozen=True)
class Way:
    """What becomes of one dollar at a place.

    Attributes:
        key: per tenant its per cent, 18 places, together 100: what is shown. `None`: no tenant bears a part.
        weights: what is split by, exactly: tenants, and places where nobody pays.
        through: usage key → the part of the cost that it splits.
    """

    start: Place
    key: Key | None
    weights: Mapping[str, int]
    ends: Mapping[str, tuple[Place, Step]]
    through: Mapping[str, Fraction]


@dataclass(frozen=True)
class Chained(Shared):
    """A pool that goes by services: one split of its cost by the chain's solution."""

    way: Way

    def entries(self) -> Iterator[Split]:
        """What each tenant bears, then what nobody pays, by the place where it ended."""
        done = {cost: split(cost, self.way.weights) for cost in set(self.costs)}
        parts = {name: Costs(*(done[cost][name] for cost in self.costs)) for name in sorted(self.way.weights)}
        borne = [share for name, share in parts.items() if name not in self.way.ends]
        pool = Costs(*(sum(column) for column in zip(*borne, strict=True))) if borne else Costs()
        for name, share in parts.items():
            if any(share) and name not in self.way.ends:
                yield rules.line(self.head, name, self.rule, self.key, pool, share)
        for name, (place, step) in self.way.ends.items():
            if any(parts[name]):
                yield rules.line(self.head, UNALLOCATED, place.rule, step.key, parts[name], parts[name])


def plan(
    pools: Sequence[Pool],
    inputs: Inputs,
    keys: Keys,
    services: Callable[[], Collection[str]],
    *,
    holds_unknown: bool = False,
) -> Plan:
    """As `rules.plan`, of rules that may name services.

    Args:
        services: names of the services that the month has; asked for at most once.

    Raises:
        CopsError: `E-CHAIN-SERVICE`, `E-CHAIN-CYCLE`.
    """
    going = going_on(inputs.rules, keys, inputs.plans)
    claimed: defaultdict[tuple[Place, Head], Costs] = defaultdict(Costs)
    others: list[Pool] = []
    for pool in pools:
        rule = next((rule for rule in inputs.rules if rule.claims(pool)), None)
        if rule is None or rule.rule_id not in going or not any(pool.costs):
            others.append(pool)
            continue
        place = Place(rule, pool.service, str(pool.offered("charge_class")))
        head = (pool.service, pool.service_component, pool.charge_class, pool.delivery_id)
        claimed[place, head] = claimed[place, head].plus(pool.costs)
    made = rules.plan(others, inputs.rules, keys, holds_unknown=holds_unknown)
    if claimed:
        graph = Graph(inputs.rules, keys, inputs.plans, services)
        ways = _ways(graph, dict.fromkeys(place for place, _ in claimed))
        for (place, head), costs in claimed.items():
            _take(made, Chained(head, _rule(place), ways[place].key or _NOBODY, costs, ways[place]))
        _keep_keys(made, graph, ways)
    return made


_NOBODY = Key(PREFIX, "percent", {})


def going_on(standing: Sequence[Rule], keys: Keys, tenants: Collection[str]) -> set[str]:
    """The rules that may send cost to a service or another rule, themselves or by their fallback."""

    def sends(rule: Rule) -> bool:
        key = keys.usage.get(str(rule.key_name)) if rule.method == "usage_key" else None
        names = [name for name, _ in rule.shares] if key is None else key.weights
        weighs_services = rule.method == "proportional_cost" and rule.key_name == chain.SERVICES
        return weighs_services or any(chain.goes_on(name, tenants) for name in names)

    going = {rule.rule_id for rule in standing if sends(rule)}
    while more := {
        rule.rule_id for rule in standing if rule.rule_id not in going and fallback(rule) in going
    }:
        going |= more
    return going


def has_chains(made: Plan) -> bool:
    """Whether a pool of the plan goes by services."""
    return any(isinstance(one, Chained) for one in made.claimed)


def _rule(place: Place) -> Rule:
    assert place.rule is not None, "a pool without a rule goes nowhere"
    return place.rule


def _ways(graph: Graph, starts: Collection[Place]) -> dict[Place, Way]:
    for start in starts:
        graph.walk(start)
    solution = graph.solution()
    return {start: _way(start, solution[start], graph) for start in starts}


def _way(start: Place, parts: Mapping[Place, Fraction], graph: Graph) -> Way:
    whole = chain.together(parts, graph.steps)
    # no tenant has a blank in its id, so what nobody pays is none of them
    names = {f"{UNALLOCATED} {end}": end for end in whole if isinstance(end, Place)}
    tenants = {end: weight for end, weight in whole.items() if not isinstance(end, Place)}
    weights = tenants | {name: whole[end] for name, end in names.items()}
    key = None
    if tenants:
        path = " > ".join(chain.rules_of(start, graph.steps))
        name = f"{PREFIX}{start.service}:{start.charge_class}:{path}"
        key = Key(name, "percent", split(100 * amount.ATTO, tenants))
    through: defaultdict[str, Fraction] = defaultdict(Fraction)
    for end, part in parts.items():
        if (used := graph.steps[end].key) is not None:
            through[used.key_name] += part
    ends = {name: (end, graph.steps[end]) for name, end in names.items()}
    return Way(start, key, weights, ends, dict(through))


def _take(made: Plan, one: Chained) -> None:
    made.claimed.append(one)
    for name, (place, step) in one.way.ends.items():
        part = Costs(*(split(cost, one.way.weights)[name] for cost in one.costs))
        if place.rule is None:
            component, delivery_id = None, one.head[3]
            made.unclaimed.append(
                Pool(place.service, component, place.charge_class, None, None, delivery_id, part)
            )
        elif step.fails and step.key is not None:
            made.zero_keys.append((place.rule, step.key, part))


def _keep_keys(made: Plan, graph: Graph, ways: Mapping[Place, Way]) -> None:
    """Freezes the key of each place beside the chain's own, so that the solution can be made again."""
    for place in graph.steps:
        if place.rule is not None and (key := graph.key_of(place.rule, place.service)) is not None:
            made.keys[key.key_name] = key
        if (used := graph.steps[place].key) is not None:
            made.keys.setdefault(used.key_name, used)
    for way in ways.values():
        if way.key is not None:
            made.keys[way.key.key_name] = way.key
