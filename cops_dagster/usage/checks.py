"""What is asked of the days of a month, from what is on record. When a check holds: `allocation/key_days.py`.

Belongs here: reading the days of declared measures. Does not belong here: keys of whole months
(`allocation/checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from cops_dagster.allocation import key_days
from cops_dagster.allocation.key_days import Days
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now as clock
from cops_dagster.usage import record
from cops_dagster.usage.declared import Measure
from cops_dagster.verdict import Verdict


@dataclass(frozen=True)
class Judged:
    """What was said of the days of one measure in the month of a day."""

    period: Period
    verdicts: Sequence[Verdict]


def now(books: Books, measure: Measure, day: date) -> Judged:
    """What is said of one measure now; of a closed month, that nothing came late."""
    period = Period.of(day)
    with books.admin.read() as con:
        return Judged(period, of_month(con, [measure], period, clock()))


def of_month(con: sa.Connection, measures: Iterable[Measure], period: Period, at: datetime) -> list[Verdict]:
    """Verdicts on the days of the measures that are asked, as of a moment."""
    found = [days(con, one, period, at) for one in measures if one.asks]
    return key_days.of(found, is_closed=lock.is_sealed(con, period))


def days(con: sa.Connection, measure: Measure, period: Period, at: datetime) -> Days:
    """The days of one measure in one month."""
    newest = record.counting(con, measure, period)
    in_time = record.before_close(con, measure.name, period)
    figures = {day: record.figures(con, version) for day, version in newest.items()}
    late = [
        day
        for day, version in record.newest(con, measure.name, period).items()
        if in_time.get(day) != version
    ]
    refusals = t.usage_refusal
    refused = {
        row.usage_day: f"{row.error_code}: {row.error_detail}"[:200]
        for row in con.execute(
            sa.select(refusals)
            .where(refusals.c.measure == measure.name, refusals.c.period_start == period.start)
            .order_by(refusals.c.refusal_seq)
        )
    }
    return Days(
        measure.name,
        measure.days(period, at, in_time=True),
        {day: one.taken for day, one in figures.items()},
        {day: one.held for day, one in figures.items() if one.held},
        refused,
        late,
        measure.contract.share_points,
    )
