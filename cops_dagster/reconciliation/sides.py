"""What a reconciliation compares: the ledger, AWS's invoices, and the tenants' documents.

Belongs here: reading the three sides of one period, in atto-dollars, in one snapshot. Does not belong here:
reading what people loaded (`reconciliation/documents.py`), comparing (`reconciliation/variance.py`,
`reconciliation/differences.py`), recording it (`reconciliation/record.py`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, currency
from cops_dagster.period import Period
from cops_dagster.reconciliation import invoicing
from cops_dagster.reconciliation.differences import AwsInvoice, Billed, Ledger, TenantFacts
from cops_dagster.reconciliation.documents import (
    at_other_rates,
    atto,
    aws_invoices,
    conflicts,
    currencies,
    fx_rates,
    invoices,
    markups,
    rounding,
)
from cops_dagster.reconciliation.variance import Invoiced, TenantCost, half_unit
from cops_dagster.reconciliation.verdicts import Unpriced
from cops_dagster.stores import tables as t
from cops_dagster.tagging.plans import plans_begin
from cops_dagster.words import OPERATOR, UNALLOCATED

if TYPE_CHECKING:
    from cops_dagster.lake.engine import Engine


@dataclass
class Counterparts:
    """The three sides of one period.

    Attributes:
        aws: totals of the month's lines in every cost view, USD.
        documents: per amount on an issued tenant document: invoice id, and what it comes to.
        rates: atto-USD for one unit of each currency on the documents of the month.
        currencies: the currency of each tenant's invoices.
    """

    aws: dict[str, Any]
    costs: list[TenantCost]
    by_class: dict[str, dict[str, int]]
    documents: list[tuple[str, Invoiced]]
    billed: list[Billed]
    issued: list[AwsInvoice]
    issued_before: list[AwsInvoice]
    ledger: Ledger
    is_final: bool
    conflicts: int
    rates: dict[str, int] = field(default_factory=dict)
    currencies: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, list[int]] = field(default_factory=dict)

    def facts(self) -> dict[str, TenantFacts]:
        """What may explain each tenant's variance."""
        documents: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for invoice_id, one in self.documents:
            documents[one.tenant_id].append((invoice_id, one.usd))
        names = {*documents, *self.by_class}
        return {
            name: TenantFacts(documents[name], self.by_class.get(name, {}), self.foreign.get(name, ()))
            for name in names
        }

    def half_units(self) -> dict[str, int]:
        """Half a minor unit of each tenant's currency in atto-USD, where it has a rate."""
        return {
            tenant: half_unit(code, self.rates[code])
            for tenant, code in self.currencies.items()
            if code in self.rates and currency.is_known(code)
        }


def read(books: Books, con: sa.Connection, period: Period) -> Counterparts:
    """Reads all three sides. Documents in another currency stand in USD at their frozen rate."""
    basis = books.policy.charge.basis
    start = {"period_start": period.start}
    with books.lines(period) as engine:
        names = books.namespace(engine, con, period)
        names.provide(["fact_cost_tagged", "fact_cost_allocated", "fact_cost_adjustment"])
        names.lines_by("bill_invoice_id", "bill_payer_account_id", "line_item_usage_account_id")
        # tagging preserves every cost view exactly, so its few rows stand for the month's lines
        aws = engine.fetch("measure_fact_cost_tagged", start).one()
        allocated = engine.fetch("fetch_allocated_by_tenant", start).dicts()
        booked = of_today(con, engine.fetch("fetch_adjustments_by_tenant", start).dicts())
        mistagged = mistagged_tenants(engine, period)
        billed = engine.fetch("fetch_cost_by_invoice", start).dicts()
        unclaimed = engine.fetch("fetch_unclaimed_by_service", start).dicts()
        pools = engine.fetch("fetch_pool_by_service", start).dicts()
    costs = _costs(
        allocated, booked, basis, markups(con, period), mistagged, has_plans=bool(plans_begin(con))
    )
    by_class: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in allocated:
        classes, charge_class = by_class[row["tenant_id"]], row["charge_class"]
        classes[charge_class] = classes.get(charge_class, 0) + amount.from_decimal(row[f"{basis}_usd"])
    issued = aws_invoices(con, period)
    rates = fx_rates(con, period)
    documents = [
        (row.invoice_id, Invoiced(row.tenant_id, atto(row.amount_usd), rounding(row, rates)))
        for row in invoices(con, period)
    ]
    return Counterparts(
        aws,
        costs,
        dict(by_class),
        documents,
        _billed(billed, {one.source_id for one in invoicing.sources(con, period) if one.is_pro_forma}),
        issued,
        aws_invoices(con, period.previous()),
        _ledger(con, period, costs, unclaimed, pools),
        invoicing.is_final(con, period),
        len(conflicts(con, period)),
        rates,
        currencies(con),
        at_other_rates(con, period, rates),
    )


def _billed(rows: list[dict[str, Any]], pro_forma: set[str]) -> list[Billed]:
    """What each AWS invoice should charge, over all sources that AWS invoices."""
    found: dict[str, Billed] = {}
    for row in rows:
        if row["source_id"] in pro_forma:
            continue
        name = row["invoice_id"]
        other = found.get(name, Billed(name, 0, 0, row["payer_account_id"], 0, 0))
        found[name] = Billed(
            name,
            other.before_tax + atto(row["before_tax_usd"]),
            other.tax + atto(row["tax_usd"]),
            other.payer_account_id,
            other.amounts_before_tax + row["amounts_before_tax"],
            other.amounts_tax + row["amounts_tax"],
        )
    return [found[name] for name in sorted(found)]


def _costs(
    allocated: list[dict[str, Any]],
    booked: list[dict[str, Any]],
    basis: str,
    bps: dict[str, int],
    mistagged: set[str],
    *,
    has_plans: bool,
) -> list[TenantCost]:
    """Sums by tenant and plan. No plan at all means no markup; a plan without one in force has `None`.

    Args:
        mistagged: tenants with a plan tag that names no plan, and no plan of their own: `None` too.
        has_plans: plans are registered; without any, a plan tag is a name and nothing else.
    """
    sums: defaultdict[tuple[str, str | None], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in allocated:
        one = sums[row["tenant_id"], row["plan_id"]]
        on_basis = atto(row[f"{basis}_usd"])
        one["unblended"] += atto(row["unblended_usd"])
        one["amortized"] += atto(row["amortized_usd"])
        one["basis"] += on_basis
        one["direct"] += on_basis if row["allocation_method"] == "direct" else 0
    for row in booked:  # also a tenant, or a plan of one, that this month has nothing else of
        sums[row["tenant_id"], row["plan_id"]]["adjustments"] += atto(row[f"{basis}_usd"])
    return [
        TenantCost(
            tenant,
            one["unblended"],
            one["basis"],
            markup_of(tenant, plan, bps, mistagged) if has_plans else 0,
            one["adjustments"],
            one["amortized"],
            one["direct"],
        )
        for (tenant, plan), one in sorted(sums.items(), key=str)
    ]


def markup_of(tenant: str, plan: str | None, bps: dict[str, int], mistagged: set[str]) -> int | None:
    """The basis points that a tenant's cost on a plan is marked up by; `None` where nobody can say."""
    if tenant in (OPERATOR, UNALLOCATED):
        return 0
    if plan is None:
        return None if tenant in mistagged else 0
    return bps.get(plan)


def mistagged_tenants(engine: Engine, period: Period) -> set[str]:
    """Tenants of the engine's `fact_cost_tagged` with cost whose plan tag names no plan, and no own plan."""
    rows = engine.fetch("fetch_cost_by_plan", {"period_start": period.start}).dicts()
    return {
        row["tenant_id"] for row in rows if row["tenant_id"] and row["plan_tag"] and row["plan_id"] is None
    }


def of_today(con: sa.Connection, booked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adjustments by plans of today: a closed month's plan that was never registered is the tenant's own."""
    known = plans_begin(con)
    own = {row.tenant_id: row.plan_id for row in con.execute(sa.select(t.tenants))}
    return [
        row
        if row["plan_id"] is None or row["plan_id"] in known
        else row | {"plan_id": own.get(row["tenant_id"])}
        for row in booked
    ]


def unpriced(books: Books, con: sa.Connection, period: Period) -> list[Unpriced]:
    """Cost of tenants that no markup could be found for, by plan; the largest first."""
    if not plans_begin(con):
        return []
    basis, start, bps = books.policy.charge.basis, {"period_start": period.start}, markups(con, period)
    with books.engine() as engine:
        books.namespace(engine, con, period).provide(
            ["fact_cost_tagged", "fact_cost_allocated", "fact_cost_adjustment"]
        )
        mistagged = mistagged_tenants(engine, period)
        rows = [
            *engine.fetch("fetch_allocated_by_tenant", start).dicts(),
            *of_today(con, engine.fetch("fetch_adjustments_by_tenant", start).dicts()),
        ]
    sums: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for row in rows:
        if row["tenant_id"] not in (OPERATOR, UNALLOCATED):
            sums[row["tenant_id"], row["plan_id"]] += atto(row[f"{basis}_usd"])
    by_tag_only = {tenant for (tenant, plan), usd in sums.items() if plan is not None and usd}
    found = [
        Unpriced(tenant, plan, usd)
        for (tenant, plan), usd in sums.items()
        if usd and (tenant in by_tag_only | mistagged if plan is None else plan not in bps)
    ]
    return sorted(found, key=lambda one: (-abs(one.usd), one.tenant_id))


def _ledger(
    con: sa.Connection,
    period: Period,
    costs: list[TenantCost],
    unclaimed: list[dict[str, Any]],
    pools: list[dict[str, Any]],
) -> Ledger:
    aside = sum(cost.unblended for cost in costs if cost.tenant_id == UNALLOCATED)
    claimed_by_nobody = sum(atto(row["unclaimed_usd"]) for row in unclaimed)
    fault = sum(abs(atto(row["unclaimed_usd"])) for row in unclaimed)
    pool = sum(abs(atto(row["unblended_usd"])) for row in pools)
    stands = month.read(con, period)
    set_aside = atto(stands.quarantined[1])
    booked = atto(stands.posted_usd) + set_aside
    return Ledger(
        newer=atto(stands.delivered_usd) - booked,
        quarantined=set_aside,
        unclaimed=claimed_by_nobody,
        held=aside - claimed_by_nobody,
        is_within_limit=100 * fault <= 2 * pool,
    )
