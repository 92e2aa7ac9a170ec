"""Exports that lie in a report root and are no Cost and Usage Report: remembered, told, never in the way.

Belongs here: the table `foreign_export`. Does not belong here: what makes an export foreign
(`cur/foreign.py`), looking at it (`ingestion/first_sight.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.cur.foreign import FOREIGN as FOREIGN
from cops_dagster.cur.layout import ReportMonth
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def kind_at(con: sa.Connection, source_id: str, period: Period, place: str) -> str | None:
    """What lies at exactly this place, if it was recognised as foreign before."""
    exports = t.foreign_export
    return con.execute(
        sa.select(exports.c.kind).where(
            exports.c.source_id == source_id,
            exports.c.period_start == period.start,
            exports.c.location_json == place,
        )
    ).scalar_one_or_none()


def record(books: Books, month: ReportMonth, kind: str, place: str) -> None:
    """Remembers a foreign export, so that it is read once."""
    exports = t.foreign_export
    with books.admin.write() as con:
        con.execute(
            sa.delete(exports).where(
                exports.c.source_id == month.source_id, exports.c.period_start == month.period.start
            )
        )
        con.execute(
            sa.insert(exports).values(
                source_id=month.source_id,
                period_start=month.period.start,
                kind=kind,
                location_json=place,
                seen_at=now(),
            )
        )


def refusal(month: ReportMonth, kind: str) -> CopsError:
    """Why an export is left alone, in the words of a refusal."""
    return CopsError(
        FOREIGN,
        f"export {month.source_id} {month.period}",
        expected="a Cost and Usage Report, legacy or CUR 2.0",
        found=kind,
        next_step="none: beside a report it is left alone; where it was meant to be the report, let AWS"
        " export CUR 2.0 with the columns of `cops docs cur-ingestion`",
        details={"kind": kind},
    )
