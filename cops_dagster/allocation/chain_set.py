"""What is wrong with a set of rules as a chain, before any month is asked. Pure.

Belongs here: what fixed shares alone say: cost that goes round for ever, a service that nobody pays. Does not
belong here: what a month's keys add (`allocation/chain.py`), the other problems (`allocation/rule_set.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from cops_dagster.allocation import chain
from cops_dagster.allocation.chain import Place
from cops_dagster.allocation.rules import Rule
from cops_dagster.words import CHARGE_CLASSES

ANY = "any service"
"""Where a rule stands that constrains no service."""


class Found(NamedTuple):
    """The fields of a `rule_set.Problem`."""

    code: str
    severity: Literal["error", "warning"]
    rule_ids: tuple[str, ...]
    expected: str
    found: str


def problems(standing: Sequence[Rule], tenants: Collection[str]) -> Iterator[Found]:
    """Problems of the rules in force on one day, by priority, among registered tenants."""
    by_id = {rule.rule_id: rule for rule in standing}
    onward = {rule.rule_id: _onward(rule, tenants) for rule in standing}
    for rule in standing:
        for name in onward[rule.rule_id]:
            if name.startswith(chain.RULE) and name.removeprefix(chain.RULE) not in by_id:
                expected = "shares of tenants, services and rules in force"
                yield Found("E-RULE-METHOD", "error", (rule.rule_id,), expected, name)
    places = _places([rule for rule in standing if onward[rule.rule_id]], standing, by_id, onward)
    yield from _loops(places)
    yield from _starved(places, onward)
    yield from _unpaid(places)


def _onward(rule: Rule, tenants: Collection[str]) -> list[str]:
    return [name for name, share in rule.shares if share > 0 and chain.goes_on(name, tenants)]


Places = dict[Place, list[Place]]


def _places(
    starts: Sequence[Rule],
    standing: Sequence[Rule],
    by_id: dict[str, Rule],
    onward: dict[str, list[str]],
) -> Places:
    found: Places = {}
    waiting = [
        Place(rule, dict(rule.matches).get("service", ANY), name)
        for rule in starts
        for name in (
            [dict(rule.matches)["charge_class"]] if "charge_class" in dict(rule.matches) else CHARGE_CLASSES
        )
    ]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        names = onward[at.rule.rule_id] if at.rule else []
        found[at] = [
            Place(by_id.get(name.removeprefix(chain.RULE)), *at[1:])
            if name.startswith(chain.RULE)
            else chain.landing(name.removeprefix(chain.SERVICE), at.charge_class, standing)
            for name in names
        ]
        waiting += found[at]
    return found


def _loops(places: Places) -> Iterator[Found]:
    for at, following in places.items():
        if at.rule is not None and at in following:
            expected = "a rule that does not send to the pool it claims"
            yield Found("E-CHAIN-CYCLE", "error", (at.rule.rule_id,), expected, f"{at} → {at}")


def _starved(places: Places, onward: dict[str, list[str]]) -> Iterator[Found]:
    fed = {at for at in places if at.rule is None or len(onward[at.rule.rule_id]) < _shares(at.rule)}
    while more := {at for at, following in places.items() if at not in fed and fed & set(following)}:
        fed |= more
    starved = {at: following for at, following in places.items() if at not in fed}
    told = set()
    for at in starved:
        cycle = chain.cycle_of(starved, at)
        rules = tuple(sorted({one.rule.rule_id for one in cycle if one.rule}))
        if rules not in told and len(cycle) > 2:  # a loop is told already
            told.add(rules)
            expected = "a cycle of which less than 100 % comes back"
            yield Found("E-CHAIN-CYCLE", "error", rules, expected, " → ".join(map(str, _from_least(cycle))))


def _shares(rule: Rule) -> int:
    """How many bear a part; a rule that weighs by a key always has somebody, as far as is known here."""
    return sum(share > 0 for _, share in rule.shares) if rule.method == "fixed" else 1


def _from_least(cycle: list[Place]) -> list[Place]:
    """One cycle is one problem, wherever the walk began."""
    begin = cycle.index(min(cycle, key=str))
    return [*cycle[begin:-1], *cycle[:begin], cycle[begin]]


def _unpaid(places: Places) -> Iterator[Found]:
    classes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for at, following in places.items():
        for place in following:
            if place.rule is None and at.rule is not None:
                classes[at.rule.rule_id, place.service].add(place.charge_class)
    for (rule_id, service), missed in sorted(classes.items()):
        expected = f"rules that split what {rule_id} sends to {service}"
        yield Found(
            "E-CHAIN-UNPAID", "warning", (rule_id,), expected, f"none for {', '.join(sorted(missed))}"
        )
