"""Which version of a measure a key was made of, and whether its pipeline stands still.

Belongs here: reading what `usage/` wrote, for whoever splits by it or asks why it is old; naming the version
of a frozen key. Does not belong here: asking a source, adding days up (`usage/`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from cops_dagster.allocation.rules import Key
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Stalled:
    """A pipeline that gave no answer: since which day, and why."""

    measure: str
    day: date
    source_kind: str
    code: str
    detail: str
    refused_at: datetime


def digest_of(figures: Mapping[str, int]) -> str:
    """Two months with the same digest say the same of every tenant."""
    return digest("usage-month-1", sorted(figures.items()))


def of_figures(con: sa.Connection, measure: str, period: Period, figures: Mapping[str, int]) -> str | None:
    """The newest version whose figures these are; `None` for figures that somebody loaded otherwise."""
    months = t.usage_month
    return con.execute(
        sa.select(months.c.usage_id)
        .where(
            months.c.measure == measure,
            months.c.period_start == period.start,
            months.c.figures_digest == digest_of(figures),
        )
        .order_by(months.c.usage_month_seq.desc())
        .limit(1)
    ).scalar_one_or_none()


def name(con: sa.Connection, period: Period, inputs_id: str, keys: Collection[Key]) -> None:
    """Names the version of each key that is frozen now, within the caller's transaction."""
    rows = [
        {
            "inputs_id": inputs_id,
            "key_name": key.key_name,
            "period_start": period.start,
            "measure": key.measure,
            "usage_id": usage_id,
        }
        for key in keys
        if (usage_id := of_figures(con, key.measure, period, key.weights)) is not None
    ]
    if rows:
        con.execute(sa.insert(t.key_usage_version), rows)


def stalled(con: sa.Connection, period: Period) -> list[Stalled]:
    """By measure the first day of a month that was refused and has no version, with its newest reason."""
    days, refusals = t.usage_day, t.usage_refusal
    taken = {
        (row.measure, row.usage_day)
        for row in con.execute(sa.select(days).where(days.c.period_start == period.start))
    }
    found: dict[str, Stalled] = {}
    for row in con.execute(
        sa.select(refusals)
        .where(refusals.c.period_start == period.start)
        .order_by(refusals.c.measure, refusals.c.usage_day, refusals.c.refusal_seq)
    ):
        if (row.measure, row.usage_day) in taken:  # a correction that was refused starves nobody
            continue
        first = found.get(row.measure)
        if first is None or first.day == row.usage_day:  # of the first day that is missing, the newest reason
            found[row.measure] = Stalled(
                row.measure, row.usage_day, row.source_kind, row.error_code, row.error_detail, row.refused_at
            )
    return list(found.values())
