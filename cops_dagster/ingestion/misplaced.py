"""Deliveries that lie where nobody sees them: without a manifest, in a root that is a month, in no month.

Belongs here: telling so, with the way out. Does not belong here: which places there are
(`ingestion/places.py`), which delivery of a place is taken (`ingestion/look.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cops_dagster.cur import layout
from cops_dagster.cur.files import FileStat
from cops_dagster.errors import CopsError, unknown_month
from cops_dagster.ingestion import places
from cops_dagster.ingestion.places import Place, Root
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.settings_places import is_s3
from cops_dagster.stores.files import Folder


def is_no_delivery(books: Books, place: Place) -> bool:
    """A month's folder without a manifest whose files, if any, were handed over with `cops deliver`.

    It stands in no other source's way: handing over was the way out that its refusal named.
    """
    folder, month = place.root.folder, place.month
    if layout.manifest_files(folder, month):
        return False
    handed = {(file.name, file.size): file.version for file in _handed_over(books, month.period)}
    return all(  # a file that was written after the copy is another one
        file.version <= handed.get((file.name, file.size), -1) for file in layout.unclaimed(folder, month)
    )


def _handed_over(books: Books, period: Period) -> list[FileStat]:
    if not books.settings.deliveries_root.is_dir():
        return []
    ours = Folder(books.settings.deliveries_root)
    newest = [layout.find(ours, month).newest for month in layout.months(ours) if month.period == period]
    return [file for delivered in newest if delivered for file in delivered.files]


def unknown(books: Books, period: Period, empty: Iterable[Place]) -> CopsError:
    """Why no root has a delivery of a month.

    Args:
        empty: the month's folders that hold none.
    """
    named = ", ".join(books.settings.report_roots) or "none (COPS_CUR is not set)"
    found = f"none; report roots: {named}"
    next_step = "check COPS_CUR, or hand files over with `cops deliver`"
    for place in empty:
        found = f"the empty folder {'/'.join(place.month.parts)}; report roots: {named}"
        next_step = "sync the month's files and their manifest into it, then run again"
    for root in places.roots(books.settings)[0]:
        if said := misplaced(root):
            found, next_step = said
            break
    return unknown_month(
        period, expected="a delivery of that month in a report root", found=found, next_step=next_step
    )


def misplaced(root: Root) -> tuple[str, str] | None:
    """What is wrong with a report root that shows no month at all, and what to do; else `None`.

    A month's own folder, or one inside it, was named instead of the report's; or data files lie there
    without the folder of a month.

    Raises:
        CopsError: `E-SOURCE-UNKNOWN` for a folder that is not there or cannot be read.
    """
    if root.months():
        return None
    in_s3 = is_s3(root.place)
    shown = root.place.removeprefix("s3://").strip("/").split("/")
    parts = shown if in_s3 else Path(root.place).absolute().parts
    above = layout.above_month(parts)
    if above:
        name = f"s3://{'/'.join(above)}" if in_s3 else str(Path(*above))
        return (
            f"{root.place} is a month's folder, or lies in one",
            f"name the folder above it in COPS_CUR: {name}",
        )
    files = [file.name for file in root.folder.listing(()) if layout.is_data(file.name)]
    if files:
        return (
            f"{len(files)} data file(s) directly in {root.place}, in no month's folder",
            f"hand them over: cops deliver {root.place}/{files[0]} … --period YYYY-MM",
        )
    return None
