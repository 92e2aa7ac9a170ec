"""Which delivery readers see of a source and month, and which came too late for that.

Belongs here: `cur_billing_head`, which this module and a person's decision
(`ingestion/source_decisions.py`) write, and a close moves to the kept bytes (`closing/sealing.py`). Does not
belong here: what waits for approval (`ingestion/holds.py`); what becomes of one that came late
(`adjustments/late.py`); reading whole months of them (`ledger/month.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.cur import layout
from cops_dagster.ingestion import claims
from cops_dagster.ingestion.log import newest_ingestion
from cops_dagster.ingestion.record import utc
from cops_dagster.lake.kept import conversion
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.states import OTHER_BYTES
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def head_of(books: Books, source_id: str, period: Period) -> str | None:
    """The delivery that `cur_billing_master` shows of a source and period."""
    shown = t.cur_billing_head
    with books.admin.read() as con:
        return con.execute(
            sa.select(shown.c.delivery_id).where(
                shown.c.source_id == source_id, shown.c.period_start == period.start
            )
        ).scalar_one_or_none()


def place_of(books: Books, source_id: str, period: Period) -> Path | None:
    """Where the manifest of the delivery lay that readers see of a source, if any."""
    shown = t.cur_billing_head
    with books.admin.read() as con:
        found = con.execute(
            sa.select(shown.c.location_json).where(
                shown.c.source_id == source_id, shown.c.period_start == period.start
            )
        ).scalar_one_or_none()
    return books.settings.home / json.loads(found)[0][0] if found else None


def is_older(books: Books, month: layout.ReportMonth, delivered: layout.Delivered, delivery_id: str) -> bool:
    """Readers see a later delivery already, or the sealed one of a closed month.

    A delivery that was replaced before and whose files are older than the ones now shown came late.
    """
    cur_billing_head, deliveries = t.cur_billing_head, t.cur_delivery
    with books.admin.read() as con:
        shown = con.execute(
            sa.select(cur_billing_head.c.delivery_id, cur_billing_head.c.location_json).where(
                cur_billing_head.c.source_id == month.source_id,
                cur_billing_head.c.period_start == month.period.start,
            )
        ).one_or_none()
        if shown is not None and shown.delivery_id == delivery_id:
            return False
        if lock.is_sealed(con, month.period):
            return True
        if shown is None:
            return False
        attempts = t.cur_ingestion_log
        was_shown = con.execute(
            sa.select(attempts.c.log_seq)
            .where(attempts.c.delivery_id == delivery_id, attempts.c.status == "succeeded")
            .limit(1)
        ).first()
        delivered_at = con.execute(
            sa.select(deliveries.c.delivered_at).where(deliveries.c.delivery_id == shown.delivery_id)
        ).scalar_one()
    newest_shown = max(int(version) for _, _, version in json.loads(shown.location_json)[1:])
    newest_here = max(file.version for file in delivered.files)
    return bool(was_shown) and newest_here < newest_shown and utc(newest_here) <= delivered_at


def is_late(con: sa.Connection, source_id: str, period: Period, place: str) -> bool:
    """What lies at this place came late, and that is recorded already."""
    places, newest = t.cur_delivery_place, newest_ingestion(con, period, source_id)
    if newest is None or newest.status != "skipped" or newest.delivery_id is None:
        return False
    return bool(
        con.execute(
            sa.select(places.c.delivery_id).where(
                places.c.source_id == source_id,
                places.c.period_start == period.start,
                places.c.delivery_id == newest.delivery_id,
                places.c.location_json == place,
            )
        ).first()
    )


def is_sealed(con: sa.Connection, source_id: str, period: Period, place: str) -> bool:
    """What lies at this place is the delivery that a closed month was sealed with."""
    places, shown = t.cur_delivery_place, t.cur_billing_head
    if not lock.is_sealed(con, period):
        return False
    return bool(
        con.execute(
            sa.select(places.c.delivery_id)
            .join(shown, shown.c.delivery_id == places.c.delivery_id)
            .where(
                places.c.source_id == source_id,
                places.c.period_start == period.start,
                places.c.location_json == place,
            )
        ).first()
    )


def hide_retired(books: Books, period: Period) -> None:
    """Takes away the pointers of retired sources that a close had kept when it was then given up."""
    shown = t.cur_billing_head
    with books.admin.read() as con:
        away = claims.retired_in(con, period)
    if not away:
        return
    with books.admin.write() as con:
        if not lock.is_sealed(con, period):
            con.execute(
                sa.delete(shown).where(shown.c.period_start == period.start, shown.c.source_id.in_(away))
            )


def show(books: Books, month: layout.ReportMonth, delivery_id: str, place: str) -> None:
    """Points `cur_billing_head` at a delivery; what COPS converted of replaced ones is thrown away."""
    shown, conversions, deliveries = t.cur_billing_head, t.cur_read_file, t.cur_delivery
    key = (shown.c.source_id == month.source_id, shown.c.period_start == month.period.start)
    with books.admin.write() as con:
        before = con.execute(sa.select(shown.c.delivery_id, shown.c.location_json).where(*key)).one_or_none()
        if before and (before.delivery_id, before.location_json) == (delivery_id, place):
            return
        if month.source_id in claims.retired_in(con, month.period):
            return  # decided while it was looked at
        if lock.is_sealed(con, month.period):
            return  # what is sealed is shown from the evidence store, wherever AWS' files lie
        is_final = lock.state_of(con, month.period) == "final"
        if is_final and before and before.delivery_id != delivery_id:
            lock.move(
                con,
                books,
                month.period,
                "provisional",
                reason=OTHER_BYTES,
                evidence_id=f"delivery {delivery_id}",
            )
        con.execute(sa.delete(shown).where(*key))
        con.execute(
            sa.insert(shown).values(
                source_id=month.source_id,
                period_start=month.period.start,
                delivery_id=delivery_id,
                location_json=place,
                seen_at=now(),
            )
        )
        replaced = sa.select(deliveries.c.delivery_id).where(
            deliveries.c.source_id == month.source_id,
            deliveries.c.period_start == month.period.start,
            deliveries.c.delivery_id != delivery_id,
            deliveries.c.delivery_id.not_in(sa.select(t.cur_delivery_hold.c.delivery_id)),
        )
        unused = (
            con.execute(sa.select(conversions.c.path).where(conversions.c.delivery_id.in_(replaced)))
            .scalars()
            .all()
        )
        con.execute(sa.delete(conversions).where(conversions.c.delivery_id.in_(replaced)))
        places = t.cur_delivery_place
        con.execute(
            sa.delete(places).where(
                places.c.source_id == month.source_id,
                places.c.period_start == month.period.start,
                places.c.delivery_id.in_(replaced),
            )
        )
    for path in unused:
        conversion(books.settings.home, path).unlink(missing_ok=True)
