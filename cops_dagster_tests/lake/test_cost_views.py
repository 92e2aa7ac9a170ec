"""From delivered doubles to exact cost views: the SQL of fact_cost_raw, run by the engine."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.lake import statements
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.footers import inspect
from cops_dagster_tests.deliveries import lines, write
from cops_dagster_tests.lake.measured import measured

ENGINE = DuckDB()
EXACT = "SELECT IS_EXACT_USD(CAST(:x AS DOUBLE)) AS is_exact, EXACT_USD(CAST(:x AS DOUBLE)) AS usd"
ODD = [
    0.1,
    1e-7,
    1e-18,
    1e-19,
    5e-324,
    123456789.123,
    99999.9999999999,
    100000.1,
    1e20,
    1e19,
    1e22,
    0.1 + 0.2,
]


def exact(value: float) -> tuple[bool, Decimal | None]:
    sql = statements.to_duckdb(statements.sqlglot.parse_one(EXACT.replace(":x", repr(value)), read="trino"))
    ((is_exact, usd),) = ENGINE.run(sql).rows
    return is_exact, usd


def holds(value: float) -> bool:
    text = Decimal(repr(value))
    return int(text.as_tuple().exponent) >= -18 and abs(text) < 10**20  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ODD + [-value for value in ODD])
def test_odd_doubles_become_their_shortest_decimal_or_are_refused(value: float) -> None:
    assert exact(value) == (True, Decimal(repr(value))) if holds(value) else not exact(value)[0]


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_any_double_becomes_its_shortest_decimal_or_is_refused(value: float) -> None:
    is_exact, usd = exact(value)
    assert is_exact == holds(value)
    assert not is_exact or usd == Decimal(repr(value))


@pytest.mark.long
@given(st.integers(-(10**15), 10**15))
def test_what_aws_writes_with_ten_decimals_comes_back_as_written(units: int) -> None:
    written = Decimal(units).scaleb(-10)
    assert exact(float(written)) == (True, written)


# one line of each kind (CUR guide "Line item details"): unblended amortized true-up upfront, class
KINDS = """
type                    cost    amortized true_up upfront class           more
Usage                   10      10        0       0       usage           .
DiscountedUsage         0       0.4       0       0       usage           reservation_effective_cost=0.4
SavingsPlanCoveredUsage 10      7         0       0       usage           savings_plan_savings_plan_effective_cost=7
SavingsPlanNegation     -10     0         0       0       usage           savings_plan_savings_plan_effective_cost=7
SavingsPlanRecurringFee 8       3         -1      0       commitment_fee  savings_plan_total_commitment_to_date=10,savings_plan_used_commitment=7,savings_plan_amortized_upfront_commitment_for_billing_period=1
SavingsPlanUpfrontFee   100     0         0       100     commitment_fee  .
RIFee                   5       0.75      -2      0       commitment_fee  reservation_unused_amortized_upfront_fee_for_billing_period=0.25,reservation_unused_recurring_fee=0.5,reservation_amortized_upfront_fee_for_billing_period=2
Fee                     60      0         0       60      commitment_fee  reservation_reservation_a_r_n=arn
Fee                     12      12        0       0       usage           .
Tax                     1       1         0       0       tax             .
Credit                  -3      -3        0       0       credit          .
Refund                  -2      -2        0       0       refund          .
EdpDiscount             -1      -1        0       0       discount        .
SomethingNew            4       4         0       0       usage           .
"""  # noqa: E501


@pytest.mark.sampled(3)
@pytest.mark.parametrize("row", KINDS.strip().splitlines()[1:], ids=lambda row: "-".join(row.split()[:2]))
def test_each_kind_of_line_has_its_cost_views_and_class(row: str, tmp_path: Path) -> None:
    kind, cost, amortized, true_up, upfront, charge_class, more = row.split()
    given_more = dict(pair.split("=") for pair in more.split(",")) if more != "." else {}
    header = " ".join(["type service account cost", *given_more])
    found = staged(
        tmp_path, f"{header}\n{kind} AmazonEC2 111111111111 {cost} {' '.join(given_more.values())}"
    )
    expected = {
        "line_item_unblended_cost": cost, "amortized_cost": amortized, "net_amortized_cost": amortized,
        "net_unblended_cost": cost, "true_up_cost": true_up, "upfront_cost": upfront,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == {
        name: Decimal(value) for name, value in expected.items()
    }
    assert found["charge_class"] == charge_class


def test_net_columns_replace_gross_ones_term_by_term_and_fall_back_where_null(tmp_path: Path) -> None:
    text = (
        "type cost account line_item_net_unblended_cost savings_plan_savings_plan_effective_cost"
        " savings_plan_net_savings_plan_effective_cost\nSavingsPlanCoveredUsage 10 1 . 7 6.5"
    )
    found = staged(tmp_path, text)
    assert (found["net_unblended_cost"], found["net_amortized_cost"]) == (Decimal(10), Decimal("6.5"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("entity", "product", "code", "service"),
    [
        ("AWS", ".", "AmazonEC2", "AmazonEC2"),
        ("AWS", "AWSDataTransfer", "AmazonEC2", "AWSDataTransfer"),
        ("AWS", ".", ".", "unknown"),
        ("Marketplace", "x", "y", "Vendor"),
    ],
)
def test_a_service_is_never_empty(tmp_path: Path, entity: str, product: str, code: str, service: str) -> None:
    text = (
        "type cost account bill_billing_entity service line_item_product_code product_product_name\n"
        f"Usage 1 1 {entity} {product} {code} Vendor"
    )
    table = lines(text)
    if entity == "Marketplace":
        index = table.column_names.index("bill_billing_entity")
        table = table.set_column(index, table.field(index), [["AWS Marketplace"]])
    assert _stage(tmp_path, table)["product_servicecode"] == service


def test_a_blank_tag_is_null_and_any_other_text_stays_as_it_was(tmp_path: Path) -> None:
    table = lines("type cost account tenant plan component\nUsage 1 1 x y z")
    for name, value in (
        ("tenant_id", "  "),
        ("plan_id", " Team "),
        ("service_component", "'); DROP TABLE x;--"),
    ):
        index = table.column_names.index(f"resource_tags_user_{name}")
        table = table.set_column(index, table.field(index), [[value]])
    found = _stage(tmp_path, table)
    tags = [found[f"resource_tags_user_{name}"] for name in ("tenant_id", "plan_id", "service_component")]
    assert tags == [None, " Team ", "'); DROP TABLE x;--"]


def test_a_locked_engine_reads_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, [lines("type cost account\nUsage 1 1")])
    (mine,) = tmp_path.rglob("*.parquet")
    other = tmp_path / "secret.csv"
    other.write_text("a\n1\n")
    with DuckDB() as engine:
        engine.lock_down([mine])
        assert engine.run(f"SELECT COUNT(*) FROM read_parquet('{mine}')").rows == [(1,)]
        for sql in (
            f"FROM read_csv('{other}')",
            f"FROM read_text('{mine}/../../secret.csv')",
            f"FROM glob('{tmp_path}/*')",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(CopsError):
                engine.run(sql)


@pytest.mark.parametrize("cost", ["0", "."])
def test_a_pod_s_share_of_its_instance_is_never_counted_beside_the_instance(
    cost: str, tmp_path: Path
) -> None:
    row = staged(
        tmp_path,
        f"""
        type                    service   account      operation  cost   sp  split_line_item_split_cost
        SavingsPlanCoveredUsage AmazonEC2 111111111111 EKSPod-EC2 {cost} 0.4 0.25
        """,
    )
    views = ("amortized_cost", "net_unblended_cost", "net_amortized_cost", "true_up_cost", "upfront_cost")
    assert row["split_line_item_split_cost"] == Decimal("0.25")
    assert {row[name] for name in ("line_item_unblended_cost", *views)} == {0}


def staged(folder: Path, text: str) -> dict[str, Any]:
    return _stage(folder, lines(text))


def _stage(folder: Path, table: Any) -> dict[str, Any]:
    path = write(folder / "cur", [table]) / "report-00001.snappy.parquet"
    with DuckDB() as engine:
        columns, _ = inspect(engine, [path], subject="test")
        files = DeliveredFiles("d", "s", columns, (path,), (0,), (0,))
        measured(engine, files)
        return engine.run("SELECT * FROM fact_cost_raw").one()
