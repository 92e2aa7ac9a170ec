"""The sell side of FOCUS: what each tenant is charged, and the documents that were issued for it.

Belongs here: charges of a tenant's statement, entry by entry in the tenant's currency, and its documents.
A document is the purchase: it is billed, and effective nowhere; what it pays for is effective, and not billed
again. So Σ BilledCost of an invoice is its amount, and Σ EffectiveCost of a tenant is its statement's total.
Does not belong here: the statement itself (`reconciliation/cents.py`), the files (`exports/focus.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports import focus_documents, focus_entries
from cops_dagster.exports.focus_entries import NOTHING, Charge, Entry
from cops_dagster.exports.ready import Ready
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, currency, footing
from cops_dagster.money.amount import ATTO
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents, statement
from cops_dagster.stores import tables as t

_BASIS = {
    "unblended": "allocated_cost_usd", "amortized": "allocated_amortized_cost_usd",
    "net_amortized": "allocated_net_amortized_cost_usd",
}  # fmt: skip
Services = Mapping[tuple[str, str], Sequence[str]]


def charges(
    books: Books, con: sa.Connection, own: Engine, ready: Ready, services: Services, *, tenant: str = ""
) -> Iterator[Charge]:
    """The charges of every tenant of the statement, or of one, and its documents.

    Args:
        own: an engine that shows the month's entries.
        services: (service, charge class) → name, category, subcategory.

    Raises:
        CopsError: what `statement.statement` raises, such as `E-FX`; `E-EXPORT-SUM` when entries do not come
            to the statement; `E-TENANT-UNKNOWN`.
    """
    found = statement.statement(books, ready.period)
    rows = [row for row in found.rows if tenant in ("", row["tenant_id"])]
    if tenant and not rows:
        raise CopsError(
            "E-TENANT-UNKNOWN",
            f"export of {ready.period}",
            expected="a tenant of the month",
            found=repr(tenant),
            next_step=f"take one of `cops statement {ready.period}`",
        )
    names = {row.tenant_id: row.name for row in con.execute(sa.select(t.tenants))}
    entries = _entries(own, ready, {row["tenant_id"] for row in rows})
    invoices = _invoices(con, ready)
    for row in rows:
        name = focus_entries.name_of(row["tenant_id"], names)
        of_tenant = entries.get(row["tenant_id"], [])
        for charge in _tenant(ready, row, of_tenant, _BASIS[found.basis], services, name):
            is_then = charge.get("charge_class") is None
            yield charge | {"invoice_id": invoices.get(row["tenant_id"]) if is_then else None}
    of = {row["tenant_id"] for row in rows} if tenant else None
    yield from _documents(con, ready, names, of)


def _invoices(con: sa.Connection, ready: Ready) -> dict[str, str]:
    """Tenant → its invoice of the month, where there is one: its charges stand on it."""
    found: dict[str, list[str]] = {}
    for row in documents.invoices(con, ready.period):
        if row.document_type == "invoice":
            found.setdefault(row.tenant_id, []).append(row.invoice_id)
    return {tenant: ids[0] for tenant, ids in found.items() if len(ids) == 1}


def _entries(own: Engine, ready: Ready, tenants: set[str]) -> dict[str, list[Entry]]:
    start: dict[str, Any] = {"period_start": ready.period.start, "run_id": ready.head.run_id}
    by_tenant: dict[str, list[Entry]] = {}
    for query in ("focus_entries_direct", "focus_entries_shared", "focus_adjustments"):
        for entry in own.fetch(query, start).dicts():
            if entry["tenant_id"] in tenants:
                by_tenant.setdefault(entry["tenant_id"], []).append(entry)
    return by_tenant


def _tenant(
    ready: Ready,
    row: Mapping[str, Any],
    entries: Sequence[Entry],
    basis: str,
    services: Services,
    name: str,
) -> Iterator[Charge]:
    usd = [amount.from_decimal(entry[basis]) for entry in entries] + [amount.from_decimal(row["markup_usd"])]
    total_usd, rate = amount.from_decimal(row["total_usd"]), amount.from_decimal(row["fx_rate"])
    if sum(usd) != total_usd:
        raise CopsError(
            "E-EXPORT-SUM",
            f"FOCUS export of {ready.period}, tenant {row['tenant_id']}",
            expected=f"{amount.to_text(total_usd)} USD, as its statement says",
            found=f"{amount.to_text(sum(usd))} USD in entries",
            next_step=f"nothing left COPS; run `cops materialize {ready.period}`, and report it if it stays",
        )
    own = footing.parts([one * ATTO for one in usd], rate)
    common = _common(ready, row["tenant_id"], name, row["currency"])
    for entry, in_usd, in_own in zip(entries, usd, own, strict=False):
        about = Period.of(entry.get("usage_period_start") or ready.period.start)
        is_correction = about != ready.period
        service_name, category, subcategory = services[entry["service"], entry["charge_class"]]
        yield common | _money(in_own, in_usd) | {
            "charge_category": "Usage" if entry["charge_class"] in _USED else "Adjustment",
            "charge_class": "Correction" if is_correction else None,
            "charge_description": f"{entry['service']} {entry['charge_class']}"
            f" ({'shared' if entry['rule_id'] else 'direct'})",
            "charge_period_start": focus_documents.at(about.start),
            "charge_period_end": focus_documents.at(about.end),
            "service_name": service_name,
            "service_category": category,
            "service_subcategory": subcategory,
            "tags": focus_entries.tags(entry),
            "x_charge_key": entry["entry_id"],
            "x_cost_class": entry["charge_class"],
            "x_entry_id": entry["entry_id"],
            "x_plan_id": entry["plan_id"],
            "x_reason": entry.get("reason"),
            "x_run_id": entry["run_id"],
            "x_service_code": entry["service"],
            "x_service_component": entry["service_component"],
            "x_grain": "correction" if is_correction else "entry",
        }  # fmt: skip
    if usd[-1]:
        yield common | _money(own[-1], usd[-1]) | _of_platform(ready, "Markup", f"markup-{row['tenant_id']}")
    rounding = amount.from_decimal(row["total"]) - sum(own)
    if rounding:
        yield common | _money(rounding, 0) | _of_platform(
            ready, "Rounding to whole minor units", f"rounding-{row['tenant_id']}"
        )  # fmt: skip


_USED = ("usage", "support", "marketplace", "commitment_fee")


def _common(ready: Ready, tenant: str, name: str, code: str) -> Charge:
    return {
        "billing_account_id": tenant,
        "billing_account_name": name,
        "billing_account_type": "Tenant",
        "billing_currency": code,
        "charge_frequency": "Usage-Based",
        "pricing_currency": "USD",
        "x_draft": focus_documents.draft(ready),
        "x_tenant_id": tenant,
    }


def _money(own: int, usd: int) -> Charge:
    effective = amount.to_decimal(own)
    return {
        "billed_cost": NOTHING,
        "effective_cost": effective,
        "list_cost": effective,
        "contracted_cost": effective,
        "pricing_currency_effective_cost": amount.to_decimal(usd),
        "x_net_effective_cost": effective,
    }


def _of_platform(ready: Ready, what: str, key: str) -> Charge:
    return {
        "charge_category": "Adjustment",
        "charge_description": what,
        "charge_period_start": focus_documents.at(ready.period.start),
        "charge_period_end": focus_documents.at(ready.period.end),
        "service_name": "Platform",
        "service_category": "Other",
        "service_subcategory": "Other (Other)",
        "x_charge_key": key,
        "x_grain": "statement",
    }


def _documents(
    con: sa.Connection, ready: Ready, names: Mapping[str, str], only: set[str] | None
) -> Iterator[Charge]:
    """A document's amount, billed: an invoice as a purchase, a credit note as an adjustment of it."""
    for row in documents.invoices(con, ready.period):
        if only is not None and row.tenant_id not in only:
            continue
        if not currency.is_known(row.currency):
            raise currency.unknown(row.currency)
        is_credit = row.document_type == "credit_note"
        category = "Adjustment" if is_credit else "Purchase"
        what = f"Credit note {row.invoice_id}" if is_credit else f"Invoice {row.invoice_id}"
        key = f"document-{row.invoice_id}-{row.tenant_id}"
        yield _common(ready, row.tenant_id, focus_entries.name_of(row.tenant_id, names), row.currency) | {
            **_money(0, 0),
            **_of_platform(ready, what, key),
            "billed_cost": row.amount,
            "list_cost": row.amount,
            "contracted_cost": row.amount,
            "charge_category": category,
            "charge_frequency": "One-Time",
            "invoice_id": row.invoice_id,
            "invoice_detail_id": f"{row.invoice_id}-{row.tenant_id}-{category}",
            "pricing_category": None if is_credit else "Standard",
            "x_grain": "document",
        }
