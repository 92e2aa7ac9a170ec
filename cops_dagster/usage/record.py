"""What is on record of days and months: versions, refusals, and which versions a month was made of.

Belongs here: reading and writing `usage_day`, `usage_day_value`, `usage_refusal` and `usage_month`. Does not
belong here: when a version is written (`usage/refresh.py`), adding days up (`usage/roll_up.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, documents
from cops_dagster.evidence.chain import Piece
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.usage.answer import Answer
from cops_dagster.usage.declared import Measure
from cops_dagster.usage.judged import Figures, Told

KIND = "usage_day"
"""What a day's version is among the pieces of evidence."""
TAKEN, HELD = "taken", "held"


@dataclass(frozen=True)
class Version:
    """One version of a day as it was recorded. `month_state`: of its month when it was taken."""

    measure: str
    day: date
    version: int
    unit: str
    figures_digest: str
    tenants: int
    held: int
    month_state: str
    evidence_id: str
    taken_at: datetime
    actor: str


def newest(con: sa.Connection, measure: str, period: Period) -> dict[date, Version]:
    """The newest version of every day of a month that has one, in the order of days."""
    days = t.usage_day
    rows = con.execute(
        sa.select(days)
        .where(days.c.measure == measure, days.c.period_start == period.start)
        .order_by(days.c.usage_day, days.c.version)
    )
    return {row.usage_day: _version(row) for row in rows}


def counting(con: sa.Connection, measure: Measure, period: Period) -> dict[date, Version]:
    """The versions that a month is made of.

    Of an open one neither those of before `since`, nor those in another unit than the one that is declared
    by now, which cannot be added to the others: their days are asked again.
    """
    found = before_close(con, measure.name, period)
    if lock.is_sealed(con, period):
        return found
    first = measure.since or period.start
    return {day: one for day, one in found.items() if day >= first and one.unit == measure.unit}


def before_close(con: sa.Connection, measure: str, period: Period) -> dict[date, Version]:
    """As `newest`, without what came after the month was closed, which changes nothing of it."""
    days = t.usage_day
    rows = con.execute(
        sa.select(days)
        .where(
            days.c.measure == measure,
            days.c.period_start == period.start,
            days.c.month_state.not_in(("closing", "closed")),
        )
        .order_by(days.c.usage_day, days.c.version)
    )
    return {row.usage_day: _version(row) for row in rows}


def standing(con: sa.Connection, measure: Measure, period: Period) -> dict[date, Version]:
    """The versions that a new answer is held against.

    A close that could not be sealed gives its month back: what came while it was closing is asked again.
    """
    return (
        newest(con, measure.name, period) if lock.is_sealed(con, period) else counting(con, measure, period)
    )


def figures(con: sa.Connection, version: Version) -> Figures:
    """The figures of a version."""
    values = t.usage_day_value
    rows = con.execute(
        sa.select(values).where(
            values.c.measure == version.measure,
            values.c.usage_day == version.day,
            values.c.version == version.version,
        )
    ).all()
    return Figures(
        *(
            {row.tenant_id: amount.from_decimal(row.value) for row in rows if row.standing == standing}
            for standing in (TAKEN, HELD)
        )
    )


def beside(
    con: sa.Connection, versions: Mapping[date, Version], day: date
) -> tuple[dict[str, Told], dict[str, Told]]:
    """The figures before and after a day: of each tenant that of the nearest day that names it."""
    earlier: dict[str, Told] = {}
    later: dict[str, Told] = {}
    for one in sorted(versions):
        for tenant, atto in figures(con, versions[one]).taken.items() if one != day else ():
            if one < day:
                earlier[tenant] = one, atto
            else:
                later.setdefault(tenant, (one, atto))
    return earlier, later


def write(
    con: sa.Connection,
    books: Books,
    measure: Measure,
    day: date,
    answer: Answer,
    judged: Figures,
    *,
    at: datetime,
) -> Version:
    """The next version of a day, with its proof, in the caller's write transaction."""
    period = Period.of(day)
    before = newest(con, measure.name, period).get(day)
    number = before.version + 1 if before else 1
    state = lock.state_of(con, period)
    content = {
        "measure": measure.name,
        "day": day.isoformat(),
        "version": number,
        "source": measure.source.model_dump(mode="json"),
        "unit": measure.unit,
        "query": answer.query,
        "read": dict(answer.read),
        "figures": _texts(judged.taken),
        "held": _texts(judged.held),
        "figures_digest": judged.digest,
        "taken_at": documents.plain(at),
        "actor": books.actor,
    }
    piece = Piece(
        KIND, KIND, f"{measure.name}/{day}/{number}", "application/json", data=documents.document(content)
    )
    proof = chain.keep(con, books, piece)
    key = {"measure": measure.name, "usage_day": day, "version": number, "period_start": period.start}
    con.execute(  # figures first: a version that is there takes no further one
        sa.insert(t.usage_day_value),
        [
            {**key, "tenant_id": name, "standing": standing, "value": amount.to_decimal(atto)}
            for standing, values in ((TAKEN, judged.taken), (HELD, judged.held))
            for name, atto in sorted(values.items())
        ],
    )
    con.execute(
        sa.insert(t.usage_day).values(
            **key,
            source_kind=measure.source.kind,
            query_text=answer.query,
            unit=measure.unit,
            figures_digest=judged.digest,
            tenant_count=len(judged.taken),
            held_count=len(judged.held),
            month_state=state,
            evidence_id=str(proof),
            taken_at=at,
            actor=books.actor,
        )
    )
    return newest(con, measure.name, period)[day]


def write_refusal(
    con: sa.Connection, books: Books, measure: Measure, day: date, refusal: CopsError, *, at: datetime
) -> None:
    """That a day was asked in vain, once for each reason: the next tick has nothing new to say."""
    refusals = t.usage_refusal
    last = con.execute(
        sa.select(refusals)
        .where(refusals.c.measure == measure.name, refusals.c.usage_day == day)
        .order_by(refusals.c.refusal_seq.desc())
        .limit(1)
    ).one_or_none()
    detail = f"expected {refusal.expected}; found {refusal.found}; next: {refusal.next_step}"
    if last is not None and (last.error_code, last.error_detail) == (refusal.code, detail):
        return
    con.execute(
        sa.insert(refusals).values(
            measure=measure.name,
            usage_day=day,
            period_start=Period.of(day).start,
            source_kind=measure.source.kind,
            error_code=refusal.code,
            error_detail=detail,
            refused_at=at,
            actor=books.actor,
        )
    )


def versions_of(con: sa.Connection, measure: str, day: date) -> list[Version]:
    """Every version of a day, the oldest first."""
    days = t.usage_day
    rows = con.execute(
        sa.select(days).where(days.c.measure == measure, days.c.usage_day == day).order_by(days.c.version)
    )
    return [_version(row) for row in rows]


def _texts(values: Mapping[str, int]) -> dict[str, str]:
    return {name: amount.to_text(atto) for name, atto in sorted(values.items())}


def _version(row: sa.Row[tuple[object, ...]]) -> Version:
    return Version(
        row.measure,
        row.usage_day,
        row.version,
        row.unit,
        row.figures_digest,
        row.tenant_count,
        row.held_count,
        row.month_state,
        row.evidence_id,
        row.taken_at,
        row.actor,
    )
