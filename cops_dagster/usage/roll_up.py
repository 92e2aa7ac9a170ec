"""From days to the month: added up exactly, loaded by the way that a CSV takes, and put on record.

Belongs here: which days count, how they become one figure for each tenant, loading it, naming the versions.
Does not belong here: what a load may do (`inputs/load.py`): it is the only way into `tenant_usage`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from cops_dagster.allocation import key_versions
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.inputs.load import load
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import csv_cells, scratch
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.usage import judged, record
from cops_dagster.usage.declared import Measure
from cops_dagster.usage.record import Version

State = Literal["loaded", "gap", "closed", "empty"]
ROUNDS = 5
"""How often a month is added up again because a day came meanwhile."""
COLUMNS = ("period_start", "tenant_id", "value", "refreshed_at")


@dataclass(frozen=True)
class Month:
    """How a month stands: its figures are loaded, or why they are not.

    Attributes:
        days: that have a version; gaps: days before the newest one that have none.
        usage_id: of the figures that are loaded.
        load_id: of the load that brought them; `None` where they stood there already.
    """

    state: State
    days: int
    gaps: Sequence[date] = ()
    usage_id: str | None = None
    load_id: str | None = None


def roll_up(books: Books, measure: Measure, period: Period) -> Month:
    """Loads the month's figures so far, if no day is missing before the newest one. A closed month stays.

    Raises:
        CopsError: `E-KEY-RANGE`; what `inputs/load.py` raises, and nothing was loaded; `E-CONTENTION` when
            days keep coming.
    """
    require_policy(books)
    for _ in range(ROUNDS):
        done, used = _once(books, measure, period)
        with books.admin.read() as con:
            if used is None or used == record.counting(con, measure, period):
                return done
        # another run wrote a day meanwhile: whoever loads last must have seen all of them
    raise CopsError(
        "E-CONTENTION",
        f"measure {measure.name} of {period}",
        expected="days that stay while they are added up",
        found=f"new ones {ROUNDS} times",
        next_step=f"cops keys refresh {measure.name} --period {period}",
    )


def _once(books: Books, measure: Measure, period: Period) -> tuple[Month, Mapping[date, Version] | None]:
    """How the month stands, and the versions that were loaded, if any were."""
    with books.admin.read() as con:
        days = record.counting(con, measure, period)
        if lock.is_sealed(con, period):
            return Month("closed", len(days)), None
        if not days:
            return Month("empty", 0), None
        if gaps := missing(measure, period, list(days)):
            return Month("gap", len(days), gaps), None
        by_day = {day: record.figures(con, version).taken for day, version in days.items()}
        figures = combined(measure.month, by_day)
        usage = t.tenant_usage
        there = con.execute(
            sa.select(usage.c.tenant_id).where(
                usage.c.measure == measure.name, usage.c.period_start == period.start
            )
        ).scalars()
        # a correction may take a tenant out: its stored figure would stay, and bear cost
        figures = {**dict.fromkeys(there, 0), **figures}
    judged.require_room(f"measure {measure.name} of {period}", sorted(figures.items()))
    usage_id = identity(measure, period, days)
    refreshed_at = max(version.taken_at for version in days.values())
    load_id = _load(books, measure, period, figures, refreshed_at)
    with books.admin.write() as con:
        _put_on_record(con, books, measure, period, days, figures, usage_id, load_id)
    return Month("loaded", len(days), (), usage_id, load_id), days


def identity(measure: Measure, period: Period, days: Mapping[date, Version]) -> str:
    """The id of what these versions make: the same versions, added up alike, are the same month."""
    versions = [(day, version.version, version.figures_digest) for day, version in sorted(days.items())]
    return digest("usage-month-1", measure.name, str(period), measure.month, measure.unit, versions)


def is_behind(con: sa.Connection, measure: Measure, period: Period) -> bool:
    """Whether the days of an open month without a gap were never loaded as they stand.

    A load was refused, a process died before it, or days are added up in another way since.
    """
    days = record.counting(con, measure, period)
    if not days or lock.is_sealed(con, period) or missing(measure, period, list(days)):
        return False
    months = t.usage_month
    last = con.execute(
        sa.select(months.c.usage_id)
        .where(months.c.measure == measure.name, months.c.period_start == period.start)
        .order_by(months.c.usage_month_seq.desc())
        .limit(1)
    ).scalar_one_or_none()
    return last != identity(measure, period, days)


def missing(measure: Measure, period: Period, days: Sequence[date]) -> list[date]:
    """Days before the newest one that have no version."""
    if not days:
        return []
    first = max(period.start, measure.since or period.start)
    wanted = (first + timedelta(days=number) for number in range((max(days) - first).days))
    return [day for day in wanted if day not in days]


def combined(how: str, by_day: Mapping[date, Mapping[str, int]]) -> dict[str, int]:
    """One figure of each tenant: the sum of its days, the largest, or that of the last day."""
    days = [by_day[day] for day in sorted(by_day)]
    if how == "last":
        return dict(days[-1])
    found: dict[str, int] = {}
    for one in days:
        for tenant, atto in one.items():
            found[tenant] = max(found.get(tenant, 0), atto) if how == "max" else found.get(tenant, 0) + atto
    return found


def _load(
    books: Books, measure: Measure, period: Period, figures: Mapping[str, int], refreshed_at: datetime
) -> str | None:
    with scratch.folder(books.settings.home) as room:
        file = Path(room) / f"{measure.asset}.csv"
        with file.open("w", encoding="utf-8", newline="") as stream:
            csv_cells.write(
                stream,
                COLUMNS,
                [
                    (str(period), tenant, amount.to_decimal(atto), f"{refreshed_at.isoformat()}Z")
                    for tenant, atto in sorted(figures.items())
                ],
            )
        return load(books, [file], replace=True).load_id


def _put_on_record(
    con: sa.Connection,
    books: Books,
    measure: Measure,
    period: Period,
    days: Mapping[date, Version],
    figures: Mapping[str, int],
    usage_id: str,
    load_id: str | None,
) -> None:
    """Once: the same versions are the same month, also after a crash between the load and this."""
    months = t.usage_month
    last = con.execute(
        sa.select(months.c.usage_id, months.c.figures_digest)
        .where(months.c.measure == measure.name, months.c.period_start == period.start)
        .order_by(months.c.usage_month_seq.desc())
        .limit(1)
    ).one_or_none()
    figures_digest = key_versions.digest_of(figures)
    if last is not None and (last.usage_id, last.figures_digest) == (usage_id, figures_digest):
        return
    con.execute(
        sa.insert(months).values(
            usage_id=usage_id,
            measure=measure.name,
            period_start=period.start,
            roll_up=measure.month,
            unit=measure.unit,
            days=len(days),
            last_day=max(days),
            versions_json=json.dumps({day.isoformat(): one.version for day, one in sorted(days.items())}),
            figures_digest=figures_digest,
            load_id=load_id,
            rolled_up_at=now(),
            actor=books.actor,
        )
    )
