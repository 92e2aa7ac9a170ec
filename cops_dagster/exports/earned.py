"""The month that a journal or a margin is made of: its figures, reconciled as it stands.

Belongs here: the refusal of a month that changed since its reconciliation, by the rule of every export. Does
not belong here: reading the figures (`reconciliation/margin_cells.py`), the rule (`exports/ready.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports import ready
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import margin_cells
from cops_dagster.reconciliation.margin_cells import Earned


def read(books: Books, con: sa.Connection, period: Period, *, draft: bool = False) -> Earned:
    """The month's figures; a draft has them as they stand, whatever changed.

    Sums alone do not tell: new usage or a new rule leaves the entries as they are until the month is made
    again, and by then they are others.

    Raises:
        CopsError: `E-NOT-RECONCILED` without a reconciliation, or when anything that decides the month
            changed since the newest one.
    """
    made = margin_cells.read(books, con, period, draft=draft)
    if draft:
        return made
    try:
        ready.require(books, con, period)
    except CopsError as refusal:
        raise margin_cells.not_reconciled(period, refusal.found) from None
    return made
