"""Sources as they stand: what of each is shown, refused, retired, or lies in no report root any more.

Belongs here: `cops source list`, and the booked sources without a place. Does not belong here: what people
decide about them (`ingestion/source_decisions.py`), who bills what (`ingestion/claims.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import claims, look, places, record, refusals, shown
from cops_dagster.ingestion.source_rules import Span
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.settings_places import is_s3
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Source:
    """One source as it stands.

    Attributes:
        state: active, held (its newest delivery is refused), retired, foreign, new (not looked at), or gone
            (booked, and nothing of it lies in any report root now).
        payers, accounts: of its shown deliveries, else of the newest that was read.
        months, cost_usd: what of it is shown now.
        why: of a state that is not active, what was found.
    """

    source_id: str
    state: str
    root: str
    report: str
    payers: list[str]
    accounts: list[str]
    months: list[str]
    cost_usd: Decimal
    newest_delivery: datetime | None
    why: str


def sources(books: Books) -> list[Source]:
    """Every source that ever delivered, was refused or is retired, or lies in a report root now, by name."""
    lying = _lying(books)
    deliveries, profiles = t.cur_delivery, t.cur_delivery_profile
    found = []
    with books.admin.read() as con:
        away, refused = claims.retired(con), _refused(con)
        foreign = {row.source_id: row.kind for row in con.execute(sa.select(t.foreign_export))}
        heads = month.shown(con)
        seen = con.execute(
            sa.select(
                deliveries.c.source_id,
                deliveries.c.delivery_id,
                deliveries.c.delivered_at,
                profiles.c.figures_json,
            )
            .outerjoin(profiles, profiles.c.delivery_id == deliveries.c.delivery_id)
            .where(deliveries.c.source_id.not_in([row.source_id for row in heads]))
            .order_by(deliveries.c.first_seen_at)
        ).all()
        newest = {row.source_id: row for row in seen}  # of a source that was never shown, or is not any more
        ids = [str(row.delivery_id) for row in heads] + [str(row.delivery_id) for row in newest.values()]
        pairs = claims.pairs_of(con, ids)
    names = {row.source_id for row in heads} | set(lying) | set(away) | set(refused) | set(foreign)
    for name in sorted(names):
        mine = [row for row in heads if row.source_id == name]
        told: list[Any] = [*mine] or ([newest[name]] if name in newest else [])
        billed = [pair for row in told for pair in pairs.get(row.delivery_id, ())]
        state, why = _state(name, mine, lying, away, refused, foreign)
        found.append(
            Source(
                name,
                state,
                lying.get(name, ""),
                record.report_of(told[-1].figures_json) if told else "",
                sorted({payer for payer, _ in billed}),
                sorted({account for _, account in billed}),
                [f"{row.period_start:%Y-%m}" for row in mine],
                sum((row.cost_usd for row in mine), Decimal(0)),
                max((row.delivered_at for row in told), default=None),
                why,
            )
        )
    return found


def _state(
    name: str,
    heads: Sequence[object],
    lying: dict[str, str],
    away: dict[str, list[Span]],
    refused: dict[str, str],
    foreign: dict[str, str],
) -> tuple[str, str]:
    if name in away:
        return "retired", "; ".join(_told(span) for span in away[name])
    if name in refused:
        return "held", refused[name]
    if heads:
        return ("active", "") if name in lying else ("gone", "nothing of it lies in a report root")
    return ("foreign", foreign[name]) if name in foreign else ("new", "not looked at yet")


def _told(span: Span) -> str:
    if span.first is None and span.last is None:
        return "in every open month"
    begin = f"from {span.first:%Y-%m}" if span.first else ""
    return f"{begin} {f'until {span.last:%Y-%m}' if span.last else ''}".strip()


def _lying(books: Books) -> dict[str, str]:
    try:
        return {place.month.source_id: place.root.place for place in places.lying(books.settings).places}
    except CopsError:
        return {}  # no root can be reached: what the books know can still be told


def _refused(con: sa.Connection) -> dict[str, str]:
    log = t.cur_ingestion_log
    found: dict[str, str] = {}
    for start in con.execute(sa.select(log.c.period_start).distinct()).scalars():
        period = Period.of(start)
        if not lock.is_sealed(con, period):
            for source, row in refusals.newest(con, period).items():
                if source.startswith(look.ROOT):
                    continue  # a place out of reach is no source, and nobody retires it
                found[source] = f"{period}: {row.error_code}"
    return found


@dataclass(frozen=True)
class Placeless:
    """A source whose month is booked and lies in no report root any more."""

    source_id: str
    delivery_id: str
    booked_from: str


def placeless(
    books: Books, period: Period, lying: tuple[set[str], set[str]] | None = None
) -> list[Placeless]:
    """The booked sources of an open month that lie nowhere now, though every root could be reached.

    Args:
        lying: the month's sources that lie in a root, and the roots out of reach; `None`: look.

    Raises:
        CopsError: when no root can be reached.
    """
    with books.admin.read() as con:
        if lock.is_sealed(con, period):
            return []  # read from the evidence store, wherever AWS's files are
        heads = month.shown(con, period)
    if lying is None:
        there = places.lying(books.settings, period)
        lying = {place.month.source_id for place in there.places}, set(there.unreachable)
    here, unreachable = lying
    found = []
    for row in heads:
        manifest = shown.place_of(books, row.source_id, period)
        if row.source_id not in here and not _below(books, manifest, unreachable):
            found.append(Placeless(row.source_id, row.delivery_id, str(manifest or "")))
    return found


def _below(books: Books, manifest: Path | None, unreachable: set[str]) -> bool:
    """Whether a manifest was read from a root that cannot be reached now: that is said already."""
    folders = [books.settings.fetched_place(place) if is_s3(place) else Path(place) for place in unreachable]
    return manifest is not None and any(manifest.is_relative_to(folder) for folder in folders)
