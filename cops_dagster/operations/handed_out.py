"""What left COPS and is not what the books say any more: something came, or the month was made again.

Belongs here: comparing the newest record of each export with the newest change of its month, on numbers and
times alone. Does not belong here: making an export (`exports/`), which stands above the operations.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.operations.verdicts import exports_are_current
from cops_dagster.period import Period
from cops_dagster.reconciliation.exceptions import NO_OTHER
from cops_dagster.stores import tables as t
from cops_dagster.verdict import Verdict

_OF_DOCUMENTS = ("focus_sell", "pack")
"""How the names of exports begin that show documents: one that comes after a close changes them alone."""


def exports(books: Books, period: Period) -> list[Verdict]:
    """The check of a month's exports."""
    with books.admin.read() as con:
        made = sorted(row.export_name for row in newest(con, period))
        return [exports_are_current(made, sorted(_stale(con, period)))]


def _stale(con: sa.Connection, period: Period) -> dict[str, datetime]:
    """The exports of a month that are older than what changed them, and when that was."""
    found = {}
    for row in newest(con, period):
        of_it = [changed_at(con, period)]
        if row.export_name.startswith(_OF_DOCUMENTS):
            of_it.append(document_at(con, period))
        changed = max((one for one in of_it if one is not None), default=None)
        if changed is not None and row.made_at < changed:
            found[row.export_name] = changed
    return found


def stale_months(con: sa.Connection) -> dict[Period, str]:
    """Months of which an export is older than the books, with the state that it should be made from."""
    records = t.export_record
    found = {}
    for start in con.execute(sa.select(records.c.period_start).distinct().order_by(records.c.period_start)):
        period = Period.of(start[0])
        if stale := _stale(con, period):
            found[period] = max(stale.values()).isoformat()
    return found


def newest(con: sa.Connection, period: Period) -> list[Any]:
    """The newest record of each export of a month."""
    records = t.export_record
    last = (
        sa.select(sa.func.max(records.c.export_seq))
        .where(records.c.period_start == period.start)
        .group_by(records.c.export_name)
    )
    return list(con.execute(sa.select(records).where(records.c.export_seq.in_(last))))


def changed_at(con: sa.Connection, period: Period) -> datetime | None:
    """When the month was reconciled or published last; a close changes none of its amounts."""
    recons, journal = t.recon_run, t.publish_journal
    times = [
        con.execute(sa.select(sa.func.max(column)).where(table.c.period_start == period.start)).scalar()
        for table, column in ((recons, recons.c.reconciled_at), (journal, journal.c.published_at))
    ]
    return max((one for one in times if one is not None), default=None)


def document_at(con: sa.Connection, period: Period) -> datetime | None:
    """When the last document of the month came after its close, as noted when it was loaded."""
    noted, documents = t.document_conflict, t.invoice_detail
    return con.execute(
        sa.select(sa.func.max(noted.c.seen_at))
        .join(documents, documents.c.invoice_id == noted.c.document_id)
        .where(
            noted.c.table_name == documents.name,
            noted.c.stored_json == NO_OTHER,
            documents.c.period_start == period.start,
        )
    ).scalar()
