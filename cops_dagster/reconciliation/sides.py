"""What a reconciliation compares: the ledger, AWS's invoices, and the tenants' documents.

Belongs here: reading the three sides of one period, in atto-dollars, in one snapshot. Does not belong here:
comparing them (`reconciliation/variance.py`, `reconciliation/differences.py`), recording it
(`reconciliation/record.py`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount, currency, footing
from cops_dagster.period import Period
from cops_dagster.reconciliation import aws_documents, exceptions, invoicing
from cops_dagster.reconciliation.differences import AwsInvoice, Billed, Ledger, TenantFacts
from cops_dagster.reconciliation.variance import HALF_CENT, Invoiced, TenantCost, half_unit
from cops_dagster.stores import tables as t
from cops_dagster.tagging.lookups import Unpriced
from cops_dagster.tagging.tag import plans_begin
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
        names.provide(["fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated", "fact_cost_adjustment"])
        # tagging preserves every cost view exactly, so its few rows stand for the month's lines
        aws = engine.fetch("measure_fact_cost_tagged", start).one()
        allocated = engine.fetch("fetch_allocated_by_tenant", start).dicts()
        booked = _of_today(con, engine.fetch("fetch_adjustments_by_tenant", start).dicts())
        mistagged = _mistagged(engine, period)
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
        (row.invoice_id, Invoiced(row.tenant_id, _atto(row.amount_usd), _rounding(row, rates)))
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
        is_final(con, period),
        len(conflicts(con, period)),
        rates,
        _currencies(con, period),
        _at_other_rates(con, period, rates),
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
            other.before_tax + _atto(row["before_tax_usd"]),
            other.tax + _atto(row["tax_usd"]),
            other.payer_account_id,
            other.amounts_before_tax + row["amounts_before_tax"],
            other.amounts_tax + row["amounts_tax"],
        )
    return [found[name] for name in sorted(found)]


def _rounding(row: Any, rates: dict[str, int]) -> int:
    """How far rounding may have moved a document's amount, in atto-USD at the rate that it was booked at."""
    if row.currency == "USD":
        return HALF_CENT
    if not currency.is_known(row.currency):
        return 0  # loaded before codes were judged: of an unknown unit nothing is allowed for
    units, usd = abs(_atto(row.amount)), abs(_atto(row.amount_usd))
    if not units:
        return half_unit(row.currency, rates[row.currency]) if row.currency in rates else 0
    return -(-currency.unit(row.currency) * usd // (2 * units))


def _atto(value: Decimal | None) -> int:
    return amount.from_decimal(value or Decimal(0))


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
        on_basis = _atto(row[f"{basis}_usd"])
        one["unblended"] += _atto(row["unblended_usd"])
        one["amortized"] += _atto(row["amortized_usd"])
        one["basis"] += on_basis
        one["direct"] += on_basis if row["allocation_method"] == "direct" else 0
    for row in booked:  # also a tenant, or a plan of one, that this month has nothing else of
        sums[row["tenant_id"], row["plan_id"]]["adjustments"] += _atto(row[f"{basis}_usd"])
    return [
        TenantCost(
            tenant,
            one["unblended"],
            one["basis"],
            _markup(tenant, plan, bps, mistagged) if has_plans else 0,
            one["adjustments"],
            one["amortized"],
            one["direct"],
        )
        for (tenant, plan), one in sorted(sums.items(), key=str)
    ]


def _markup(tenant: str, plan: str | None, bps: dict[str, int], mistagged: set[str]) -> int | None:
    if tenant in (OPERATOR, UNALLOCATED):
        return 0
    if plan is None:
        return None if tenant in mistagged else 0
    return bps.get(plan)


def _mistagged(engine: Engine, period: Period) -> set[str]:
    """Tenants of the engine's `fact_cost_tagged` with cost whose plan tag names no plan, and no own plan."""
    rows = engine.fetch("fetch_cost_by_plan", {"period_start": period.start}).dicts()
    return {
        row["tenant_id"] for row in rows if row["tenant_id"] and row["plan_tag"] and row["plan_id"] is None
    }


def _of_today(con: sa.Connection, booked: list[dict[str, Any]]) -> list[dict[str, Any]]:
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
        mistagged = _mistagged(engine, period)
        rows = [
            *engine.fetch("fetch_allocated_by_tenant", start).dicts(),
            *_of_today(con, engine.fetch("fetch_adjustments_by_tenant", start).dicts()),
        ]
    sums: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for row in rows:
        if row["tenant_id"] not in (OPERATOR, UNALLOCATED):
            sums[row["tenant_id"], row["plan_id"]] += _atto(row[f"{basis}_usd"])
    by_tag_only = {tenant for (tenant, plan), usd in sums.items() if plan is not None and usd}
    found = [
        Unpriced(tenant, plan, usd)
        for (tenant, plan), usd in sums.items()
        if usd and (tenant in by_tag_only | mistagged if plan is None else plan not in bps)
    ]
    return sorted(found, key=lambda one: (-abs(one.usd), one.tenant_id))


def markups(con: sa.Connection, period: Period) -> dict[str, int]:
    """Basis points of each plan, as in force on the first day of the period."""
    rows = con.execute(
        sa.select(t.plans).where(t.plans.c.effective_from <= period.start).order_by(t.plans.c.effective_from)
    )
    return {row.plan_id: row.markup_bps for row in rows}


def invoices(con: sa.Connection, period: Period) -> list[Any]:
    """Issued tenant documents of a period, credit notes negative."""
    invoice_detail = t.invoice_detail
    return list(
        con.execute(
            sa.select(invoice_detail)
            .where(invoice_detail.c.period_start == period.start)
            .order_by(invoice_detail.c.invoice_id, invoice_detail.c.tenant_id)
        )
    )


def aws_invoices(con: sa.Connection, period: Period) -> list[AwsInvoice]:
    """AWS's invoices and memos of a period; amounts in USD, or `None` where AWS gave no rate to it.

    Receipts and other papers about an invoice are none (`reconciliation/aws_documents.py`).
    """
    invoices = t.aws_invoices
    made = []
    for row in con.execute(
        sa.select(invoices).where(invoices.c.period_start == period.start).order_by(invoices.c.invoice_id)
    ):
        if not aws_documents.is_invoice(row.invoice_type):
            continue
        before_tax, tax, half = _in_usd(row)
        made.append(
            AwsInvoice(
                row.invoice_id,
                row.billing_entity or "AWS",
                before_tax,
                tax,
                row.payer_account_id,
                row.base_currency,
                row.corrects_invoice_id,
                half,
            )
        )
    return made


def _in_usd(row: Any) -> tuple[int | None, int | None, int]:
    """Amount before tax, tax, and half a minor unit of the document's currency, in atto-USD."""
    if row.base_currency == "USD":
        return _atto(row.amount_before_tax), _atto(row.tax), HALF_CENT
    if row.payment_currency == "USD" and row.exchange_rate:  # AWS's own rate, base → payment currency
        rate = _atto(row.exchange_rate)
        half = half_unit(row.base_currency, rate) if currency.is_known(row.base_currency) else 0
        return _converted(_atto(row.amount_before_tax), rate), _converted(_atto(row.tax), rate), half
    return None, None, 0


def _converted(units: int, rate: int) -> int:
    return footing.nearest(units * rate, amount.ATTO)


def fx_rates(con: sa.Connection, period: Period) -> dict[str, int]:
    """atto-USD for one unit of each currency, as frozen for the documents of the month."""
    rates = t.fx_rates
    rows = con.execute(sa.select(rates).where(rates.c.quote == "USD", rates.c.period_start == period.start))
    return {"USD": amount.ATTO, **{row.base: _atto(row.rate) for row in rows}}


def _at_other_rates(con: sa.Connection, period: Period, rates: dict[str, int]) -> dict[str, list[int]]:
    """What each tenant's foreign documents would be in USD at another month's rate of their currency."""
    fx_rates = t.fx_rates
    others: defaultdict[str, list[int]] = defaultdict(list)
    for row in con.execute(
        sa.select(fx_rates)
        .where(fx_rates.c.quote == "USD", fx_rates.c.period_start != period.start)
        .order_by(fx_rates.c.period_start)
    ):
        others[row.base].append(_atto(row.rate))
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in invoices(con, period):
        if row.currency != "USD":
            sums[row.tenant_id, row.currency] += _atto(row.amount)
    found: defaultdict[str, list[int]] = defaultdict(list)
    for (tenant, code), units in sums.items():
        found[tenant] += [_converted(units, rate) for rate in others[code] if rate != rates.get(code)]
    return dict(found)


def _currencies(con: sa.Connection, period: Period) -> dict[str, str]:
    return {row.tenant_id: row.currency or "USD" for row in con.execute(sa.select(t.tenants))}


def conflicts(con: sa.Connection, period: Period) -> list[Any]:
    """Documents of a period that came twice with other content and that nobody has decided on."""
    return [row for row in _waiting(con, period) if row.stored_json != exceptions.NO_OTHER]


def _waiting(con: sa.Connection, period: Period) -> list[Any]:
    """These, and the corrections of closed months that wait in this one: those stop no invoice."""
    conflicts, exceptions = t.document_conflict, t.recon_exceptions
    decided = sa.select(exceptions.c.subject_id).where(
        exceptions.c.period_start == period.start,
        exceptions.c.stage == "document",
        exceptions.c.resolved_at.is_not(None),
    )
    rows = con.execute(
        sa.select(conflicts).where(
            conflicts.c.period_start == period.start, conflicts.c.conflict_id.not_in(decided)
        )
    )
    return list(rows)


def is_final(con: sa.Connection, period: Period) -> bool:
    """Every AWS invoice of the period is issued or none is to come, and no line is set aside."""
    return invoicing.is_final(con, period) and not month.quarantined(con, period)[0]


def _ledger(
    con: sa.Connection,
    period: Period,
    costs: list[TenantCost],
    unclaimed: list[dict[str, Any]],
    pools: list[dict[str, Any]],
) -> Ledger:
    aside = sum(cost.unblended for cost in costs if cost.tenant_id == UNALLOCATED)
    claimed_by_nobody = sum(_atto(row["unclaimed_usd"]) for row in unclaimed)
    fault = sum(abs(_atto(row["unclaimed_usd"])) for row in unclaimed)
    pool = sum(abs(_atto(row["unblended_usd"])) for row in pools)
    set_aside = _atto(month.quarantined(con, period)[1])
    booked = _atto(month.allocated_usd(con, period)) + set_aside
    return Ledger(
        newer=_atto(delivered_usd(con, period)) - booked,
        quarantined=set_aside,
        unclaimed=claimed_by_nobody,
        held=aside - claimed_by_nobody,
        is_within_limit=100 * fault <= 2 * pool,
    )


def delivered_usd(con: sa.Connection, period: Period) -> Decimal:
    """Cost of the newest delivery of every source."""
    deliveries, shown = t.cur_delivery, t.cur_billing_head
    rows = con.execute(
        sa.select(deliveries.c.cost_usd)
        .join(shown, shown.c.delivery_id == deliveries.c.delivery_id)
        .where(shown.c.period_start == period.start)
    ).scalars()
    return sum(rows, Decimal(0))


def loaded(con: sa.Connection, period: Period) -> list[Any]:
    """Every loaded row that a reconciliation reads, for its id: documents, rates, plans, currencies."""
    aws_invoices, rates, shown = t.aws_invoices, t.fx_rates, t.cur_billing_head
    aws = aws_invoices.c.period_start.in_((period.start, period.previous().start))
    return [
        [
            (row.invoice_id, row.tenant_id, row.amount_usd, row.amount, row.currency)
            for row in invoices(con, period)
        ],
        [
            tuple(row)
            for row in con.execute(sa.select(aws_invoices).where(aws).order_by(aws_invoices.c.invoice_id))
        ],
        [
            tuple(row)
            for row in con.execute(
                sa.select(rates)
                .where(rates.c.period_start == period.start)
                .order_by(rates.c.base, rates.c.quote)
            )
        ],
        [tuple(row) for row in con.execute(sa.select(t.plans).order_by(*t.plans.primary_key))],
        sorted(_currencies(con, period).items()),
        sorted(row.conflict_id for row in _waiting(con, period)),
        sorted(
            con.execute(sa.select(shown.c.delivery_id).where(shown.c.period_start == period.start)).scalars()
        ),
    ]
