"""Rules at their edges, as text tables: what is given, and to the last digit who bears what by which rule.

rule  ID PRIORITY METHOD[:KEY or SHARES] [column=value …] [since=…] [until=…] [zero=…] [v=…]
pool  SERVICE CLASS USD [component=…] [account=…] [plan=…]
gives TENANT USD [RULE]      every line of the outcome
stops RULE                   its key is empty and its rule says so
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cops_dagster.allocation.rules import Costs, Key, Keys, Plan, Pool, Rule, in_force, plan
from cops_dagster.money import amount
from cops_dagster_tests.allocation.rule_words import KEYS, START, USD, read_pool, read_rule
from cops_dagster_tests.examples import examples


@dataclass
class Table:
    """One table, read."""

    rules: list[Rule] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
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
                case "gives":
                    tenant, usd, *rule = words
                    table.gives.append((tenant, amount.to_text(amount.parse(usd)), rule[0] if rule else "-"))
                case "stops":
                    table.stops.append(words[0])
                case _:
                    raise ValueError(row)
        return table

    def outcome(self) -> Plan:
        return plan(self.pools, in_force(self.rules, START), KEYS)


def lines(made: Plan) -> list[tuple[str, str, str]]:
    return sorted(
        (entry.tenant_id, amount.to_text(entry.costs.unblended), entry.rule_id or "-")
        for entry in made.splits
    )


TABLES = {
    "thirds of a dollar add up, the odd atto-dollars by name": """
        rule  r 1 even
        pool  EC2 usage 10
        gives acme 3.333333333333333334 r
        gives beta 3.333333333333333333 r
        gives corp 3.333333333333333333 r
    """,
    "an atto-dollar that does not divide goes to one tenant": """
        rule  r 1 usage_key:gb
        pool  EC2 usage -0.000000000000000001
        gives acme -0.000000000000000001 r
        gives beta 0 r
    """,
    "fixed shares may have decimals and name ourselves": """
        rule  r 1 fixed:__operator__*12.5,acme*62.5,beta*25
        pool  EC2 usage 8
        gives __operator__ 1 r
        gives acme 5 r
        gives beta 2 r
    """,
    "direct cost below zero earns no share": """
        rule  r 1 proportional_cost
        pool  EBS usage 6
        gives acme 3 r
        gives beta 3 r
    """,
    "a service's pool follows the direct cost of that service": """
        rule  r 1 proportional_cost:service
        pool  EC2 usage 4
        pool  S3 usage 4
        gives acme 3 r
        gives beta 1 r
        gives beta 4 r
    """,
    "a service without positive direct cost has an empty key": """
        rule  r 1 proportional_cost:service
        pool  RDS usage 4
        gives __unallocated__ 4 r
        stops r
    """,
    "a tenant with weight 0 gets no line": """
        rule  r 1 usage_key:gb
        pool  EC2 usage 4
        gives acme 3 r
        gives beta 1 r
    """,
    "a rule claims only what has every value it constrains": """
    rule r 1 fixed:acme*100 service=EC2 service_component=api charge_class=usage usage_account_id=1 plan_id=p
        rule  s 2 fixed:beta*100
        pool  EC2 usage 1 component=api account=1 plan=p
        pool  S3  usage 2 component=api account=1 plan=p
        pool  EC2 tax   4 component=api account=1 plan=p
        pool  EC2 usage 8 component=web account=1 plan=p
        pool  EC2 usage 16 component=api account=2 plan=p
        pool  EC2 usage 32 component=api account=1
        pool  EC2 usage 64 account=1 plan=p
        gives acme 1 r
        gives beta 2 s
        gives beta 4 s
        gives beta 8 s
        gives beta 48 s
        gives beta 64 s
    """,
    "pools of one rule, service, component and class are split as one": """
        rule  r 1 even
        pool  EC2 usage 1 account=1
        pool  EC2 usage 2 account=2
        gives acme 1 r
        gives beta 1 r
        gives corp 1 r
    """,
    "the smallest priority number claims, however the rules were loaded": """
        rule  c 30 fixed:corp*100
        rule  a 10 fixed:acme*100 service=S3
        rule  b 20 fixed:beta*100 service=EC2
        pool  EC2 usage 1
        pool  S3  usage 2
        pool  EBS usage 4
        gives acme 2 a
        gives beta 1 b
        gives corp 4 c
    """,
    "a rule that starts later in the month waits for the next": """
        rule  r 1 even since=2025-09-02
        pool  EC2 usage 4
        gives __unallocated__ 4
    """,
    "a rule that starts on the first rules the month": """
        rule  r 1 usage_key:gb since=2025-09-01
        pool  EC2 usage 4
        gives acme 3 r
        gives beta 1 r
    """,
    "a rule that ends on the first no longer rules": """
        rule  r 1 even until=2025-09-01
        pool  EC2 usage 4
        gives __unallocated__ 4
    """,
    "a rule that ends on the second still rules the whole month": """
        rule  r 1 usage_key:gb until=2025-09-02
        pool  EC2 usage 4
        gives acme 3 r
        gives beta 1 r
    """,
    "a new version replaces the old one even at another priority": """
        rule  r 1 fixed:acme*100 v=1 since=2025-01-01
        rule  r 9 fixed:beta*100 v=2 since=2025-08-01
        rule  s 5 fixed:corp*100
        pool  EC2 usage 4
        gives corp 4 s
    """,
    "one priority may pass from a rule that ended to the next": """
        rule  r 1 fixed:acme*100 until=2025-09-01
        rule  s 1 fixed:beta*100 since=2025-09-01
        pool  EC2 usage 4
        gives beta 4 s
    """,
    "an empty key stops the run when its rule says fail": """
        rule  r 1 usage_key:none zero=fail
        pool  EC2 usage 4
        gives __unallocated__ 4 r
        stops r
    """,
    "a key of zeros is an empty key": """
        rule  r 1 usage_key:zeros zero=fail
        pool  EC2 usage 4
        gives __unallocated__ 4 r
        stops r
    """,
    "a measure nobody loaded is an empty key": """
        rule  r 1 usage_key:unheard zero=fail
        pool  EC2 usage 4
        gives __unallocated__ 4 r
        stops r
    """,
    "an empty key is held when its rule says so": """
        rule  r 1 usage_key:zeros zero=hold
        pool  EC2 usage -4
        gives __unallocated__ -4 r
    """,
    "an empty key is split evenly when its rule says so": """
        rule  r 1 usage_key:zeros zero=even
        pool  EC2 usage 3
        gives acme 1 r
        gives beta 1 r
        gives corp 1 r
    """,
    "an empty key hands over to the rule that is named": """
        rule  r 1 usage_key:zeros zero=rule:s service=EC2
        rule  s 2 usage_key:gb service=S3
        pool  EC2 usage 4
        gives acme 3 s
        gives beta 1 s
    """,
    "the rule that is named may hand over in turn": """
        rule  r 1 usage_key:zeros zero=rule:s
        rule  s 2 usage_key:none zero=rule:t
        rule  t 3 hold
        pool  EC2 usage 4
        gives __unallocated__ 4 t
    """,
    "a named rule that is no longer in force stops the run": """
        rule  r 1 usage_key:zeros zero=rule:s
        rule  s 2 even until=2025-09-01
        pool  EC2 usage 4
        gives __unallocated__ 4 r
        stops r
    """,
    "a pool of nothing does no harm with an empty key": """
        rule  r 1 usage_key:none zero=fail
        pool  EC2 usage 0
        gives __unallocated__ 0 r
    """,
    "pools that cancel are nothing to split": """
        rule  r 1 usage_key:none zero=fail
        pool  EC2 usage 4 account=1
        pool  EC2 usage -4 account=2
        gives __unallocated__ 0 r
    """,
    "the same pools of two classes do not cancel": """
        rule  r 1 usage_key:gb
        pool  EC2 usage 4
        pool  EC2 credit -4
        gives acme 3 r
        gives beta 1 r
        gives acme -3 r
        gives beta -1 r
    """,
    "no rules at all: everything has its explicit place": """
        pool  EC2 usage 4
        pool  EC2 credit -1
        gives __unallocated__ 4
        gives __unallocated__ -1
    """,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_rules_and_pools_gives_exactly_its_lines(name: str) -> None:
    table = Table.of(TABLES[name])
    made = table.outcome()
    assert lines(made) == sorted(table.gives)
    assert [rule.rule_id for rule, _, _ in made.zero_keys] == table.stops


@pytest.mark.parametrize("name", TABLES)
def test_the_order_of_pools_and_rules_changes_nothing(name: str) -> None:
    table = Table.of(TABLES[name])
    backwards = Table(table.rules[::-1], table.pools[::-1])
    assert Counter(backwards.outcome().splits) == Counter(table.outcome().splits)


def test_a_line_shows_the_key_its_value_its_total_and_the_pool() -> None:
    made = Table.of("rule r 1 usage_key:gb v=7\npool EC2 usage 4").outcome()
    (acme,) = [entry for entry in made.splits if entry.tenant_id == "acme"]
    assert (acme.rule_version, acme.key_name, acme.key_value, acme.key_total) == (7, "gb", 3 * USD, 4 * USD)
    assert (acme.pool_cost, acme.delivery_id, acme.charge_class) == (4 * USD, "d", "usage")
    assert acme.costs == Costs(3 * USD, -3 * USD, 9 * USD)


def test_a_line_of_a_fallback_shows_the_key_that_was_used_and_the_empty_one_is_kept() -> None:
    made = Table.of("rule r 1 usage_key:zeros zero=even\npool EC2 usage 3").outcome()
    assert {entry.key_name for entry in made.splits} == {"even"}
    assert made.keys["zeros"].total == 0
    assert made.keys["even"].total == 3 * USD


def test_only_pools_that_no_rule_claims_are_a_gap_in_the_rules() -> None:
    made = Table.of("rule r 1 hold service=EC2\npool EC2 usage 1\npool S3 usage 2").outcome()
    assert [pool.service for pool in made.unclaimed] == ["S3"]


def test_a_pool_that_is_nothing_unblended_is_still_split_in_the_other_columns() -> None:
    """A reservation's usage: unblended 0, amortized not."""
    pool = Pool("EC2", None, "usage", None, None, "d", Costs(0, 4 * USD, 4 * USD))
    made = plan([pool], in_force(Table.of("rule r 1 usage_key:gb").rules, START), KEYS)
    assert {entry.tenant_id: entry.costs for entry in made.splits} == {
        "acme": Costs(0, 3 * USD, 3 * USD),
        "beta": Costs(0, USD, USD),
    }


def test_an_even_fallback_without_an_active_tenant_stops_the_run() -> None:
    pools, rules = Table.of("pool EC2 usage 1").pools, Table.of("rule r 1 usage_key:none zero=even").rules
    made = plan(pools, rules, Keys({}, frozenset(), {}))
    assert [rule.rule_id for rule, _, _ in made.zero_keys] == ["r"]


def test_a_stored_rule_keeps_only_what_it_constrains_and_its_shares_exactly() -> None:
    row = dict.fromkeys(
        ("match_service_component", "match_charge_class", "match_usage_account_id", "match_plan_id")
    )
    rule = Rule.from_row(
        row | {"rule_id": "r", "version": 2, "effective_from": START, "effective_to": None, "priority": 10,
               "match_service": "EC2", "method": "fixed", "key_name": None, "on_zero_key": "fail",
               "shares": '{"beta": 33.333333333333333333, "acme": "66.666666666666666667"}'}
    )  # fmt: skip
    assert rule.matches == (("service", "EC2"),)
    shares = [("acme", "66.666666666666666667"), ("beta", "33.333333333333333333")]
    assert [(name, amount.to_decimal(share)) for name, share in rule.shares] == [
        (name, Decimal(share)) for name, share in shares
    ]


# --- conservation over any rules ----------------------------------------------------------------------

TENANTS = ("acme", "beta", "corp", "__operator__")
WEIGHTS = st.dictionaries(st.sampled_from(TENANTS[:3]), st.integers(0, 10**24), max_size=3)
ATTOS = st.integers(-(10**28), 10**28)
POOLS = st.builds(
    Pool,
    st.sampled_from(["EC2", "S3", "RDS"]), st.sampled_from([None, "api"]),
    st.sampled_from(["usage", "tax", "credit"]), st.sampled_from(["1", "2"]), st.none(),
    st.sampled_from(["d", "e"]), st.builds(Costs, ATTOS, ATTOS, ATTOS) | st.just(Costs()),
)  # fmt: skip


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Rule]:
    count = draw(st.integers(0, 5))
    rules = []
    for index in range(count):
        method = draw(st.sampled_from(["even", "fixed", "proportional_cost", "usage_key", "hold"]))
        later = [f"rule:r{number}" for number in range(index + 1, count)]  # forwards only: no cycle
        key = {"usage_key": "k", "proportional_cost": draw(st.sampled_from([None, "service"]))}.get(method)
        first = draw(st.integers(0, 100)) if method == "fixed" else 0
        shares = (("acme", first * USD), ("__operator__", (100 - first) * USD)) if method == "fixed" else ()
        matches = draw(st.dictionaries(st.sampled_from(["service", "charge_class"]), st.just(""), max_size=2))
        given_values = {"service": ["EC2", "S3"], "charge_class": ["usage", "tax"]}
        rules.append(
            Rule(
                f"r{index}", 1, START, None, index,
                tuple((name, draw(st.sampled_from(given_values[name]))) for name in matches),
                method, key, shares, draw(st.sampled_from(["fail", "hold", "even", *later])),
            )
        )  # fmt: skip
    return rules


@settings(max_examples=examples(300))
@given(
    st.lists(POOLS, max_size=15), rule_sets(), WEIGHTS, st.frozensets(st.sampled_from(TENANTS[:3])),
    st.dictionaries(st.sampled_from(["EC2", "S3"]), WEIGHTS, max_size=2),
)  # fmt: skip
def test_every_service_and_class_keeps_its_cost_in_every_column_whatever_the_rules(
    pools: list[Pool],
    rules: list[Rule],
    weights: dict[str, int],
    active: frozenset[str],
    direct: dict[str, dict[str, int]],
) -> None:
    made = plan(pools, in_force(rules, START), Keys({"k": Key("k", "m", weights)}, active, direct))
    totals: defaultdict[tuple[str, str | None, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for sign, found in ((1, pools), (-1, made.splits)):
        for one in found:
            total = totals[one.service, one.service_component, one.charge_class, one.delivery_id]
            for column, cost in enumerate(one.costs):
                total[column] += sign * cost
    assert not any(map(any, totals.values()))
