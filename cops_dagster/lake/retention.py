"""Delivered bytes that a later delivery replaced: kept for a time, then dropped.

Belongs here: which of them may go, and taking them away. AWS delivers a month up to 90 times, each with every
line. Rows of `lake_file` stay: a read as of a replaced delivery is answered with `E-RETIRED`. What a closed
month was made of never goes, and in S3 nothing is deleted (ADR 24): there a rule of the bucket does it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import sqlalchemy as sa

from cops_dagster.lake.tables import KEPT
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import outlines
from cops_dagster.stores.volume import Volume

SEALED = ("closing", "closed")


def drop(con: sa.Connection, lake: Volume, before: datetime) -> int:
    """Drops kept files of open months whose run was replaced before a time; how many."""
    dropped = 0
    for path in _due(con, before):
        file = lake.root / path
        with suppress(FileNotFoundError):
            file.unlink()
            outlines.forget(file)
            dropped += 1
        with suppress(OSError):  # another file of the attempt may stand there
            file.parent.rmdir()
    return dropped


def _due(con: sa.Connection, before: datetime) -> list[str]:
    files, journal, locks = t.lake_file, t.publish_journal, t.period_lock
    sealed = sa.select(locks.c.period_start).where(locks.c.state.in_(SEALED))
    query = (
        sa.select(files.c.path)
        .join(
            journal,
            sa.and_(
                journal.c.predecessor_run_id == files.c.run_id, journal.c.table_name == files.c.table_name
            ),
        )
        .where(
            files.c.schema_version == KEPT,
            journal.c.published_at < before,
            files.c.period_start.not_in(sealed),
        )
        .order_by(files.c.path)
    )
    return list(con.execute(query).scalars())
