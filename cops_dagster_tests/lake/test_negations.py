"""Savings-plan negations follow the covered usage that they take back: lines through the tagging SQL."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from cops_dagster.lake import tag_columns
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.lake.views import view
from cops_dagster.policy import Tags
from cops_dagster.tagging import negations
from cops_dagster_tests.deliveries import SEPTEMBER
from cops_dagster_tests.examples import examples

Rows = list[dict[str, Any]]
D = Decimal


def line(
    kind: str, cost: str | Decimal, tenant: str | None = None, *, hours: str = "0-1", **more: Any
) -> dict[str, Any]:
    """One line of `fact_cost_raw`. `kind` C covered, N negation, else its line type; hours since the 1st."""
    begin, end = (datetime(2025, 9, 1 + int(h) // 24, int(h) % 24) for h in hours.split("-"))
    line_type = {"C": "SavingsPlanCoveredUsage", "N": "SavingsPlanNegation"}.get(kind, kind)
    usd = D(cost)
    return {
        "line_item_line_item_type": line_type, "line_item_unblended_cost": usd, "net_unblended_cost": usd,
        "commitment_line": line_type if kind in "CN" else None, "charge_class": "usage",
        "amortized_cost": D(1) if kind == "C" else D(0), "net_amortized_cost": D(0), "true_up_cost": D(0),
        "upfront_cost": D(0), "net_true_up_cost": D(0), "net_upfront_cost": D(0),
        "line_item_usage_start_date": begin, "line_item_usage_end_date": end, "source_id": "s",
        "delivery_id": "d", "period_start": SEPTEMBER.start, "product_servicecode": "AmazonEC2",
        "line_item_usage_account_id": "111111111111", "savings_plan_savings_plan_a_r_n": "plan",
        "line_item_usage_type": "BoxUsage", "line_item_operation": "Run",
        "resource_tags_user_tenant_id": tenant, **more,
    }  # fmt: skip


def grouped(given_lines: Rows, *, inherit: bool = True) -> Rows:
    """The lines by their tags, as tagging sees them."""
    names = [name for name, _ in FACT_COST_RAW]
    start: dict[str, Any] = {"period_start": SEPTEMBER.start}
    with DuckDB() as engine:
        engine.table("fact_cost_raw", FACT_COST_RAW, [tuple(map(row.get, names)) for row in given_lines])
        view(engine, "lines", exp.select("*", "1 AS line_count").from_("fact_cost_raw"))
        view(engine, "bare_lines", exp.select("*").from_("fact_cost_raw"))
        tag_columns.provide_named_lines(engine, Tags(), inherit=inherit)
        for name in ("alike_cost_lines", "hourly_cost_lines"):
            tag_columns.provide_cost_lines(engine, Tags(), inherit=inherit, name=name, of="lines")
        engine.keep("untagged_resources", "find_untagged_resources")
        engine.keep("resource_tenants", "find_resource_tenants")
        negations.provide(engine, SEPTEMBER)
        return engine.fetch("group_lines_by_tags", start).dicts()


def by_tenant(groups: Rows, column: str = "unblended_cost") -> dict[str | None, Decimal]:
    found: defaultdict[str | None, Decimal] = defaultdict(Decimal)
    for row in groups:
        found[row["resource_tenant"] or row["inherited_tenant"]] += row[column]
    return dict(found)


def unmatched(groups: Rows) -> Decimal:
    return sum((row["unblended_cost"] for row in groups if row["takes_back"] == "usage"), D(0))


A, B = "acme", "globex"
ZONE_A, ZONE_B = ({"line_item_availability_zone": zone} for zone in "ab")
OTHER_SOURCE = {"source_id": "t", "delivery_id": "e"}
CASES: dict[str, tuple[Rows, dict[str | None, str], str]] = {
    "who had the covered usage gets it back, not everybody": (
        [line("C", "80", A), line("N", "-80"), line("Usage", "80", B)], {A: "0", B: "80"}, "0"),
    "one negation for the lines of two tenants": (
        [line("C", "50", A), line("C", "30", B), line("N", "-80")], {A: "0", B: "0"}, "0"),
    "several negations of one group": (
        [line("C", "50", A), line("C", "30", B), line("N", "-20"), line("N", "-60")], {A: "0", B: "0"}, "0"),
    "a tag on the negation says less than the usage it takes back": (
        [line("C", "80", A), line("N", "-80", B)], {A: "0"}, "0"),
    "untagged usage stays in the pool with its negation": (
        [line("C", "80"), line("N", "-80"), line("Usage", "1", A)], {None: "0", A: "1"}, "0"),
    "only the zone that is negated": (
        [line("C", "80", A, **ZONE_A), line("C", "80", B, **ZONE_B),
         line("N", "-80", **ZONE_A)], {A: "0", B: "80"}, "0"),
    "a negation that names no zone takes that of any": (
        [line("C", "50", A, **ZONE_A), line("C", "30", B, **ZONE_B),
         line("N", "-80")], {A: "0", B: "0"}, "0"),
    "only the hour that is negated": (
        [line("C", "80", A), line("C", "80", B, hours="1-2"), line("N", "-80", hours="1-2")],
        {A: "80", B: "0"}, "0"),
    "a daily negation takes the hours of its day": (
        [line("C", "50", A), line("C", "30", B, hours="7-8"), line("C", "9", A, hours="25-26"),
         line("N", "-80", hours="0-24")], {A: "9", B: "0"}, "0"),
    "only the plan that is named": (
        [line("C", "80", A), line("C", "80", B, savings_plan_savings_plan_a_r_n="other"), line("N", "-80")],
        {A: "0", B: "80"}, "0"),
    "the usage of its own account only": (
        [line("C", "80", A), line("C", "80", B, line_item_usage_account_id="2"),
         line("N", "-80", line_item_usage_account_id="2")], {A: "80", B: "0"}, "0"),
    "a part is split by what the lines cost": (
        [line("C", "60", A), line("C", "30", B), line("N", "-30")], {A: "40", B: "20"}, "0"),
    "a part that does not divide adds up all the same": (
        [line("C", "1", A), line("C", "1", B), line("C", "1"), line("N", "-1")],
        {A: "0.666666666666666666", B: "0.666666666666666667", None: "0.666666666666666667"}, "0"),
    "what goes beyond the usage is nobody's and is said": (
        [line("C", "80", A), line("N", "-100")], {A: "0", None: "-20"}, "-20"),
    "a negation alone stays where its own tag puts it and is said": (
        [line("N", "-80", B), line("Usage", "5", A)], {A: "5", B: "-80"}, "-80"),
    "a negation alone without a tag is pooled and said": ([line("N", "-80")], {None: "-80"}, "-80"),
    "the rounding of AWS stays with a covered line": (
        [line("C", "50.0000000003", A), line("C", "30", B), line("N", "-80.0000000002")],
        {A: "0.0000000001", B: "0"}, "0"),
    "a correction of covered usage is taken back the other way": (
        [line("C", "-80", A), line("N", "80")], {A: "0"}, "0"),
    "of two sources of one payer": (
        [line("C", "80", A), line("N", "-80", **OTHER_SOURCE)], {A: "0"}, "0"),
    "of another service nothing is taken": (
        [line("C", "80", A), line("N", "-80", product_servicecode="AmazonECS")],
        {A: "80", None: "-80"}, "-80"),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", CASES)
def test_a_negation_follows_the_usage_it_takes_back(name: str) -> None:
    given_lines, wanted, alone = CASES[name]
    found = grouped(given_lines)
    assert by_tenant(found) == {tenant: D(usd) for tenant, usd in wanted.items()}
    assert by_tenant(found, "net_unblended_cost") == by_tenant(found)
    assert unmatched(found) == D(alone)
    assert sum(row["line_count"] for row in found) == len(given_lines)


def test_a_negation_makes_no_group_of_its_own_and_moves_no_other_view() -> None:
    found = grouped([line("C", "80", A), line("N", "-80"), line("Usage", "3", B)])
    assert {row["resource_tenant"] for row in found} == {A, B}
    assert by_tenant(found, "amortized_cost") == {A: 1, B: 0}
    assert by_tenant(found, "positive_unblended_cost") == {A: 80, B: 3}  # coverage weighs how usage is tagged


def test_usage_that_inherits_its_tenant_is_taken_back_there() -> None:
    same = {"line_item_resource_id": "i-1"}
    found = grouped([line("Usage", "5", A, **same), line("C", "80", **same), line("N", "-80")])
    assert by_tenant(found) == {A: 5}


@pytest.mark.parametrize("kind", ["Refund", "Credit"])
def test_a_refund_or_credit_that_names_a_resource_is_its_tenants_whatever_the_setting_of_inheritance(
    kind: str,
) -> None:
    same = {"line_item_resource_id": "i-1"}
    given_lines = [
        line("Usage", "5", A, **same), line("Usage", "2", **same),
        line(kind, "-1", **same, charge_class="refund"),
        line(kind, "-7", line_item_resource_id="i-2", charge_class="refund"),
    ]  # fmt: skip
    found = grouped(given_lines, inherit=False)
    assert by_tenant(found) == {A: 4, None: -5}
    alone = [row["unblended_cost"] for row in found if row["takes_back"] and not row["inherited_tenant"]]
    assert alone == [D(-7)]


USD = st.integers(1, 10**13).map(lambda units: D(units).scaleb(-10))


@st.composite
def months(draw: st.DrawFn) -> tuple[Rows, bool]:
    """Covered usage by hour and zone with its negations; true where each group is negated whole."""
    rows: Rows = []
    whole = draw(st.booleans())
    for hour in range(draw(st.integers(1, 3))):
        for zone in draw(st.sampled_from([("",), ("a", "b"), ("a", None)])):
            more = {"hours": f"{hour}-{hour + 1}", "line_item_availability_zone": zone}
            costs = draw(st.lists(USD, min_size=1, max_size=4))
            rows += [line("C", cost, draw(st.sampled_from([A, B, None])), **more) for cost in costs]
            negated = sum(costs, D(0)) if whole else draw(USD)
            rows.append(line("N", -negated, draw(st.sampled_from([A, None])), **more))
    rows += [line("Usage", draw(USD), A) for _ in range(draw(st.integers(0, 2)))]
    return draw(st.permutations(rows)), whole


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(months())
def test_whatever_is_negated_every_view_keeps_its_sum_and_what_is_negated_whole_costs_nothing(
    month: tuple[Rows, bool],
) -> None:
    rows, whole = month
    found = grouped(rows)
    for column, before in (
        ("unblended_cost", "line_item_unblended_cost"), ("net_unblended_cost", "net_unblended_cost"),
        ("amortized_cost", "amortized_cost"),
    ):  # fmt: skip
        assert sum((row[column] for row in found), D(0)) == sum((row[before] for row in rows), D(0))
    assert sum(row["line_count"] for row in found) == len(rows)
    assert by_tenant(grouped(rows[::-1])) == by_tenant(found)
    if whole:
        usage = sum((r["line_item_unblended_cost"] for r in rows if r["commitment_line"] is None), D(0))
        left = {tenant: usd for tenant, usd in by_tenant(found).items() if usd}
        assert left == ({A: usage} if usage else {})
