"""The CSV files that people load: which there are, their columns, and what a cell of each may hold.

Belongs here: the one list of them. Does not belong here: how a cell is parsed (`inputs/cells.py`), how a
file is read (`inputs/files.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from cops_dagster.inputs import cells
from cops_dagster.words import CHARGE_CLASSES

SCOPES = ("total", "tenant", "plan", "service", "component", "account")
"""What a budget may be about."""


@dataclass(frozen=True)
class Field:
    """One CSV column. An absent column or empty cell means `default`, unless it is `required`."""

    name: str
    parse: Callable[[str], Any]
    required: bool = True
    default: Any = None


FIELDS: dict[str, tuple[Field, ...]] = {
    "plans": (
        Field("plan_id", cells.identifier_cell),
        Field("effective_from", cells.day_cell),
        Field("markup_bps", cells.whole_cell(-10_000)),
    ),
    "tenants": (
        Field("tenant_id", cells.tenant_cell),
        Field("name", cells.text_cell),
        Field("plan_id", cells.identifier_cell, required=False),
        Field("active_from", cells.day_cell),
        Field("active_to", cells.day_cell, required=False),
        Field("currency", cells.currency_cell, required=False, default="USD"),
    ),
    "tag_aliases": (
        Field("tag_name", cells.one_of_cell("tenant_id", "plan_id", "service_component")),
        Field("alias", cells.alias_cell),
        Field("effective_from", cells.day_cell, required=False, default=date(1970, 1, 1)),
        Field("effective_to", cells.day_cell, required=False),
        Field("canonical", cells.text_cell),
    ),
    "account_tenants": (
        Field("usage_account_id", cells.account_cell),
        Field("effective_from", cells.day_cell),
        Field("effective_to", cells.day_cell, required=False),
        Field("tenant_id", cells.tenant_cell),
    ),
    "allocation_keys": (
        Field("key_name", cells.word_cell),
        Field("measure", cells.word_cell),
        Field("max_age_hours", cells.whole_cell(1)),
    ),
    "allocation_rules": (
        Field("rule_id", cells.rule_cell),
        Field("version", cells.whole_cell(1)),
        Field("effective_from", cells.day_cell),
        Field("effective_to", cells.day_cell, required=False),
        Field("priority", cells.whole_cell(0)),
        Field("match_service", cells.text_cell, required=False),
        Field("match_service_component", cells.text_cell, required=False),
        Field("match_charge_class", cells.one_of_cell(*CHARGE_CLASSES), required=False),
        Field("match_usage_account_id", cells.account_cell, required=False),
        Field("match_plan_id", cells.text_cell, required=False),
        Field("method", cells.method_cell),
        Field("key_name", cells.word_cell, required=False),
        Field("shares", cells.shares_cell, required=False),
        Field("on_zero_key", cells.on_zero_key_cell, required=False, default="fail"),
        Field("approved_by", cells.text_cell),
        Field("note", cells.text_cell, required=False),
    ),
    "tenant_usage": (
        Field("period_start", cells.month_cell),
        Field("tenant_id", cells.bearer_cell),
        Field("measure", cells.word_cell),
        Field("value", cells.usage_cell),
        Field("refreshed_at", cells.time_cell),
    ),
    "fx_rates": (
        Field("base", cells.currency_cell),
        Field("quote", cells.currency_cell),
        Field("period_start", cells.month_cell),
        Field("rate", cells.rate_cell),
    ),
    "invoice_detail": (
        Field("invoice_id", cells.text_cell),
        Field("tenant_id", cells.tenant_cell),
        Field("period_start", cells.month_cell),
        Field("amount", cells.money_cell),
        Field("currency", cells.currency_cell),
        Field("amount_usd", cells.money_cell, required=False),  # computed; a given one must agree
        Field("status", cells.one_of_cell("issued", "paid")),
        Field("document_type", cells.one_of_cell("invoice", "credit_note")),
        Field("corrects_invoice_id", cells.text_cell, required=False),
    ),
    "aws_invoices": (
        Field("invoice_id", cells.text_cell),
        Field("period_start", cells.month_cell),
        Field("payer_account_id", cells.account_cell),
        Field("invoicing_entity", cells.text_cell, required=False),
        Field("billing_entity", cells.text_cell, required=False),
        Field("bill_type", cells.bill_type_cell, required=False),
        Field("invoice_type", cells.document_type_cell),
        Field("base_currency", cells.currency_cell),
        Field("amount_before_tax", cells.money_cell),
        Field("tax", cells.money_cell),
        Field("payment_currency", cells.currency_cell, required=False),
        Field("payment_amount", cells.money_cell, required=False),
        Field("exchange_rate", cells.rate_cell, required=False),
        Field("corrects_invoice_id", cells.text_cell, required=False),
    ),
    "budgets": (
        Field("budget_id", cells.identifier_cell),
        Field("version", cells.whole_cell(1)),
        Field("scope_type", cells.one_of_cell(*SCOPES)),
        Field("scope_value", cells.text_cell, required=False),
        Field("effective_from", cells.day_cell),
        Field("effective_to", cells.day_cell, required=False),
        Field("basis", cells.basis_cell),
        Field("target_usd", cells.target_cell),
    ),
    "gl_accounts": tuple(Field(*one) for one in cells.GL_ACCOUNT),
    "disputes": (
        Field("dispute_id", cells.identifier_cell),
        Field("tenant_id", cells.tenant_cell),
        Field("period_start", cells.month_cell),
        Field("about", cells.text_cell),
        Field("amount", cells.money_cell),
        Field("currency", cells.currency_cell),
        Field("reason", cells.text_cell),
    ),
}
"""Loadable tables, in the order they are written: what a row refers to comes first."""
