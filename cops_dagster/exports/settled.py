"""The reconciliation that drafts and packs are made from, and whether it is of the month as it stands.

Belongs here: reading it, and the refusals on the way. Does not belong here: what is made of it
(`exports/drafts.py`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError, unknown_month
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import documents, reconcile, record


def newest(books: Books, con: sa.Connection, period: Period) -> Any:
    """The newest reconciliation of a month, which is of the entries and documents that stand.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a month that was never reconciled; `E-EXPORT-STALE` when entries,
            documents, rates or plans came since; `E-INV-CONFLICT` while a document waits for a decision.
    """
    found = record.newest(con, period)
    if found is None:
        raise unknown_month(period, expected="a reconciled month", found="none")
    if lock.is_sealed(con, period):
        return found  # what it was closed on stands
    if found.inputs_id != reconcile.inputs_of(con, books.policy, period):
        raise CopsError(
            "E-EXPORT-STALE",
            f"reconciliation of {period}",
            expected="one of the entries, documents, rates and plans that stand now",
            found=f"number {found.recon_seq}, and something came since",
            next_step=f"run `cops materialize {period}`, then again",
        )
    waiting = documents.conflicts(con, period)
    if waiting:
        raise CopsError(
            "E-INV-CONFLICT",
            f"documents of {period}",
            expected="one version of every document",
            found=f"{waiting[0].document_id} came twice with other content",
            next_step=f"decide which one stands: cops exceptions list {period}",
        )
    return found
