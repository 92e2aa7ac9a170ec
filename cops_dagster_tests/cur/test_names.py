"""AWS's column names, from CSV headers and map keys; what comes out alike."""

from __future__ import annotations

import pytest

from cops_dagster.cur.formats import actual, check
from cops_dagster.cur.names import athena_name, flat_names, map_column
from cops_dagster.cur.schema import BY_NAME
from cops_dagster.errors import CopsError

HEADERS = """
bill/BillingPeriodStartDate              bill_billing_period_start_date
lineItem/LineItemType                    line_item_line_item_type
reservation/ReservationARN               reservation_reservation_a_r_n
savingsPlan/SavingsPlanARN               savings_plan_savings_plan_a_r_n
product/servicecode                      product_servicecode
product/ProductName                      product_product_name
resourceTags/user:tenant_id              resource_tags_user_tenant_id
resourceTags/user:TenantId               resource_tags_user_tenant_id
resourceTags/user:Tenant-Id              resource_tags_user_tenant_id
resourceTags/user:tenantID               resource_tags_user_tenant_i_d
resourceTags/aws:ec2spot:fleet-request-id resource_tags_aws_ec2spot_fleet_request_id
costCategory/Team                        cost_category_team
accountTag/tenant_id                     account_tag_tenant_id
line_item_usage_account_id               line_item_usage_account_id
"""
MAPS = """
product       region                      product_region
product       product_name                product_product_name
resource_tags user_tenant_id              resource_tags_user_tenant_id
resource_tags user:tenant_id              resource_tags_user_tenant_id
resource_tags tenant_id                   resource_tags_user_tenant_id
resource_tags aws_eks_workload_name       resource_tags_aws_eks_workload_name
cost_category team                        cost_category_team
discount      total_discount              discount_total_discount
tags          resourceTags/user:TenantId  resource_tags_user_tenant_id
tags          resourceTags/tenant_id      resource_tags_user_tenant_id
tags          accountTag/tenant_id        account_tag_tenant_id
tags          accountTag/user:tenant_id   account_tag_tenant_id
tags          costCategory/Team           cost_category_team
"""


@pytest.mark.parametrize("row", HEADERS.strip().splitlines())
def test_a_header_has_the_name_that_athena_gives_it(row: str) -> None:
    header, name = row.split()
    assert athena_name(header) == name
    assert athena_name(name) == name


@pytest.mark.parametrize("row", MAPS.strip().splitlines())
def test_a_map_key_has_the_name_of_the_column_it_replaced(row: str) -> None:
    column, key, name = row.split()
    assert map_column(column, key) == name


def test_spellings_of_a_tag_or_of_a_known_column_are_one_and_others_are_kept_apart() -> None:
    headers = [
        "resourceTags/user:tenant_id", "resourceTags/user:TenantId", "costCategory/Team", "costCategory/team",
        "product/region", "product_region", "product/a", "product/A", "日本", "",
    ]  # fmt: skip
    assert flat_names(headers, BY_NAME) == [
        "resource_tags_user_tenant_id", "resource_tags_user_tenant_id", "cost_category_team",
        "cost_category_team", "product_region", "product_region", "product_a", "product_a_2", "unnamed",
        "unnamed_2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"PAR1..", "parquet"), (b"\x1f\x8b\x08", "csv.gz"), (b"PK\x03\x04", "csv.zip"), (b"a,b\n1,2", "csv"),
     (b"\xef\xbb\xbfa,b\n", "csv"), (b"\x00\x01,", None), (b"hello", None), (b"par1", None)],
)  # fmt: skip
def test_a_format_is_told_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert actual(head) == kind


@pytest.mark.parametrize(
    ("head", "name", "compression", "allowed"),
    [
        (b"PAR1", "r.snappy.parquet", "Parquet", True),
        (b"PAR1", "20221011_no_extension", "", True),
        (b"PAR1", "r.csv.gz", "Parquet", False),
        (b"PAR1", "r.parquet", "GZIP", False),
        (b"\x1f\x8b", "r.csv.gz", "GZIP", True),
        (b"\x1f\x8b", "r.csv.zip", "", False),
        (b"PK\x03\x04", "r.csv.zip", "ZIP", True),
        (b"nonsense", "r", "", False),
    ],
)
def test_a_file_is_what_its_manifest_and_its_name_say_or_refused(
    head: bytes, name: str, compression: str, allowed: bool
) -> None:
    if allowed:
        check(head, 100, name, compression, subject="d")
    else:
        with pytest.raises(CopsError, match="E-FORMAT"):
            check(head, 100, name, compression, subject="d")
