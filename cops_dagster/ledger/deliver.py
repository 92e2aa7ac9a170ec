"""Deliveries: which one is the newest complete one of each source, and what stands in its way.

Belongs here: from report roots to a `cur_delivery` row and the pointer `cur_billing_head`. Nothing is
ingested here: `cur_billing_master` shows the newest complete delivery whether ingested or not. Does not
belong here: reading a delivery (`ledger/first_sight.py`), files without a manifest (`ledger/handover.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.cur import layout
from cops_dagster.cur.files import FileStat
from cops_dagster.errors import CopsError
from cops_dagster.ledger import known
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.first_sight import UNPRICED, Sight, first_sight
from cops_dagster.ledger.policy import require_policy
from cops_dagster.period import Period
from cops_dagster.rules import holding
from cops_dagster.settings import s3_meant
from cops_dagster.stores import files as stored
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

ROUNDS = 5
"""How often a delivery that changes while it is read is read again, before the month is delayed."""
WAITING = (
    "E-DELIVERY-TORN", "E-DELIVERY-UPDATING", "E-MANIFEST-MISSING", "E-EMPTY", "E-SHRINK", "E-GROWTH",
    *UNPRICED,
)  # fmt: skip
"""Refusals that time or a person resolves: the month is `delayed`, nothing has failed."""


@dataclass(frozen=True)
class Seen:
    """What a look at the report roots found for one source and period.

    Attributes:
        delivery_id: the newest complete delivery, if any.
        is_new: it was not known before.
        refusals: why newer candidates were refused or wait for approval.
    """

    source_id: str
    period: Period
    delivery_id: str | None
    is_new: bool
    refusals: tuple[CopsError, ...]


class _Torn(Exception):
    """The delivery changed while it was read: start over."""


def roots(books: Books, period: Period | None = None) -> list[stored.Folder]:
    """The report roots of `COPS_CUR`, and the home's own deliveries.

    Of a root in S3 the manifests, and the files of `period`, are brought into the home first.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE`, `E-SOURCE-UNKNOWN`.
    """
    found = []
    for root in books.settings.report_roots:
        fetched(books, root, period)
        found.append(folder_of(books, root))
    if books.settings.deliveries_root.is_dir():
        found.append(stored.Folder(books.settings.deliveries_root))
    return found


def folder_of(books: Books, root: str) -> stored.Folder:
    """The folder that shows a report root here: itself, or what was fetched of one in S3."""
    return stored.Folder(books.settings.fetched_place(root) if root.startswith("s3://") else Path(root))


def fetched(books: Books, root: str, period: Period | None = None) -> None:
    """Brings the manifests of a root in S3, and the files of one month, into the home."""
    right = s3_meant(root)
    if right:
        raise CopsError(
            "E-SOURCE-UNKNOWN", f"report root {root}", expected="a folder or s3://bucket/prefix",
            found="another writing of a place in S3", next_step=f"correct COPS_CUR: write {right}",
        )  # fmt: skip
    if root.startswith("s3://"):
        from cops_dagster.stores import s3_reports

        s3_reports.fetch(root, books.settings.fetched_place(root), period)


def months(books: Books) -> list[layout.ReportMonth]:
    """Every source and period that lies in a report root, oldest first."""
    return [month for root in roots(books) for month in layout.months(root)]


def unchanged(books: Books, con: sa.Connection, period: Period) -> bool:
    """The newest complete delivery of every source is the one recorded, by size and time alone."""
    heads = con.execute(
        sa.select(t.cur_billing_head).where(t.cur_billing_head.c.period_start == period.start)
    ).all()
    recorded = {row.source_id: row.location_json for row in heads}
    if not all(known.conversion_stands(books, con, row.delivery_id) for row in heads):
        return False
    lying: set[str] = set()
    for root, month in _places(books, period):
        if _is_no_delivery(books, root, month):
            continue
        found = layout.find(root, month)
        if found.refusals or found.newest is None:
            return False
        place = json.dumps(known.location(books, found.newest))
        if (
            place != recorded.get(month.source_id)
            and not known.is_late(con, month.source_id, period, place)
            and not known.is_sealed(con, month.source_id, period, place)
        ):
            return False
        lying.add(month.source_id)
    return bool(lying) and lying == set(recorded)


def look(books: Books, period: Period, *, log: bool = True) -> list[Seen]:
    """Looks at every source of a period and records its newest complete delivery.

    Args:
        log: record refusals in `cur_ingestion_log`; a check that looks again does not.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when no source has the period, `E-SOURCE-CLASH` when two report roots
            hold one source. Refused deliveries do not raise: they are in the result, and the check
            `delivery_is_complete` stops the run.
    """
    if log:
        require_policy(books, is_run=True)
    places = _places(books, period)
    seen = [
        _look_at(books, root, month, log=log)
        for root, month in places
        if not _is_no_delivery(books, root, month)
    ]
    if not seen:
        raise _unknown(books, period, [month for _, month in places])
    return seen


def _is_no_delivery(books: Books, root: stored.Folder, month: layout.ReportMonth) -> bool:
    """A month's folder without a manifest whose files, if any, were handed over with `cops deliver`.

    It stands in no other source's way: handing over was the way out that its refusal named.
    """
    if layout.manifest_files(root, month):
        return False
    handed = {(file.name, file.size): file.version for file in _handed_over(books, month.period)}
    return all(  # a file that was written after the copy is another one
        file.version <= handed.get((file.name, file.size), -1) for file in layout.unclaimed(root, month)
    )


def _handed_over(books: Books, period: Period) -> list[FileStat]:
    if not books.settings.deliveries_root.is_dir():
        return []
    ours = stored.Folder(books.settings.deliveries_root)
    newest = [layout.find(ours, month).newest for month in layout.months(ours) if month.period == period]
    return [file for delivered in newest if delivered for file in delivered.files]


def _unknown(books: Books, period: Period, empty: list[layout.ReportMonth]) -> CopsError:
    roots = books.settings.report_roots
    found = f"none; report roots: {', '.join(roots) or 'none (COPS_CUR is not set)'}"
    next_step = "check COPS_CUR, or hand files over with `cops deliver`"
    if empty:
        found = f"the empty folder {'/'.join(empty[0].parts)}; report roots: {', '.join(roots)}"
        next_step = "sync the month's files and their manifest into it, then run again"
    for root in roots:
        if said := misplaced(books, root):
            found, next_step = said
            break
    return CopsError(
        "E-PERIOD-UNKNOWN", f"period {period}", expected="a delivery of that month in a report root",
        found=found, next_step=next_step,
    )  # fmt: skip


def misplaced(books: Books, root: str) -> tuple[str, str] | None:
    """What is wrong with a report root that shows no month at all, and what to do; else `None`.

    A month's own folder, or one inside it, was named instead of the report's; or data files lie there
    without the folder of a month.

    Raises:
        CopsError: what `roots` raises of one that cannot be read.
    """
    folder = folder_of(books, root)
    if layout.months(folder):
        return None
    is_s3 = root.startswith("s3://")
    parts = root.removeprefix("s3://").strip("/").split("/") if is_s3 else Path(root).absolute().parts
    above = layout.above_month(parts)
    if above:
        name = f"s3://{'/'.join(above)}" if is_s3 else str(Path(*above))
        return f"{root} is a month's folder, or lies in one", f"name the folder above it in COPS_CUR: {name}"
    files = [file.name for file in folder.listing(()) if layout.is_data(file.name)]
    if files:
        return (
            f"{len(files)} data file(s) directly in {root}, in no month's folder",
            f"hand them over: cops deliver {root}/{files[0]} … --period YYYY-MM",
        )
    return None


def _places(books: Books, period: Period) -> list[tuple[stored.Folder, layout.ReportMonth]]:
    found = [
        (root, month)
        for root in roots(books, period)
        for month in layout.months(root)
        if month.period == period
    ]
    twice = [source for source, times in Counter(month.source_id for _, month in found).items() if times > 1]
    if twice:
        raise CopsError(
            "E-SOURCE-CLASH",
            f"source {twice[0]} of {period}",
            expected="one place per source, by its path below the report root",
            found="several: "
            + ", ".join(str(root.root) for root, month in found if month.source_id == twice[0]),
            next_step="let COPS_CUR name a folder above both, so that their paths differ, or remove one",
        )
    return found


def _look_at(books: Books, root: stored.Folder, month: layout.ReportMonth, *, log: bool) -> Seen:
    refusals: list[CopsError] = []
    delivery_id, is_new = None, False
    for _ in range(ROUNDS):
        found = layout.find(root, month)
        refusals = list(found.refusals)
        if found.newest is None:
            break
        try:
            delivery_id, is_new = _take(books, root, month, found.newest)
        except _Torn:
            continue
        except CopsError as problem:
            refusals.append(problem)
        break
    else:
        refusals.append(_torn(month))
    if log:
        for refusal in refusals:
            record_refusal(books, month.source_id, month.period, refusal)
    if delivery_id is None:
        delivery_id = known.head_of(books, month.source_id, month.period)
    return Seen(month.source_id, month.period, delivery_id, is_new, tuple(refusals))


def _torn(month: layout.ReportMonth) -> CopsError:
    return CopsError(
        "E-DELIVERY-TORN",
        f"delivery {month.source_id} {month.period}",
        expected="files that stay as they are while they are read",
        found=f"other files each of {ROUNDS} times",
        next_step="AWS is still delivering: run again later; the ingested month stays, the period is delayed",
    )


def _take(
    books: Books, root: stored.Folder, month: layout.ReportMonth, delivered: layout.Delivered
) -> tuple[str, bool]:
    """The delivery's id, once it is what `cur_billing_master` shows; and whether it is a new one.

    Raises:
        _Torn: the files or the manifest changed meanwhile.
        CopsError: what it is refused for, or why it waits for approval.
    """
    place = json.dumps(known.location(books, delivered))
    delivery_id = known.at(books, month, place)
    is_new = False
    if delivery_id is None:
        _check_source(books, root, delivered)
        sight = _read(books, root, month, delivered, place)
        delivery_id = sight.delivery_id
        is_new = known.record(books, delivered, sight, place)
        held = _unpriced(sight) or holding.hold(
            sight.figures(), _before(books, month, delivery_id), _bounds(books), month.period.end
        )
        if held:
            known.hold(books, month, delivery_id, held)
    known.check_released(books, delivery_id)
    if known.is_older(books, month, delivered, delivery_id):
        known.record_late(books, month, delivery_id)
        return known.head_of(books, month.source_id, month.period) or delivery_id, False
    known.show(books, month, delivery_id, place)
    return delivery_id, is_new


def _unpriced(sight: Sight) -> holding.Hold | None:
    """Lines whose cost nobody knows: the rest can be booked, but the sum of the delivery is unknown."""
    for fault in sight.faults:
        if fault.unpriced_rows and fault.code in UNPRICED:
            return holding.Hold(
                fault.code,
                "a cost that can be carried to the last digit on every line",
                f"{fault.unpriced_rows} of {sight.totals['row_count']} lines whose cost nobody knows",
            )
    return None


def _read(
    books: Books,
    root: stored.Folder,
    month: layout.ReportMonth,
    delivered: layout.Delivered,
    place: str,
) -> Sight:
    try:
        sight = first_sight(books, delivered)
    except (CopsError, OSError):
        if _moved(books, root, month, place):
            raise _Torn from None
        raise
    if _moved(books, root, month, place):
        for made in sight.read_files:
            made.path.unlink(missing_ok=True)
        raise _Torn
    return sight


def _moved(books: Books, root: stored.Folder, month: layout.ReportMonth, place: str) -> bool:
    """The manifest and every file are the same as before they were read, by size and version."""
    newest = layout.find(root, month).newest
    return newest is None or json.dumps(known.location(books, newest)) != place


def _before(books: Books, month: layout.ReportMonth, delivery_id: str) -> holding.Figures | None:
    head = known.head_of(books, month.source_id, month.period)
    return known.figures_of(books, head) if head and head != delivery_id else None


def _bounds(books: Books) -> holding.Bounds:
    limits = books.policy.delivery
    return holding.Bounds(limits.shrink_pct, limits.growth_pct, limits.least_usd)


def _check_source(books: Books, root: stored.Folder, delivered: layout.Delivered) -> None:
    """A known report under a new path is a moved report, not a second one: its cost would count twice."""
    moved_from = known.source_of_report(books, delivered)
    if moved_from is None or moved_from in {month.source_id for month in months(books)}:
        return
    raise CopsError(
        "E-SOURCE-UNKNOWN",
        f"source {delivered.source_id}",
        expected=f"report {delivered.report} under {moved_from}, as before",
        found=f"the same report under {delivered.source_id}, and nothing under {moved_from}",
        next_step="restore the report's path prefix, or move its folders back",
    )


def record_refusal(books: Books, source_id: str, period: Period, refusal: CopsError) -> None:
    """A refused delivery is an attempt too: one failed or delayed row in `cur_ingestion_log`."""
    at = now()
    status = "delayed" if refusal.code in WAITING else "failed"
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.cur_ingestion_log).values(
                attempt_id="", source_id=source_id, period_start=period.start, status=status,
                error_code=refusal.code, error_detail=str(refusal), actor=books.actor,
                dagster_run_id=books.dagster_run_id, started_at=at, finished_at=at,
            )
        )  # fmt: skip
