"""The way of an entry whose pool went by services: each place, what passes it, what its tenant gets there.

Belongs here: solving the chain again from the rules of the run and the keys frozen with it. Does not belong
here: the rest of an explanation (`reports/explain.py`), today's graph (`inputs/rule_graph.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation import chain, chain_flows
from cops_dagster.allocation.chain import Graph, Place
from cops_dagster.allocation.chained import PREFIX
from cops_dagster.allocation.rules import Key, Keys, Rule
from cops_dagster.money import amount
from cops_dagster.stores import tables as t
from cops_dagster.words import UNALLOCATED

PLACES = 6
"""Decimals of a per cent here; `passes` is the exact share."""


@dataclass(frozen=True)
class Stop:
    """A place on the way. Per cents are of the pool, rounded half even to six decimals.

    Attributes:
        passes: the exact share of the pool that passes, above 1 where it goes round.
        sends_pct: what goes on, by place; borne_pct: what ends here; tenant_pct: the entry's tenant of that.
    """

    place: str
    rule_id: str | None
    rule_version: int | None
    key_name: str | None
    passes: str
    passes_pct: Decimal
    sends_pct: Mapping[str, Decimal]
    borne_pct: Decimal
    tenant_pct: Decimal


def way(con: sa.Connection, entry: Mapping[str, Any], inputs_id: str) -> list[Stop]:
    """The places of an entry's chain, from its own pool on; none for an entry without a chain."""
    if not str(entry["key_name"] or "").startswith(PREFIX):
        return []
    rules = _rules(con, entry["run_id"])
    # a service may have a colon in its name, a class has none
    name = str(entry["key_name"]).removeprefix(f"{PREFIX}{entry['service']}:").split(":")[0]
    first = next((rule for rule in rules if rule.rule_id == entry["rule_id"]), None)
    if first is None:
        return []  # a run that took another back posts lines that it did not compute
    start = Place(first, entry["service"], name)
    graph = _frozen(con, rules, inputs_id)
    graph.walk(start)
    through = chain_flows.passing({start: 1}, graph.steps)
    return [_stop(at, graph, through[at], entry["tenant_id"]) for at in graph.steps]


def _stop(at: Place, graph: Graph, through: Fraction, tenant: str) -> Stop:
    step = graph.steps[at]
    whole = sum(step.weights.values()) or 1
    return Stop(
        str(at),
        at.rule.rule_id if at.rule else None,
        at.rule.version if at.rule else None,
        step.key.key_name if step.key else None,
        str(through),
        _pct(through),
        {str(place): _pct(through * share) for place, share in step.onward.items()},
        _pct(through * step.kept),
        _pct(through * step.kept * Fraction(step.weights.get(tenant, 0), whole)),
    )


def _pct(share: Fraction) -> Decimal:
    found = amount.percent(share.numerator, share.denominator, PLACES)
    assert found is not None, "a fraction has no denominator 0"
    return found


class _Frozen(Graph):
    """A graph whose keys are those that were frozen, whatever the month's cost and usage are now."""

    def key_of(self, rule: Rule, service: str) -> Key | None:
        """The key of the same name in the snapshot."""
        if rule.method in ("hold", "fixed"):
            return self.keys.of(rule, service)
        if rule.method == "proportional_cost":
            named = {None: "direct_cost", chain.SERVICES: "direct_cost_of_services"}
            name = named.get(rule.key_name, f"direct_cost:{service}")
        else:
            name = "even" if rule.method == "even" else str(rule.key_name)
        return self.keys.usage.get(name, Key(name, name, {}))


def _frozen(con: sa.Connection, rules: list[Rule], inputs_id: str) -> Graph:
    snapshots = t.allocation_key_snapshot
    weights: defaultdict[str, dict[str, int]] = defaultdict(dict)
    rows = con.execute(
        sa.select(snapshots.c.key_name, snapshots.c.tenant_id, snapshots.c.key_value).where(
            snapshots.c.inputs_id == inputs_id, snapshots.c.tenant_id != UNALLOCATED
        )
    )
    for row in rows:
        weights[row.key_name][row.tenant_id] = amount.from_decimal(row.key_value)
    usage = {name: Key(name, name, found) for name, found in weights.items()}
    tenants = set(con.execute(sa.select(t.tenants.c.tenant_id)).scalars())
    keys = Keys(usage, frozenset(weights["even"]), {})
    known = frozenset(chain.sent_to(rules, usage.values(), tenants))
    return _Frozen(rules, keys, tenants, lambda: known)


def _rules(con: sa.Connection, run_id: str) -> list[Rule]:
    log, rules = t.allocation_run_log, t.allocation_rules
    said = con.execute(
        sa.select(log.c.rules_json).where(log.c.run_id == run_id, log.c.status == "published")
    ).scalar_one()
    wanted = {(str(rule_id), int(version)) for rule_id, version in json.loads(said)}
    made = [Rule.from_row(dict(row)) for row in con.execute(sa.select(rules)).mappings()]
    found = [rule for rule in made if (rule.rule_id, rule.version) in wanted]
    return sorted(found, key=lambda rule: (rule.priority, rule.rule_id))
