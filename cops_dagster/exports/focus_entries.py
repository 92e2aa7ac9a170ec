"""FOCUS charges of entries that are no single line: parts of pools, entries as a whole, corrections. Pure.

Belongs here: the allocation block of a part, ratios that sum to exactly 1, what kind of charge an entry is.
Does not belong here: lines of the bill (`sql/focus_lines.sql`), reading entries (`exports/focus_cost.py`).
Amounts are Decimals that are copied, never computed; a ratio is a share of 10^18 parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import groupby
from typing import Any

from cops_dagster.exports import focus_invoices
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.money.split import split
from cops_dagster.period import Period
from cops_dagster.words import OPERATOR, UNALLOCATED

NOTHING = Decimal(0)
Entry = Mapping[str, Any]
Charge = dict[str, Any]
POOL = (
    "rule_id", "rule_version", "service", "service_component", "charge_class", "delivery_id", "key_name",
    "key_total", "pool_cost_usd",
)  # fmt: skip
"""What the parts of one pool agree in."""
_CATEGORY = {
    "tax": "Tax", "credit": "Credit", "refund": "Adjustment", "discount": "Adjustment", "support": "Purchase",
    "commitment_fee": "Purchase",
}  # fmt: skip
_OF_LINE = {"Tax": "Tax", "Credit": "Credit", "Refund": "Adjustment", "Fee": "Purchase"}


@dataclass(frozen=True)
class Facts:
    """What the charges of a month have in common, and what is known of its pools and tenants.

    Attributes:
        services: (service, charge class) → name, category, subcategory.
        pools: (service, component, charge class, delivery) → what all lines of the pool agree in.
        invoices: the same → what its lines cost on each invoice, of pools that stand on several.
        tenants: tenant → name.
        units: key name → the measure it counts.
        payers: delivery → payer account.
    """

    period: Period
    run_id: str
    inputs_id: str
    services: Mapping[tuple[str, str], Sequence[str]]
    pools: Mapping[tuple[Any, ...], Mapping[str, Any]]
    invoices: Mapping[tuple[Any, ...], Sequence[Mapping[str, Any]]]
    tenants: Mapping[str, str]
    units: Mapping[str, str]
    payers: Mapping[str, str]


def parts(entries: Iterable[Entry], facts: Facts) -> Iterator[Charge]:
    """The charges of pools that rules split; entries come in the order of `POOL`, then by tenant."""
    for key, entries_of in groupby(entries, key=lambda entry: tuple(entry[name] for name in POOL)):
        for number, pool in enumerate(_pools(list(entries_of))):
            pool_id = digest(str(facts.period), *key, number)[:32]
            invoices = facts.invoices.get(tuple(pool[0][name] for name in POOL[2:6]), ())
            if not invoices:
                yield from _pool(pool_id, pool, facts)
                continue
            for at, (invoice_id, found) in enumerate(focus_invoices.by_invoice(pool, invoices)):
                for charge in _pool(f"{pool_id}-{at}", found, facts):
                    line = _detail_of(invoice_id, charge["billing_account_id"], charge["charge_category"])
                    key_of = f"{charge['x_charge_key']}-{at}"
                    more = {"invoice_id": invoice_id, "invoice_detail_id": line, "x_charge_key": key_of}
                    yield charge | more


def _pools(entries: list[Entry]) -> list[list[Entry]]:
    """Pools that look alike, apart: a tenant has one part of each."""
    made: list[list[Entry]] = []
    seen: dict[str, int] = {}
    for entry in entries:
        number = seen[entry["tenant_id"]] = seen.get(entry["tenant_id"], -1) + 1
        made.extend([[]] if number == len(made) else [])
        made[number].append(entry)
    return made


def _pool(pool_id: str, entries: list[Entry], facts: Facts) -> Iterator[Charge]:
    ratios = _ratios(entries)
    is_split = entries[0]["tenant_id"] != UNALLOCATED
    for entry in entries:
        block = _block(entry, ratios[entry["tenant_id"]], facts)
        for part, charge in enumerate(charges(entry, facts, grain="pool")):
            charge |= block
            if is_split:  # what nobody bears is no split; the judges take a group without a resource for one
                origin = entry["pool_cost_usd"] if part == 0 else NOTHING
                charge |= {"x_split_origin_id": f"{pool_id}-{part}", "x_split_origin_cost": origin}
            yield charge


def _ratios(entries: list[Entry]) -> dict[str, str]:
    """Tenant → its share of the pool as a decimal; together exactly 1."""
    weights = {entry["tenant_id"]: amount.from_decimal(entry["key_value"] or NOTHING) for entry in entries}
    if not any(weights.values()):  # one part, whole: held, unclaimed or without a key
        weights = dict.fromkeys(weights, 1)
    shares = split(amount.ATTO, weights)
    return {tenant: amount.plain(amount.to_decimal(share).normalize()) for tenant, share in shares.items()}


def _block(entry: Entry, ratio: str, facts: Facts) -> Charge:
    """The allocation columns of FOCUS 1.4; all NULL where no rule decided."""
    if entry["rule_id"] is None:
        return {}
    element = [f'"AllocatedRatio":{ratio}']
    if entry["key_value"] is not None and (unit := facts.units.get(entry["key_name"], entry["key_name"])):
        element.append(f'"UsageUnit":{json.dumps(unit, ensure_ascii=False)}')
        element.append(f'"UsageQuantity":{amount.plain(entry["key_value"].normalize())}')
        element.append(f'"x_KeyTotal":"{amount.plain(entry["key_total"])}"')
    element.append(f'"x_KeySnapshotId":"{facts.inputs_id}"')
    element.append(f'"x_RunId":"{facts.run_id}"')
    version = "" if entry["rule_version"] is None else f"@{entry['rule_version']}"
    made = {
        "allocated_method_id": f"{entry['rule_id']}{version}",
        "allocated_method_details": '{"Elements":[{' + ",".join(element) + "}]}",
    }
    if entry["tenant_id"] != UNALLOCATED:
        made["allocated_resource_id"] = entry["tenant_id"]
        made["allocated_resource_name"] = name_of(entry["tenant_id"], facts.tenants)
        made["allocated_tags"] = tags(entry)
    return made


def name_of(tenant: str, tenants: Mapping[str, str]) -> str:
    """A tenant's name; of one that is not registered its id."""
    return "Operator" if tenant == OPERATOR else tenants.get(tenant) or tenant


def tags(entry: Entry) -> str:
    """Whose an entry is, as tags."""
    said = {"cops/tenant_id": entry["tenant_id"], "cops/plan_id": entry["plan_id"]}
    return json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False)


def corrections(entries: Iterable[Entry], facts: Facts) -> Iterator[Charge]:
    """Charges of what was booked in this month about closed ones: on no invoice of then."""
    for entry in entries:
        about = Period.of(entry["usage_period_start"])
        for charge in charges(entry, facts, grain="correction"):
            yield charge | {
                "charge_class": "Correction",
                "charge_period_start": _at(about.start),
                "charge_period_end": _at(about.end),
                "invoice_id": None,
                "invoice_detail_id": None,
                "x_reason": entry["reason"],
                "tags": tags(entry),
            }


def charges(entry: Entry, facts: Facts, *, grain: str) -> Iterator[Charge]:
    """An entry as one charge, or as two: what a commitment's fee buys, and what of it nobody used."""
    pool = facts.pools.get(tuple(entry[name] for name in POOL[2:6]), {}) if grain == "pool" else entry
    billed, effective = entry["allocated_cost_usd"], entry["allocated_amortized_cost_usd"]
    net = entry["allocated_net_amortized_cost_usd"]
    category = _OF_LINE.get(pool.get("line_type") or "") or _CATEGORY.get(entry["charge_class"], "Usage")
    if category == "Credit" and billed != effective:
        category = "Adjustment"  # a commitment that was paid back: FOCUS wants credits effective as billed
    is_fee = entry["charge_class"] == "commitment_fee"
    name, service_category, subcategory = facts.services[entry["service"], entry["charge_class"]]
    made = {
        "billed_cost": billed,
        "effective_cost": NOTHING if is_fee else effective,
        "pricing_currency_effective_cost": NOTHING if is_fee else effective,
        "x_net_effective_cost": NOTHING if is_fee else net,
        "list_cost": billed,
        "contracted_cost": billed,
        "billing_account_id": pool.get("payer") or facts.payers.get(entry["delivery_id"] or "") or "unknown",
        "charge_period_start": _at(facts.period.start),
        "charge_period_end": _at(facts.period.end),
        "charge_category": category,
        "charge_description": _described(entry, grain),
        "charge_frequency": _frequency(category, entry["charge_class"]),
        "invoice_id": pool.get("invoice_id"),
        "publisher_name": pool.get("seller"),
        "service_name": name,
        "service_category": service_category,
        "service_subcategory": subcategory,
        "sub_account_id": pool.get("account"),
        "region_id": pool.get("region"),
        "region_name": pool.get("region"),
        "pricing_category": "Standard" if category in ("Usage", "Purchase") else None,
        "pricing_quantity": Decimal(1) if category in ("Usage", "Purchase") else None,
        "pricing_unit": "Charges" if category in ("Usage", "Purchase") else None,
        "x_service_code": entry["service"],
        "x_service_component": entry["service_component"],
        "x_cost_class": entry["charge_class"],
        "x_line_type": pool.get("line_type"),
        "x_tenant_id": entry["tenant_id"],
        "x_plan_id": entry["plan_id"],
        "x_entry_id": entry["entry_id"],
        "x_charge_key": f"{entry['entry_id']}-0",
        "x_run_id": entry["run_id"],
        "x_grain": grain,
    }
    if grain != "pool":
        made["tags"] = tags(entry)
    yield _on_invoice(made)
    if is_fee and (effective or net):
        yield made | _unused(made, effective, net)


def _unused(charge: Charge, effective: Decimal, net: Decimal) -> Charge:
    """What is other of the charge for what nobody used of a commitment."""
    return {
        "billed_cost": NOTHING,
        "effective_cost": effective,
        "pricing_currency_effective_cost": effective,
        "x_net_effective_cost": net,
        "list_cost": effective,
        "contracted_cost": effective,
        "charge_category": "Usage",
        "charge_frequency": "Usage-Based",
        "charge_description": f"{charge['charge_description']}, unused",
        "pricing_category": "Standard",
        "x_charge_key": f"{charge['x_entry_id']}-1",
        "invoice_detail_id": _detail_of(charge["invoice_id"], charge["billing_account_id"], "Usage"),
    }


def _on_invoice(charge: Charge) -> Charge:
    line = _detail_of(charge["invoice_id"], charge["billing_account_id"], charge["charge_category"])
    return charge | {"invoice_detail_id": line}


def _detail_of(invoice_id: str | None, account: str, category: str) -> str | None:
    """The line of an invoice that charges stand on, as `sql/focus_lines.sql` names it too."""
    return f"{invoice_id}-{account}-{category}" if invoice_id else None


def _described(entry: Entry, grain: str) -> str:
    said = [entry["service"], entry["service_component"], entry["charge_class"]]
    whole = " ".join(one for one in said if one)
    return f"{whole} ({'shared by ' + str(entry['rule_id']) if entry['rule_id'] else grain})"


def _frequency(category: str, charge_class: str) -> str:
    if category == "Usage":
        return "Usage-Based"
    return "Recurring" if charge_class in ("support", "commitment_fee") else "One-Time"


def _at(day: date) -> datetime:
    return datetime.combine(day, time())
