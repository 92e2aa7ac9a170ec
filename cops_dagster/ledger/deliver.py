"""Deliveries: finding the newest complete one of each source, digesting it, and making one of loose files.

Belongs here: from report roots to a `cur_delivery` row and the pointer `cur_billing_head`. Nothing
is ingested here: `cur_billing_master` shows the newest complete delivery whether ingested or not.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.cur import layout
from cops_dagster.cur import schema as cur_schema
from cops_dagster.errors import CopsError
from cops_dagster.lake import live
from cops_dagster.lake.delivered import DeliveredFiles, delivered_query, inspect
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.namespace import view
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import files as stored
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

MANUAL_SOURCE = "manual"
"""Source of deliveries made by `cops deliver`, unless another is named."""


@dataclass(frozen=True)
class Seen:
    """What a look at the report roots found for one source and period.

    Attributes:
        delivery_id: the newest complete delivery, if any.
        is_new: it was not known before.
        refusals: why newer candidates were refused.
    """

    source_id: str
    period: Period
    delivery_id: str | None
    is_new: bool
    refusals: tuple[CopsError, ...]


def roots(books: Books) -> list[stored.Folder]:
    """The report roots of `COPS_CUR`, and the home's own deliveries."""
    found = [stored.Folder(Path(root)) for root in books.settings.report_roots]
    if books.settings.deliveries_root.is_dir():
        found.append(stored.Folder(books.settings.deliveries_root))
    return found


def months(books: Books) -> list[layout.ReportMonth]:
    """Every source and period that lies in a report root, oldest first."""
    return [month for root in roots(books) for month in layout.months(root)]


def unchanged(books: Books, con: sa.Connection, period: Period) -> bool:
    """The newest complete delivery of every source is the one recorded, by size and time alone."""
    recorded = {
        row.source_id: json.loads(row.location_json)
        for row in con.execute(
            sa.select(t.cur_billing_head).where(t.cur_billing_head.c.period_start == period.start)
        )
    }
    lying: dict[str, list[list[str | int]]] = {}
    for root in roots(books):
        for month in layout.months(root):
            if month.period == period:
                found = layout.find(root, month)
                if found.refusals or found.newest is None:
                    return False
                lying[month.source_id] = _location(books, found.newest)
    return bool(lying) and lying == recorded


def look(books: Books, period: Period, *, log: bool = True) -> list[Seen]:
    """Looks at every source of a period and records its newest complete delivery.

    Args:
        log: record refusals in `cur_ingestion_log`; a check that looks again does not.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when no source has the period. Refused deliveries do not raise:
            they are in the result, and the check `delivery_is_complete` stops the run.
    """
    seen = []
    for root in roots(books):
        for month in layout.months(root):
            if month.period == period:
                seen.append(_look_at(books, root, month, log=log))
    if not seen:
        places = ", ".join(books.settings.report_roots) or "none (COPS_CUR is not set)"
        raise CopsError(
            "E-PERIOD-UNKNOWN",
            f"period {period}",
            expected="a delivery of that month in a report root",
            found=f"none; report roots: {places}",
            next_step="check COPS_CUR, or hand files over with `cops deliver`",
        )
    return seen


def _look_at(books: Books, root: stored.Folder, month: layout.ReportMonth, *, log: bool) -> Seen:
    found = layout.find(root, month)
    refusals = list(found.refusals)
    delivery_id, is_new = None, False
    if found.newest is not None:
        try:
            delivery_id, is_new = _record(books, found.newest)
        except CopsError as problem:
            refusals.append(problem)
    if log:
        for refusal in refusals:
            record_refusal(books, month.source_id, month.period, refusal)
    if delivery_id is None:
        delivery_id = _head_of(books, month)
    return Seen(month.source_id, month.period, delivery_id, is_new, tuple(refusals))


def _location(books: Books, delivered: layout.Delivered) -> list[list[str | int]]:
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


def _head_of(books: Books, month: layout.ReportMonth) -> str | None:
    h = t.cur_billing_head
    with books.admin.read() as con:
        return con.execute(
            sa.select(h.c.delivery_id).where(
                h.c.source_id == month.source_id, h.c.period_start == month.period.start
            )
        ).scalar_one_or_none()


def _record(books: Books, delivered: layout.Delivered) -> tuple[str, bool]:
    """Digests and measures a delivery at first sight, then points `cur_billing_head` at it."""
    location = json.dumps(_location(books, delivered))
    with books.admin.read() as con:
        h = t.cur_billing_head
        known = con.execute(
            sa.select(h.c.delivery_id).where(
                h.c.source_id == delivered.source_id,
                h.c.period_start == delivered.period.start,
                h.c.location_json == location,
            )
        ).scalar_one_or_none()
    if known:
        return known, False
    subject = f"delivery {delivered.source_id} {delivered.period}"
    paths = [Path(file.path) for file in delivered.files]
    with books.engine() as engine:
        columns, counts = inspect(engine, paths, subject=subject)
        cur_schema.require(columns, subject=subject)
        digests = stored.sha256_all(paths)
        for path, sha256 in zip(paths, digests, strict=True):
            live.remember(path, sha256)
        delivery_id = digest(
            delivered.source_id,
            str(delivered.period),
            digest(delivered.manifest_body.decode("utf-8")),
            [(file.name, file.size, sha) for file, sha in zip(delivered.files, digests, strict=True)],
        )
        files = DeliveredFiles(
            delivery_id, delivered.source_id, columns, tuple(paths),
            tuple(file.size for file in delivered.files), tuple(file.version for file in delivered.files),
        )  # fmt: skip
        figures = measure(engine, files, delivered.period)
        accept(figures, subject=subject)
    files.verify_unchanged()  # overwritten while it was read: the next look starts over
    _store(books, delivered, delivery_id, columns, location, figures, list(zip(digests, counts, strict=True)))
    return delivery_id, True


def measure(engine: Engine, files: DeliveredFiles, period: Period) -> dict[str, Any]:
    """The figures of `sql/measure_delivery.sql` over one delivery."""
    view(engine, "delivered_lines", delivered_query(files))
    return engine.fetch("measure_delivery", {"period_start": period.start}).one()


def accept(figures: dict[str, Any], *, subject: str) -> None:
    """Refuses a delivery that could not be carried to the last digit. Each code names the lines."""
    refused = (
        ("other_currency_rows", "E-CCY", "every line in USD", f"currency {figures['other_currency']!r}"),
        ("null_cost_rows", "E-COST-NULL", "a cost on every line", "line_item_unblended_cost is NULL"),
        ("not_finite_rows", "E-COST-NAN", "finite costs", "NaN or infinite cost"),
        ("not_exact_rows", "E-COST-SCALE", "costs of at most 18 decimals and 20 digits", "another cost"),
        ("other_period_rows", "E-MANIFEST-SCOPE", "lines of this billing period", "another billing period"),
    )
    for name, code, expected, found in refused:
        if figures[name]:
            raise CopsError(
                code,
                subject,
                expected=expected,
                found=f"{found} on {figures[name]} of {figures['row_count']} lines",
                next_step="the ingested month stays; ask AWS to deliver the month again",
            )
    if figures["row_count"] == 0:
        raise CopsError(
            "E-EMPTY",
            subject,
            expected="at least one line",
            found="0 lines",
            next_step="wait for the next delivery; zero is never published over a month",
        )


def _store(
    books: Books,
    delivered: layout.Delivered,
    delivery_id: str,
    columns: dict[str, str],
    location: str,
    figures: dict[str, Any],
    digested: list[tuple[str, int]],
) -> None:
    at = now()
    delivered_at = max(file.version for file in (delivered.manifest_file, *delivered.files))
    with books.admin.write() as con:
        d, h = t.cur_delivery, t.cur_billing_head
        if not con.execute(sa.select(d.c.delivery_id).where(d.c.delivery_id == delivery_id)).first():
            con.execute(
                sa.insert(d).values(
                    delivery_id=delivery_id,
                    source_id=delivered.source_id,
                    period_start=delivered.period.start,
                    layout=delivered.layout,
                    manifest_path=delivered.manifest_file.path,
                    assembly_id=delivered.assembly_id,
                    schema_digest=digest(sorted(columns.items())),
                    columns_json=json.dumps(columns),
                    row_count=figures["row_count"],
                    cost_usd=Decimal(figures["cost_usd"]),
                    invoice_state="open" if figures["rows_without_invoice"] else "final",
                    delivered_at=_utc(delivered_at),
                    first_seen_at=at,
                )
            )
            con.execute(
                sa.insert(t.cur_delivery_file),
                [
                    {
                        "delivery_id": delivery_id,
                        "position": position,
                        "name": file.name,
                        "size_bytes": file.size,
                        "sha256": sha256,
                        "row_count": rows,
                    }
                    for position, (file, (sha256, rows)) in enumerate(
                        zip(delivered.files, digested, strict=True)
                    )
                ],
            )
        con.execute(
            sa.delete(h).where(
                h.c.source_id == delivered.source_id, h.c.period_start == delivered.period.start
            )
        )
        con.execute(
            sa.insert(h).values(
                source_id=delivered.source_id,
                period_start=delivered.period.start,
                delivery_id=delivery_id,
                location_json=location,
                seen_at=at,
            )
        )


def record_refusal(books: Books, source_id: str, period: Period, refusal: CopsError) -> None:
    """A refused delivery is an attempt too: one failed row in `cur_ingestion_log`."""
    at = now()
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.cur_ingestion_log).values(
                attempt_id="", source_id=source_id, period_start=period.start, status="failed",
                error_code=refusal.code, error_detail=str(refusal), actor=books.actor,
                dagster_run_id=books.dagster_run_id, started_at=at, finished_at=at,
            )
        )  # fmt: skip


def deliver(books: Books, paths: list[Path], period: Period, *, source_id: str = MANUAL_SOURCE) -> Path:
    """Makes a delivery of files that came without a manifest; the manifest's path.

    The files are copied below the home (they are nobody else's to keep), then the manifest is
    written, last: a crash in between leaves no delivery. The same files again are the same delivery.

    Raises:
        CopsError: `E-FILE` for what is no regular file, and everything a delivery is refused for.
    """
    for path in paths:
        if not path.is_file() or path.is_symlink():
            raise CopsError(
                "E-FILE", f"file {path}", expected="a regular file", found="none",
                next_step="name the CUR files of one month",
            )  # fmt: skip
    names = [path.name for path in paths]
    if len(set(names)) != len(names):
        raise CopsError(
            "E-CHUNK-DUP", f"period {period}", expected="every file once",
            found=f"{len(names) - len(set(names))} names twice", next_step="name each file once",
        )  # fmt: skip
    with books.engine() as engine:
        subject = f"delivery {source_id} {period}"
        columns, _ = inspect(engine, paths, subject=subject)
        cur_schema.require(columns, subject=subject)
    digests = stored.sha256_all(paths)
    assembly = digest(str(period), list(zip(names, digests, strict=True)))[:32]
    folder = books.settings.deliveries_root / source_id / f"{_day(period)}-{_day(period.next())}"
    _copy_in(paths, folder / assembly)
    manifest = {
        "assemblyId": assembly,
        "account": "",
        "reportName": source_id,
        "compression": "Parquet",
        "contentType": "Parquet",
        "billingPeriod": {
            "start": f"{_day(period)}T000000.000Z",
            "end": f"{_day(period.next())}T000000.000Z",
        },
        "reportKeys": [f"{source_id}/{assembly}/{name}" for name in names],
    }
    target = folder / f"{source_id}-Manifest.json"
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.replace(target)
    return target


def _copy_in(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = folder / path.name
        if not target.exists() or stored.sha256(target) != stored.sha256(path):
            partial = folder / f".{path.name}.partial"
            shutil.copyfile(path, partial)
            partial.replace(target)


def _day(period: Period) -> str:
    return f"{period.start:%Y%m%d}"


def _utc(version_ns: int) -> datetime:
    return datetime.fromtimestamp(version_ns // 1_000_000_000, UTC).replace(tzinfo=None)
