"""The delivered columns of the demo's CUR, in order, each with the SQL that makes it.

Belongs here: the one list of columns and how an integer of 1e-10 USD becomes the double AWS delivers.
Does not belong here: where lines come from (`demo/cur.py`).
"""

from __future__ import annotations

from cops_dagster.period import Period

COST_CENTER_FROM = Period(2025, 9)
"""From this month a tag more is active, so one column more is delivered."""


def _money(units: str) -> str:
    # both operands are exact doubles below 2**53 units (900,000 USD a line), so the quotient is the
    # double nearest to the decimal, and its shortest text is that decimal with at most 10 places
    return f"CAST({units} AS DOUBLE) / 1e10"


COLUMNS: tuple[tuple[str, str], ...] = (
    ("identity_line_item_id", "line_id"),
    ("identity_time_interval", "time_interval"),
    ("bill_invoice_id", "invoice_id"),
    ("bill_invoicing_entity", "'Amazon Web Services EMEA SARL'"),
    ("bill_billing_entity", "billing_entity"),
    ("bill_bill_type", "bill_type"),
    ("bill_payer_account_id", "payer"),
    ("bill_billing_period_start_date", "month_start"),
    ("bill_billing_period_end_date", "month_end"),
    ("line_item_usage_account_id", "account"),
    ("line_item_line_item_type", "line_type"),
    ("line_item_usage_start_date", "usage_start"),
    ("line_item_usage_end_date", "usage_end"),
    ("line_item_product_code", "product_code"),
    ("line_item_usage_type", "usage_type"),
    ("line_item_operation", "operation"),
    ("line_item_availability_zone", "zone"),
    ("line_item_resource_id", "resource_id"),
    ("line_item_usage_amount", "CAST(usage_milli AS DOUBLE) / 1e3"),
    ("line_item_normalization_factor", "CAST(normalization AS DOUBLE) / 4"),
    ("line_item_normalized_usage_amount", "CAST(usage_milli * normalization AS DOUBLE) / 4e3"),
    ("line_item_currency_code", "'USD'"),
    ("line_item_unblended_rate", "rate"),
    ("line_item_unblended_cost", _money("unblended")),
    ("line_item_blended_rate", "rate"),
    ("line_item_blended_cost", _money("unblended")),
    ("line_item_line_item_description", "description"),
    ("line_item_tax_type", "tax_type"),
    ("line_item_legal_entity", "'Amazon Web Services EMEA SARL'"),
    ("product_product_name", "product_name"),
    ("product_servicecode", "servicecode"),
    ("product_product_family", "family"),
    ("product_instance_type", "instance_type"),
    ("product_region_code", "region"),
    ("product_operating_system", "operating_system"),
    ("pricing_public_on_demand_cost", _money("on_demand")),
    ("pricing_public_on_demand_rate", "rate"),
    ("pricing_term", "term"),
    ("pricing_unit", "unit"),
    ("reservation_effective_cost", _money("reservation_effective")),
    ("reservation_amortized_upfront_fee_for_billing_period", _money("reservation_upfront")),
    ("reservation_unused_amortized_upfront_fee_for_billing_period", _money("reservation_unused_upfront")),
    ("reservation_unused_recurring_fee", _money("reservation_unused_recurring")),
    ("reservation_recurring_fee_for_usage", _money("reservation_recurring")),
    ("reservation_reservation_a_r_n", "reservation_arn"),
    ("savings_plan_total_commitment_to_date", _money("plan_total")),
    ("savings_plan_used_commitment", _money("plan_used")),
    ("savings_plan_savings_plan_effective_cost", _money("plan_effective")),
    ("savings_plan_amortized_upfront_commitment_for_billing_period", _money("plan_upfront")),
    ("savings_plan_recurring_commitment_for_billing_period", _money("plan_recurring")),
    ("savings_plan_savings_plan_a_r_n", "savings_plan_arn"),
    ("resource_tags_user_tenant_id", "tenant_tag"),
    ("resource_tags_user_plan_id", "plan_tag"),
    ("resource_tags_user_service_component", "component_tag"),
    ("resource_tags_user_name", "name_tag"),
    ("resource_tags_user_environment", "environment"),
)

_COST_CENTER = ("resource_tags_user_cost_center", "cost_center")


def of_month(period: Period) -> tuple[tuple[str, str], ...]:
    """(column, SQL) of a month's delivery: 56, and 57 from 2025-09 on."""
    return (*COLUMNS, _COST_CENTER) if period >= COST_CENTER_FROM else COLUMNS
