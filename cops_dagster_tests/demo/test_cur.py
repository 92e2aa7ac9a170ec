"""The generated months: what they hold, and that the stated totals are those of the files."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cops_dagster.demo import catalogue, columns, cur
from cops_dagster.demo.totals import MonthTotals
from cops_dagster.errors import CopsError
from cops_dagster.period import Period

JULY, AUGUST, SEPTEMBER = (Period(2025, month) for month in (7, 8, 9))
LINES = 6_000


class Month:
    """One written month, with a connection that sees it as `cur` (doubles) and `exact` (decimals)."""

    def __init__(self, root: Path, period: Period, totals: MonthTotals) -> None:
        self.root, self.period, self.totals = root, period, totals
        self.folder = root / catalogue.REPORT / f"{period.start:%Y%m%d}-{period.end:%Y%m%d}"
        self.manifest: dict[str, Any] = json.loads((self.folder / "cops-demo-Manifest.json").read_text())
        self.files = [str(root / key) for key in self.manifest["reportKeys"]]
        self.con = duckdb.connect()
        self.con.execute("CREATE TEMP TABLE cur AS SELECT * FROM read_parquet($files)", {"files": self.files})
        doubles = [name for name, kind in self.types().items() if kind == "DOUBLE"]
        # through the shortest text of each double: what AWS meant
        self.con.execute(
            "CREATE TEMP VIEW exact AS SELECT * REPLACE ("
            + ", ".join(f"CAST(CAST({name} AS VARCHAR) AS DECIMAL(38,18)) AS {name}" for name in doubles)
            + ") FROM cur"
        )

    def types(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self.rows("DESCRIBE cur")}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        return self.rows(sql)[0][0]


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[Period, Month]:
    root = tmp_path_factory.mktemp("cur")
    return {
        period: Month(root, period, cur.write_month(root, period, lines=LINES, files=2))
        for period in (JULY, AUGUST, SEPTEMBER)
    }


AMORTIZED = """
    CASE line_item_line_item_type
        WHEN 'SavingsPlanCoveredUsage' THEN savings_plan_savings_plan_effective_cost
        WHEN 'SavingsPlanNegation' THEN 0
        WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'SavingsPlanRecurringFee'
            THEN savings_plan_total_commitment_to_date - savings_plan_used_commitment
        WHEN 'DiscountedUsage' THEN reservation_effective_cost
        WHEN 'RIFee' THEN reservation_unused_amortized_upfront_fee_for_billing_period
            + reservation_unused_recurring_fee
        WHEN 'Fee' THEN CASE WHEN reservation_reservation_a_r_n <> '' THEN 0 ELSE line_item_unblended_cost END
        ELSE line_item_unblended_cost
    END
"""
TRUE_UP = """
    -(CASE line_item_line_item_type
        WHEN 'SavingsPlanRecurringFee' THEN savings_plan_amortized_upfront_commitment_for_billing_period
        WHEN 'RIFee' THEN reservation_amortized_upfront_fee_for_billing_period
        ELSE 0
    END)
"""
UPFRONT = """
    CASE WHEN line_item_line_item_type = 'SavingsPlanUpfrontFee'
        OR (line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> '')
        THEN line_item_unblended_cost ELSE 0 END
"""
SERVICE = """
    CASE WHEN bill_billing_entity = 'AWS Marketplace' THEN product_product_name
        WHEN product_servicecode <> '' THEN product_servicecode ELSE line_item_product_code END
"""
CHARGE_CLASS = """
    CASE WHEN bill_billing_entity = 'AWS Marketplace' THEN 'marketplace'
        WHEN line_item_line_item_type IN ('Tax', 'Credit', 'Refund') THEN lower(line_item_line_item_type)
        WHEN line_item_product_code LIKE 'AWSSupport%' THEN 'support'
        WHEN line_item_line_item_type IN ('RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee')
            OR (line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> '')
            THEN 'commitment_fee'
        ELSE 'usage' END
"""
EVERY_MONTH = pytest.mark.parametrize("period", [JULY, AUGUST, SEPTEMBER], ids=str)


@EVERY_MONTH
def test_stated_totals_are_the_exact_sums_of_the_written_doubles(
    months: dict[Period, Month], period: Period
) -> None:
    month = months[period]
    [found] = month.rows(
        f"SELECT COUNT(*), SUM(line_item_unblended_cost), SUM({AMORTIZED}), SUM({TRUE_UP}), SUM({UPFRONT})"
        " FROM exact"
    )
    totals = month.totals
    assert found == (LINES, totals.unblended, totals.amortized, totals.true_up, totals.upfront)
    assert totals.net_amortized == totals.amortized


@EVERY_MONTH
def test_totals_by_service_and_class_are_those_of_the_files(
    months: dict[Period, Month], period: Period
) -> None:
    month = months[period]
    rows = month.rows(
        f"SELECT {SERVICE}, {CHARGE_CLASS}, SUM(line_item_unblended_cost), SUM({AMORTIZED})"
        " FROM exact GROUP BY 1, 2"
    )
    assert {row[:2]: row[2] for row in rows} == month.totals.by_service_class
    assert {row[:2]: row[3] for row in rows} == month.totals.amortized_by_service_class


@EVERY_MONTH
def test_direct_cost_and_pools_are_those_of_the_files(months: dict[Period, Month], period: Period) -> None:
    month = months[period]
    known = {tenant.tenant_id for tenant in catalogue.TENANTS}
    direct: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    pools: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for service, charge_class, tag, account, cost in month.rows(
        f"SELECT {SERVICE}, {CHARGE_CLASS}, resource_tags_user_tenant_id, line_item_usage_account_id,"
        " SUM(line_item_unblended_cost) FROM exact"
        # usage of the savings plan and its negations come to nothing, tenant by tenant
        " WHERE line_item_line_item_type NOT IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation')"
        " GROUP BY 1, 2, 3, 4"
    ):
        tenant = catalogue.ALIASES.get(tag, tag)
        if tenant not in known:
            tenant = catalogue.DEDICATED_TENANT if account == catalogue.DEDICATED else None
        if tenant:
            direct[tenant, service, charge_class] += cost
        else:
            pools[service, charge_class] += cost
    assert (direct, pools) == (month.totals.direct, month.totals.pools)


@EVERY_MONTH
def test_the_bridge_of_cost_views_holds_exactly(months: dict[Period, Month], period: Period) -> None:
    totals = months[period].totals
    assert totals.unblended == totals.amortized + totals.true_up + totals.upfront
    assert totals.true_up < 0 < totals.upfront


@pytest.mark.parametrize(("period", "percent"), [(JULY, "99.0"), (AUGUST, "98.4"), (SEPTEMBER, "96.9")])
def test_tag_coverage_falls_from_month_to_month(
    months: dict[Period, Month], period: Period, percent: str
) -> None:
    month = months[period]
    [(coverable, covered)] = month.rows(
        "SELECT SUM(line_item_unblended_cost), SUM(CASE WHEN resource_tags_user_plan_id <> ''"
        " AND resource_tags_user_tenant_id NOT IN ('', 'acmee') THEN line_item_unblended_cost ELSE 0 END)"
        f" FROM exact WHERE {CHARGE_CLASS} = 'usage' AND line_item_unblended_cost > 0"
    )
    assert (covered, coverable) == (month.totals.covered, month.totals.coverable)
    assert abs(100 * Fraction(covered) / Fraction(coverable) - Fraction(percent)) < Fraction("0.2")


@pytest.mark.parametrize("lines", [5_000, 50_000])
def test_a_month_costs_about_the_same_whatever_its_number_of_lines(lines: int, tmp_path: Path) -> None:
    totals = cur.write_month(tmp_path, SEPTEMBER, lines=lines)
    assert totals.rows == lines
    assert 50_000 < totals.unblended < 60_000


@EVERY_MONTH
def test_tax_is_small_since_no_rule_claims_it(months: dict[Period, Month], period: Period) -> None:
    totals = months[period].totals
    tax = sum(cost for (_, charge_class), cost in totals.by_service_class.items() if charge_class == "tax")
    assert 0 < tax < totals.unblended * Decimal("0.015")
    assert tax < sum(map(abs, totals.pools.values())) * Decimal("0.02")


# --- the same again -----------------------------------------------------------------------------------


def _digest(con: duckdb.DuckDBPyConnection, files: list[str]) -> tuple[Any, ...]:
    row = con.execute(
        "SELECT COUNT(*), BIT_XOR(hash(c)), SUM(hash(c)) FROM read_parquet($files) AS c", {"files": files}
    ).fetchone()
    assert row
    return row


def test_the_same_arguments_give_the_same_totals_and_the_same_lines(
    months: dict[Period, Month], tmp_path: Path
) -> None:
    first = months[AUGUST]
    again = Month(tmp_path, AUGUST, cur.write_month(tmp_path, AUGUST, lines=LINES, files=2))
    assert again.totals == first.totals
    assert again.manifest == first.manifest
    assert _digest(again.con, again.files) == _digest(first.con, first.files)


def test_the_number_of_files_does_not_change_the_lines(months: dict[Period, Month], tmp_path: Path) -> None:
    first = months[AUGUST]
    again = Month(tmp_path, AUGUST, cur.write_month(tmp_path, AUGUST, lines=LINES, files=5))
    assert len(again.files) == 5
    assert _digest(again.con, again.files) == _digest(first.con, first.files)


# --- layout -------------------------------------------------------------------------------------------


def test_create_new_version_has_the_manifest_in_the_assembly_and_above(months: dict[Period, Month]) -> None:
    month = months[JULY]
    assembly = month.folder / month.manifest["assemblyId"]
    assert month.folder.name == "20250701-20250801"
    assert (assembly / "cops-demo-Manifest.json").read_bytes() == (
        month.folder / "cops-demo-Manifest.json"
    ).read_bytes()
    assert [Path(file).parent for file in month.files] == [assembly, assembly]
    assert month.manifest["billingPeriod"] == {"start": "20250701T000000.000Z", "end": "20250801T000000.000Z"}
    assert month.manifest["compression"] == "Parquet"
    assert [f"{c['category']}_{c['name']}" for c in month.manifest["columns"]] == list(month.types())


def test_overwrite_has_files_and_manifest_in_the_month_folder(tmp_path: Path) -> None:
    month = Month(tmp_path, JULY, cur.write_month(tmp_path, JULY, lines=1_000, layout="overwrite"))
    assert sorted(path.name for path in month.folder.iterdir()) == [
        "cops-demo-00001.snappy.parquet",
        "cops-demo-Manifest.json",
    ]


def test_the_third_month_delivers_one_column_more(months: dict[Period, Month]) -> None:
    expected = [name for name, _ in columns.COLUMNS]
    assert len(expected) == 56
    assert list(months[JULY].types()) == list(months[AUGUST].types()) == expected
    assert list(months[SEPTEMBER].types()) == [*expected, "resource_tags_user_cost_center"]


def test_too_few_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="E-DEMO-LINES"):
        cur.write_month(tmp_path, JULY, lines=999)
    assert list(tmp_path.iterdir()) == []


# --- what makes the months realistic ------------------------------------------------------------------


@EVERY_MONTH
def test_every_double_has_at_most_ten_decimals(months: dict[Period, Month], period: Period) -> None:
    month = months[period]
    for name, kind in month.types().items():
        if kind == "DOUBLE":
            assert month.one(f"SELECT COUNT(*) FROM exact WHERE {name} <> round({name}, 10)") == 0, name


@EVERY_MONTH
def test_every_line_lies_in_its_month(months: dict[Period, Month], period: Period) -> None:
    [found] = months[period].rows(
        "SELECT MIN(line_item_usage_start_date)::DATE, MAX(line_item_usage_start_date) < $$"
        f"{period.end}$$::TIMESTAMP, MAX(line_item_usage_end_date) <= $${period.end}$$::TIMESTAMP FROM cur"
    )
    assert found == (period.start, True, True)


@EVERY_MONTH
def test_a_line_id_repeats_but_not_within_an_interval(months: dict[Period, Month], period: Period) -> None:
    [(lines, ids, pairs)] = months[period].rows(
        "SELECT COUNT(*), COUNT(DISTINCT identity_line_item_id),"
        " COUNT(DISTINCT (identity_line_item_id, identity_time_interval)) FROM cur"
    )
    assert ids < lines == pairs


@EVERY_MONTH
def test_negations_have_no_tags_and_take_back_the_covered_usage_of_their_hour(
    months: dict[Period, Month], period: Period
) -> None:
    month = months[period]
    sides = [
        month.rows(
            f"SELECT {sign} * SUM(line_item_unblended_cost), line_item_usage_start_date,"
            " line_item_usage_type, line_item_usage_account_id, line_item_operation,"
            " line_item_availability_zone, savings_plan_savings_plan_a_r_n FROM exact"
            f" WHERE line_item_line_item_type = '{line_type}' GROUP BY ALL ORDER BY ALL"
        )
        for line_type, sign in (("SavingsPlanCoveredUsage", 1), ("SavingsPlanNegation", -1))
    ]
    assert len(sides[0]) > 100
    assert sides[0] == sides[1]
    named = month.one(
        "SELECT COUNT(*) FROM cur WHERE line_item_line_item_type = 'SavingsPlanNegation' AND"
        " CONCAT(resource_tags_user_tenant_id, resource_tags_user_plan_id, line_item_resource_id) <> ''"
    )
    assert named == 0


@EVERY_MONTH
def test_the_used_commitment_is_the_effective_cost_of_covered_usage(
    months: dict[Period, Month], period: Period
) -> None:
    [(used, effective, lowest_unused)] = months[period].rows(
        "SELECT SUM(savings_plan_used_commitment), SUM(savings_plan_savings_plan_effective_cost),"
        " MIN(savings_plan_total_commitment_to_date - savings_plan_used_commitment) FROM exact"
    )
    assert used == effective > 0
    assert lowest_unused > 0


@EVERY_MONTH
def test_reserved_usage_is_free_and_its_fee_stands_on_the_first_day(
    months: dict[Period, Month], period: Period
) -> None:
    month = months[period]
    [(cost, effective)] = month.rows(
        "SELECT SUM(abs(line_item_unblended_cost)), SUM(reservation_effective_cost) FROM exact"
        " WHERE line_item_line_item_type = 'DiscountedUsage'"
    )
    assert cost == 0 < effective
    fees = month.rows(
        "SELECT line_item_usage_start_date::DATE, line_item_usage_end_date::TIME::VARCHAR,"
        " reservation_amortized_upfront_fee_for_billing_period > 0,"
        " reservation_unused_amortized_upfront_fee_for_billing_period > 0,"
        " reservation_unused_recurring_fee > 0"
        " FROM exact WHERE line_item_line_item_type = 'RIFee'"
    )
    assert fees == [(period.start, "23:59:59", True, True, True)] * 2


@EVERY_MONTH
@pytest.mark.parametrize(
    ("peculiarity", "condition"),
    [
        ("tenant tag ''", "resource_tags_user_tenant_id = '' AND line_item_unblended_cost > 0"),
        ("tenant tag NULL", "resource_tags_user_tenant_id IS NULL AND line_item_line_item_type = 'Usage'"),
        ("mistyped tenant", "resource_tags_user_tenant_id = 'acmee'"),
        ("alias of a tenant", "resource_tags_user_tenant_id = 'Acme'"),
        ("tenant without plan", "resource_tags_user_tenant_id = 'globex'"
                                " AND resource_tags_user_plan_id IS NULL"),
        ("account of a tenant", "line_item_usage_account_id = '345678901234' AND"
                                " resource_tags_user_tenant_id IS NULL"),
        ("account with leading zero", "line_item_usage_account_id = '012345678901'"),
        ("no resource id", "line_item_resource_id = '' AND line_item_line_item_type = 'Usage'"),
        ("transfer under EC2", "product_servicecode = 'AWSDataTransfer'"
                               " AND line_item_product_code = 'AmazonEC2'"),
        ("support fee", "line_item_product_code = 'AWSSupportBusiness' AND product_servicecode = ''"
                        " AND line_item_line_item_type = 'Fee'"),
        ("fee without service", "line_item_product_code = 'AmazonRegistrar' AND product_servicecode = ''"),
        ("Marketplace", "bill_billing_entity = 'AWS Marketplace' AND product_servicecode = ''"
                        " AND product_product_name <> ''"),
        ("tagged Marketplace", "bill_billing_entity = 'AWS Marketplace'"
                               " AND resource_tags_user_tenant_id = 'acme'"),
        ("tax", "line_item_line_item_type = 'Tax' AND line_item_tax_type <> ''"),
        ("credit", "line_item_line_item_type = 'Credit' AND line_item_unblended_cost < 0"),
        ("refund", "line_item_line_item_type = 'Refund' AND bill_bill_type = 'Refund'"),
        ("purchase", "bill_bill_type = 'Purchase' AND line_item_unblended_cost > 0"),
        *((service, f"product_servicecode = '{service}' AND line_item_line_item_type = 'Usage'")
          for service in ("AmazonEC2", "AmazonEKS", "AmazonRDS", "AmazonS3", "AWSLambda")),
        *((component, f"resource_tags_user_service_component = '{component}'")
          for component in ("api", "web", "worker", "db", "storage", "network")),
    ],
    ids=lambda value: value.replace(" ", "-") if " AND " not in value and "=" not in value else "",
)  # fmt: skip
def test_peculiarity_is_present(
    months: dict[Period, Month], period: Period, peculiarity: str, condition: str
) -> None:
    assert months[period].one(f"SELECT COUNT(*) FROM cur WHERE {condition}") > 0, peculiarity


@EVERY_MONTH
def test_every_tenant_has_cost_on_its_plan(months: dict[Period, Month], period: Period) -> None:
    found = months[period].rows(
        "SELECT DISTINCT resource_tags_user_tenant_id, resource_tags_user_plan_id FROM cur"
        " WHERE resource_tags_user_plan_id <> '' AND resource_tags_user_tenant_id NOT IN ('acmee', 'Acme')"
    )
    assert sorted(found) == sorted((tenant.tenant_id, tenant.plan_id) for tenant in catalogue.TENANTS)
    assert {plan for _, plan in found} == set(catalogue.PLANS)


@EVERY_MONTH
def test_month_level_lines_carry_no_tag(months: dict[Period, Month], period: Period) -> None:
    tagged = months[period].one(
        "SELECT COUNT(*) FROM cur"
        " WHERE concat(resource_tags_user_tenant_id, resource_tags_user_plan_id) <> ''"
        " AND line_item_line_item_type IN ('Tax', 'Credit', 'Refund', 'Fee', 'RIFee',"
        " 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee')"
    )
    assert tagged == 0


def test_finished_months_carry_invoice_ids_and_the_open_one_carries_none(months: dict[Period, Month]) -> None:
    by_kind = "SELECT DISTINCT bill_invoice_id, bill_billing_entity, bill_bill_type FROM cur ORDER BY ALL"
    assert months[JULY].rows(by_kind) == [
        ("125070001", "AWS", "Anniversary"),
        ("125070002", "AWS Marketplace", "Anniversary"),
        ("125070003", "AWS", "Purchase"),
        ("125070004", "AWS", "Refund"),
    ]
    assert months[AUGUST].one("SELECT COUNT(*) FROM cur WHERE coalesce(bill_invoice_id, '') = ''") == 0
    assert months[SEPTEMBER].one("SELECT COUNT(*) FROM cur WHERE bill_invoice_id <> ''") == 0
    assert months[SEPTEMBER].totals.invoices == {}


@pytest.mark.parametrize("lines", [1_012, 1_013, 1_014, 1_035, 1_036, 1_206, 1_207])
def test_a_month_has_the_number_of_lines_asked_for_wherever_it_ends(lines: int, tmp_path: Path) -> None:
    month = Month(tmp_path, SEPTEMBER, cur.write_month(tmp_path, SEPTEMBER, lines=lines))
    net = month.one(
        "SELECT SUM(line_item_unblended_cost) FROM exact"
        " WHERE line_item_line_item_type IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation')"
    )
    assert (month.one("SELECT COUNT(*) FROM cur"), net) == (lines, 0)


def test_a_month_of_several_groups_of_resources_has_each_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cur, "_GROUP_MAX", 1)  # else it takes 11 million lines
    month = Month(tmp_path, JULY, cur.write_month(tmp_path, JULY, lines=150_000))
    [found] = month.rows(
        "SELECT COUNT(*), COUNT(DISTINCT (identity_line_item_id, identity_time_interval)),"
        " SUM(line_item_unblended_cost) FROM exact"
    )
    assert found == (150_000, 150_000, month.totals.unblended)
