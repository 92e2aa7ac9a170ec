"""What a reconciliation says of its month: variance, exceptions, AWS's own invoices.

Belongs here: the verdicts on `recon_summary` that the admin database alone answers, so that they are asked in
the transaction that reconciles, and again whenever a month is asked about: people decide on exceptions
afterwards. Does not belong here: when a check holds (`reconciliation/verdicts.py`); what an engine must
read, which the step that published it asks.
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import (
    aws_documents,
    exceptions,
    invoicing,
    margin_cells,
    record,
    sides,
)
from cops_dagster.reconciliation.margin import MarginLine
from cops_dagster.reconciliation.verdicts import (
    aws_invoice_matches_cur,
    exceptions_explained,
    margin_above_floor,
    plans_have_a_markup,
    variance_within_tolerance,
)
from cops_dagster.stores import tables as t
from cops_dagster.tagging import plans
from cops_dagster.verdict import Verdict


def of_newest(con: sa.Connection, period: Period) -> list[Verdict]:
    """The verdicts on a month's newest reconciliation; none before the first."""
    newest = record.newest(con, period)
    if newest is None:
        return []
    invoices, found = t.aws_invoices, exceptions.current(con, period)
    types = con.execute(
        sa.select(invoices.c.invoice_type).where(invoices.c.period_start == period.start)
    ).scalars()
    issued = sum(aws_documents.is_invoice(one) for one in types)
    sources = invoicing.sources(con, period)
    waiting = [one for one in found if one.status in ("open", "decided")]
    return [
        variance_within_tolerance(
            newest.worst_tenant_status if newest.status == "provisional" else newest.status,
            newest.variance_usd,
            newest.variance_pct,
            newest.worst_tenant_id,
        ),
        exceptions_explained(
            len(found), [(one.kind, one.subject_id, one.amount_usd, one.status) for one in waiting]
        ),
        aws_invoice_matches_cur(
            issued,
            [
                (one.subject_id, one.amount_usd, one.status == "resolved")
                for one in found
                if one.stage == "aws_invoice" and one.kind != "rounding"
            ],
            pro_forma=[one.source_id for one in sources if one.is_pro_forma],
            awaited=not all(one.is_pro_forma for one in sources),
        ),
    ]


def reconciled(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `recon_summary`: markups, variance, exceptions, AWS's own invoices."""
    with books.admin.read() as con:
        unpriced, begins = sides.unpriced(books, con, period), plans.plans_begin(con)
        return [plans_have_a_markup(unpriced, begins, period), *of_newest(con, period)]


def earned(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `margin`: no tenant and not the month below its floor. Without floors nothing is read."""
    floors = books.policy.margin
    month: MarginLine | None = None
    tenants: list[MarginLine] = []
    if floors.month_floor_pct is not None or floors.tenant_floor_pct is not None:
        with books.admin.read() as con:
            made = margin_cells.read(books, con, period, draft=True)
        month, tenants = made.total, list(made.lines("tenant"))
    return [
        margin_above_floor(
            month, tenants, month_floor=floors.month_floor_pct, tenant_floor=floors.tenant_floor_pct
        )
    ]
