"""The documents of a month as its journal books them, and how much of what differs is explained.

Belongs here: reading tenants' documents and AWS's own, those about closed months that were taken later, and
the exceptions of the reconciliation. Does not belong here: the lines they make (`exports/entries.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports.entries import AWS, USD, Document
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import aws_documents, documents, exceptions
from cops_dagster.reconciliation.documents import atto
from cops_dagster.stores import tables as t

_EXPLAINED = {"rounding": "rounding", "fx": "fx_difference"}
"""Class of an exception → purpose of its line; every other class is what differs."""


@dataclass(frozen=True)
class Documents:
    """What the month was invoiced.

    Attributes:
        late: documents about closed months that came after their close and are borne by this month.
        known: tenant (`AWS` for AWS) → purpose → atto-dollars, later stage less earlier.
    """

    aws: Sequence[Document]
    tenants: Mapping[str, Sequence[Document]]
    late: Sequence[Document]
    known: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class _Rates:
    """atto-USD for one unit of each currency, and the month that a missing one is loaded for."""

    month: Period
    of: Mapping[str, int]

    def usd(self, row: Any, value: Decimal) -> int:
        if row.base_currency not in self.of:
            raise CopsError(
                "E-FX",
                f"document {row.invoice_id} of AWS",
                expected=f"a rate from {row.base_currency} to USD, AWS's own or the books'",
                found="none",
                next_step=f"load fx_rates.csv with {row.base_currency} to USD for {self.month}",
            )
        return atto(amount.converted(value, amount.to_decimal(self.of[row.base_currency])))


def read(con: sa.Connection, period: Period, open_month: Period) -> Documents:
    """Every document of a month.

    Args:
        open_month: the month that takes rates still, where this one is closed.

    Raises:
        CopsError: `E-FX` for a document of AWS in a currency that neither AWS nor the books have a rate for.
    """
    rates = _Rates(open_month, documents.fx_rates(con, open_month) | documents.fx_rates(con, period))
    later, borne = _after_close(con), t.document_conflict
    tenants: defaultdict[str, list[Document]] = defaultdict(list)
    for row in documents.invoices(con, period):
        if ("invoice_detail", row.invoice_id, row.tenant_id) not in later:
            tenants[row.tenant_id].append(_of_tenant(row))
    aws = [
        one
        for one in _of_aws(con, t.aws_invoices.c.period_start == period.start, rates)
        if ("aws_invoices", one.document_id, None) not in later
    ]
    here = {
        (row.table_name, row.document_id, row.tenant_id)
        for row in con.execute(
            sa.select(borne).where(
                borne.c.period_start == period.start, borne.c.stored_json == exceptions.NO_OTHER
            )
        )
    }
    late = [_late(con, rates, *key) for key in sorted(here, key=str)]
    return Documents(aws, dict(tenants), [one for some in late for one in some], _known(con, period))


def _after_close(con: sa.Connection) -> set[tuple[str, str, str | None]]:
    """Documents that came when their month was closed: no reconciliation of it knows them."""
    kept = t.document_conflict
    return {
        (row.table_name, row.document_id, row.tenant_id)
        for row in con.execute(sa.select(kept).where(kept.c.stored_json == exceptions.NO_OTHER))
    }


def _late(con: sa.Connection, rates: _Rates, table: str, document: str, tenant: str | None) -> list[Document]:
    if table == "aws_invoices":
        return _of_aws(con, t.aws_invoices.c.invoice_id == document, rates)
    invoices = t.invoice_detail
    rows = con.execute(
        sa.select(invoices)
        .where(invoices.c.invoice_id == document, invoices.c.tenant_id == tenant)
        .order_by(invoices.c.period_start)
    )
    return [_of_tenant(row, row.period_start) for row in rows]


def _of_tenant(row: Any, usage: Any = None) -> Document:
    return Document(
        row.invoice_id, atto(row.amount), row.currency, atto(row.amount_usd), row.tenant_id, usage
    )


def _of_aws(con: sa.Connection, which: sa.ColumnElement[bool], rates: _Rates) -> list[Document]:
    """AWS's invoices and memos: in the currency they are paid in, where AWS says what is to be paid."""
    invoices = t.aws_invoices
    made = []
    for row in con.execute(sa.select(invoices).where(which).order_by(invoices.c.invoice_id)):
        if not aws_documents.is_invoice(row.invoice_type):
            continue
        before_tax, tax, _ = documents.in_usd(row)
        if before_tax is None or tax is None:
            before_tax, tax = rates.usd(row, row.amount_before_tax), rates.usd(row, row.tax)
        usd, code = before_tax + tax, row.payment_currency or USD
        foreign = code != USD and row.payment_amount is not None
        made.append(
            Document(row.invoice_id, atto(row.payment_amount), code, usd)
            if foreign
            else Document(row.invoice_id, usd, USD, usd)
        )
    return made


def _known(con: sa.Connection, period: Period) -> dict[str, dict[str, int]]:
    found: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in exceptions.current(con, period):
        purpose = _EXPLAINED.get(one.kind)
        if purpose and one.stage == "aws_invoice":
            found[AWS][purpose] += atto(one.amount_usd)
        elif purpose and one.stage == "tenant_invoice" and one.tenant_id:
            found[one.tenant_id][purpose] += atto(one.amount_usd)
    return {name: dict(parts) for name, parts in found.items()}
