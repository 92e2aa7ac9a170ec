"""Which columns a delivery must have, under which type; the rest is kept or supplied as NULL."""

from __future__ import annotations

import pytest

from cops_dagster.cur import schema
from cops_dagster.errors import CopsError


def sent(found: dict[str, str]) -> dict[str, schema.Sent]:
    return {name: schema.Sent(kind, ((name, None),)) for name, kind in found.items()}


WHOLE = {column.name: column.data_type for column in schema.EXPECTED}
REQUIRED = [column.name for column in schema.EXPECTED if column.required]
OPTIONAL = [column.name for column in schema.EXPECTED if not column.required]


def without(name: str) -> dict[str, str]:
    return {column: kind for column, kind in WHOLE.items() if column != name}


def refusal(found: dict[str, str]) -> CopsError:
    with pytest.raises(CopsError) as refused:
        schema.require(sent(found), subject="delivery d")
    return refused.value


def test_a_delivery_with_the_required_columns_alone_is_allowed() -> None:
    schema.require(sent({name: WHOLE[name] for name in REQUIRED}), subject="d")
    schema.require(sent(WHOLE), subject="d")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_column_that_is_missing_is_refused(name: str) -> None:
    found = refusal(without(name))
    assert (found.code, name in found.subject) == ("E-SCHEMA-MISSING", True)


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_column_that_is_missing_is_allowed(name: str) -> None:
    schema.require(sent(without(name)), subject="d")


@pytest.mark.parametrize(
    ("name", "delivered"),
    [
        ("line_item_unblended_cost", "Line_Item_Unblended_Cost"),
        ("line_item_unblended_cost", "line_item_unblended_costs"),
        ("bill_invoice_id", "bill_InvoiceId"),
        ("line_item_product_code", "line_item_product_codes"),
    ],
)
def test_the_nearest_delivered_name_is_given(name: str, delivered: str) -> None:
    found = refusal({**without(name), delivered: WHOLE[name]})
    assert found.code == "E-SCHEMA-MISSING"
    assert delivered in found.found


def test_a_name_that_nothing_comes_near_has_no_nearest_one() -> None:
    assert "nearest" not in refusal({"x": "varchar"}).found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("line_item_unblended_cost", "varchar"),
        ("line_item_unblended_cost", "BIGINT"),
        ("line_item_unblended_cost", "DECIMAL(38,20)"),
        ("reservation_effective_cost", "varchar"),
        ("line_item_usage_account_id", "BIGINT"),
        ("bill_billing_period_start_date", "varchar"),
    ],
)
def test_a_retyped_column_that_the_ledger_needs_is_refused(name: str, kind: str) -> None:
    found = refusal(WHOLE | {name: kind})
    assert (found.code, found.found) == ("E-SCHEMA-TYPE", f"type {kind}")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("line_item_unblended_cost", "decimal"),
        ("reservation_effective_cost", "BIGINT"),
        ("line_item_blended_cost", "varchar"),
        ("line_item_usage_amount", "varchar"),
        ("bill_billing_period_start_date", schema.ZONED),
        ("resource_tags_user_tenant_id", "INTEGER"),
    ],
)
def test_another_type_that_can_be_read_without_guessing_is_allowed(name: str, kind: str) -> None:
    schema.require(sent(WHOLE | {name: kind}), subject="d")


def test_columns_that_aws_added_are_named_in_their_order_and_allowed() -> None:
    found = {"z_new": "BLOB", **WHOLE, "a_new": "varchar"}
    schema.require(sent(found), subject="d")
    assert schema.unexpected(sent(found)) == ["z_new", "a_new"]
    assert schema.unexpected(sent(WHOLE)) == []


def test_every_column_is_named_once_and_every_exact_one_is_a_double() -> None:
    assert len(schema.BY_NAME) == len(schema.EXPECTED)
    assert {column.data_type for column in schema.EXPECTED if column.exact} == {"double"}
    assert not {"source_id", "delivery_id"} & set(schema.BY_NAME)
