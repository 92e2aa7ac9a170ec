"""Deliveries: which one is the newest complete one of each source, and what stands in its way.

Belongs here: from the places of a month to `cur_delivery` rows and the pointer `cur_billing_head`. Nothing is
ingested here: `cur_billing_master` shows the newest complete delivery whether ingested or not. Does not
belong here: where deliveries lie (`ingestion/places.py`), reading one (`ingestion/first_sight.py`), files
without a manifest (`ingestion/deliver.py`). Each source stands or falls by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from cops_dagster.cur import layout
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import (
    claims,
    foreign,
    holds,
    misplaced,
    places,
    plausible,
    record,
    refusals,
    shown,
    source_rules,
)
from cops_dagster.ingestion.first_sight import UNPRICED, Sight, first_sight
from cops_dagster.ingestion.log import record_late
from cops_dagster.ingestion.places import Lying, Place
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

ROUNDS = 5
"""How often a delivery that changes while it is read is read again, before the month is delayed."""


ROOT = "root "
"""How a report root that could not be reached stands among the sources of a look."""


@dataclass(frozen=True)
class Seen:
    """What a look at the report roots found for one source and period.

    Attributes:
        source_id: the source; or `root PLACE` for a report root that cannot be reached.
        delivery_id: the newest complete delivery, if any.
        is_new: it was not known before.
        refusals: why newer candidates were refused or wait for approval.
        foreign: why it is no source of the ledger at all: another export that lies beside a CUR.
        root: the report root that cannot be reached, where it is about one.
    """

    source_id: str
    period: Period
    delivery_id: str | None
    is_new: bool
    refusals: tuple[CopsError, ...]
    foreign: CopsError | None = None
    root: str = ""

    @property
    def goes_on(self) -> bool:
        """There is a delivery to book, and nothing of this source was refused."""
        return self.delivery_id is not None and not self.refusals


@dataclass
class _Candidate:
    """The newest delivery of one source as it lies there, read or recognised, not yet shown."""

    month: layout.ReportMonth
    delivered: layout.Delivered | None = None
    delivery_id: str | None = None
    is_new: bool = False
    place: str = ""
    refusals: list[CopsError] = field(default_factory=list)
    foreign: CopsError | None = None


class _Torn(Exception):
    """The delivery changed while it was read: start over."""


def unchanged(books: Books, con: sa.Connection, period: Period) -> bool:
    """The newest complete delivery of every source is the one recorded, by size and time alone.

    A source whose place is gone has nothing newer: what is booked of it stays (`every_source_has_its_place`).
    """
    away = claims.retired_in(con, period)
    heads = con.execute(
        sa.select(t.cur_billing_head).where(t.cur_billing_head.c.period_start == period.start)
    ).all()
    recorded = {row.source_id: row.location_json for row in heads}
    if not all(record.conversion_stands(books, con, row.delivery_id) for row in heads):
        return False
    if away & set(recorded) and not lock.is_sealed(con, period):
        return False
    found = places.lying(books.settings, period)
    here = [
        place
        for place in found.places
        if place.month.source_id not in away and not misplaced.is_no_delivery(books, place)
    ]
    if found.unreachable or any(place.month.source_id in found.clashes for place in here):
        return False
    for one in here:
        month = one.month
        newest = layout.find(one.root.folder, month)
        if newest.refusals or newest.newest is None:
            return False
        place = json.dumps(record.location(books, newest.newest))
        if (
            place != recorded.get(month.source_id)
            and not shown.is_late(con, month.source_id, period, place)
            and not shown.is_sealed(con, month.source_id, period, place)
            and foreign.kind_at(con, month.source_id, period, place) is None
        ):
            return False
    return bool(recorded) or bool(away)


def look(books: Books, period: Period, *, log: bool = True) -> list[Seen]:
    """Looks at every source of a period and records its newest complete delivery.

    A delivery that bills what another source's bills already is not shown: what is booked stays, and of two
    that nobody knows neither is taken (`ingestion/source_rules.py`).

    Args:
        log: record refusals in `cur_ingestion_log`; a check that looks again does not.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when no source has the period; why no root could be reached. Refused
            deliveries do not raise: they are in the result, and the check `delivery_is_complete` stops the
            run when no source can go on.
    """
    if log:
        require_policy(books, is_run=True)
    lying = places.lying(books.settings, period)
    shown.hide_retired(books, period)
    found = _candidates(books, period, lying)
    _give_way(books, period, found)
    for one in found:
        _show(books, one)
    seen = [_seen(books, period, one) for one in found]
    seen += [
        Seen(f"{ROOT}{place}", period, None, False, (problem,), root=place)
        for place, problem in sorted(lying.unreachable.items())
    ]
    strays = [one for one in seen if one.foreign]
    if len(strays) == len(seen) and not _booked(books, period):  # then it is the report that was meant
        seen = [replace(one, refusals=(one.foreign,), foreign=None) for one in strays if one.foreign]
    if log:
        for source in seen:
            for refusal in source.refusals:
                refusals.record(books, source.source_id, period, refusal)
        refusals.end(books, period, {source.source_id for source in seen if source.refusals})
    return seen


def months(books: Books) -> list[Period]:
    """Every month on record or in a report root, oldest first; a root that does not answer adds none."""
    shown = t.cur_billing_head
    with books.admin.read() as con:
        found = {Period.of(start) for start in con.execute(sa.select(shown.c.period_start)).scalars()}
    with suppress(CopsError):  # whoever looks there says so; the months on record go on
        found |= {month.period for month in places.months(books.settings)}
    return sorted(found)


def take_as_given(books: Books, period: Period) -> None:
    """Shows every delivery that was handed over, whoever else bills the same: a sealed month made again.

    Raises:
        CopsError: what a delivery is refused for.
    """
    for one in _candidates(books, period, places.lying(books.settings, period)):
        if one.refusals or one.foreign:
            raise [*one.refusals, one.foreign][0]  # type: ignore[misc]
        _show(books, one)


def _candidates(books: Books, period: Period, lying: Lying) -> list[_Candidate]:
    with books.admin.read() as con:
        away = claims.retired_in(con, period)
        emptied = bool(away) or claims.withdrawn_in(con, period)
    counted = [place for place in lying.places if place.month.source_id not in away]
    here = [place for place in counted if not misplaced.is_no_delivery(books, place)]
    if not here and not lying.unreachable and not emptied:
        raise misplaced.unknown(books, period, counted)
    found = []
    for place in here:
        source = place.month.source_id
        if source not in lying.clashes:
            found.append(_candidate(books, place))
        elif place is lying.clashes[source][0]:
            booked = shown.place_of(books, source, period)
            refusal = places.clash(source, period, lying.clashes[source], booked)
            found.append(_Candidate(place.month, refusals=[refusal]))
    return found


def _candidate(books: Books, place: Place) -> _Candidate:
    one = _Candidate(place.month)
    for _ in range(ROUNDS):
        try:
            found = layout.find(place.root.folder, place.month)
            one.refusals = list(found.refusals)
            if found.newest is None:
                break
            _take(books, place, found.newest, one)
        except _Torn:
            continue
        except OSError as problem:
            one.refusals.append(places.unreadable(f"source {place.month.source_id}", problem))
        except CopsError as problem:
            if problem.code == foreign.FOREIGN:
                one.foreign = problem
            else:
                one.refusals.append(problem)
        break
    else:
        one.refusals = [_torn(place.month)]
    return one


def _give_way(books: Books, period: Period, found: Sequence[_Candidate]) -> None:
    """Refuses the candidates whose cost another source bills already."""
    ready = {one.month.source_id: one for one in found if one.delivery_id is not None}
    with books.admin.read() as con:
        claimed = claims.shown(con, period)
        away = set() if lock.is_sealed(con, period) else claims.retired_in(con, period)
        claimed = {source: claim for source, claim in claimed.items() if source not in away}
        asked = {
            source: str(one.delivery_id)
            for source, one in ready.items()
            if source not in claimed or claimed[source].delivery_id != one.delivery_id
        }
        candidates = [
            (claims.standing(con, claim.source_id, period), claim) for claim in claims.of(con, asked)
        ]
    for source, clashes in source_rules.held(claimed, candidates).items():
        ready[source].refusals.append(claims.refusal(period, source, clashes))
        ready[source].delivered = None


def _show(books: Books, one: _Candidate) -> None:
    """Points readers at a candidate, unless a later delivery stands there already."""
    if one.delivered is None or one.delivery_id is None:
        return
    if shown.is_older(books, one.month, one.delivered, one.delivery_id):
        record_late(books, one.month, one.delivery_id)
        one.is_new = False
    else:
        shown.show(books, one.month, one.delivery_id, one.place)


def _seen(books: Books, period: Period, one: _Candidate) -> Seen:
    head = shown.head_of(books, one.month.source_id, period)
    return Seen(
        one.month.source_id, period, head, one.is_new and head is not None, tuple(one.refusals), one.foreign
    )


def _booked(books: Books, period: Period) -> bool:
    heads = t.cur_billing_head
    with books.admin.read() as con:
        return bool(
            con.execute(
                sa.select(heads.c.source_id).where(heads.c.period_start == period.start).limit(1)
            ).first()
        )


def _torn(month: layout.ReportMonth) -> CopsError:
    return CopsError(
        "E-DELIVERY-TORN",
        f"delivery {month.source_id} {month.period}",
        expected="files that stay as they are while they are read",
        found=f"other files each of {ROUNDS} times",
        next_step="AWS is still delivering: run again later; the ingested month stays, the period is delayed",
    )


def _take(books: Books, place: Place, delivered: layout.Delivered, one: _Candidate) -> None:
    """Fills in what the delivery is: known by where it lies, or read.

    Raises:
        _Torn: the files or the manifest changed meanwhile.
        CopsError: what it is refused for, or why it waits for approval.
    """
    month = place.month
    one.place = json.dumps(record.location(books, delivered))
    with books.admin.read() as con:
        kind = foreign.kind_at(con, month.source_id, month.period, one.place)
    if kind is not None:
        raise foreign.refusal(month, kind)
    delivery_id = record.at(books, month, one.place)
    if delivery_id is None:
        _check_source(books, delivered)
        try:
            sight = _read(books, place, delivered, one.place)
        except CopsError as problem:
            if problem.code != foreign.FOREIGN:
                raise
            if record.is_known(books, month.source_id) and problem.__cause__ is not None:
                raise problem.__cause__ from None  # a report that lost its columns, not another export
            foreign.record(books, month, str(problem.details["kind"]), one.place)
            raise foreign.refusal(month, str(problem.details["kind"])) from None
        delivery_id = sight.delivery_id
        one.is_new = record.record(books, delivered, sight, one.place)
        held = _unpriced(sight) or plausible.hold(
            sight.figures(), _before(books, month, delivery_id), _bounds(books), month.period.end
        )
        if held:
            holds.hold(books, month, delivery_id, held)
    holds.check_released(books, delivery_id)
    one.delivery_id, one.delivered = delivery_id, delivered


def _unpriced(sight: Sight) -> plausible.Hold | None:
    """Lines whose cost nobody knows: the rest can be booked, but the sum of the delivery is unknown."""
    for fault in sight.faults:
        if fault.unpriced_rows and fault.code in UNPRICED:
            return plausible.Hold(
                fault.code,
                "a cost that can be carried to the last digit on every line",
                f"{fault.unpriced_rows} of {sight.totals['row_count']} lines whose cost nobody knows",
            )
    return None


def _read(books: Books, place: Place, delivered: layout.Delivered, location: str) -> Sight:
    try:
        sight = first_sight(books, delivered)
    except (CopsError, OSError):
        if _moved(books, place, location):
            raise _Torn from None
        raise
    if _moved(books, place, location):
        for made in sight.read_files:
            made.path.unlink(missing_ok=True)
        raise _Torn
    return sight


def _moved(books: Books, place: Place, location: str) -> bool:
    """The manifest and every file are the same as before they were read, by size and version."""
    newest = layout.find(place.root.folder, place.month).newest
    return newest is None or json.dumps(record.location(books, newest)) != location


def _before(books: Books, month: layout.ReportMonth, delivery_id: str) -> plausible.Figures | None:
    head = shown.head_of(books, month.source_id, month.period)
    return record.figures_of(books, head) if head and head != delivery_id else None


def _bounds(books: Books) -> plausible.Bounds:
    limits = books.policy.delivery
    return plausible.Bounds(limits.shrink_pct, limits.growth_pct, limits.least_usd)


def _check_source(books: Books, delivered: layout.Delivered) -> None:
    """A known report under a new path is a moved report, not a second one: its cost would count twice."""
    moved_from = record.source_of_report(books, delivered)
    if moved_from is None or moved_from in {month.source_id for month in places.months(books.settings)}:
        return
    with books.admin.read() as con:
        if moved_from in claims.retired_in(con, delivered.period):
            return
    raise CopsError(
        "E-SOURCE-UNKNOWN",
        f"source {delivered.source_id}",
        expected=f"report {delivered.report} under {moved_from}, as before",
        found=f"the same report under {delivered.source_id}, and nothing under {moved_from}",
        next_step="restore the report's path prefix, or move its folders back; or let it count from here:"
        f" `cops source retire {moved_from} --from {delivered.period} --reason …`",
    )
