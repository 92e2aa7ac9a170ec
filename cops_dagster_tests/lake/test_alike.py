"""Lines that are alike, as one row: the lens over groups gives the digits of the lens over lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from cops_dagster.cur.schema import VIEW_COSTS
from cops_dagster.ingestion.measures import VIEWS
from cops_dagster.lake import alike, lens, tag_columns
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.lake.views import empty, union_by_name, view
from cops_dagster.policy import Tags
from cops_dagster_tests.lake.odd import Odd, table

PERIOD = date(2025, 9, 1)
TYPES = (
    "Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "SavingsPlanRecurringFee",
    "SavingsPlanUpfrontFee", "RIFee", "Fee", "Refund", "Credit", "Tax", "EdpDiscount", "Unknown", None,
)  # fmt: skip
TEXTS: dict[str, tuple[str | None, ...]] = {
    "line_item_line_item_type": TYPES,
    "bill_billing_entity": ("AWS", "AWS Marketplace", None),
    "bill_bill_type": ("Anniversary", "Purchase", None),
    "line_item_product_code": ("AmazonEC2", "AWSSupportBusiness", "AWSPremiumSupport", None),
    "product_servicecode": ("AmazonEC2", "", " ", None),
    "product_product_name": ("Elastic Compute", "", None),
    "line_item_operation": ("RunInstances", "EKSPod-EC2", None),
    "line_item_usage_type": ("BoxUsage", None),
    "line_item_availability_zone": ("eu-1a", "", None),
    "line_item_resource_id": ("i-1", "i-2", "arn:aws:savingsplans::1:savingsplan/x", "", None),
    "line_item_line_item_description": ("Sign up charge for subscription: 1", "monthly", None),
    "split_line_item_parent_resource_id": ("i-9", "", None),
    "savings_plan_savings_plan_a_r_n": ("arn:aws:savingsplans::1:savingsplan/a", "", None),
    "reservation_reservation_a_r_n": ("arn:aws:ec2::1:reserved-instances/a", None),
    "resource_tags_user_tenant_id": ("acme", " acme", "", " ", None),
    "resource_tags_user_plan_id": ("gold", None),
    "resource_tags_user_service_component": ("api", None),
}
COSTS = (0.0, 0.25, -0.25, 1e-7, -3.5, 100000.1, 0.1, None)
DAYS = (datetime(2025, 9, 1), datetime(2025, 9, 2, 5), datetime(2025, 9, 17))
KEYS = (
    "product_servicecode", "charge_class", "line_item_usage_account_id", "resource_tenant", "resource_plan",
    "component_tag", "usage_slice", "untagged_resource", "takes_back",
)  # fmt: skip
BOUNDARY = date(2025, 9, 15)
TAGS = Tags(
    tenant_id=("user_tenant_id",), plan_id=("user_plan_id",), service_component=("user_service_component",)
)


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDB]:
    with DuckDB() as opened:
        yield opened


def lines(rows: list[dict[str, Any]]) -> pa.Table:
    columns: dict[str, Any] = {name: pa.array([row[name] for row in rows], pa.string()) for name in TEXTS}
    for name in VIEW_COSTS:
        columns[name] = pa.array([row[name] for row in rows], pa.float64())
    begins = [row["day"] for row in rows]
    columns["line_item_usage_start_date"] = pa.array(begins, pa.timestamp("us"))
    columns["line_item_usage_end_date"] = pa.array(
        [day.replace(hour=6) for day in begins], pa.timestamp("us")
    )
    return table(len(rows), **columns)


def month(seed: int, *, faults: bool) -> list[dict[str, Any]]:
    """Lines of every kind, most of them alike in something; without faults each says what it costs."""
    any_of = random.Random(seed).choice
    costs = COSTS if faults else COSTS[:-1]
    return [
        {name: any_of(values) for name, values in TEXTS.items()}
        | {name: any_of(COSTS) for name in VIEW_COSTS}
        | {"line_item_unblended_cost": any_of(costs), "day": any_of(DAYS)}
        for _ in range(3_000)
    ]


def shown(engine: DuckDB, of: str, count: str, keys: tuple[str, ...]) -> list[Any]:
    columns = [f"{name}_cost" if name != "unblended" else "line_item_unblended_cost" for name in VIEWS]
    sums = [f"SUM({name})" for name in columns]
    sums += [f"SUM(CASE WHEN {name} > 0 THEN {name} END)" for name in columns]
    sums += [f"SUM(CASE WHEN line_item_unblended_cost > 0 THEN {count} ELSE 0 END)", f"SUM({count})"]
    listed = ", ".join(keys)
    return engine.run(f"SELECT {listed}, {', '.join(sums)} FROM {of} GROUP BY {listed} ORDER BY ALL").rows


def provide(engine: DuckDB, odd: Odd, through: Lens, parts: tuple[alike.Part, ...], *, in_one: bool) -> None:
    columns = union_by_name([empty(FACT_COST_RAW), lens.booked(odd.files, through, PERIOD)])
    view(engine, "fact_cost_raw", columns)
    tag_columns.provide_cost_lines(engine, TAGS, [BOUNDARY], name="cost_lines", of="fact_cost_raw")
    asked = tag_columns.asked(TAGS, [BOUNDARY])
    grouped = alike.alike(odd.files, through, PERIOD, asked, parts, in_one=in_one)
    counted = exp.select("*", "0 AS line_count").from_(empty(FACT_COST_RAW).subquery("none"))
    view(engine, "alike_lines", union_by_name([counted, grouped]))
    tag_columns.provide_cost_lines(engine, TAGS, [BOUNDARY], name="alike_cost_lines", of="alike_lines")


@pytest.mark.parametrize("in_one", [False, True])
@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_asked_of_groups_is_what_is_asked_of_lines(
    engine: DuckDB, tmp_path: Path, seed: int, faults: bool, in_one: bool
) -> None:
    odd = Odd(engine, tmp_path).take(lines(month(seed, faults=faults)))
    hourly = (*KEYS, "negation_key", "negation_zone", "line_item_usage_start_date")
    for parts, keys in ((("plain", "single"), KEYS), (alike.EVERY, hourly)):
        provide(engine, odd, Lens(has_faults=faults), parts, in_one=in_one)
        where = "" if keys == KEYS else " WHERE negation_key IS NOT NULL"
        assert shown(engine, f"alike_cost_lines{where}", "line_count", keys) == shown(
            engine, f"cost_lines{where}", "1", keys
        )


@pytest.mark.parametrize("in_one", [False, True])
def test_lines_that_are_alike_are_one_row(engine: DuckDB, tmp_path: Path, in_one: bool) -> None:
    one = (
        dict.fromkeys(TEXTS) | dict.fromkeys(VIEW_COSTS) | {"day": DAYS[0], "line_item_unblended_cost": 0.25}
    )
    rows = [one | {"line_item_line_item_type": "Usage"}] * 5 + [one | {"line_item_line_item_type": "Fee"}] * 2
    odd = Odd(engine, tmp_path).take(lines(rows))
    provide(engine, odd, Lens(), alike.EVERY, in_one=in_one)
    counted = (
        "SELECT line_item_line_item_type, line_count, line_item_unblended_cost FROM alike_lines ORDER BY ALL"
    )
    assert [(kind, count, str(cost)) for kind, count, cost in engine.run(counted).rows] == [
        ("Fee", 1, f"0.25{'0' * 16}"), ("Fee", 1, f"0.25{'0' * 16}"), ("Usage", 5, f"1.25{'0' * 16}")
    ]  # fmt: skip
