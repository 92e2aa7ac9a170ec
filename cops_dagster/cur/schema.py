"""The expected CUR schema, as revisions of one normalised schema under Athena names.

Belongs here: which columns a delivery must or may have, their one type, and which hold money.
Types are those AWS gives its Athena tables (CUR guide, "Running the Amazon Athena table"): costs
arrive as doubles, rates and ids as text, times without zone in UTC. Does not belong here: reading
files.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cops_dagster.errors import CopsError

ColumnType = Literal["varchar", "double", "timestamp"]

ZONED = "timestamp with time zone"
"""A delivered type that is taken where a timestamp is expected: the instant, in UTC."""

NOTHING = "null"
"""The type of a column in which no line has a value, whatever type a tool gave it: it fits every other."""

_ACCOUNT = re.compile(r"[0-9]{12}")

REVISION = 2
"""The newest revision; a change of the lists below is a new revision and a migration."""


@dataclass(frozen=True)
class Column:
    """One column of a delivery.

    Attributes:
        required: a delivery without it is refused.
        exact: delivered as a double or text, kept as an exact decimal.
        since: the revision that brought it.
    """

    name: str
    data_type: ColumnType
    required: bool = False
    exact: bool = False
    since: int = 1


def _columns(data_type: ColumnType, names: str, *, exact: bool = False, since: int = 1) -> list[Column]:
    return [
        Column(name.rstrip("!"), data_type, required=name.endswith("!"), exact=exact, since=since)
        for name in names.split()
    ]


EXPECTED: tuple[Column, ...] = (
    *_columns(
        "varchar",
        "identity_line_item_id identity_time_interval bill_invoice_id! bill_invoicing_entity"
        " bill_billing_entity bill_bill_type bill_payer_account_id",
    ),
    *_columns("timestamp", "bill_billing_period_start_date! bill_billing_period_end_date"),
    *_columns("varchar", "line_item_usage_account_id! line_item_line_item_type!"),
    *_columns("timestamp", "line_item_usage_start_date! line_item_usage_end_date"),
    *_columns(
        "varchar",
        "line_item_product_code! line_item_usage_type line_item_operation"
        " line_item_availability_zone line_item_resource_id",
    ),
    *_columns(
        "double",
        "line_item_usage_amount line_item_normalization_factor line_item_normalized_usage_amount",
    ),
    *_columns("varchar", "line_item_currency_code! line_item_unblended_rate"),
    *_columns("double", "line_item_unblended_cost!", exact=True),
    *_columns("varchar", "line_item_blended_rate"),
    *_columns("double", "line_item_blended_cost line_item_net_unblended_cost", exact=True),
    *_columns(
        "varchar",
        "line_item_net_unblended_rate line_item_line_item_description line_item_tax_type"
        " line_item_legal_entity product_product_name product_servicecode product_product_family"
        " product_instance_type product_region product_region_code product_operating_system"
        " product_sku pricing_rate_id pricing_currency",
    ),
    *_columns("double", "pricing_public_on_demand_cost", exact=True),
    *_columns("varchar", "pricing_public_on_demand_rate pricing_term pricing_unit"),
    *_columns(
        "double",
        "reservation_effective_cost reservation_net_effective_cost"
        " reservation_amortized_upfront_cost_for_usage"
        " reservation_amortized_upfront_fee_for_billing_period"
        " reservation_net_amortized_upfront_fee_for_billing_period"
        " reservation_unused_amortized_upfront_fee_for_billing_period"
        " reservation_net_unused_amortized_upfront_fee_for_billing_period"
        " reservation_unused_recurring_fee reservation_net_unused_recurring_fee"
        " reservation_recurring_fee_for_usage",
        exact=True,
    ),
    *_columns("varchar", "reservation_reservation_a_r_n reservation_subscription_id"),
    *_columns(
        "double",
        "savings_plan_total_commitment_to_date savings_plan_used_commitment"
        " savings_plan_savings_plan_effective_cost savings_plan_net_savings_plan_effective_cost"
        " savings_plan_amortized_upfront_commitment_for_billing_period"
        " savings_plan_net_amortized_upfront_commitment_for_billing_period"
        " savings_plan_recurring_commitment_for_billing_period"
        " savings_plan_net_recurring_commitment_for_billing_period",
        exact=True,
    ),
    *_columns("varchar", "savings_plan_savings_plan_a_r_n"),
    *_columns(
        "varchar",
        "resource_tags_user_tenant_id resource_tags_user_plan_id"
        " resource_tags_user_service_component resource_tags_user_name"
        " resource_tags_user_environment",
    ),
    # revision 2: the whole flat part of CUR 2.0, split cost allocation, tags put on accounts
    *_columns(
        "varchar",
        "bill_payer_account_name line_item_usage_account_name line_item_iam_principal"
        " pricing_lease_contract_length pricing_offering_class pricing_purchase_option pricing_rate_code"
        " product_comment product_fee_code product_fee_description product_from_location"
        " product_from_location_type product_from_region_code product_instance_family product_instancesku"
        " product_location product_location_type product_operation product_pricing_unit product_to_location"
        " product_to_location_type product_to_region_code product_usagetype"
        " reservation_availability_zone reservation_end_time reservation_modification_status"
        " reservation_normalized_units_per_reservation reservation_number_of_reservations"
        " reservation_start_time reservation_total_reserved_normalized_units"
        " reservation_total_reserved_units reservation_units_per_reservation savings_plan_end_time"
        " savings_plan_instance_type_family savings_plan_offering_type savings_plan_payment_option"
        " savings_plan_purchase_term savings_plan_region savings_plan_savings_plan_rate"
        " savings_plan_start_time split_line_item_parent_resource_id account_tag_tenant_id"
        " account_tag_plan_id cost_category_tenant_id",
        since=2,
    ),
    *_columns(
        "double",
        "reservation_unused_normalized_unit_quantity reservation_unused_quantity"
        " split_line_item_actual_usage split_line_item_reserved_usage split_line_item_split_usage"
        " split_line_item_split_usage_ratio",
        since=2,
    ),
    *_columns(
        "double",
        "discount_bundled_discount discount_total_discount"
        " reservation_net_amortized_upfront_cost_for_usage reservation_net_recurring_fee_for_usage"
        " reservation_net_upfront_value reservation_upfront_value"
        " split_line_item_net_split_cost split_line_item_net_unused_cost"
        " split_line_item_public_on_demand_split_cost split_line_item_public_on_demand_unused_cost"
        " split_line_item_split_cost split_line_item_unused_cost",
        exact=True,
        since=2,
    ),
)
"""The newest revision, in the order of `fact_cost_raw`."""

VIEW_COSTS: tuple[str, ...] = (
    "line_item_unblended_cost",
    "line_item_net_unblended_cost",
    "reservation_effective_cost",
    "reservation_net_effective_cost",
    "reservation_amortized_upfront_fee_for_billing_period",
    "reservation_net_amortized_upfront_fee_for_billing_period",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "reservation_net_unused_recurring_fee",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_net_savings_plan_effective_cost",
    "savings_plan_amortized_upfront_commitment_for_billing_period",
    "savings_plan_net_amortized_upfront_commitment_for_billing_period",
    "savings_plan_recurring_commitment_for_billing_period",
    "savings_plan_net_recurring_commitment_for_billing_period",
)
"""The money columns that a cost view needs: only these can cost a line its place."""

LINE_TYPES: frozenset[str] = frozenset(
    {
        "Usage",
        "DiscountedUsage",
        "SavingsPlanCoveredUsage",
        "SavingsPlanNegation",
        "SavingsPlanRecurringFee",
        "SavingsPlanUpfrontFee",
        "RIFee",
        "Fee",
        "FlatRateSubscription",
        "Tax",
        "Credit",
        "Refund",
        "EdpDiscount",
        "PrivateRateDiscount",
        "BundledDiscount",
        "SppDiscount",
        "RiVolumeDiscount",
        "Discount",
    }
)
"""Line item types whose cost views are known (CUR guide, "Line item details"; CID summary view)."""

SPANNED: frozenset[str] = frozenset(
    {"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation"}
)
"""Line item types that are about a span of time. A refund, credit, fee or tax is money on the bill and needs
none: AWS writes some of them with one instant, or without any."""

MADE = frozenset(
    [
        "source_id",
        "delivery_id",
        "period_start",
        "charge_class",
        "commitment_line",
        "net_unblended_cost",
        "amortized_cost",
        "net_amortized_cost",
        "true_up_cost",
        "upfront_cost",
        "net_true_up_cost",
        "net_upfront_cost",
        "unused_commitment",
        "gross_commitment",
        "net_commitment",
        "tenant_tag",
        "plan_tag",
        "component_tag",
        "tag_order",
        "negation_key",
        "negation_zone",
        "usage_end",
        "takes_back",
        "quarantine_code",
        "quarantine_reason",
        "lost_values",
        "service",
    ]
)
"""Names of columns that COPS makes of a line; a delivered column never takes their place."""

FAULT, FAULT_TEXT, LOST = "cops_fault", "cops_fault_text", "cops_lost"
"""Columns of a file that COPS converted: why a line cannot be booked, its text, values nobody could read."""

BY_NAME: dict[str, Column] = {column.name: column for column in EXPECTED}


@dataclass(frozen=True)
class Sent:
    """How one column came: its type as read, and the columns (or keys of map columns) it is read from.

    Attributes:
        data_type: `varchar`, `double`, `timestamp`, `ZONED`, `decimal`, `NOTHING` or the engine's own name.
        origins: (column as spelled in the file, key of a map or `None`); of several, `lake/spellings.py`
            says whose value it is.
    """

    data_type: str
    origins: tuple[tuple[str, str | None], ...]


Columns = Mapping[str, Sent]
"""Flat Athena name → how it was sent."""


def to_json(columns: Columns) -> str:
    """The columns of a delivery as they are recorded."""
    return json.dumps({name: [sent.data_type, *sent.origins] for name, sent in columns.items()})


def from_json(text: str) -> dict[str, Sent]:
    """The recorded columns; a plain type (recorded before maps were known) is a column of that name."""

    def sent(name: str, value: Any) -> Sent:
        if isinstance(value, str):
            return Sent(value, ((name, None),))
        return Sent(value[0], tuple((column, key) for column, key in value[1:]))

    return {name: sent(name, value) for name, value in json.loads(text).items()}


def require(found: Columns, *, subject: str) -> None:
    """Refuses a delivery whose columns cannot carry the ledger.

    Only required columns and those of a cost view can: any other of another type is read as far as it can
    be, and what could not be read is counted and shown (`every_value_is_carried`).

    Raises:
        CopsError: `E-SCHEMA-MISSING` with the nearest delivered name; `E-SCHEMA-TYPE`.
    """
    for column in EXPECTED:
        if column.required and column.name not in found:
            spelled = {name.lower(): name for name in found}
            near = [spelled[name] for name in difflib.get_close_matches(column.name, spelled, n=1)]
            raise CopsError(
                "E-SCHEMA-MISSING",
                f"{subject}, column {column.name}",
                expected=f"the required column {column.name}",
                found=f"no such column; nearest delivered name is {near[0]}" if near else "no such column",
                next_step="restore the column in the report definition, or deliver the month again",
            )
    for column in EXPECTED:
        if column.name not in found or not _must_be_read(column):
            continue
        delivered = found[column.name].data_type
        if not takes(column.name, delivered):
            raise CopsError(
                "E-SCHEMA-TYPE",
                f"{subject}, column {column.name}",
                expected=f"type {column.data_type}",
                found=f"type {delivered}",
                next_step=_advice(column, delivered),
            )


def takes(name: str, delivered: str) -> bool:
    """Whether the values of a delivered type carry over to the column of that name without a guess."""
    column = BY_NAME.get(name.lower())
    return column is None or delivered == NOTHING or delivered in _readable_types(column)


def is_booked_by(name: str) -> bool:
    """Whether a line cannot be booked right when it says two things under this name."""
    column = BY_NAME.get(name.lower())
    return column is not None and _must_be_read(column)


def _must_be_read(column: Column) -> bool:
    """Without a right reading of these a line is booked wrong: what it is, whose, what it costs."""
    return column.required or column.name in VIEW_COSTS or column.name.endswith("_account_id")


def _advice(column: Column, delivered: str) -> str:
    if column.data_type == "varchar":
        return (
            f"write {column.name} as text: as a number it has lost its leading zeros, and perhaps digits;"
            " then deliver the month again"
        )
    if column.exact and delivered == "FLOAT":
        return f"write {column.name} as AWS sends it, a double: four bytes hold 7 digits of money, not all"
    return "check the report definition; a retyped column is never guessed at"


def _readable_types(column: Column) -> set[str]:
    types: set[str] = {column.data_type}
    if column.data_type == "timestamp":
        types |= {ZONED, "DATE"}
    if column.exact:
        types.add("decimal")
    if column.exact and not column.required:
        types |= {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}  # whole amounts
    return types


def untrusted_accounts(accounts: Iterable[str]) -> list[str]:
    """The account ids that are no twelve digits, in a delivery where others are.

    Where none is (an anonymised report), the ids are the delivery's own convention, and nothing can be
    told from their form.
    """
    known = set(accounts)
    bad = {account for account in known if not _ACCOUNT.fullmatch(account)}
    return sorted(bad) if bad != known else []


def unexpected(found: Columns) -> list[str]:
    """Delivered columns that this revision does not know: kept, appended nullable and warned about.

    Engines compare names without case, so an expected column in another spelling is the expected one.
    """
    return [name for name in found if name.lower() not in BY_NAME]


def kept_as(name: str) -> str:
    """The name an unexpected column is kept under: its own, unless COPS makes a column of that name."""
    return f"delivered_{name}" if name.lower() in MADE else name
