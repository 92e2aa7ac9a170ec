"""Pools that go by services: who bears what, to the last digit, in text tables and against other solvers.

rule  as in test_rule_tables, with names like service:EC2 and rule:ID among shares
usage KEY NAME VALUE
pool  SERVICE CLASS USD
gives TENANT USD [RULE]      every line of the outcome
stops RULE                   its key is empty and its rule says so
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cops_dagster.allocation import chain, chain_flows, chained
from cops_dagster.allocation.chain import Graph, Place
from cops_dagster.allocation.inputs import Inputs
from cops_dagster.allocation.rules import Costs, Key, Keys, Plan, Pool, Rule, in_force
from cops_dagster.money import amount
from cops_dagster_tests.allocation.rule_words import KEYS, START, read_pool, read_rule
from cops_dagster_tests.examples import examples


def planned(pools: list[Pool], rules: list[Rule], keys: Keys, tenants: tuple[str, ...] = ()) -> Plan:
    """A month of these pools, in which services have cost that have a pool or direct cost."""
    inputs = Inputs(
        "i", tuple(in_force(rules, START)), keys.usage, dict.fromkeys(keys.active_tenants), (), "unblended",
        date(2025, 9, 1), dict.fromkeys(tenants), bool(tenants), 2,
    )  # fmt: skip
    known = frozenset({*keys.direct_cost, *(pool.service for pool in pools)})
    return chained.plan(pools, inputs, keys, lambda: known)


@dataclass
class Table:
    """One table, read."""

    rules: list[Rule] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    usage: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    gives: list[tuple[str, str, str]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, text: str) -> Table:
        table = cls()
        for row in filter(None, map(str.strip, text.splitlines())):
            kind, *words = row.split()
            match kind:
                case "rule":
                    table.rules.append(read_rule(words))
                case "pool":
                    table.pools.append(read_pool(words))
                case "usage":
                    table.usage[words[0]][words[1]] = amount.parse(words[2])
                case "gives":
                    tenant, usd, *rule = words
                    table.gives.append((tenant, amount.to_text(amount.parse(usd)), rule[0] if rule else "-"))
                case "stops":
                    table.stops.append(words[0])
                case _:
                    raise ValueError(row)
        return table

    def outcome(self) -> Plan:
        more = {name: Key(name, name, weights) for name, weights in self.usage.items()}
        return planned(self.pools, self.rules, replace(KEYS, usage={**KEYS.usage, **more}))


def lines(made: Plan) -> list[tuple[str, str, str]]:
    return sorted(
        (one.tenant_id, amount.to_text(one.costs.unblended), one.rule_id or "-") for one in made.splits
    )


TABLES = {
    "a service's pool goes to another service, by whose rule tenants bear it": """
        rule hub   10 fixed:service:EC2*100  service=VPC
        rule ec2   20 usage_key:gb           service=EC2
        pool VPC usage 8
        gives acme 6 hub
        gives beta 2 hub
    """,
    "cost that is there already takes the same rule and keeps its own name of it": """
        rule hub   10 fixed:service:EC2*100  service=VPC
        rule ec2   20 usage_key:gb           service=EC2
        pool VPC usage 8
        pool EC2 usage 4
        gives acme 6 hub
        gives beta 2 hub
        gives acme 3 ec2
        gives beta 1 ec2
    """,
    "the class goes along: a rule of another class does not claim what arrives": """
        rule hub   10 fixed:service:EC2*100  service=VPC
        rule tax   15 fixed:acme*100         service=EC2 charge_class=tax
        rule ec2   20 fixed:beta*100         service=EC2
        pool VPC usage 8
        pool VPC tax 2
        gives beta 8 hub
        gives acme 2 hub
    """,
    "a rule that constrains the component does not claim what arrives": """
        rule hub   10 fixed:service:EC2*100  service=VPC
        rule api   15 fixed:acme*100         service=EC2 service_component=api
        rule ec2   20 fixed:beta*100         service=EC2
        pool VPC usage 8 component=api
        gives beta 8 hub
    """,
    "shares of services, tenants and us in one rule": """
        rule hub   10 fixed:service:EC2*50,acme*30,__operator__*20  service=VPC
        rule ec2   20 usage_key:gb           service=EC2
        pool VPC usage 80
        gives acme 54 hub
        gives beta 10 hub
        gives __operator__ 16 hub
    """,
    "a rule may take the rest, by its own key": """
        rule hub   10 fixed:service:EC2*20,rule:left*80  service=VPC
        rule ec2   20 fixed:acme*100         service=EC2
        rule left  90 usage_key:gb           service=none
        pool VPC usage 100
        gives acme 80 hub
        gives beta 20 hub
    """,
    "a usage key names services beside tenants": """
        rule hub   10 usage_key:gate         service=VPC
        rule ec2   20 usage_key:gb           service=EC2
        usage gate service:EC2 2
        usage gate beta 1
        usage gate corp 1
        pool VPC usage 16
        gives acme 6 hub
        gives beta 6 hub
        gives corp 4 hub
    """,
    "services weighed by their direct cost, the pool's own left out": """
        rule hub   10 proportional_cost:services service=S3
        rule each  20 proportional_cost:service
        pool S3 usage 10
        gives acme 7.5 hub
        gives beta 2.5 hub
    """,
    "three services in a row": """
        rule a   10 fixed:service:B*100  service=A
        rule b   20 fixed:service:C*60,acme*40  service=B
        rule c   30 fixed:beta*50,__operator__*50  service=C
        pool A usage 100
        pool B usage 10
        pool C usage 1
        gives acme 40 a
        gives beta 30 a
        gives __operator__ 30 a
        gives acme 4 b
        gives beta 3 b
        gives __operator__ 3 b
        gives beta 0.5 c
        gives __operator__ 0.5 c
    """,
    "a cycle is solved as it is: of A 20 % go to B, of B 10 % come back": """
        rule a   10 fixed:service:B*20,acme*80  service=A
        rule b   20 fixed:service:A*10,beta*90  service=B
        pool A usage 98
        gives acme 80 a
        gives beta 18 a
    """,
    "what a service uses of itself is left out": """
        rule a   10 usage_key:own  service=A
        usage own service:A 98
        usage own acme 1
        usage own beta 1
        pool A usage 7
        gives acme 3.5 a
        gives beta 3.5 a
    """,
    "nobody pays the service: a fault, with its money": """
        rule a   10 fixed:service:B*25,acme*75  service=A
        rule c   20 fixed:acme*100  service=C
        pool A usage 100
        pool B usage 3
        gives acme 75 a
        gives __unallocated__ 25
        gives __unallocated__ 3
    """,
    "a chain to a service whose rule holds: parked with that rule": """
        rule a   10 fixed:service:B*25,acme*75  service=A
        rule b   20 hold  service=B
        pool A usage 100
        gives acme 75 a
        gives __unallocated__ 25 b
    """,
    "a key of services that is empty stops the run": """
        rule a   10 usage_key:none  service=A
        rule hub 20 fixed:service:A*100 service=H
        pool H usage 1
        gives __unallocated__ 1 a
        stops a
    """,
    "an empty key at a place may be held, split evenly or handed to a rule": """
        rule h   10 fixed:service:A*10,service:B*30,service:C*60  service=H
        rule a   20 usage_key:none  service=A zero=hold
        rule b   30 usage_key:none  service=B zero=even
        rule c   40 usage_key:none  service=C zero=rule:rest
        rule rest 90 usage_key:gb   service=none
        pool H usage 100
        gives __unallocated__ 10 a
        gives acme 55 h
        gives beta 25 h
        gives corp 10 h
    """,
    "a key of services alone names the origin alone: empty": """
        rule s   10 usage_key:own  service=A zero=hold
        rule h   20 fixed:service:A*100 service=H
        usage own service:A 5
        pool H usage 4
        gives __unallocated__ 4 s
    """,
    "an empty key of a plain rule falls back to a chain": """
        rule p   10 usage_key:none  service=A zero=rule:hub
        rule hub 20 fixed:service:EC2*100  service=VPC
        rule ec2 30 usage_key:gb service=EC2
        pool A usage 8
        gives acme 6 p
        gives beta 2 p
    """,
    "a pool of 0 goes nowhere and stays visible": """
        rule a   10 fixed:service:B*100  service=A
        pool A usage 0
        pool B usage 0
        gives __unallocated__ 0
        gives __unallocated__ 0 a
    """,
    "a negative pool goes as its opposite": """
        rule a   10 fixed:service:B*33,acme*67  service=A
        rule b   20 even  service=B
        pool A credit -100
        gives acme -78 a
        gives beta -11 a
        gives corp -11 a
    """,
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_each_tenant_bears_what_the_chain_says(text: str) -> None:
    table = Table.of(text)
    made = table.outcome()
    assert lines(made) == sorted(table.gives)
    assert [rule.rule_id for rule, _, _ in made.zero_keys] == table.stops
    for at in range(3):
        assert sum(one.costs[at] for one in made.splits) == sum(pool.costs[at] for pool in table.pools)


# --- what others computed ------------------------------------------------------------------------------

PUBLIC = {
    # The public test sets of cloud-cost-allocation 2.4.0 (PyPI; repository AmadeusITGroup, tests/testN): keys
    # and expected figures. Its products and last services are our tenants.
    "test1: a hierarchy of services down to two products": """
        rule cpu  10 usage_key:cpu   service=container service_component=compute
        rule disk 11 usage_key:disk  service=container service_component=storage
        rule ts   12 usage_key:ts    service=monitoring
        rule rec  13 usage_key:rec   service=history
        rule req  14 usage_key:req   service=web
        rule rep  15 usage_key:rep   service=reporting
        usage cpu service:web 3
        usage cpu service:reporting 0.5
        usage cpu service:history 0.25
        usage cpu service:monitoring 0.25
        usage disk service:history 9
        usage disk service:monitoring 1
        usage ts service:web 50
        usage ts service:reporting 10
        usage ts service:history 10
        usage rec service:web 1
        usage rec service:reporting 1
        usage req b2b 100
        usage req b2c 900
        usage rep b2b 9
        usage rep b2c 1
        pool container usage 80 component=compute
        pool container usage 20 component=storage
        total b2b 28.4
        total b2c 71.6
    """,
    "test2: products that some services name themselves": """
        rule one  10 usage_key:a    service=application1
        rule two  11 usage_key:b    service=application2
        rule x    12 fixed:x*100    service=application3 service_component=x
        rule y    13 fixed:y*100    service=application3 service_component=y
        rule z    14 fixed:z*100    service=application3 service_component=z
        rule rest 15 usage_key:rest service=application3
        rule four 16 usage_key:four service=application4
        rule five 17 usage_key:five service=application5
        rule six  18 fixed:service:application7*100  service=application6
        rule seven 19 fixed:product4*100  service=application7
        usage a x 2
        usage a y 3
        usage b x 2
        usage b y 12
        usage b z 6
        usage rest x 2
        usage rest y 6
        usage rest z 6
        usage four service:application2 11
        usage five product3 4
        usage five service:application6 3
        pool application1 usage 10
        pool application2 usage 1000
        pool application3 usage 2 component=x
        pool application3 usage 60 component=y
        pool application3 usage 600 component=z
        pool application3 usage 140
        pool application4 usage 110
        pool application5 usage 7
        total x 137
        total y 792
        total z 993
        total product3 4
        total product4 3
    """,
    "test5: cycles, which that program breaks by a list and COPS solves": """
        rule a 10 usage_key:a service=a
        rule b 11 usage_key:b service=b
        rule c 12 usage_key:c service=c
        usage a service:b 4
        usage a service:c 5
        usage b service:a 1
        usage b service:c 1
        usage b d 3
        usage c service:b 1
        usage c d 4
        pool a usage 90
        total d 90
    """,
    "test9: three services that feed one another": """
        rule c 10 fixed:service:cm*25,app*25,service:m*25,service:l*25  service=container
        rule cm 11 usage_key:cm service=cm
        rule m 12 fixed:service:mm*25,app*25,service:container*25,service:l*25  service=m
        rule mm 13 usage_key:mm service=mm
        rule l 14 fixed:service:lm*25,app*25,service:container*25,service:m*25  service=l
        rule lm 15 usage_key:lm service=lm
        usage cm app 1
        usage cm service:m 1
        usage cm service:l 1
        usage mm app 1
        usage mm service:container 1
        usage mm service:l 1
        usage lm app 1
        usage lm service:container 1
        usage lm service:m 1
        pool container usage 108
        total app 108
    """,
}


@pytest.mark.parametrize("text", PUBLIC.values(), ids=PUBLIC)
def test_the_public_test_sets_of_another_program_come_out_alike(text: str) -> None:
    totals = dict(row.split()[1:] for row in text.strip().splitlines() if row.split()[0] == "total")
    given_rows = "\n".join(row for row in text.splitlines() if not row.strip().startswith("total"))
    borne: defaultdict[str, int] = defaultdict(int)
    for one in Table.of(given_rows).outcome().splits:
        borne[one.tenant_id] += one.costs.unblended
    assert borne == {tenant: amount.parse(usd) for tenant, usd in totals.items()}


NAMES = ["s0", "s1", "s2", "s3", "s4", "s5"]
TENANTS = ["t0", "t1", "t2"]
BEARERS = [*(chain.SERVICE + name for name in NAMES), *TENANTS]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, dict[str, int]]:
    """Service → bearer → weight, cycles and what a service uses of itself included; each pays somebody."""
    found = {}
    for name in NAMES[: draw(st.integers(2, len(NAMES)))]:
        weights = {bearer: draw(st.integers(0, 9)) for bearer in BEARERS}
        weights[draw(st.sampled_from(TENANTS))] += 1
        found[name] = weights
    for weights in found.values():
        for name in NAMES[len(found) :]:
            weights.pop(chain.SERVICE + name)
    return found


def gauss(matrix: list[list[Fraction]]) -> list[Fraction]:
    """The solution of a system, each row with its right side last, by elimination in full."""
    size = len(matrix)
    for at in range(size):
        pivot = next(row for row in range(at, size) if matrix[row][at])
        matrix[at], matrix[pivot] = matrix[pivot], matrix[at]
        matrix[at] = [value / matrix[at][at] for value in matrix[at]]
        for row in range(size):
            if row != at:
                times = matrix[row][at]
                matrix[row] = [a - times * b for a, b in zip(matrix[row], matrix[at], strict=True)]
    return [row[-1] for row in matrix]


@settings(max_examples=examples(200), deadline=None)
@given(graphs(), st.integers(-(10**24), 10**24).filter(bool))
def test_random_graphs_with_cycles_are_solved_as_by_another_solver(
    graph: dict[str, dict[str, int]], cost: int
) -> None:
    """What passes each service first, by its inflow, then what tenants take of that: the other way round."""
    names = list(graph)
    totals = {name: sum(weights.values()) for name, weights in graph.items()}

    def share(name: str, bearer: str) -> Fraction:
        return Fraction(graph[name].get(bearer, 0), totals[name])

    passing = gauss([
        [*(Fraction(one == other) - share(other, chain.SERVICE + one) for other in names),
         Fraction(one == "s0")]
        for one in names
    ])  # fmt: skip
    expected = {
        tenant: sum((through * share(name, tenant) for name, through in zip(names, passing, strict=True)),
                    Fraction(0))
        for tenant in TENANTS
    }  # fmt: skip
    assert sum(expected.values()) == 1
    usage = {name: Key(name, name, weights) for name, weights in graph.items()}
    rules = [
        read_rule(f"{name} {at} usage_key:{name} service={name}".split()) for at, name in enumerate(names)
    ]
    pool = Pool("s0", None, "usage", None, None, "d", Costs(cost, cost, -cost))
    made = planned([pool], rules, replace(KEYS, usage=usage))
    (one,) = made.claimed
    assert isinstance(one, chained.Chained)
    weights, whole = one.way.weights, sum(one.way.weights.values())
    assert {name: Fraction(weights.get(name, 0), whole) for name in TENANTS} == expected
    for entry in made.splits:
        assert abs(entry.costs.unblended - cost * expected[entry.tenant_id]) < 1
    assert sum(entry.costs.unblended for entry in made.splits) == cost
    assert one.key.total == 100 * amount.ATTO


@settings(max_examples=examples(200), deadline=None)
@given(graphs(), st.lists(st.integers(-(10**20), 10**20), min_size=len(NAMES), max_size=len(NAMES)))
def test_what_leaves_each_place_is_what_it_has_and_what_comes_in_to_the_last_unit(
    graph: dict[str, dict[str, int]], costs: list[int]
) -> None:
    usage = {name: Key(name, name, weights) for name, weights in graph.items()}
    rules = [
        read_rule(f"{name} {at} usage_key:{name} service={name}".split()) for at, name in enumerate(graph)
    ]
    found = Graph(rules, replace(KEYS, usage=usage), (), frozenset)
    places = [Place(rule, rule.rule_id, "usage") for rule in rules]
    for place in places:
        found.walk(place)
    own = dict(zip(places, costs, strict=False))
    arrows = chain_flows.flows(own, found.steps)
    through = chain_flows.passing(own, found.steps)
    for place in places:
        coming = sum(flow for arrow, flow in arrows.items() if arrow.head == place)
        going = sum(flow for arrow, flow in arrows.items() if arrow.tail == place)
        assert own[place] + coming == going
    for arrow, flow in arrows.items():
        if isinstance(arrow.head, Place):
            exact = through[arrow.tail] * found.steps[arrow.tail].onward[arrow.head]
            assert abs(flow - exact) < 1
    assert sum(flow for arrow, flow in arrows.items() if arrow.head == chain_flows.TENANTS) == sum(
        own.values()
    )
