"""What stands in a tenant's pack: its statement, entries, corrections and documents of one month.

Belongs here: reading one tenant's rows, and holding them to the statement with difference 0. Does not belong
here: pages and files (`exports/pack_pages.py`, `exports/packs.py`).

Rows are asked for by the tenant's id. Of the others a pack has sums over all tenants: key totals and pools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports.pack_names import Names, spelled
from cops_dagster.exports.ready import Ready
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.policy import ChargeBasis
from cops_dagster.reconciliation import documents
from cops_dagster.stores import tables as t

_COST: Mapping[ChargeBasis, str] = {
    "unblended": "allocated_cost_usd",
    "amortized": "allocated_amortized_cost_usd",
    "net_amortized": "allocated_net_amortized_cost_usd",
}
"""The column of an entry that is charged."""


@dataclass(frozen=True)
class Direct:
    """Cost whose lines named the tenant, on the charge basis."""

    entry_id: str
    service: str
    service_component: str
    charge_class: str
    charged_usd: Decimal


@dataclass(frozen=True)
class Shared:
    """One part of a pool: `pool × key value ÷ key total` is the unblended share; charged is on the basis."""

    entry_id: str
    service: str
    service_component: str
    charge_class: str
    rule: str
    method: str
    key: str
    key_value: Decimal | None
    key_total: Decimal | None
    pool_unblended_usd: Decimal | None
    share_unblended_usd: Decimal
    charged_usd: Decimal


@dataclass(frozen=True)
class Booked:
    """A correction of a closed month, booked in this one."""

    entry_id: str
    usage_month: str
    service: str
    service_component: str
    charge_class: str
    reason: str
    charged_usd: Decimal


@dataclass(frozen=True)
class Issued:
    """A document of the month."""

    invoice_id: str
    document_type: str
    corrects_invoice_id: str
    amount: Decimal
    currency: str
    status: str


@dataclass(frozen=True)
class Facts:
    """Everything that a tenant's pack says. `stated` is its row of the statement."""

    tenant_id: str
    name: str
    stated: Mapping[str, Any]
    recon: Any
    direct: Sequence[Direct]
    shared: Sequence[Shared]
    corrections: Sequence[Booked]
    documents: Sequence[Issued]


def each(
    books: Books,
    con: sa.Connection,
    month: Ready,
    stated: Sequence[Mapping[str, Any]],
    known: Mapping[str, str],
    names: Names,
) -> Iterator[Facts]:
    """The facts of these tenants, one after the other. All sums are compared before the first comes.

    Args:
        stated: rows of the statement that the month's reconciliation recorded.
        known: tenant → name.

    Raises:
        CopsError: `E-EXPORT-SUM` when entries do not add up to a statement; `E-DIGEST` for a changed file.
    """
    period, recon = month.period, month.recon
    methods = {(row.rule_id, row.version): row.method for row in con.execute(sa.select(t.allocation_rules))}
    issued = documents.invoices(con, period)
    cost, start = _COST[recon.charge_basis], {"period_start": period.start}
    with books.engine() as engine:
        books.namespace(engine, con, period).provide(["fact_cost_allocated", "fact_cost_adjustment"])
        _require_sums(period, recon.charge_basis, stated, engine.fetch)
        for row in stated:
            tenant = row["tenant_id"]

            def shown(text: str | None, tenant_id: str = tenant) -> str:
                return names.shown(text, tenant_id)

            entries = engine.fetch(
                "fetch_entries",
                start
                | {
                    "entry_id": "",
                    "head_run_id": month.head.run_id,
                    "tenant_id": tenant,
                    "service": "",
                },
            ).dicts()
            booked = engine.fetch("fetch_booked_of_tenant", start | {"tenant_id": tenant}).dicts()
            facts = Facts(
                tenant,
                spelled(known.get(tenant, tenant)),
                row,
                recon,
                [_direct(one, cost, shown) for one in entries if one["allocation_method"] == "direct"],
                [
                    _shared(one, cost, methods, shown)
                    for one in entries
                    if one["allocation_method"] != "direct" and (one["key_value"] != 0 or one[cost])
                ],
                [_booked(one, cost, shown) for one in booked],
                [_issued(one) for one in issued if one.tenant_id == tenant],
            )
            _require_same(period, row, "direct_usd", facts.direct)
            _require_same(period, row, "shared_usd", facts.shared)
            _require_same(period, row, "adjustments_usd", facts.corrections)
            yield facts


def _require_sums(
    period: Period, basis: str, stated: Sequence[Mapping[str, Any]], fetch: Callable[..., Any]
) -> None:
    """The entries of all these tenants add up to their statements: asked before anything is written."""
    sums: dict[tuple[str, str], Decimal] = {}
    start = {"period_start": period.start}
    for one in fetch("fetch_allocated_by_tenant", start).dicts():
        line = "direct_usd" if one["allocation_method"] == "direct" else "shared_usd"
        key = one["tenant_id"], line
        sums[key] = sums.get(key, Decimal(0)) + one[f"{basis}_usd"]
    for one in fetch("fetch_adjustments_by_tenant", start).dicts():
        key = one["tenant_id"], "adjustments_usd"
        sums[key] = sums.get(key, Decimal(0)) + one[f"{basis}_usd"]
    for row in stated:
        for line in ("direct_usd", "shared_usd", "adjustments_usd"):
            _require(period, row, line, sums.get((row["tenant_id"], line), Decimal(0)))


def _require_same(
    period: Period, row: Mapping[str, Any], line: str, rows: Sequence[Direct | Shared | Booked]
) -> None:
    _require(period, row, line, sum((one.charged_usd for one in rows), Decimal(0)))


def _require(period: Period, row: Mapping[str, Any], line: str, found: Decimal) -> None:
    if found != row[line]:
        raise CopsError(
            "E-EXPORT-SUM",
            f"pack of {row['tenant_id']} in {period}, {line}",
            expected=f"{row[line]}, as the statement says",
            found=f"{found} in the entries",
            next_step="hand out nothing; run `cops evidence verify`, and report it",
        )


def _direct(one: Mapping[str, Any], cost: str, shown: Callable[[str | None], str]) -> Direct:
    return Direct(
        one["entry_id"],
        shown(one["service"]),
        shown(one["service_component"]),
        one["charge_class"],
        one[cost],
    )


def _shared(
    one: Mapping[str, Any],
    cost: str,
    methods: Mapping[tuple[str, int], str],
    shown: Callable[[str | None], str],
) -> Shared:
    rule, version = one["rule_id"], one["rule_version"]
    named = shown(rule) if version is None else f"{shown(rule)}@{version}"
    return Shared(
        one["entry_id"],
        shown(one["service"]),
        shown(one["service_component"]),
        one["charge_class"],
        named,
        methods.get((rule, version), one["allocation_method"]),
        shown(one["key_name"]),
        one["key_value"],
        one["key_total"],
        one["pool_cost_usd"],
        one["allocated_cost_usd"],
        one[cost],
    )


def _booked(one: Mapping[str, Any], cost: str, shown: Callable[[str | None], str]) -> Booked:
    return Booked(
        one["entry_id"],
        str(Period.of(one["usage_period_start"])),
        shown(one["service"]),
        shown(one["service_component"]),
        one["charge_class"] or "",
        shown(one["reason"]),
        one[cost],
    )


def _issued(row: Any) -> Issued:
    return Issued(
        row.invoice_id,
        row.document_type,
        row.corrects_invoice_id or "",
        row.amount,
        row.currency,
        row.status,
    )
