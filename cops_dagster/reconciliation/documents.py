"""Documents that people loaded: what a reconciliation compares with, and the rates that it counts by.

Belongs here: reading invoices, exchange rates, markups and conflicts of one period, in atto-dollars. Does not
belong here: loading them (`inputs/`), which paper of AWS is an invoice (`reconciliation/aws_documents.py`),
the cost they are compared with (`reconciliation/sides.py`).
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.ledger import month
from cops_dagster.money import amount, currency, footing
from cops_dagster.period import Period
from cops_dagster.reconciliation import aws_documents, exceptions
from cops_dagster.reconciliation.differences import AwsInvoice
from cops_dagster.reconciliation.variance import HALF_CENT, half_unit
from cops_dagster.stores import tables as t


def rounding(row: Any, rates: dict[str, int]) -> int:
    """How far rounding may have moved a document's amount, in atto-USD at the rate that it was booked at."""
    if row.currency == "USD":
        return HALF_CENT
    if not currency.is_known(row.currency):
        return 0  # loaded before codes were judged: of an unknown unit nothing is allowed for
    units, usd = abs(atto(row.amount)), abs(atto(row.amount_usd))
    if not units:
        return half_unit(row.currency, rates[row.currency]) if row.currency in rates else 0
    return -(-currency.unit(row.currency) * usd // (2 * units))


def atto(value: Decimal | None) -> int:
    """A stored amount in atto-dollars, none being 0."""
    return amount.from_decimal(value or Decimal(0))


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
        before_tax, tax, half = in_usd(row)
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


def in_usd(row: Any) -> tuple[int | None, int | None, int]:
    """Amount before tax, tax, and half a minor unit of the document's currency, in atto-USD."""
    if row.base_currency == "USD":
        return atto(row.amount_before_tax), atto(row.tax), HALF_CENT
    if row.payment_currency == "USD" and row.exchange_rate:  # AWS's own rate, base → payment currency
        rate = atto(row.exchange_rate)
        half = half_unit(row.base_currency, rate) if currency.is_known(row.base_currency) else 0
        return _converted(atto(row.amount_before_tax), rate), _converted(atto(row.tax), rate), half
    return None, None, 0


def _converted(units: int, rate: int) -> int:
    return footing.nearest(units * rate, amount.ATTO)


def fx_rates(con: sa.Connection, period: Period) -> dict[str, int]:
    """atto-USD for one unit of each currency, as frozen for the documents of the month."""
    rates = t.fx_rates
    rows = con.execute(sa.select(rates).where(rates.c.quote == "USD", rates.c.period_start == period.start))
    return {"USD": amount.ATTO, **{row.base: atto(row.rate) for row in rows}}


def at_other_rates(con: sa.Connection, period: Period, rates: dict[str, int]) -> dict[str, list[int]]:
    """What each tenant's foreign documents would be in USD at another month's rate of their currency."""
    fx_rates = t.fx_rates
    others: defaultdict[str, list[int]] = defaultdict(list)
    for row in con.execute(
        sa.select(fx_rates)
        .where(fx_rates.c.quote == "USD", fx_rates.c.period_start != period.start)
        .order_by(fx_rates.c.period_start)
    ):
        others[row.base].append(atto(row.rate))
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in invoices(con, period):
        if row.currency != "USD":
            sums[row.tenant_id, row.currency] += atto(row.amount)
    found: defaultdict[str, list[int]] = defaultdict(list)
    for (tenant, code), units in sums.items():
        found[tenant] += [_converted(units, rate) for rate in others[code] if rate != rates.get(code)]
    return dict(found)


def currencies(con: sa.Connection) -> dict[str, str]:
    """The currency of each tenant's invoices."""
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


def loaded(con: sa.Connection, period: Period) -> list[Any]:
    """Every loaded row that a reconciliation reads, for its id: documents, rates, plans, currencies."""
    aws_invoices, rates = t.aws_invoices, t.fx_rates
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
        sorted(currencies(con).items()),
        sorted(row.conflict_id for row in _waiting(con, period)),
        sorted(row.delivery_id for row in month.shown(con, period)),
    ]
