"""The tables that people fill: loaded by `cops admin load`, never overwritten (rule 5.11).

Belongs here: columns, keys and constraints, once, for both dialects; everybody reads them as names of
`stores/tables.py`. Does not belong here: any query; what a cell may hold (`inputs/cells.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.stores.columns import date_column as _date
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata
from cops_dagster.stores.columns import money_column as _money
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time

# fmt: off
tenants = sa.Table(
    "tenants", metadata,
    _key("tenant_id"), _text("name", null=False), _text("plan_id"),
    _date("active_from", null=False), _date("active_to"), _text("currency", null=False),
)
plans = sa.Table(
    "plans", metadata,
    _key("plan_id"), _key("effective_from", sa.Date), _int("markup_bps", null=False),
)
tag_aliases = sa.Table(
    "tag_aliases", metadata,
    _key("tag_name"), _key("alias"), _key("effective_from", sa.Date), _date("effective_to"),
    _text("canonical", null=False),
)  # tag_name: tenant_id | plan_id | service_component; in force over [effective_from, effective_to)
account_tenants = sa.Table(
    "account_tenants", metadata,
    _key("usage_account_id"), _key("effective_from", sa.Date), _date("effective_to"),
    _text("tenant_id", null=False),
)
allocation_rules = sa.Table(
    "allocation_rules", metadata,
    _key("rule_id"), _key("version", sa.BigInteger),
    _date("effective_from", null=False), _date("effective_to"), _int("priority", null=False),
    _text("match_service"), _text("match_service_component"), _text("match_charge_class"),
    _text("match_usage_account_id"), _text("match_plan_id"),
    _text("method", null=False), _text("key_name"), _text("shares"),
    _text("on_zero_key", null=False), _text("approved_by", null=False), _text("note"),
)
allocation_keys = sa.Table(
    "allocation_keys", metadata,
    _key("key_name"), _text("measure", null=False), _int("max_age_hours", null=False),
)
tenant_usage = sa.Table(
    "tenant_usage", metadata,
    _key("period_start", sa.Date), _key("tenant_id"), _key("measure"),
    _money("value", null=False), _time("refreshed_at", null=False),
)
invoice_detail = sa.Table(
    "invoice_detail", metadata,
    _key("invoice_id"), _key("tenant_id"), _key("period_start", sa.Date),
    _money("amount", null=False), _text("currency", null=False), _money("amount_usd", null=False),
    _text("status", null=False), _text("document_type", null=False), _text("corrects_invoice_id"),
)
fx_rates = sa.Table(
    "fx_rates", metadata,
    _key("base"), _key("quote"), _key("period_start", sa.Date), _money("rate", null=False),
)
aws_invoices = sa.Table(
    "aws_invoices", metadata,
    _key("invoice_id"), _date("period_start", null=False), _text("payer_account_id", null=False),
    _text("invoicing_entity"), _text("billing_entity"), _text("bill_type"), _text("invoice_type", null=False),
    _text("base_currency", null=False), _money("amount_before_tax", null=False),
    _money("tax", null=False), _text("payment_currency"), _money("payment_amount"),
    _money("exchange_rate"), _text("corrects_invoice_id"),
)
disputes = sa.Table(  # what a tenant will not pay of a month: an exception until two people decided
    "disputes", metadata,
    _key("dispute_id"), _text("tenant_id", null=False), _date("period_start", null=False),
    _text("about", null=False), _money("amount", null=False), _text("currency", null=False),
    _text("reason", null=False),
)  # about: a line of the statement, an entry or a document, as the tenant names it
budgets = sa.Table(
    "budgets", metadata,
    _key("budget_id"), _key("version", sa.BigInteger), _text("scope_type", null=False),
    _text("scope_value"), _date("effective_from", null=False), _date("effective_to"),
    _text("basis", null=False), _money("target_usd", null=False),
)
gl_accounts = sa.Table(  # by which account a purpose of the journal is booked; tenant, service '' are all
    "gl_accounts", metadata,
    _key("purpose"), _key("tenant_id"), _key("service"), _key("version", sa.BigInteger),
    _date("effective_from", null=False), _date("effective_to"), _text("account", null=False),
    _text("name", null=False), _text("kind", null=False), _text("follows", null=False),
    _text("approved_by", null=False), _text("note"),
)  # a row names an account, or in `follows` the purpose whose account it takes
