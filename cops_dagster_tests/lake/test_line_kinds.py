"""fact_cost_raw line by line: class, service and cost views of every kind of line, and their bridge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cops_dagster.cur.schema import BY_NAME
from cops_dagster.ingestion import measures
from cops_dagster.ingestion.verdicts import cost_views_bridge
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.footers import inspect
from cops_dagster_tests.deliveries import SEPTEMBER, TYPES
from cops_dagster_tests.examples import examples
from cops_dagster_tests.lake.measured import measured

SHORT = {
    "entity": "bill_billing_entity",
    "code": "line_item_product_code",
    "servicecode": "product_servicecode",
    "name": "product_product_name",
    "text": "line_item_line_item_description",
    "net": "line_item_net_unblended_cost",
    "arn": "reservation_reservation_a_r_n",
    "ri_effective": "reservation_effective_cost",
    "ri_net": "reservation_net_effective_cost",
    "ri_upfront": "reservation_amortized_upfront_fee_for_billing_period",
    "ri_unused": "reservation_unused_amortized_upfront_fee_for_billing_period",
    "ri_net_unused": "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "ri_unused_fee": "reservation_unused_recurring_fee",
    "ri_net_unused_fee": "reservation_net_unused_recurring_fee",
    "sp_effective": "savings_plan_savings_plan_effective_cost",
    "sp_net": "savings_plan_net_savings_plan_effective_cost",
    "sp_total": "savings_plan_total_commitment_to_date",
    "sp_used": "savings_plan_used_commitment",
    "plan": "savings_plan_savings_plan_a_r_n",
    "option": "savings_plan_payment_option",
    "bill": "bill_bill_type",
    "resource": "line_item_resource_id",
    "sp_recurring": "savings_plan_recurring_commitment_for_billing_period",
    "sp_net_recurring": "savings_plan_net_recurring_commitment_for_billing_period",
    "sp_net_upfront": "savings_plan_net_amortized_upfront_commitment_for_billing_period",
    "ri_net_upfront": "reservation_net_amortized_upfront_fee_for_billing_period",
    "sp_upfront": "savings_plan_amortized_upfront_commitment_for_billing_period",
}
Line = dict[str, Any]


def line(kind: str, cost: float | None, **more: Any) -> Line:
    return {
        "line_item_line_item_type": kind,
        "line_item_unblended_cost": cost,
        **{SHORT.get(name, name): value for name, value in more.items()},
    }


def deliver(folder: Path, given_lines: Sequence[Line], *, every_column: bool = False) -> Path:
    """A Parquet file of the lines, with the required columns and those that a line names, or all."""
    filled: Line = {
        "bill_billing_period_start_date": datetime(2025, 9, 1),
        "line_item_usage_start_date": datetime(2025, 9, 1),
        "line_item_usage_account_id": "000000000042",
        "line_item_currency_code": "USD",
        "line_item_product_code": "AmazonEC2",
        "bill_invoice_id": "I-1",
    }
    rows = [filled | one | {"identity_line_item_id": str(n)} for n, one in enumerate(given_lines)]
    named = dict.fromkeys(name for row in rows for name in row)
    names = list(dict.fromkeys([*named, *(BY_NAME if every_column else ())]))
    table = pa.table(
        {
            name: pa.array(
                [row.get(name) for row in rows],
                TYPES[BY_NAME[name].data_type] if name in BY_NAME else pa.string(),
            )
            for name in names
        }
    )
    path = folder / "r-1.parquet"
    pq.write_table(table, path)
    return path


def staged(folder: Path, given_lines: Sequence[Line], *, every_column: bool = False) -> list[Line]:
    """The lines as `fact_cost_raw` holds them, in the order given."""
    path = deliver(folder, given_lines, every_column=every_column)
    with DuckDB() as engine:
        columns, (rows,) = inspect(engine, [path], subject="test")
        files = DeliveredFiles("d", "s", columns, (path,), (0,), (0,))
        made = measured(engine, files)
        assert made.booked.rows == rows == len(given_lines)
        return engine.run("SELECT * FROM fact_cost_raw ORDER BY CAST(identity_line_item_id AS INT)").dicts()


VIEWS = ("amortized_cost", "net_amortized_cost", "true_up_cost", "upfront_cost")

KINDS = """
# type                    cost   amortized net_amort true_up upfront class          more
Usage                     10     10        10        0       0       usage          .
Usage                     -10    -10       -10       0       0       usage          .
Usage                     10     10        9         0       0       usage          net=9
DiscountedUsage           0      0.4       0.4       0       0       usage          ri_effective=0.4
DiscountedUsage           0      0.4       0.3       0       0       usage          ri_effective=0.4,ri_net=0.3
DiscountedUsage           0      0         0         0       0       usage          .
SavingsPlanCoveredUsage   10     7         7         0       0       usage          sp_effective=7
SavingsPlanCoveredUsage   10     7         6         0       0       usage          sp_effective=7,sp_net=6
SavingsPlanNegation       -10    0         0         0       0       usage          sp_effective=7,sp_net=6
SavingsPlanRecurringFee   8      3         3         -1      0       commitment_fee sp_total=10,sp_used=7,sp_upfront=1
SavingsPlanRecurringFee   8      0         0         0       0       commitment_fee .
SavingsPlanUpfrontFee     99     0         0         0       99      commitment_fee .
RIFee                     5      0.75      0.75      -2      0       commitment_fee ri_unused=0.25,ri_unused_fee=0.5,ri_upfront=2
RIFee                     5      0.75      0.7       -2      0       commitment_fee ri_unused=0.25,ri_net_unused=0.2,ri_unused_fee=0.5,ri_upfront=2
RIFee                     5      0.75      0.65      0       0       commitment_fee ri_unused=0.25,ri_unused_fee=0.5,ri_net_unused_fee=0.4
RIFee                     0      0         0         0       0       commitment_fee .
Fee                       60     0         0         0       60      commitment_fee arn=x
Fee                       12     12        12        0       0       usage          .
Fee                       12     12        12        0       0       usage          arn=
Fee                       29     29        29        0       0       support        code=AWSSupportBusiness
Fee                       29     29        29        0       0       support        code=OCBPremiumSupport
Fee                       29     29        29        0       0       support        code=AWSPremiumSupport
Fee                       29     29        29        0       0       support        code=AWSDeveloperSupport
FlatRateSubscription      20     20        20        0       0       usage          .
Tax                       1      1         1         0       0       tax            .
Tax                       -1     -1        -1        0       0       tax            .
Tax                       1      1         1         0       0       tax            code=AWSSupportBusiness
Credit                    -3     -3        -3        0       0       credit         .
Refund                    -2     -2        -2        0       0       refund         .
Refund                    -50    0         0         0       -50     refund         text=Refund~for~one-time~fee~for~Savings~Plan~ID~x
Refund                    -50    0         0         0       -50     refund         text=Refund~for~sign~up~charge~for~subscription:~1
Refund                    -50    0         0         0       -50     refund         arn=x,text=Erstattung~der~Anzahlung
Refund                    -20    0         0         0       -20     refund         arn=x
Refund                    -50    0         0         0       -50     refund         plan=x,text=Remboursement
Refund                    -50    0         0         0       -50     refund         resource=arn:aws:savingsplans::000000000042:savingsplan/x
Refund                    -50    0         0         0       -50     refund         resource=arn:aws:ec2:eu-west-1:000000000042:reserved-instances/x
Refund                    -2     -2        -2        0       0       refund         arn=x,text=Refund~for~hourly~fee~of~m5.large
Refund                    -2     -2        -2        0       0       refund         arn=x,text=Refund:~recurring~fee
Refund                    -2     -2        -2        0       0       refund         plan=x,option=No~Upfront
Refund                    -2     -2        -2        0       0       refund         resource=i-1,text=sign~up
Credit                    -50    0         0         0       -50     credit         arn=x,bill=Refund
Credit                    -50    0         0         0       -50     credit         arn=x,text=Credit~for~sign~up~charge
Credit                    -3     -3        -3        0       0       credit         plan=x,text=AWS~Activate
Credit                    -3     -3        -3        0       0       credit         plan=x,bill=Anniversary
Fee                       60     0         0         0       60      commitment_fee plan=x
Fee                       60     0         0         0       60      commitment_fee text=Sign~up~charge~for~subscription:~1
SavingsPlanRecurringFee   60     4         3.6       0       0       commitment_fee sp_total=60,sp_used=56,sp_recurring=60,sp_net_recurring=54,net=54
SavingsPlanRecurringFee   60     4         3.6       0       0       commitment_fee sp_total=60,sp_used=56,net=54
SavingsPlanRecurringFee   40     4         3         -20     0       commitment_fee sp_total=60,sp_used=56,sp_upfront=20,sp_net_upfront=15,sp_net_recurring=30,sp_recurring=40,net=30
SavingsPlanRecurringFee   60     0         0         0       0       commitment_fee sp_total=60,sp_used=60,sp_net_recurring=54,sp_recurring=60,net=54
EdpDiscount               -1     -1        -1        0       0       discount       .
PrivateRateDiscount       -1     -1        -1        0       0       discount       .
BundledDiscount           -1     -1        -1        0       0       discount       .
SppDiscount               -1     -1        -1        0       0       discount       .
RiVolumeDiscount          -1     -1        -1        0       0       discount       .
Discount                  -1     -1        -1        0       0       discount       .
SomethingNew              4      4         4         0       0       usage          .
Usage                     4      4         4         0       0       marketplace    entity=AWS~Marketplace
Tax                       4      4         4         0       0       marketplace    entity=AWS~Marketplace
Credit                    -4     -4        -4        0       0       marketplace    entity=AWS~Marketplace
Usage                     4      4         4         0       0       usage          entity=AISPL
"""  # noqa: E501


def read(row: str) -> tuple[Line, dict[str, Any]]:
    kind, cost, *views, charge_class, more = row.split()
    words = [] if more == "." else [word.split("=") for word in more.split(",")]
    given_more = {
        name: float(value) if BY_NAME[SHORT[name]].data_type == "double" else value.replace("~", " ")
        for name, value in words
    }
    wanted: dict[str, Any] = dict(zip(VIEWS, map(Decimal, views), strict=True))
    net = Decimal(str(given_more.get("net", cost)))
    return line(kind, float(cost), **given_more), wanted | {
        "charge_class": charge_class, "line_item_unblended_cost": Decimal(cost), "net_unblended_cost": net,
    }  # fmt: skip


def test_every_kind_of_line_has_its_class_and_its_cost_views(tmp_path: Path) -> None:
    rows = [row for row in KINDS.strip().splitlines() if not row.startswith("#")]
    lines_and_wanted = [read(row) for row in rows]
    found = staged(tmp_path, [one for one, _ in lines_and_wanted])
    for row, one, (_, wanted) in zip(rows, found, lines_and_wanted, strict=True):
        assert {name: one[name] for name in wanted} == wanted, row


SERVICES = """
# servicecode      code       name      type          entity           service
AmazonEC2          EC2Code    .         Usage         AWS              AmazonEC2
AWSDataTransfer    AmazonEC2  .         Usage         AWS              AWSDataTransfer
.                  AmazonEC2  .         Tax           AWS              AmazonEC2
_                  AmazonEC2  .         Tax           AWS              AmazonEC2
_                  _          .         Fee           AWS              unknown
.                  _          Vendor    Fee           AWS              unknown
AmazonEC2          code       Vendor    Usage         AWS              AmazonEC2
AmazonEC2          code       Vendor    Usage         AWS~Marketplace  Vendor
.                  code       Vendor    Tax           AWS~Marketplace  Vendor
AmazonEC2          code       Vendor    EdpDiscount   AWS~Marketplace  AmazonEC2
.                  code       _         Usage         AWS~Marketplace  code
"""


def test_a_service_is_the_first_name_that_is_not_blank(tmp_path: Path) -> None:
    rows = [row.split() for row in SERVICES.strip().splitlines() if not row.startswith("#")]
    text = {".": None, "_": "  "}
    given_lines = [
        line(kind, 1.0, entity=entity.replace("~", " "), **dict(zip(("servicecode", "code", "name"),
             (text.get(word, word) for word in words), strict=True)))
        for *words, kind, entity, _ in rows
    ]  # fmt: skip
    found = staged(tmp_path, given_lines)
    assert [one["product_servicecode"] for one in found] == [row[-1] for row in rows]
    assert [one["line_item_product_code"] for one in found] == [
        one["line_item_product_code"] for one in given_lines
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("delivered", "kept"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        (" acme ", " acme "),
        ("NULL", "NULL"),
        ("acme\u200b\u202e😀\r\n", "acme\u200b\u202e😀\r\n"),
        ("'); DROP TABLE x;--", "'); DROP TABLE x;--"),
        ("ACME", "ACME"),
    ],
)
def test_only_a_blank_tag_is_absent_and_no_other_is_touched(
    delivered: str | None, kept: str | None, tmp_path: Path
) -> None:
    tags = ["resource_tags_user_tenant_id", "resource_tags_user_plan_id", "resource_tags_aws_added"]
    (found,) = staged(tmp_path, [line("Usage", 1.0, **dict.fromkeys(tags, delivered))])
    assert [found[tag] for tag in tags] == [kept] * 3


def test_only_tags_lose_their_blanks_other_text_stays_as_delivered(tmp_path: Path) -> None:
    (found,) = staged(tmp_path, [line("Usage", 1.0, line_item_resource_id="  ", text="")])
    assert (found["line_item_resource_id"], found["line_item_line_item_description"]) == ("  ", "")


def test_a_column_that_aws_added_stands_behind_the_others_and_one_not_sent_is_null(tmp_path: Path) -> None:
    (found,) = staged(tmp_path, [line("Usage", 1.0, cost_category_team="x")])
    assert list(found)[-1] == "cost_category_team"
    assert found["cost_category_team"] == "x"
    assert found["savings_plan_used_commitment"] is None
    assert (found["source_id"], found["delivery_id"]) == ("s", "d")


def test_columns_of_nothing_but_null_are_the_same_as_columns_that_were_not_sent(tmp_path: Path) -> None:
    one = line("RIFee", 5.0, servicecode="AmazonEC2")
    assert staged(tmp_path, [one], every_column=True) == staged(tmp_path, [one])


def test_a_service_is_never_empty_even_where_aws_sent_no_such_column(tmp_path: Path) -> None:
    """product_servicecode is an optional column, and the service of a line is made of other columns too."""
    (found,) = staged(tmp_path, [line("Usage", 1.0, code="AmazonEC2")])
    assert found["product_servicecode"] == "AmazonEC2"


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["charge_class", "amortized_cost", "source_id", "delivery_id", "period_start"]
)
def test_a_delivered_column_never_takes_the_place_of_one_of_our_own(name: str, tmp_path: Path) -> None:
    ours = {"charge_class": "usage", "amortized_cost": Decimal(1), "source_id": "s", "delivery_id": "d",
            "period_start": SEPTEMBER.start}  # fmt: skip
    (found,) = staged(tmp_path, [line("Usage", 1.0, **{name: "theirs"})])
    assert found[name] == ours[name]


@pytest.mark.parametrize("name", ["Line_Item_Resource_Id", "RESOURCE_TAGS_USER_TENANT_ID", "Cost_Category_X"])
def test_a_column_in_another_case_is_not_lost(name: str, tmp_path: Path) -> None:
    """To the engine the two spellings are one name, so the expected column's NULL must not win."""
    (found,) = staged(tmp_path, [line("Usage", 1.0, **{name: "kept"})])
    assert "kept" in found.values()


# --- the bridge over months of commitments -------------------------------------------------------------

USD = st.integers(0, 10**13).map(lambda units: Decimal(units).scaleb(-10))
PARTS = st.lists(USD, max_size=3)


@st.composite
def commitment_months(draw: st.DrawFn) -> list[Line]:
    """Lines of a month that are consistent as AWS makes them, each amount with ten decimals."""
    lines: list[Line] = []
    for effective in (plans := draw(PARTS)):
        price = draw(USD)
        lines += [
            line("SavingsPlanCoveredUsage", price, sp_effective=effective),
            line("SavingsPlanNegation", -price, sp_effective=effective),
        ]
    if plans or draw(st.booleans()):
        unused, upfront = draw(USD), draw(USD)
        total = sum(plans) + unused
        upfront = min(upfront, total)
        lines.append(
            line("SavingsPlanRecurringFee", total - upfront, sp_total=total, sp_used=sum(plans),
                 sp_upfront=upfront)
        )  # fmt: skip
    for _ in range(draw(st.integers(0, 2))):
        used, unused_upfront, unused_fee, share = draw(PARTS), draw(USD), draw(USD), draw(USD)
        whole = sum(used, Decimal(0)) + unused_upfront + unused_fee
        upfront = unused_upfront + min(share, sum(used, Decimal(0)))
        lines += [line("DiscountedUsage", Decimal(0), ri_effective=cost) for cost in used]
        lines.append(
            line("RIFee", whole - upfront, ri_upfront=upfront, ri_unused=unused_upfront,
                 ri_unused_fee=unused_fee)
        )  # fmt: skip
    for kind, more in (
        ("Usage", {}), ("Tax", {}), ("Fee", {}), ("Fee", {"arn": "x"}), ("SavingsPlanUpfrontFee", {}),
    ):  # fmt: skip
        lines += [line(kind, cost, **more) for cost in draw(st.lists(USD, max_size=2))]
    text = "Refund for one-time fee for Savings Plan ID x"
    for kind, more in (("Credit", {}), ("Refund", {}), ("Refund", {"text": text}), ("EdpDiscount", {})):
        lines += [line(kind, -cost, **more) for cost in draw(st.lists(USD, max_size=1))]
    return lines or [line("Usage", Decimal(0))]


@pytest.mark.long
@settings(
    max_examples=examples(15),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(commitment_months())
def test_unblended_is_amortized_and_true_up_and_upfront_in_any_consistent_month(
    tmp_path: Path, month: list[Line]
) -> None:
    doubles = [
        {name: float(value) if isinstance(value, Decimal) else value for name, value in one.items()}
        for one in month
    ]
    found = staged(tmp_path, doubles)
    columns = {name: "line_item_unblended_cost" if name == "unblended" else f"{name}_cost"
               for name in measures.VIEWS}  # fmt: skip
    totals = {name: sum((one[column] for one in found), Decimal(0)) for name, column in columns.items()}
    assert totals["unblended"] == sum((one["line_item_unblended_cost"] for one in month), Decimal(0))
    bridge = cost_views_bridge(totals, Decimal(0))
    assert (bridge.figures["residual_usd"], bridge.figures["net_residual_usd"]) == (0, 0)
