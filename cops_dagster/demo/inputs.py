"""The admin data of the demo as CSV files, each named after its table (`stores/tables.py`).

Belongs here: tenants, plans, rules, keys, invoices, rates and budgets that fit the generated months.
Does not belong here: how much anybody bears (`demo/expected.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from cops_dagster.demo import catalogue, expected, rules
from cops_dagster.demo.expected import Borne
from cops_dagster.demo.totals import MonthTotals
from cops_dagster.exports import accounts
from cops_dagster.period import Period
from cops_dagster.stores import csv_cells

_FROM = "2025-01-01"
_APPROVER = "finance@commercial-ops.example"
_HEADERS: dict[str, tuple[str, ...]] = {
    "tenants": ("tenant_id", "name", "plan_id", "active_from", "active_to", "currency"),
    "plans": ("plan_id", "effective_from", "markup_bps"),
    "tag_aliases": ("tag_name", "alias", "effective_from", "effective_to", "canonical"),
    "account_tenants": ("usage_account_id", "effective_from", "effective_to", "tenant_id"),
    "allocation_rules": (
        "rule_id", "version", "effective_from", "effective_to", "priority", "match_service",
        "match_service_component", "match_charge_class", "match_usage_account_id", "match_plan_id",
        "method", "key_name", "shares", "on_zero_key", "approved_by", "note",
    ),
    "allocation_keys": ("key_name", "measure", "max_age_hours"),
    **{
        f"tenant_{measure}_usage": ("period_start", "tenant_id", "value", "refreshed_at")
        for measure in rules.MEASURES
    },
    "invoice_detail": (
        "invoice_id", "tenant_id", "period_start", "amount", "currency", "status", "document_type",
        "corrects_invoice_id",
    ),
    "fx_rates": ("base", "quote", "period_start", "rate"),
    "aws_invoices": (
        "invoice_id", "period_start", "payer_account_id", "invoicing_entity", "billing_entity",
        "bill_type", "invoice_type", "base_currency", "amount_before_tax", "tax", "payment_currency",
        "payment_amount", "exchange_rate", "corrects_invoice_id",
    ),
    "budgets": (
        "budget_id", "version", "scope_type", "scope_value", "effective_from", "effective_to", "basis",
        "target_usd",
    ),
}  # fmt: skip

OVERBILLED = (Period(2025, 8), "vandelay", Decimal("6.00"))
"""An invoice that is 6 USD too high: above 50 bp of about 750 USD, so a warning; below 10 USD."""
CORRECTED = (Period(2025, 7), "initech", Decimal("120.00"))
"""An invoice that was 120 USD too high until its credit note."""


def write_inputs(folder: Path, months: Mapping[Period, MonthTotals]) -> None:
    """Writes every input table of the demo as `folder/<table>.csv`, for the months generated."""
    folder.mkdir(parents=True, exist_ok=True)
    borne = {period: expected.bear(month) for period, month in sorted(months.items())}
    tables: dict[str, Iterable[Sequence[Any]]] = {
        "tenants": [(t.tenant_id, t.name, t.plan_id, _FROM, "", t.currency) for t in catalogue.TENANTS],
        "plans": [(plan, _FROM, markup) for plan, markup in catalogue.PLANS.items()],
        "tag_aliases": [
            ("tenant_id", alias, _FROM, "", tenant) for alias, tenant in catalogue.ALIASES.items()
        ],
        "account_tenants": [(catalogue.DEDICATED, _FROM, "", catalogue.DEDICATED_TENANT)],
        "allocation_rules": [_rule(rule) for rule in rules.RULES],
        "allocation_keys": [(measure, measure, 24) for measure in rules.MEASURES],
        **{
            f"tenant_{measure}_usage": [row for period in borne for row in _usage(period, measure)]
            for measure in rules.MEASURES
        },
        "invoice_detail": [row for period in borne for row in _invoices(period, borne[period])],
        "fx_rates": [("EUR", "USD", period.start, euro_rate(period)) for period in borne],
        "aws_invoices": [row for month in months.values() for row in _aws_invoices(month)],
        "budgets": _budgets(min(borne), borne[max(borne)]) if borne else [],
    }
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv_cells.write(file, _HEADERS[name], rows)
    (folder / "gl_accounts.csv").write_text(accounts.default(_APPROVER), encoding="utf-8")


def euro_rate(period: Period) -> Decimal:
    """USD for one EUR on the documents of a month."""
    return Decimal(11_650 + period.month * 13 % 90).scaleb(-4)


def _rule(rule: rules.Rule) -> tuple[Any, ...]:
    shares = json.dumps(dict(rule.shares)) if rule.shares else ""
    return (
        rule.rule_id, 1, _FROM, "", rule.priority, rule.service, "", rule.charge_class, "", "",
        rule.method, rule.key_name, shares, rule.on_zero_key, _APPROVER, rule.note,
    )  # fmt: skip


def _usage(period: Period, measure: str) -> list[tuple[Any, ...]]:
    # figures of an ended month count as fresh once they were refreshed after its end (design 5.15)
    refreshed = datetime.combine(period.end, datetime.min.time()) + timedelta(hours=2)
    return [
        (period.start, tenant, f"{value:f}", f"{refreshed.isoformat()}Z")
        for tenant, value in rules.usage(period, measure).items()
    ]


def _invoices(period: Period, borne: Borne) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for tenant in catalogue.TENANTS:
        name = tenant.tenant_id
        invoice = f"INV-{period}-{name}"
        owed = borne.charge(name)
        rate = Fraction(euro_rate(period)) if tenant.currency == "EUR" else Fraction(1)
        amount = expected.cents(owed / rate)
        if (period, name) == OVERBILLED[:2]:
            amount += OVERBILLED[2]
        if (period, name) == CORRECTED[:2]:
            amount += CORRECTED[2]
            note = f"CN-{period}-{name}"
            rows.append(
                (note, name, period.start, -CORRECTED[2], tenant.currency, "issued", "credit_note", invoice)
            )
        rows.append((invoice, name, period.start, amount, tenant.currency, "issued", "invoice", ""))
    return sorted(rows, key=lambda row: (row[6] == "credit_note", row[0]))


def _aws_invoices(month: MonthTotals) -> list[tuple[Any, ...]]:
    rows = []
    for name, invoice in month.invoices.items():
        before_tax = expected.cents(Fraction(invoice.before_tax))
        tax = expected.cents(Fraction(invoice.tax))
        kind = "CREDIT_MEMO" if before_tax < 0 else "INVOICE"
        rows.append(
            (
                name,
                month.period.start,
                catalogue.PAYER,
                "Amazon Web Services EMEA SARL",
                invoice.billing_entity,
                invoice.bill_type,
                kind,
                "USD",
                before_tax,
                tax,
                "USD",
                before_tax + tax,
                "1",
                "",
            )
        )
    return rows


_BUDGETS: tuple[tuple[str, str, str, int], ...] = (
    ("total", "total", "", 91),
    ("tenant-acme", "tenant", "acme", 76),
    ("tenant-globex", "tenant", "globex", 88),
    ("tenant-initech", "tenant", "initech", 104),
    ("tenant-hooli", "tenant", "hooli", 62),
    ("plan-enterprise", "plan", "enterprise", 84),
    ("plan-starter", "plan", "starter", 71),
    ("service-ec2", "service", "AmazonEC2", 98),
    ("service-rds", "service", "AmazonRDS", 73),
    ("service-transfer", "service", "AWSDataTransfer", 90),
)
"""(budget, scope, value, use of the target in the newest month in percent): some ok (below 80), some
warning, some critical (95 and above)."""


def _budgets(first: Period, newest: Borne) -> list[tuple[Any, ...]]:
    actual = {"tenant": newest.of_tenant, "plan": newest.of_plan, "service": newest.of_service}
    rows = []
    for name, scope, value, percent in _BUDGETS:
        cost = newest.total() if scope == "total" else actual[scope](value)
        target = round(cost * 100 / percent)
        rows.append((name, 1, scope, value, first.start, "", "unblended", f"{target}.00"))
    return rows
