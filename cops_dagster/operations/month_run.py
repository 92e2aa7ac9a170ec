"""A run of one month as a person asks for it: what comes before it, whether there is work, what it made.

Belongs here: the order of these around a run, and what follows a run outside the graph. The run itself and
telling Dagster are handed in, since Dagster lies above. Does not belong here: whether a month has work
(`closing/current.py`), what its checks say (`operations/consequences.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cops_dagster.closing import current, repair
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import look, places, sources
from cops_dagster.ledger.books import Books
from cops_dagster.operations import consequences
from cops_dagster.period import Period
from cops_dagster.reconciliation import reconcile


@dataclass(frozen=True)
class Done:
    """What came of it.

    Attributes:
        failed: the checks of the month that do not hold.
        made: what the run wrote; `None` where there was nothing to do.
        placeless: of a month with nothing to do, the booked sources that lie in no report root.
    """

    failed: list[dict[str, str]]
    made: current.Made | None
    placeless: Sequence[str] = ()


def materialise(
    books: Books, period: Period, run: Callable[[str], list[dict[str, str]]], *, whole: bool
) -> Done:
    """Takes a month from delivery to reconciled, unless the ledger was made from what is there.

    Args:
        run: makes the run of this Dagster id; the checks that do not hold.
        whole: every asset; a run of some is made whether they have work or not.

    Raises:
        CopsError: why no run may start, or the refusal that stopped it.
    """
    require_policy(books, is_run=True)
    sweep.sweep(books)
    repair.require_mendable(books, period)
    if whole and current.is_current(books, period):
        failed = consequences.complete(books, period)
        return Done(failed, None, [one.source_id for one in sources.placeless(books, period)])
    if not any(month.period == period for month in places.months(books.settings)):
        look.look(books, period)  # refuses with what is there instead
    before, run_id = current.newest(books, period), str(uuid.uuid4())
    failed = run(run_id)
    return Done(failed, current.made_since(books, period, before, run_id))


def settle(books: Books, period: Period, tell: Callable[[Books, Period], None]) -> list[dict[str, str]]:
    """After a run outside the graph: projects it, reconciles and judges its month, and tells Dagster.

    The checks of the month that do not hold.
    """
    sweep.project(books)
    try:
        reconcile.reconcile(books, period)
    except CopsError as problem:
        if problem.code != "E-PERIOD-UNKNOWN":  # an adjustment may be booked before the month's own cost
            raise
    tell(books, period)
    consequences.settle(books, period)
    return consequences.failing(books, period)
