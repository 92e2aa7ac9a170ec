"""A delivery's bytes in the lake: kept, proved to be those of first sight, and read once.

Belongs here: bringing every file that is read to its place, its digest there, and the reader in which it is
measured: nobody has vouched for these bytes. Does not belong here: what is measured
(`ingestion/measures.py`), publishing (`ingestion/ingest.py`), the lens (`lake/lens.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cops_dagster import revision
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import record
from cops_dagster.ingestion.first_sight import new_read_file
from cops_dagster.ingestion.measures import Measured, Part, measure
from cops_dagster.lake import keeping, live, opened
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.footers import truncated
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.live import LiveFile
from cops_dagster.lake.mend import mend, needs_mending
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores.aws import outlines
from cops_dagster.stores.files import identity


@dataclass(frozen=True)
class Kept:
    """A delivery in the lake, measured."""

    files: DeliveredFiles
    measured: Measured

    def parts(self, *, is_aside: bool) -> list[tuple[Path, Part]]:
        """Every file with what it adds to the lines that are booked, or that stand aside."""
        return [(path, self.measured.by_file.get((path, is_aside), Part())) for path in self.files.reading]


def keep(
    books: Books,
    files: DeliveredFiles,
    period: Period,
    target: Path,
    accounts: Sequence[str],
    *,
    has_faults: bool,
) -> Kept:
    """Brings a delivery's files into the lake and measures them.

    Args:
        target: where a single file would be staged; each gets its place in the same folder.
        accounts: ids of accounts whose lines stand aside.
        has_faults: first sight found lines that cannot be booked.

    Raises:
        CopsError: `E-DIGEST` for bytes that are not those of first sight; `E-FILE-TRUNC`, `E-READER-CRASH`,
            `E-RESOURCE` for what cannot be read; `E-DISK`.
    """
    given = Lens(has_faults, is_first=books.revision == revision.FIRST, accounts=tuple(accounts))
    try:
        return _kept(books, files, given, period, target)
    except CopsError as problem:
        if not needs_mending(problem) or files.is_converted:
            raise
    given = replace(given, has_faults=True, is_mended=True)
    return _kept(books, _mended(books, files, given, period), given, period, target)


def _kept(books: Books, files: DeliveredFiles, given: Lens, period: Period, target: Path) -> Kept:
    subject = f"delivery {files.source_id} {period}"
    files.verify_unchanged()
    if not books.settings.leaves_in_s3:
        live.fetch_whole(books.settings.home, files.reading)
    with books.admin.read() as con:
        known = live.files_read(con, books.settings.home, files)
    kept = replace(files, read_paths=tuple(_brought(books, known, target)))
    lying = [
        replace(file, path=path, elsewhere=outlines.of(books.settings.home, path))
        for file, path in zip(known, kept.reading, strict=True)
    ]
    held = {file: identity(file.path) for file in lying}
    origins = {path: file.path for file, path in zip(known, kept.reading, strict=True)}
    with ThreadPoolExecutor(max_workers=1) as aside:
        # digests are taken here while the reader reads: they need no engine
        digesting = aside.submit(_require_same, books, known, kept)
        try:
            with (
                books.reader(subject, kept.reading, books.settings.lake_root) as engine,
                opened.scanning(books.settings, engine, subject, origins=origins) as scanning,
            ):
                measured = measure(scanning, kept, given, period)
        except CopsError as problem:
            digesting.result()  # which says better what is wrong: other bytes than those of first sight
            if problem.code != "E-SQL" or (needs_mending(problem) and not files.is_converted):
                raise
            raise truncated(files.reading[0], subject, problem.found) from None
        digesting.result()
    live.require_same(held)  # what was measured is what was digested
    if books.lake.place is not None:
        _copy_in_s3(books, known, kept)
    return Kept(kept, measured)


def _copy_in_s3(books: Books, known: Sequence[LiveFile], kept: DeliveredFiles) -> None:
    """Files that AWS delivered into S3 go from there into a lake in S3; others when they are published."""
    from cops_dagster.stores.aws import reports

    for file, path in zip(known, kept.reading, strict=True):
        source = reports.origin(books.settings.home / "fetched", file.path)
        if source is not None:
            books.lake.copy(books.lake_path(path), file.sha256, source)


def _brought(books: Books, known: Sequence[LiveFile], target: Path) -> list[Path]:
    home = books.settings.home
    ours = (books.settings.converted_root, home / "fetched")
    places = []
    for number, file in enumerate(known):
        place = target.with_name(f"{target.stem}-{number:05d}.parquet")
        place.unlink(missing_ok=True)
        try:
            if file.elsewhere:
                outlines.another(file.path, place, file.elsewhere)
            else:
                keeping.keep(file.path, place, is_ours=any(file.path.is_relative_to(one) for one in ours))
        except OSError as problem:
            record.drop_conversion(books, file.run_id)
            raise live.other_bytes(file, str(problem.strerror)) from None
        places.append(place)
    return places


def _require_same(books: Books, known: Sequence[LiveFile], kept: DeliveredFiles) -> None:
    """What lies in the lake has the digests of first sight, or the delivery is refused."""
    for file, sha256 in zip(known, live.digests(books.settings.home, kept.reading), strict=True):
        if sha256 != file.sha256:
            record.drop_conversion(books, file.run_id)  # where it was that, the next look makes it anew
            raise live.other_bytes(file, f"sha256 {sha256[:12]}…")


def _mended(books: Books, files: DeliveredFiles, given: Lens, period: Period) -> DeliveredFiles:
    """The same files with bytes that are no UTF-8 marked: first sight had no need of their column."""
    subject = f"delivery {files.source_id} {period}"
    live.fetch_whole(books.settings.home, files.reading)
    made = [mend(path, new_read_file(books), subject=subject) for path in files.reading]
    record.record_mended(books, files.delivery_id, made)
    return replace(files, columns=given.columns_of(files.columns), read_paths=tuple(made))
