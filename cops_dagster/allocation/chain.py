"""Pools that feed pools: what stays of a cost with each tenant once it went from service to service. Pure.

Belongs here: the graph of places that cost of a pool comes to, and its exact solution. Does not belong here:
which pools go this way and their entries (`allocation/chained.py`), what is wrong with a set of rules before
any month is asked (`allocation/chain_set.py`).

A *place* is a rule that splits the pool of a service, for one charge class. Its shares go to tenants, or on
to other places. The whole is one system of linear equations over rationals: no order is needed, a cycle is
solved as it is, and no amount is rounded on the way. Only the solution splits money, once, on integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple, TypeVar

from cops_dagster.allocation.rules import Costs, Key, Keys, Pool, Rule
from cops_dagster.errors import CopsError
from cops_dagster.words import near

SERVICE, RULE = "service:", "rule:"
"""Before a name among the shares of a rule: this share goes on, to a service's pool or to another rule."""
SERVICES = "services"
"""`key_name` of proportional_cost that weighs services by their direct cost, not tenants."""

Node = TypeVar("Node")
Column = TypeVar("Column")


class Place(NamedTuple):
    """A rule at the pool of a service; without a rule nobody pays there."""

    rule: Rule | None
    service: str
    charge_class: str

    def __str__(self) -> str:
        return f"{self.service} ({self.rule.rule_id if self.rule else 'no rule'})"


@dataclass(frozen=True)
class Step:
    """What becomes of cost at a place. Its shares and `kept` are together 1.

    Attributes:
        onward: shares of the places it goes to next; what a service uses of itself is left out.
        kept: the share that ends here: split over `weights`, or, without any, borne by nobody.
        key: the key that is split by; `fails`: it is empty, and the rule says `fail`.
    """

    onward: Mapping[Place, Fraction]
    kept: Fraction
    weights: Mapping[str, int] = field(default_factory=dict)
    key: Key | None = None
    fails: bool = False


def goes_on(name: str, tenants: Collection[str]) -> bool:
    """Whether a name among shares is a service or a rule; a registered tenant of such a name is a tenant."""
    return name.startswith((SERVICE, RULE)) and name not in tenants


def sent_to(rules: Iterable[Rule], usage: Iterable[Key], tenants: Collection[str]) -> set[str]:
    """The services that rules or keys name as bearers."""
    names = {name for rule in rules for name, _ in rule.shares} | {
        name for key in usage for name in key.weights
    }
    return {
        name.removeprefix(SERVICE) for name in names if name.startswith(SERVICE) and goes_on(name, tenants)
    }


@dataclass
class Graph:
    """The places that a month's pools come to, found as they are asked for.

    Attributes:
        services: names of services that the month has, asked for when a rule names one without a rule.
        tenants: ids that are registered.
    """

    rules: Sequence[Rule]
    keys: Keys
    tenants: Collection[str]
    services: Callable[[], Collection[str]]
    steps: dict[Place, Step] = field(default_factory=dict)

    def walk(self, start: Place) -> None:
        """Takes in everything that cost can come to from a place.

        Raises:
            CopsError: `E-CHAIN-SERVICE`, `E-CHAIN-CYCLE`.
        """
        waiting = [start]
        while waiting:
            at = waiting.pop()
            if at not in self.steps:
                self.steps[at] = self._step(at)
                waiting += reversed(list(self.steps[at].onward))
        self._refuse_starved(start)

    def solution(self) -> dict[Place, dict[Place, Fraction]]:
        """Place → the share of its cost that ends at each place; together exactly 1."""
        return solve(
            {at: step.onward for at, step in self.steps.items()},
            {at: {at: step.kept} if step.kept else {} for at, step in self.steps.items()},
        )

    def key_of(self, rule: Rule, service: str) -> Key | None:
        """As `Keys.of`, where services may bear as well."""
        if rule.method == "proportional_cost" and rule.key_name == SERVICES:
            direct = {
                SERVICE + name: sum(cost for cost in costs.values() if cost > 0)
                for name, costs in sorted(self.keys.direct_cost.items())
            }
            return Key("direct_cost_of_services", "direct_cost_usd", direct)
        return self.keys.of(rule, service)

    def _step(self, at: Place) -> Step:
        rule = at.rule
        key = self.key_of(rule, at.service) if rule else None
        if rule is None or key is None:
            return Step({}, Fraction(1))
        bearing = {name: weight for name, weight in key.weights.items() if weight}
        targets = {name: self._target(name, at) for name in bearing if goes_on(name, self.tenants)}
        weights = {name: weight for name, weight in bearing.items() if targets.get(name) != at}
        total = sum(weights.values())
        if total <= 0:
            return self._empty(at, rule, replace(key, weights=dict.fromkeys(key.weights, 0)))
        onward: dict[Place, Fraction] = {}
        for name, place in targets.items():
            if name in weights:
                onward[place] = onward.get(place, Fraction(0)) + Fraction(weights[name], total)
        kept = {name: weight for name, weight in weights.items() if name not in targets}
        return Step(onward, Fraction(sum(kept.values()), total), kept, key)

    def _empty(self, at: Place, rule: Rule, key: Key) -> Step:
        fallback = rule.on_zero_key
        if fallback == "even" and self.keys.active_tenants:
            even = self.keys.even()
            return Step({}, Fraction(1), even.weights, even)
        if fallback.startswith(RULE):
            return Step({self._target(fallback, at): Fraction(1)}, Fraction(0), {}, key)
        return Step({}, Fraction(1), {}, key, fails=fallback != "hold")

    def _target(self, name: str, at: Place) -> Place:
        if name.startswith(RULE):
            wanted = name.removeprefix(RULE)
            return Place(next((one for one in self.rules if one.rule_id == wanted), None), *at[1:])
        service = name.removeprefix(SERVICE)
        named = {value for rule in self.rules for column, value in rule.matches if column == "service"}
        if service not in named and service not in (known := self.services()):
            meant = near(service, {*known, *named})
            raise CopsError(
                "E-CHAIN-SERVICE",
                f"rule {at.rule.rule_id if at.rule else ''}",
                expected="services that have cost in the month, or that a rule in force matches",
                found=repr(name) + (f"; {SERVICE}{meant} is one" if meant else ""),
                next_step="load the usage with the service's name as in fact_cost_tagged, and 0 for this one"
                " (--replace); a rule that names it needs a new version",
            )
        return landing(service, at.charge_class, self.rules)

    def _refuse_starved(self, start: Place) -> None:
        fed = {at for at, step in self.steps.items() if step.kept}
        while more := {at for at, step in self.steps.items() if at not in fed and fed & step.onward.keys()}:
            fed |= more
        starved = {at: list(step.onward) for at, step in self.steps.items() if at not in fed}
        if starved:
            raise starving(cycle_of(starved, start if start in starved else next(iter(starved))))


def landing(service: str, charge_class: str, rules: Sequence[Rule]) -> Place:
    """Where cost arrives that a rule sends to a service: at the first rule that claims its pool.

    Of the cost itself the charge class is matched; component, account and plan are those of where it came
    from, so a rule that constrains them does not claim it.
    """
    pool = Pool(service, None, charge_class, None, None, "", Costs())
    return Place(next((rule for rule in rules if rule.claims(pool)), None), service, charge_class)


def cycle_of(onward: Mapping[Place, Sequence[Place]], start: Place) -> list[Place]:
    """A way from a place back to one that it passed; every place has one that follows."""
    path = [start]
    while (following := onward[path[-1]][0]) not in path:
        path.append(following)
    return [*path[path.index(following) :], following]


def starving(cycle: Sequence[Place]) -> CopsError:
    """The refusal of a chain whose cost goes round for ever."""
    return CopsError(
        "E-CHAIN-CYCLE",
        f"rules {', '.join(dict.fromkeys(at.rule.rule_id for at in cycle if at.rule))}",
        expected="a cycle of which less than 100 % comes back",
        found=" → ".join(map(str, cycle)) + ", with nobody who bears a part",
        next_step="load a new version of one of these rules that gives a share to tenants or __operator__",
    )


def solve(
    onward: Mapping[Node, Mapping[Node, Fraction]], own: Mapping[Node, Mapping[Column, Fraction]]
) -> dict[Node, dict[Column, Fraction]]:
    """x[n] = own[n] + Σ onward[n][m] × x[m], exactly: one unknown after the other is put into the others.

    Raises:
        ValueError: a cycle whose shares are 1 or more.
    """
    left = {node: dict(shares) for node, shares in onward.items()}
    made = {node: dict(own.get(node, {})) for node in onward}
    feeding: dict[Node, set[Node]] = {node: set() for node in left}
    for node, shares in left.items():
        for other in shares:
            feeding[other].add(node)
    # those that few places feed come first, so that few shares are filled in
    for node in sorted(left, key=lambda one: len(feeding[one]) * len(left[one])):
        back = left[node].pop(node, Fraction(0))
        if back >= 1:
            raise ValueError("a cycle that gives nothing off has no solution")
        if back:
            _add(left[node], left[node].copy(), back / (1 - back))
            _add(made[node], made[node].copy(), back / (1 - back))
        for other in feeding[node] - {node}:
            if share := left[other].pop(node, None):
                _add(made[other], made[node], share)
                _add(left[other], left[node], share)
                for following in left[node]:
                    feeding[following].add(other)
    return made


def _add(part: dict[Column, Fraction], other: Mapping[Column, Fraction], times: Fraction) -> None:
    for name, share in other.items():
        part[name] = part.get(name, Fraction(0)) + share * times


def together(parts: Mapping[Place, Fraction], steps: Mapping[Place, Step]) -> dict[str | Place, int]:
    """Shares that end at places as whole weights: of each tenant, and of each place where nobody pays."""
    totals = {at: sum(steps[at].weights.values()) or 1 for at in parts}
    common = math.lcm(*(share.denominator * totals[at] for at, share in parts.items()))
    weights: dict[str | Place, int] = {}
    for at, share in parts.items():
        each = share.numerator * (common // (share.denominator * totals[at]))
        for name, weight in steps[at].weights.items() or {at: 1}.items():
            weights[name] = weights.get(name, 0) + each * weight
    least = math.gcd(*weights.values()) or 1
    return {name: weight // least for name, weight in weights.items() if weight}


def rules_of(start: Place, steps: Mapping[Place, Step]) -> Iterator[str]:
    """The rules on the way from a place, each once, in the order in which they are come to."""
    waiting, seen, told = [start], {start}, set[str]()
    for at in waiting:
        if at.rule and at.rule.rule_id not in told:
            told.add(at.rule.rule_id)
            yield at.rule.rule_id
        waiting += (following := [one for one in steps[at].onward if one not in seen])
        seen |= set(following)
