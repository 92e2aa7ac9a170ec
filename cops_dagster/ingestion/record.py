"""What the books know of deliveries: where each lay, what it held, what was converted of it.

Belongs here: reads and writes of the `cur_delivery*` tables and of `cur_read_file`. Does not belong here:
finding or reading files (`ingestion/look.py`, `ingestion/first_sight.py`); which delivery readers see
(`ingestion/shown.py`); which waits (`ingestion/holds.py`).
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cops_dagster.cur import layout, schema
from cops_dagster.evidence import conversions
from cops_dagster.ingestion.plausible import Figures
from cops_dagster.lake.kept import conversion
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.files import sha256_all

if TYPE_CHECKING:
    from cops_dagster.ingestion.first_sight import Sight  # which loads the engine


def location(books: Books, delivered: layout.Delivered) -> list[list[str | int]]:
    """`[path, size, version]` of the manifest and every file: equal means unchanged.

    Paths below the home are relative to it: a moved home keeps its deliveries.
    """
    home = books.settings.home
    return [
        [
            str(Path(file.path).relative_to(home)) if Path(file.path).is_relative_to(home) else file.path,
            file.size,
            file.version,
        ]
        for file in (delivered.manifest_file, *delivered.files)
    ]


def is_known(books: Books, source_id: str) -> bool:
    """Whether a source ever delivered anything that could be read."""
    deliveries = t.cur_delivery
    with books.admin.read() as con:
        return bool(
            con.execute(
                sa.select(deliveries.c.delivery_id).where(deliveries.c.source_id == source_id).limit(1)
            ).first()
        )


def at(books: Books, month: layout.ReportMonth, place: str) -> str | None:
    """The delivery that was read at exactly this place, so that no byte is read again."""
    places = t.cur_delivery_place
    shown = t.cur_billing_head
    with books.admin.read() as con:
        for table in (places, shown):
            found = con.execute(
                sa.select(table.c.delivery_id).where(
                    table.c.source_id == month.source_id,
                    table.c.period_start == month.period.start,
                    table.c.location_json == place,
                )
            ).scalar()
            if found and conversion_stands(books, con, str(found)):
                return str(found)
    return None


def conversion_stands(books: Books, con: sa.Connection, delivery_id: str) -> bool:
    """The Parquet that COPS made of a delivery, if any, lies there as it was written, by size and time."""
    for made in read_files(con, delivery_id):
        try:
            info = conversion(books.settings.home, made.path).stat()
        except OSError:
            return False
        if (info.st_size, info.st_mtime_ns) != (made.size_bytes, made.mtime_ns):
            return False
    return True


def drop_conversion(books: Books, delivery_id: str) -> None:
    """A damaged conversion goes: the next look makes it anew from the delivered file."""
    with books.admin.read() as con:
        made = read_files(con, delivery_id)
    for one in made:
        conversion(books.settings.home, one.path).unlink(missing_ok=True)


def record(books: Books, delivered: layout.Delivered, sight: Sight, place: str) -> bool:
    """Stores what first sight found; whether the delivery was new."""
    with books.admin.write() as con:
        deliveries = t.cur_delivery
        is_new = not con.execute(
            sa.select(deliveries.c.delivery_id).where(deliveries.c.delivery_id == sight.delivery_id)
        ).first()
        if is_new:
            _insert(con, delivered, sight)
        _record_read_files(books, con, sight)
        places = t.cur_delivery_place
        key = (
            places.c.source_id == delivered.source_id,
            places.c.period_start == delivered.period.start,
            places.c.delivery_id == sight.delivery_id,
        )
        con.execute(sa.delete(places).where(*key))
        con.execute(
            sa.insert(places).values(
                source_id=delivered.source_id,
                period_start=delivered.period.start,
                delivery_id=sight.delivery_id,
                location_json=place,
                seen_at=now(),
            )
        )
    return is_new


def _insert(con: sa.Connection, delivered: layout.Delivered, sight: Sight) -> None:
    totals = sight.totals
    con.execute(
        sa.insert(t.cur_delivery_file),
        [
            {
                "delivery_id": sight.delivery_id,
                "position": position,
                "name": file.name,
                "size_bytes": file.size,
                "sha256": sha256,
                "row_count": rows,
            }
            for position, (file, (sha256, rows)) in enumerate(
                zip(delivered.files, sight.digested, strict=True)
            )
        ],
    )
    digests = [sha256 for sha256, _ in sight.digested]
    con.execute(
        sa.insert(t.cur_delivery_profile).values(
            delivery_id=sight.delivery_id,
            file_format=sight.file_format,
            newest_usage_at=totals["newest_usage_at"],
            quarantined_rows=sum(fault.rows for fault in sight.faults),
            quarantined_usd=sum((fault.cost_usd for fault in sight.faults), Decimal(0)),
            figures_json=json.dumps(
                {
                    "report": delivered.report,
                    "strays": list(delivered.strays),
                    "same_bytes": len(digests) - len(set(digests)),
                    "outside_rows": totals["outside_rows"],
                    "negative_usage_rows": totals["negative_usage_rows"],
                    "negative_usage_usd": format(totals["negative_usage_usd"], "f"),
                    "lost_rows": totals["lost_rows"],
                    "repeated_rows": totals["repeated_rows"],
                    "repeated_usd": format(totals["repeated_usd"], "f"),
                    "faults": {
                        fault.code: [fault.rows, format(fault.cost_usd, "f")] for fault in sight.faults
                    },
                }
            ),
        )
    )
    if sight.breakdown:
        con.execute(
            sa.insert(t.cur_delivery_breakdown),
            [
                {
                    "delivery_id": sight.delivery_id,
                    "dimension": dimension,
                    "value": value,
                    "row_count": rows,
                    "cost_usd": cost,
                }
                for dimension, value, rows, cost in sight.breakdown
            ],
        )
    # the delivery last: the database takes no part of one that is there (ADR 35)
    con.execute(
        sa.insert(t.cur_delivery).values(
            delivery_id=sight.delivery_id,
            source_id=delivered.source_id,
            period_start=delivered.period.start,
            layout=delivered.layout,
            manifest_path=delivered.manifest_file.path,
            assembly_id=delivered.assembly_id,
            schema_digest=digest(sorted((name, sent.data_type) for name, sent in sight.columns.items())),
            columns_json=schema.to_json(sight.columns),
            row_count=totals["row_count"],
            cost_usd=Decimal(totals["cost_usd"]),
            invoice_state="open" if totals["rows_without_invoice"] else "final",
            delivered_at=utc(_version(delivered)),
            first_seen_at=now(),
        )
    )


def _record_read_files(books: Books, con: sa.Connection, sight: Sight) -> None:
    """Which Parquet stands for each converted file; files of an earlier conversion give way."""
    cur_read_file = t.cur_read_file
    old = (
        con.execute(sa.select(cur_read_file.c.path).where(cur_read_file.c.delivery_id == sight.delivery_id))
        .scalars()
        .all()
    )
    con.execute(sa.delete(cur_read_file).where(cur_read_file.c.delivery_id == sight.delivery_id))
    for made in sight.read_files:
        info = made.path.stat()
        conversions.keep(con, books, sight.delivery_id, made.position, made.sha256)
        con.execute(
            sa.insert(cur_read_file).values(
                delivery_id=sight.delivery_id,
                position=made.position,
                path=str(made.path.relative_to(books.settings.home)),
                sha256=made.sha256,
                size_bytes=info.st_size,
                mtime_ns=info.st_mtime_ns,
            )
        )
    for path in old:
        conversion(books.settings.home, path).unlink(missing_ok=True)


def record_mended(books: Books, delivery_id: str, made: list[Path]) -> None:
    """Files that stand for delivered ones whose text is no UTF-8."""
    cur_read_file = t.cur_read_file
    digests = sha256_all(made)
    with books.admin.write() as con:
        con.execute(sa.delete(cur_read_file).where(cur_read_file.c.delivery_id == delivery_id))
        for position, (path, sha256) in enumerate(zip(made, digests, strict=True)):
            info = path.stat()
            conversions.keep(con, books, delivery_id, position, sha256)
            con.execute(
                sa.insert(cur_read_file).values(
                    delivery_id=delivery_id,
                    position=position,
                    path=str(path.relative_to(books.settings.home)),
                    sha256=sha256,
                    size_bytes=info.st_size,
                    mtime_ns=info.st_mtime_ns,
                )
            )


def read_files(con: sa.Connection, delivery_id: str) -> list[Any]:
    """The rows of `cur_read_file` of one delivery, in order."""
    conversions = t.cur_read_file
    return list(
        con.execute(
            sa.select(conversions)
            .where(conversions.c.delivery_id == delivery_id)
            .order_by(conversions.c.position)
        )
    )


def figures_of(books: Books, delivery_id: str) -> Figures:
    """A recorded delivery as `ingestion/plausible.py` compares it."""
    deliveries, breakdown = t.cur_delivery, t.cur_delivery_breakdown
    with books.admin.read() as con:
        row = con.execute(sa.select(deliveries).where(deliveries.c.delivery_id == delivery_id)).one()
        days = con.execute(
            sa.select(breakdown.c.value, breakdown.c.row_count, breakdown.c.cost_usd).where(
                breakdown.c.delivery_id == delivery_id, breakdown.c.dimension == "usage_day"
            )
        ).all()
    return Figures(
        row.row_count,
        row.cost_usd,
        {date.fromisoformat(one.value): (one.row_count, one.cost_usd) for one in days},
        row.delivered_at.date(),
    )


def source_of_report(books: Books, delivered: layout.Delivered) -> str | None:
    """Another source that delivered the same report (account and name), if any."""
    if delivered.report.strip("/") == "" or delivered.report.startswith("/"):
        return None
    deliveries, profiles = t.cur_delivery, t.cur_delivery_profile
    with books.admin.read() as con:
        if con.execute(
            sa.select(deliveries.c.source_id).where(deliveries.c.source_id == delivered.source_id).limit(1)
        ).first():
            return None  # a source of its own already
        rows = con.execute(
            sa.select(deliveries.c.source_id, profiles.c.figures_json).join(
                profiles, profiles.c.delivery_id == deliveries.c.delivery_id
            )
        ).all()
    for row in rows:
        if report_of(row.figures_json) == delivered.report:
            return str(row.source_id)
    return None


def report_of(figures_json: str | None) -> str:
    """Whose report a delivery was, by account and name; '' where that was not recorded."""
    return str(json.loads(figures_json or "{}").get("report", ""))


def _version(delivered: layout.Delivered) -> int:
    return max(file.version for file in (delivered.manifest_file, *delivered.files))


def utc(version_ns: int) -> datetime:
    """The time of a file version as the books record it."""
    return datetime.fromtimestamp(version_ns // 1_000_000_000, UTC).replace(tzinfo=None)
