"""Asking for a day: its answer becomes the next version if it says something new, or its refusal is kept.

Belongs here: the act on one day, and which days of a month wait to be asked. Does not belong here: how a
source is asked (`usage/sources.py`), what an answer must be (`usage/judged.py`), the month
(`usage/roll_up.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.usage import checks, declared, judged, names, record, roll_up, sources
from cops_dagster.usage.answer import refused
from cops_dagster.usage.declared import Measure
from cops_dagster.usage.record import Version
from cops_dagster.usage.roll_up import Month


@dataclass(frozen=True)
class Refreshed:
    """What asking for a day came to.

    Attributes:
        wrote: a new version was written; else the answer was as before.
        month: how the month stands with it.
    """

    measure: str
    day: date
    version: Version
    wrote: bool
    month: Month


def refresh(books: Books, measure: Measure, day: date, *, at: datetime | None = None) -> Refreshed:
    """Asks a measure's source for a day, keeps a new answer, and loads the month once it has no gap.

    Args:
        at: the moment that it is, by default now.

    Raises:
        CopsError: `E-USAGE-EARLY` for a day that is not complete yet; what `sources.ask`, `judged.judge` and
            `inputs/load.py` raise. No version is written then but the refusal, in `usage_refusal`.
    """
    require_policy(books)
    moment = at or now()
    _require_complete(measure, day, moment)
    period = Period.of(day)
    try:
        answer = sources.ask(books, measure, day)
        with books.admin.read() as con:
            known = names.on(con, books.policy.tags, measure, day)
        found = judged.judge(measure, day, answer, known)
        with _alone(measure, day), books.admin.write() as con:
            standing = record.standing(con, measure, period)
            if measure.contract.monotone:  # here, since two days may be asked for at once
                judged.require_no_fall(measure, day, found, *record.beside(con, standing, day))
            there = standing.get(day)
            is_news = there is None or there.figures_digest != found.digest
            version = record.write(con, books, measure, day, answer, found, at=moment) if is_news else there
            assert version is not None
        rolled = roll_up.roll_up(books, measure, period)
    except CopsError as refusal:
        with books.admin.write() as con:
            record.write_refusal(con, books, measure, day, refusal, at=moment)
        tell(books, period, at=moment)
        raise
    tell(books, period, at=moment)
    return Refreshed(measure.name, day, version, is_news, rolled)


def waiting(
    books: Books, measures: Sequence[Measure], period: Period, *, at: datetime | None = None
) -> list[tuple[Measure, date]]:
    """The days of a month that are complete and have no version, the oldest first.

    Where none is missing and the month is not loaded as they make it, its newest day: asking for it loads.
    """
    moment = at or now()
    found: list[tuple[Measure, date]] = []
    with books.admin.read() as con:
        for measure in measures:
            if not measure.asks:
                continue
            taken = record.standing(con, measure, period)
            wanted = [day for day in measure.days(period, moment) if day not in taken]
            if not wanted and roll_up.is_behind(con, measure, period):
                wanted = [max(taken)]
            found += [(measure, day) for day in wanted]
    return found


def due(
    books: Books, measures: Sequence[Measure], *, at: datetime | None = None
) -> list[tuple[Measure, date]]:
    """The same of every month that is not closed: those of the books, this one, and the one before."""
    moment = at or now()
    this = Period.of(moment.date())
    with books.admin.read() as con:
        months = {*month.known(con), this, this.previous()}
        open_ = sorted(one for one in months if not lock.is_sealed(con, one))
    return [one for period in open_ for one in waiting(books, measures, period, at=moment)]


def in_turn(books: Books, asked: Sequence[tuple[Measure, date]]) -> list[tuple[Measure, date]]:
    """The same days; refused ones come last, the newest first: a dead source starves no other."""
    refusals = t.usage_refusal
    with books.admin.read() as con:
        refused = {
            (row.measure, row.usage_day)
            for row in con.execute(sa.select(refusals.c.measure, refusals.c.usage_day).distinct())
        }
    told = [one for one in asked if (one[0].name, one[1]) in refused]
    return [one for one in asked if (one[0].name, one[1]) not in refused] + sorted(
        told, key=lambda one: one[1], reverse=True
    )


def tell(books: Books, period: Period, *, at: datetime | None = None) -> None:
    """What the checks say of the days of all declared measures, with the alerts of those that do not hold."""
    require_policy(books)
    moment = at or now()
    measures = declared.measures(books.settings).values()
    with books.admin.read() as con:
        verdicts = checks.of_month(con, measures, period, moment)
    with books.admin.write() as con:
        board.judged(con, books, period, verdicts, at=moment)


@contextmanager
def _alone(measure: Measure, day: date) -> Iterator[None]:
    """Two that ask for a day at once cannot both write its next version: the guards stop one."""
    try:
        yield
    except sa.exc.DBAPIError as problem:
        raise refused(
            "E-CONTENTION", measure.name, day, "one who asks for a day at a time", type(problem).__name__,
            f"cops keys refresh {measure.name} --day {day}",
        ) from problem  # fmt: skip


def _require_complete(measure: Measure, day: date, at: datetime) -> None:
    if measure.since and day < measure.since:
        raise refused(
            "E-USAGE-EARLY", measure.name, day, f"a day from {measure.since} on, as since says",
            f"{day}", "ask for a later day, or correct since",
        )  # fmt: skip
    if at < measure.complete_at(day):
        raise refused(
            "E-USAGE-EARLY", measure.name, day, f"a complete day: from {measure.complete_at(day)} UTC on",
            f"{at:%Y-%m-%d %H:%M} UTC", "ask again then, or set an earlier cut_off",
        )  # fmt: skip
