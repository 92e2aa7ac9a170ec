"""Which exports of a month were made, from which books, and the digest of their bytes.

Belongs here: the rows of `export_record`, which a close binds in its seal. Does not belong here: any export,
writing its files (`exports/files.py`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def record(books: Books, name: str, period: Period, made_from: str, sha256: str) -> bool:
    """Records that an export was made; whether that is news. The newest row again is none.

    Args:
        name: which export, such as `focus_cost_1_2`, `journal`, `margin`, `pack`.
        made_from: digest of the books it was made from, and of the version of what makes it.
        sha256: digest of its bytes; of several files, of the list of their names and digests.

    Raises:
        CopsError: `E-EXPORT-DIFFERS` when the same books gave other bytes before.
    """
    records = t.export_record
    with books.admin.write() as con:
        newest = made(con, name, period)
        if newest is not None and (newest.made_from, newest.sha256) == (made_from, sha256):
            return False
        before = con.execute(
            sa.select(records.c.sha256).where(
                records.c.export_name == name,
                records.c.period_start == period.start,
                records.c.made_from == made_from,
                records.c.sha256 != sha256,
            )
        ).scalar()
        if before is not None:
            raise CopsError(
                "E-EXPORT-DIFFERS",
                f"export {name} of {period}",
                expected=f"the bytes that the same books gave before, sha256 {before[:12]}…",
                found=f"sha256 {sha256[:12]}…",
                next_step="hand out neither; keep both files, run `cops evidence verify`, and report it",
            )
        con.execute(
            sa.insert(records).values(
                export_name=name,
                period_start=period.start,
                made_from=made_from,
                sha256=sha256,
                made_at=now(),
                actor=books.actor,
            )
        )
    return True


def made(con: sa.Connection, name: str, period: Period) -> Any:
    """The newest record of an export of a month, or `None`."""
    records = t.export_record
    return con.execute(
        sa.select(records)
        .where(records.c.export_name == name, records.c.period_start == period.start)
        .order_by(records.c.export_seq.desc())
        .limit(1)
    ).one_or_none()
