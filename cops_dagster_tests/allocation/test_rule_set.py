"""A rule set checked whole, as text tables: the rules in force, and every problem they have together.

rule  as in test_rule_tables: ID PRIORITY METHOD[:KEY or SHARES] [column=value …] [since=…] [until=…] [zero=…]
pool  SERVICE CLASS USD [component=…] [account=…] [plan=…]
bad   CODE RULE[,RULE…]       an error
odd   CODE [RULE,RULE…]       a warning
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cops_dagster.allocation import rule_set
from cops_dagster.allocation.rule_set import Problem, problems, require
from cops_dagster.allocation.rules import MATCHED, Costs, Key, Keys, Pool, Rule, in_force, plan
from cops_dagster.errors import CopsError
from cops_dagster.inputs import versions
from cops_dagster.inputs.files import Row
from cops_dagster.money import amount
from cops_dagster.policy import Tags
from cops_dagster.words import CHARGE_CLASSES
from cops_dagster_tests.allocation.rule_words import KEYS, START, read_pool, read_rule
from cops_dagster_tests.examples import examples

TENANTS = {"acme", "beta"}
REST = "rule rest 99 proportional_cost\n"
"""A rule that claims whatever is left, so that a table shows its own problems alone."""


def read(text: str) -> tuple[list[Rule], list[Pool] | None, list[tuple[str, str, tuple[str, ...]]]]:
    rules, pools, expected = [], [], []
    for row in filter(None, map(str.strip, text.splitlines())):
        kind, *words = row.split()
        if kind == "rule":
            rules.append(read_rule(words))
        elif kind == "pool":
            pools.append(read_pool(words))
        else:
            severity = {"bad": "error", "odd": "warning"}[kind]
            expected.append((severity, words[0], tuple(words[1].split(",")) if words[1:] else ()))
    return rules, pools or None, sorted(expected)


def found(
    rules: Iterable[Rule], pools: list[Pool] | None = None, day: date = START
) -> list[tuple[str, str, tuple[str, ...]]]:
    listed = problems(rules, {"gb", "none"}, TENANTS, day, pools)
    return sorted((one.severity, one.code, one.rule_ids) for one in listed)


PAIRS: dict[str, tuple[str, str]] = {
    # what is found, and its twin that is allowed
    "R05 two rules in force share a priority": (
        REST + "rule a 1 even service=EC2\nrule b 1 even service=S3\nbad E-RULE-OVERLAP a,b",
        REST + "rule a 1 even service=EC2\nrule b 2 even service=S3",
    ),
    "R05 three rules of one priority are one problem": (
        REST + "rule a 1 even service=A\nrule b 1 even service=B\nrule c 1 even service=C\n"
        "bad E-RULE-OVERLAP a,b,c",
        REST + "rule a 1 even service=A until=2025-09-01\nrule b 1 even service=B\n"
        "rule c 1 even service=C since=2025-10-01",
    ),
    "R05 a rule behind one that claims everything never matches": (
        "rule all 1 even\nrule late 2 even service=EC2\nodd E-RULE-OVERLAP all,late",
        "rule all 2 even\nrule late 1 even service=EC2",
    ),
    "R05 a rule behind one that constrains less never matches": (
        REST + "rule a 1 even service=EC2\nrule b 2 even service=EC2 charge_class=tax\n"
        "odd E-RULE-OVERLAP a,b",
        REST + "rule a 1 even service=S3\nrule b 2 even service=EC2 charge_class=tax",
    ),
    "R05 a rule behind its equal never matches": (
        REST + "rule a 1 even service=EC2\nrule b 2 hold service=EC2\nodd E-RULE-OVERLAP a,b",
        REST + "rule a 1 even service=EC2\nrule b 2 hold service=EC2 until=2025-09-01",
    ),
    "R05 a hidden rule earns its place as the fallback of another": (
        "rule all 1 usage_key:gb\nrule b 2 even service=EC2\nodd E-RULE-OVERLAP all,b",
        "rule all 1 usage_key:gb zero=rule:b\nrule b 2 even service=EC2",
    ),
    "R04 shares that sum to 99.99": (
        REST + "rule a 1 fixed:acme*59.99,beta*40 service=S3\nbad E-RULE-SUM a",
        REST + "rule a 1 fixed:acme*60,beta*40 service=S3",
    ),
    "R04 shares that sum to 100.01": (
        REST + "rule a 1 fixed:acme*60.01,beta*40 service=S3\nbad E-RULE-SUM a",
        REST + "rule a 1 fixed:acme*60.01,beta*39.99 service=S3",
    ),
    "R04 shares an atto short of 100": (
        REST + "rule a 1 fixed:acme*99.999999999999999999 service=S3\nbad E-RULE-SUM a",
        REST + "rule a 1 fixed:acme*99.999999999999999999,beta*0.000000000000000001 service=S3",
    ),
    "R02 a negative share, though the sum is 100": (
        REST + "rule a 1 fixed:acme*110,beta*-10 service=S3\nbad E-RULE-SUM a",
        REST + "rule a 1 fixed:acme*100,beta*0 service=S3",
    ),
    "R04 shares of nothing": (
        REST + "rule a 1 fixed:acme*0 service=S3\nbad E-RULE-SUM a",
        REST + "rule a 1 fixed:__operator__*100 service=S3",
    ),
    "shares of a tenant that nobody registered": (
        REST + "rule a 1 fixed:acme*50,gamma*50 service=S3\nbad E-TENANT-UNKNOWN a",
        REST + "rule a 1 fixed:acme*50,__operator__*50 service=S3",
    ),
    "shares of the place for faults": (
        REST + "rule a 1 fixed:__unallocated__*100 service=S3\nbad E-TENANT-UNKNOWN a",
        REST + "rule a 1 hold service=S3",
    ),
    "a key that allocation_keys does not have": (
        REST + "rule a 1 usage_key:unheard service=S3\nbad E-KEY-UNKNOWN a",
        REST + "rule a 1 usage_key:gb service=S3",
    ),
    "usage_key without a key": (
        REST + "rule a 1 usage_key service=S3\nbad E-RULE-METHOD a",
        REST + "rule a 1 usage_key:gb service=S3",
    ),
    "a method that there is not": (
        REST + "rule a 1 median service=S3\nbad E-RULE-METHOD a",
        REST + "rule a 1 even service=S3",
    ),
    "a key where the method takes none": (
        REST + "rule a 1 even:gb service=S3\nbad E-RULE-METHOD a",
        REST + "rule a 1 proportional_cost:service service=S3",
    ),
    "proportional cost by something else than service": (
        REST + "rule a 1 proportional_cost:gb service=S3\nbad E-RULE-METHOD a",
        REST + "rule a 1 proportional_cost service=S3",
    ),
    "an empty key's policy that there is not": (
        REST + "rule a 1 even service=S3 zero=guess\nbad E-RULE-METHOD a",
        REST + "rule a 1 even service=S3 zero=hold",
    ),
    "a fallback to no rule at all": (
        REST + "rule a 1 usage_key:gb service=S3 zero=rule:unheard\nbad E-RULE-METHOD a",
        REST + "rule a 1 usage_key:gb service=S3 zero=rule:rest",
    ),
    "a fallback to a rule that ended": (
        REST + "rule a 1 usage_key:gb service=S3 zero=rule:b\n"
        "rule b 2 even service=EC2 until=2025-09-01\nbad E-RULE-METHOD a",
        REST + "rule a 1 usage_key:gb service=S3 zero=rule:b\nrule b 2 even service=EC2 until=2025-09-02",
    ),
    "R10 a rule that falls back to itself": (
        REST + "rule a 1 usage_key:gb service=S3 zero=rule:a\nbad E-RULE-CYCLE a",
        REST + "rule a 1 usage_key:gb service=S3 zero=even",
    ),
    "R10 a cycle of three is one problem, and who leads into it is none": (
        REST + "rule d 4 usage_key:gb service=D zero=rule:b\nrule c 1 usage_key:gb service=C zero=rule:a\n"
        "rule a 2 usage_key:gb service=A zero=rule:b\nrule b 3 usage_key:gb service=B zero=rule:c\n"
        "bad E-RULE-CYCLE a,b,c",
        REST + "rule d 4 usage_key:gb service=D zero=rule:b\nrule c 1 usage_key:gb service=C zero=rule:a\n"
        "rule a 2 usage_key:gb service=A zero=rule:b\nrule b 3 usage_key:gb service=B zero=hold",
    ),
    "R08 a version that ends before it begins": (
        REST + "rule a 1 even service=S3 since=2025-05-01 until=2025-05-01\nbad E-RULE-DATES a",
        REST + "rule a 1 even service=S3 since=2025-05-01 until=2025-05-02",
    ),
    "R08 two versions on one day": (
        REST + "rule a 1 even service=S3 until=2025-06-02\nrule a 1 hold service=S3 v=2 since=2025-06-01\n"
        "bad E-RULE-DATES a",
        REST + "rule a 1 even service=S3 until=2025-06-01\nrule a 1 hold service=S3 v=2 since=2025-06-01",
    ),
    "R08 two versions that begin on one day": (
        REST + "rule a 1 even service=S3\nrule a 1 hold service=S3 v=2\nbad E-RULE-DATES a",
        REST + "rule a 1 even service=S3\nrule a 1 hold service=S3 v=2 since=2025-01-02",
    ),
    "R08 days between two versions": (
        REST + "rule a 1 even service=S3 until=2025-06-01\nrule a 1 hold service=S3 v=2 since=2025-07-01\n"
        "odd E-RULE-DATES a",
        REST + "rule a 1 even service=S3\nrule a 1 hold service=S3 v=2 since=2025-07-01",
    ),
    "R06 a class of the month that no rule claims whole": (
        "rule a 1 even charge_class=usage\npool EC2 usage 1\npool EC2 tax 2\npool S3 tax 3\nodd E-RULE-GAP",
        "rule a 1 even charge_class=usage\nrule b 2 even charge_class=tax\npool EC2 usage 1\npool EC2 tax 2",
    ),
    "R06 rules for each service leave the next service open": (
        "rule a 1 even service=EC2\npool EC2 usage 1\nodd E-RULE-GAP",
        "rule a 1 even service=EC2\nrule b 2 hold\npool EC2 usage 1",
    ),
    "several problems are listed together": (
        "rule a 1 fixed:acme*99,gamma*2 service=S3\nrule b 1 median zero=rule:b\npool EC2 usage 1\n"
        "bad E-RULE-OVERLAP a,b\nbad E-RULE-SUM a\nbad E-TENANT-UNKNOWN a\nbad E-RULE-METHOD b\n"
        "bad E-RULE-CYCLE b",
        "rule a 1 fixed:acme*98,beta*2 service=S3\nrule b 2 even\npool EC2 usage 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_a_set_has_exactly_the_problems_of_its_table_and_its_twin_has_none(name: str) -> None:
    for text in PAIRS[name]:
        rules, pools, expected = read(text)
        assert found(rules, pools) == expected
    assert not expected


def test_without_a_month_every_charge_class_needs_a_rule() -> None:
    gaps = [one for one in problems([], set(), set(), START) if one.code == "E-RULE-GAP"]
    assert len(gaps) == len(CHARGE_CLASSES)
    assert problems(read(REST)[0], set(), set(), START) == []


def test_a_gap_says_how_much_of_the_month_has_no_rule() -> None:
    rules, pools, _ = read("rule a 1 even service=EC2\npool EC2 tax 1\npool S3 tax 1\npool RDS tax 1")
    (gap,) = problems(rules, set(), set(), START, pools)
    assert (gap.expected, gap.found) == (
        "a rule that claims whatever is left of charge class tax",
        "none; 2 of the month's 3 pools of this class have no rule",
    )


def test_a_set_with_errors_is_refused_once_with_all_of_them_and_one_with_warnings_passes() -> None:
    rules, pools, _ = read(PAIRS["several problems are listed together"][0])
    listed = problems(rules, set(), TENANTS, START, pools)
    with pytest.raises(CopsError) as refusal:
        require(listed)
    assert refusal.value.code == listed[0].code == "E-RULE-CYCLE"
    assert [one["code"] for one in refusal.value.details["problems"]] == [one.code for one in listed]
    assert "5 errors" in refusal.value.found
    require([one for one in listed if one.severity == "warning"])
    require([Problem("E-RULE-GAP", "warning", (), "a rule", "none")])


def test_a_set_is_asked_for_on_each_day_it_changes_and_on_no_other() -> None:
    rules, _, _ = read(
        "rule a 1 even since=2025-01-01 until=2025-10-05\nrule b 2 even since=2025-10-05\n"
        "rule b 2 hold v=2 since=2025-12-01\nrule c 3 even since=2025-02-01 until=2025-03-01"
    )
    assert rule_set.changes(rules, START) == [START, date(2025, 10, 5), date(2025, 12, 1)]
    assert rule_set.changes([], START) == [START]


# --- any rules ----------------------------------------------------------------------------------------

DAYS = st.integers(0, 5).map(lambda weeks: START + timedelta(weeks=weeks - 3))
IDS = ("a", "b", "c", "d")


@st.composite
def rules_of_any_kind(draw: st.DrawFn) -> list[Rule]:
    made, versions = [], dict.fromkeys(IDS, 0)
    for _ in range(draw(st.integers(0, 6))):
        rule_id = draw(st.sampled_from(IDS))
        versions[rule_id] += 1
        method = draw(st.sampled_from(["even", "hold", "proportional_cost", "usage_key"]))
        values = {"service": ["EC2", "S3"], "charge_class": ["usage", "tax"], "usage_account_id": ["1"]}
        columns = draw(st.lists(st.sampled_from(sorted(values)), unique=True, max_size=3))
        made.append(
            Rule(
                rule_id, versions[rule_id], draw(DAYS), draw(st.none() | DAYS), draw(st.integers(1, 5)),
                tuple((name, draw(st.sampled_from(values[name]))) for name in MATCHED if name in columns),
                method, "gb" if method == "usage_key" else None, (),
                draw(st.sampled_from(["fail", "hold", "even", *(f"rule:{name}" for name in IDS)])),
            )
        )  # fmt: skip
    return made


def test_findings_that_differ_in_what_they_expect_stand_in_one_order() -> None:
    one = Problem("E-RULE-GAP", "warning", (), "a rule for class fee", "none")
    other = Problem("E-RULE-GAP", "warning", (), "a rule for class tax", "none")
    assert one.rank < other.rank


@pytest.mark.long
@settings(max_examples=examples(300))
@given(rules_of_any_kind(), st.randoms(use_true_random=False))
def test_the_order_of_rules_changes_nothing(rules: list[Rule], chance: random.Random) -> None:
    shuffled = chance.sample(rules, len(rules))
    assert problems(shuffled, {"gb"}, TENANTS, START) == problems(rules, {"gb"}, TENANTS, START)


@pytest.mark.long
@settings(max_examples=examples(300))
@given(rules_of_any_kind())
def test_a_set_without_errors_rules_the_month_as_a_run_takes_it(rules: list[Rule]) -> None:
    codes = {one.code for one in problems(rules, {"gb"}, TENANTS, START) if one.severity == "error"}
    if not codes:
        pools = [Pool("EC2", None, "usage", "1", None, "d", Costs(1, 1, 1))]
        zeros = Keys({}, frozenset(), {})  # every key is empty: every fallback is followed to its end
        assert sum(entry.costs.unblended for entry in plan(pools, in_force(rules, START), zeros).splits) == 1


EVERY_POOL = [
    Pool(service, None, charge_class, account, None, "d", Costs(1, 1, 1))
    for service in ("EC2", "S3", "RDS")
    for charge_class in ("usage", "tax", "credit")
    for account in ("1", "2")
]


@settings(max_examples=examples(300))
@given(rules_of_any_kind())
def test_a_rule_that_is_said_to_be_hidden_claims_no_pool_and_a_class_without_gap_is_claimed_whole(
    rules: list[Rule],
) -> None:
    listed = problems(rules, {"gb"}, TENANTS, START, EVERY_POOL)
    standing = in_force(rules, START)
    claimers = [next((rule for rule in standing if rule.claims(pool)), None) for pool in EVERY_POOL]
    hidden = {one.rule_ids[1] for one in listed if (one.code, one.severity) == ("E-RULE-OVERLAP", "warning")}
    assert not hidden & {rule.rule_id for rule in claimers if rule}
    gaps = {one.expected.split()[-1] for one in listed if one.code == "E-RULE-GAP"}
    open_classes = {pool.charge_class for pool, rule in zip(EVERY_POOL, claimers, strict=True) if not rule}
    assert open_classes <= gaps


@pytest.mark.long
@settings(max_examples=examples(500))
@given(rules_of_any_kind())
@example([])
def test_what_a_load_refuses_is_found_and_what_it_takes_is_not_an_error(rules: list[Rule]) -> None:
    """Two implementations of one contract: the load stops at the first fault, the check lists them all."""
    rows = {(rule.rule_id, rule.version): Row("allocation_rules", stored(rule), "x", 2) for rule in rules}
    days = rule_set.changes(rules, date(2025, 1, 1))
    codes = {
        one.code
        for day in days
        for one in problems(rules, {"gb"}, TENANTS, day)
        if one.severity == "error" and one.code != "E-RULE-METHOD"  # which a load asks of ids, not of days
    }
    refused = None
    try:
        versions.check_versions("allocation_rules", rows, Tags())
    except CopsError as refusal:
        refused = refusal.code
    assert (refused in codes) if refused else not codes


def stored(rule: Rule) -> dict[str, Any]:
    matches = {f"match_{name}": dict(rule.matches).get(name) for name in MATCHED}
    names = ("rule_id", "version", "effective_from", "effective_to", "priority", "on_zero_key")
    return matches | {name: getattr(rule, name) for name in names}


def test_ten_thousand_rules_are_checked_in_the_time_of_one_sitting() -> None:
    rules = [
        Rule(f"r{n}", 1, START, None, n, (("service", f"s{n % 5000}"), ("charge_class", "usage"),
             ("usage_account_id", "1")), "even", None, (), "fail")
        for n in range(10_000)
    ]  # fmt: skip
    begin = time.process_time()
    listed = problems(rules, set(), set(), START, EVERY_POOL)
    assert time.process_time() - begin < 10  # 0.3 s where it was written
    assert sum(one.code == "E-RULE-OVERLAP" for one in listed) == 5000


# --- splits at their limits ---------------------------------------------------------------------------


def test_r14_one_tenant_bears_every_pool_whole() -> None:
    rules = [read_rule(["r", "1", "even"])]
    made = plan(
        [read_pool(["EC2", "usage", "7.000000000000000001"])], rules, Keys({}, frozenset({"acme"}), {})
    )
    assert [(one.tenant_id, one.costs.unblended) for one in made.splits] == [
        ("acme", amount.parse("7.000000000000000001"))
    ]


@pytest.mark.long
def test_r14_a_hundred_thousand_tenants_of_weights_1_to_10_18_add_up_in_seconds() -> None:
    weights = {f"t{n:06}": 10**18 if n == 0 else 1 for n in range(100_000)}
    pool = read_pool(["EC2", "usage", "123456789.000000000000000007"])
    rules = [read_rule(["r", "1", "usage_key:gb"])]
    begin = time.process_time()
    made = plan([pool], rules, Keys({"gb": Key("gb", "network", weights)}, frozenset(), {}))
    assert time.process_time() - begin < 20  # 0.6 s where it was written
    for column, total in enumerate(pool.costs):
        assert sum(one.costs[column] for one in made.splits) == total
    borne = {one.tenant_id: one.costs.unblended for one in made.splits}
    assert borne["t000000"] > pool.costs.unblended * 999 // 1000
    assert set(weights) >= set(borne)


@given(
    st.lists(st.integers(-(10**24), 10**24), min_size=1, max_size=5),
    st.sampled_from(["usage_key:gb", "even"]),
)
def test_r15_a_negative_pool_is_split_like_the_positive_one_to_the_last_digit(
    costs: list[int], how: str
) -> None:
    rules = [read_rule(["r", "1", *how.split()])]
    sides = []
    for sign in (1, -1):
        pools = [Pool(f"s{n}", None, "credit", None, None, "d", Costs(sign * cost, cost, 1))
                 for n, cost in enumerate(costs)]  # fmt: skip
        sides.append({(one.service, one.tenant_id): sign * one.costs.unblended
                      for one in plan(pools, rules, KEYS).splits if one.costs.unblended})  # fmt: skip
    assert sides[0] == sides[1]
