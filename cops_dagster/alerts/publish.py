"""The commit of a run with its consequences: whoever sees the run sees the alerts that its verdicts make.

Belongs here: the one call by which a step publishes. Does not belong here: the commit itself
(`ledger/publish.py`), what an alert is (`alerts/escalation.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import Publication
from cops_dagster.ledger.publish import publish as commit
from cops_dagster.stores import tables as t
from cops_dagster.verdict import Verdict


def publish(
    books: Books, *publications: Publication, also: Callable[[sa.Connection], None] | None = None
) -> int:
    """Publishes a run, and records in its transaction which alerts its verdicts begin and end.

    Args and errors: those of `ledger.publish.publish`.
    """

    def consequences(con: sa.Connection) -> None:
        for one in publications:
            board.judged(con, books, one.run.period, _told(con, one))
        if also:
            also(con)

    return commit(books, *publications, also=consequences)


def _told(con: sa.Connection, publication: Publication) -> Sequence[Verdict]:
    """Of one source among several only what is wrong: that it is well says nothing of the others."""
    heads, run = t.period_head, publication.run
    others = con.execute(
        sa.select(heads.c.source_id)
        .where(
            heads.c.table_name == run.table_name,
            heads.c.period_start == run.period.start,
            heads.c.source_id != run.source_id,
        )
        .limit(1)
    ).first()
    return [one for one in publication.verdicts if one.passed is False or not others]
