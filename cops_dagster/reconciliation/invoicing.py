"""Which sources of a month AWS invoices, and which are pro forma: their invoice column is never filled.

Belongs here: what the delivered invoice ids say of each source, and what a person has said of the month.
Does not belong here: whether a month may be final (`closing/readiness.py`), AWS's documents themselves
(`reconciliation/sides.py`).

A pro forma report (Billing Conductor, billing transfer) has the columns of any other, only no invoice id,
ever: AWS issues no invoice on it. So a source looks pro forma when none of its deliveries of any month
names an invoice though the month is settled; it is one when a person made such a month final.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cops_dagster.ledger import month
from cops_dagster.ledger.lock import state_of
from cops_dagster.ledger.states import first_final_moment
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_FINAL = ("final", "closing", "closed")


@dataclass(frozen=True)
class Invoicing:
    """One source's shown delivery. Times UTC.

    Attributes:
        delivered_at: at the latest when it was first seen, whatever time its files name.
        is_invoiced: every line that AWS will invoice names its invoice.
        names_invoices: at least one line does.
        ever_named: a line of some delivery of the source did, in any month.
        is_pro_forma: a person made the month final without an invoice of this source.
    """

    source_id: str
    delivered_at: datetime
    is_invoiced: bool
    names_invoices: bool
    ever_named: bool
    is_pro_forma: bool
    looks_pro_forma: bool


def sources(con: sa.Connection, period: Period) -> list[Invoicing]:
    """Every source of a period whose delivery readers see, by name."""
    deliveries, breakdown, shown = t.cur_delivery, t.cur_delivery_breakdown, month.shown(con, period)
    named = con.execute(
        sa.select(deliveries.c.source_id, deliveries.c.delivery_id)
        .join(breakdown, breakdown.c.delivery_id == deliveries.c.delivery_id)
        .where(breakdown.c.dimension == "invoice", breakdown.c.value != "")
        .where(deliveries.c.source_id.in_({row.source_id for row in shown}))
        .distinct()
    ).all()
    ever, here = {row.source_id for row in named}, {row.delivery_id for row in named}
    said = state_of(con, period) in _FINAL
    settled = now() >= first_final_moment(period)
    return [
        Invoicing(
            row.source_id,
            min(row.delivered_at, row.first_seen_at),
            row.invoice_state == "final",
            row.delivery_id in here,
            row.source_id in ever,
            said and row.invoice_state != "final",
            settled and row.invoice_state != "final" and row.source_id not in ever,
        )
        for row in shown
    ]


def is_invoiced(con: sa.Connection, period: Period) -> bool:
    """Every AWS invoice of the period is issued, or a person said that none will come."""
    found = sources(con, period)
    return bool(found) and all(one.is_invoiced or one.is_pro_forma for one in found)


def is_final(con: sa.Connection, period: Period) -> bool:
    """The period is invoiced, and no line of it is set aside."""
    return is_invoiced(con, period) and not month.read(con, period).quarantined[0]
