"""The pools of a month that feed one another: where cost stands, and how much goes where.

Belongs here: the graph that `cops rules explain --graph` and Dagster show. Nothing is posted. Does not belong
here: what each rule claims (`inputs/rule_effects.py`), how a chain is solved (`allocation/chain.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cops_dagster.allocation import allocate, chain_flows, chained, in_force
from cops_dagster.allocation.chain import Graph, Place
from cops_dagster.allocation.chain_flows import TENANTS, Arrow
from cops_dagster.allocation.inputs import gather
from cops_dagster.allocation.rules import Pool
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.words import OPERATOR, UNALLOCATED


@dataclass(frozen=True)
class PoolOf:
    """A rule at the pool of a service, for one charge class. Amounts are unblended USD.

    own + received = sent to services + tenants + operator + unallocated, difference 0. What goes round a
    cycle is counted each time it passes.

    Attributes:
        rule_id: without it nobody pays there.
        received: from each service's pool, and `sent` to each, named `SERVICE (RULE)`.
    """

    service: str
    charge_class: str
    rule_id: str | None
    method: str | None
    key_name: str | None
    own_usd: Decimal
    received: Mapping[str, Decimal]
    sent: Mapping[str, Decimal]
    tenants_usd: Decimal
    operator_usd: Decimal
    unallocated_usd: Decimal
    difference_usd: Decimal

    @property
    def name(self) -> str:
        """As others name it among what they send and receive."""
        return f"{self.service} ({self.rule_id or 'no rule'})"


@dataclass(frozen=True)
class PoolGraph:
    """A month's pools that feed one another, from those that nobody feeds on; empty without such rules."""

    period: str
    pools: tuple[PoolOf, ...]

    @property
    def arrows(self) -> list[tuple[str, str, Decimal]]:
        """From, to and USD of everything that is sent or borne."""
        found = []
        for one in self.pools:
            ends = {TENANTS: one.tenants_usd, OPERATOR: one.operator_usd, UNALLOCATED: one.unallocated_usd}
            found += [(one.name, head, usd) for head, usd in {**one.sent, **ends}.items() if usd]
        return found


def graph(books: Books, period: Period) -> PoolGraph:
    """The graph of the tagged month under the rules in force.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is tagged, or what is wrong with the rules, as at a run.
    """
    with books.engine() as engine, books.admin.read() as con:
        inputs = gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        holds = allocate.holds_unknown(engine, inputs, period)
        rows = engine.fetch("fetch_pools", {"period_start": period.start, "holds_unknown": holds})
        keys, services = allocate.keys_of(engine, inputs, period), in_force.services(engine, period)
        found = Graph(inputs.rules, keys, inputs.plans, services)
        own = _walked(found, [in_force.pool(row) for row in rows.dicts()])
    arrows = chain_flows.flows(own, found.steps)
    shown = [_pool(place, found, own[place], arrows) for place in found.steps]
    return PoolGraph(str(period), tuple(sorted(shown, key=lambda one: (len(one.received) > 0, one.name))))


def _walked(found: Graph, pools: Sequence[Pool]) -> Mapping[Place, int]:
    """Takes in every chain of a month; what the places on their way have of their own."""
    going = chained.going_on(found.rules, found.keys, found.tenants)
    own: defaultdict[Place, int] = defaultdict(int)
    for pool in pools:
        rule = next((rule for rule in found.rules if rule.claims(pool)), None)
        place = Place(rule, pool.service, str(pool.offered("charge_class")))
        own[place] += pool.costs.unblended
        if rule is not None and rule.rule_id in going and any(pool.costs):
            found.walk(place)
    return defaultdict(int, {place: cost for place, cost in own.items() if place in found.steps})


def _pool(place: Place, found: Graph, own: int, arrows: Mapping[Arrow, int]) -> PoolOf:
    coming = {str(arrow.tail): flow for arrow, flow in arrows.items() if arrow.head == place}
    going = {arrow.head: flow for arrow, flow in arrows.items() if arrow.tail == place}
    rule, key = place.rule, found.steps[place].key
    return PoolOf(
        place.service,
        place.charge_class,
        rule.rule_id if rule else None,
        rule.method if rule else None,
        key.key_name if key else None,
        amount.to_decimal(own),
        {name: amount.to_decimal(flow) for name, flow in coming.items()},
        {str(head): amount.to_decimal(flow) for head, flow in going.items() if isinstance(head, Place)},
        amount.to_decimal(going.get(TENANTS, 0)),
        amount.to_decimal(going.get(OPERATOR, 0)),
        amount.to_decimal(going.get(UNALLOCATED, 0)),
        amount.to_decimal(own + sum(coming.values()) - sum(going.values())),
    )
