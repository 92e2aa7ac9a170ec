"""Late deliveries: what AWS changed about a closed month, as proposed adjustments (never a mutation).

A late delivery passes four stations: it is kept aside and logged as skipped (`ingestion/look.py`); what it
changes is proposed, here; a second person agrees (`closing/approve.py`); it is booked in the oldest open
month (`adjustments/proposals.py`).

Belongs here: restating the closed month from the late delivery with the sealed run's own rules, keys and
settings, and the differences to what the books hold. Whole lines are compared, no pool is split anew: the
largest-remainder method is not additive. Does not belong here: classes of change (`adjustments/changes.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from cops_dagster.adjustments import changes, one_time, proposals, restate
from cops_dagster.adjustments.changes import Line
from cops_dagster.allocation import allocate
from cops_dagster.allocation.rules import Costs
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import claims, log, look, places
from cops_dagster.lake import live
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import scratch
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Late:
    """A closed month with deliveries that came after its seal: id by source, where they differ."""

    period: Period
    delivery_ids: dict[str, str]

    @property
    def delivery_id(self) -> str:
        """One id for what is late: the delivery's own, or the digest of several sources' ids."""
        ids = sorted(self.delivery_ids.values())
        return ids[0] if len(ids) == 1 else digest(ids)


def waiting(con: sa.Connection, period: Period) -> Late | None:
    """What came late and is not proposed yet over the books as they are; `None` when nothing is."""
    if lock.state_of(con, period) != "closed":
        return None
    sealed = {row.source_id: row.delivery_id for row in month.shown(con, period)}
    away = claims.retired_in(con, period)
    late = {
        source: one
        for source, one in log.skipped(con, period).items()
        if one and one != sealed.get(source) and source not in away
    }
    if not late:
        return None
    found, adjustments = Late(period, late), t.adjustment
    proposed = con.execute(
        sa.select(adjustments.c.adjustment_id).where(
            adjustments.c.usage_period_start == period.start,
            adjustments.c.delivery_id == found.delivery_id,
            adjustments.c.base_digest == proposals.base_of(con, period),
        )
    ).first()
    booked = con.execute(
        sa.select(adjustments.c.adjustment_id)
        .join(t.adjustment_booking, t.adjustment_booking.c.adjustment_id == adjustments.c.adjustment_id)
        .where(
            adjustments.c.usage_period_start == period.start, adjustments.c.delivery_id == found.delivery_id
        )
    ).first()
    return None if proposed or booked else found


def propose(books: Books, period: Period) -> str | None:
    """Proposes what a late delivery changed; the adjustment's id, or `None` when nothing is late.

    Other bytes with the same cost give a proposal without lines: it is recorded and needs no approval.

    Raises:
        CopsError: what refuses the late delivery, as for any other; `E-DIGEST`.
    """
    require_policy(books)
    with books.admin.read() as con:
        late = waiting(con, period)
        if late is None:
            return None
        base = proposals.base_of(con, period)
        inputs = _sealed_inputs(books, con, period)
        given = _files(books, con, late)
        before = one_time.posted(books, con, period, with_one_time=False)
    with (
        scratch.folder(books.settings.home) as folder,
        restate.remade(folder / "home", inputs, period, given, books.settings) as remade,
        remade.admin.read() as con,
    ):
        after = one_time.posted(remade, con, period)
    lines = difference(after, before)
    return proposals.propose(
        books,
        period,
        "late_change",
        lines,
        changes.classify(lines),
        base_digest=base,
        reason=f"AWS delivered {period} again after it was closed",
        delivery_id=late.delivery_id,
    )


def propose_all(books: Books) -> str:
    """Proposes what late deliveries of closed months changed; what came of it, in one line."""
    require_policy(books)
    with books.admin.read() as con:
        closed = lock.closed(con)
    told = []
    lying = {month.period for month in places.months(books.settings)}
    for period in closed:
        if period not in lying:
            continue
        try:
            look.look(books, period)
            made = propose(books, period)
        except CopsError as problem:
            told.append(f"{period}: {problem.code}")
            continue
        if made:
            told.append(f"{period}: proposed {made[:16]}, cops adjust list")
    return "; ".join(told) or f"{len(closed)} closed month(s), nothing late"


def difference(after: Sequence[Line], before: Sequence[Line]) -> list[Line]:
    """Restated − posted, line by line; lines without any difference are left out."""
    left: defaultdict[Line, Costs] = defaultdict(Costs)
    for line in after:
        key = replace(line, costs=Costs())
        left[key] = left[key].plus(line.costs)
    for line in before:
        key = replace(line, costs=Costs())
        left[key] = left[key].plus(Costs(*(-cost for cost in line.costs)))
    return [replace(key, costs=costs) for key, costs in sorted(left.items(), key=_order) if any(costs)]


def _order(item: tuple[Line, Costs]) -> list[str]:
    line = item[0]
    return [
        str(part or "")
        for part in (
            line.service,
            line.service_component,
            line.charge_class,
            line.tenant_id,
            line.plan_id,
            line.allocation_method,
            line.rule_id,
            line.rule_version,
        )
    ]


def _sealed_inputs(books: Books, con: sa.Connection, period: Period) -> dict[str, Any]:
    """The inputs document of the run that the month was sealed with."""
    run = month.head(con, allocate.TABLE, period)
    assert run is not None  # a closed month was allocated
    row = chain.find(con, "run_inputs", "run", run.run_id)
    assert row is not None  # publishing indexes it in the same transaction
    found: dict[str, Any] = json.loads(chain.read(books, row.evidence_seq))
    return found


def _files(books: Books, con: sa.Connection, late: Late) -> list[restate.Given]:
    """The late files of the sources that delivered late, the sealed files of the others."""
    deliveries, places, delivered = t.cur_delivery, t.cur_delivery_place, t.cur_delivery_file
    given = []
    rows = {row.source_id: row for row in month.shown(con, late.period)}
    for source, delivery_id in late.delivery_ids.items():
        rows[source] = con.execute(
            sa.select(places.c.location_json, deliveries)
            .join(deliveries, deliveries.c.delivery_id == places.c.delivery_id)
            .where(places.c.source_id == source, places.c.delivery_id == delivery_id)
        ).first()
    for number, source in enumerate(sorted(rows), start=1):
        row = rows[source]
        files = DeliveredFiles.recorded(row, books.settings.home)
        live.fetch_whole(books.settings.home, files.paths)
        live.verify(live.delivered_files(con, books.settings.home, files), digests=True)
        known = con.execute(
            sa.select(delivered.c.name, delivered.c.sha256)
            .where(delivered.c.delivery_id == row.delivery_id)
            .order_by(delivered.c.position)
        ).all()
        given.append(
            restate.Given(
                f"source-{number}",
                list(zip([one.name for one in known], files.paths, strict=True)),
                [one.sha256 for one in known],
            )
        )
    return given
