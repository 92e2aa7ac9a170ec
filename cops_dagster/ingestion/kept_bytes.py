"""A delivery's bytes in the lake, and what its lines come to when they are read through the lens.

Belongs here: keeping every file that is read, proving that it is the file of first sight, and the one scan by
which the verdicts judge. Does not belong here: those verdicts and the publication (`ingestion/ingest.py`),
the lens itself (`lake/lens.py`). The bytes are read in a reader of their own: nobody has vouched for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import add
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import commitments, net_unused, record
from cops_dagster.ingestion.first_sight import new_read_file
from cops_dagster.lake import keeping, lens, live
from cops_dagster.lake.delivered import FILE, DeliveredFiles
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.footers import truncated
from cops_dagster.lake.functions import ROW_HASH
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.live import LiveFile
from cops_dagster.lake.mend import mend, needs_mending
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.lake.views import empty, union_by_name, view
from cops_dagster.ledger import revision
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import files as stored

NO_LINES: dict[str, Any] = {"row_count": 0} | dict.fromkeys(
    (
        "cost_usd", "amortized_usd", "net_unblended_usd", "net_amortized_usd", "true_up_usd", "upfront_usd",
        "net_true_up_usd", "net_upfront_usd", "absolute_usd",
    ),
    Decimal(0),
)  # fmt: skip
"""What `sql/measure_lines.sql` measures where there are no lines."""


@dataclass(frozen=True)
class Part:
    """What one kept file adds: its lines that are booked, or those that stand aside."""

    rows: int = 0
    cost: Decimal = Decimal(0)

    def plus(self, rows: int, cost: Decimal) -> Part:
        """Both in sum."""
        return Part(self.rows + rows, self.cost + cost)


Costs = tuple[Decimal, ...]
"""Unblended, amortized and net amortized cost in USD."""


@dataclass(frozen=True)
class Measured:
    """A delivery's lines in sum.

    Attributes:
        figures: of the lines that are booked, as `NO_LINES` names them.
        by_file: of each file the lines that are booked (False) and those that stand aside (True).
        pool: cost of the lines that are booked, by service and charge class.
        halves: commitments of which another report holds the other half.
    """

    lens: Lens
    figures: dict[str, Any]
    by_file: Mapping[tuple[Path, bool], Part]
    pool: dict[tuple[str, str], Costs]
    halves: list[commitments.Half]

    def booked(self) -> tuple[int, Decimal]:
        """Rows and cost that are booked."""
        return self.figures["row_count"], self.figures["cost_usd"]

    def aside(self) -> tuple[int, Decimal]:
        """Rows and cost that stand aside."""
        found = [part for (_, is_aside), part in self.by_file.items() if is_aside]
        return sum(part.rows for part in found), sum((part.cost for part in found), Decimal(0))


@dataclass(frozen=True)
class Kept:
    """A delivery in the lake, measured."""

    files: DeliveredFiles
    digests: tuple[str, ...]
    measured: Measured

    def parts(self, *, is_aside: bool) -> list[tuple[Path, str, Part]]:
        """Every file with its digest, and what it adds to the lines that are booked, or that stand aside."""
        return [
            (path, sha256, self.measured.by_file.get((path, is_aside), Part()))
            for path, sha256 in zip(self.files.reading, self.digests, strict=True)
        ]


def keep(
    books: Books,
    files: DeliveredFiles,
    period: Period,
    target: Path,
    accounts: Sequence[str],
) -> Kept:
    """Brings a delivery's files into the lake and measures them.

    Args:
        target: where a single file would be staged; each gets its place in the same folder.
        accounts: ids of accounts whose lines stand aside.

    Raises:
        CopsError: `E-DIGEST` for bytes that are not those of first sight; `E-FILE-TRUNC`, `E-READER-CRASH`,
            `E-RESOURCE` for what cannot be read; `E-DISK`.
    """
    given = Lens(is_first=books.revision == revision.FIRST, accounts=tuple(accounts))
    try:
        return _kept(books, files, given, period, target)
    except CopsError as problem:
        if not needs_mending(problem) or files.is_converted:
            raise
    given = replace(given, is_mended=True)
    return _kept(books, _mended(books, files, given, period), given, period, target)


def _kept(books: Books, files: DeliveredFiles, given: Lens, period: Period, target: Path) -> Kept:
    subject = f"delivery {files.source_id} {period}"
    files.verify_unchanged()
    with books.admin.read() as con:
        known = live.files_read(con, books.settings.home, files)
    kept = replace(files, read_paths=tuple(_brought(books, known, target)))
    with ThreadPoolExecutor(max_workers=1) as aside:
        # digests are taken here while the reader reads: they need no engine
        digesting = aside.submit(_digests, books, known, kept)
        try:
            with books.reader(subject, kept.reading, books.settings.lake_root) as engine:
                measured = measure(engine, kept, given, period)
        except CopsError as problem:
            digesting.result()  # which says better what is wrong: other bytes than those of first sight
            if problem.code != "E-SQL" or (needs_mending(problem) and not files.is_converted):
                raise
            raise truncated(files.reading[0], subject, problem.found) from None
        return Kept(kept, tuple(digesting.result()), measured)


def _brought(books: Books, known: Sequence[LiveFile], target: Path) -> list[Path]:
    home = books.settings.home
    ours = (books.settings.converted_root, home / "fetched")
    places = []
    for number, file in enumerate(known):
        place = target.with_name(f"{target.stem}-{number:05d}.parquet")
        place.unlink(missing_ok=True)
        try:
            keeping.keep(file.path, place, is_ours=any(file.path.is_relative_to(one) for one in ours))
        except OSError as problem:
            record.drop_conversion(books, file.run_id)
            raise live.other_bytes(file, str(problem.strerror)) from None
        places.append(place)
    return places


def _digests(books: Books, known: Sequence[LiveFile], kept: DeliveredFiles) -> list[str]:
    """Of what lies in the lake: the digests of first sight, or the delivery is refused."""
    seen = [stored.identity(path) for path in kept.reading]
    digests = stored.sha256_all(kept.reading)
    for file, path, identity, sha256 in zip(known, kept.reading, seen, digests, strict=True):
        if sha256 != file.sha256:
            record.drop_conversion(books, file.run_id)  # where it was that, the next look makes it anew
            raise live.other_bytes(file, f"sha256 {sha256[:12]}…")
        live.remember(path, sha256, identity)
    return digests


def _mended(books: Books, files: DeliveredFiles, given: Lens, period: Period) -> DeliveredFiles:
    """The same files with bytes that are no UTF-8 marked: first sight had no need of their column."""
    subject = f"delivery {files.source_id} {period}"
    made = [mend(path, new_read_file(books), subject=subject) for path in files.reading]
    record.record_mended(books, files.delivery_id, made)
    return replace(files, columns=given.columns_of(files.columns), read_paths=tuple(made))


def measure(engine: Engine, files: DeliveredFiles, given: Lens, period: Period) -> Measured:
    """Reads a delivery whole, once, and shows it as the engine's `fact_cost_raw`."""
    found = replace(given, net_unused=net_unused.found(engine, files, given, period))
    every = [exp.column(name, quoted=True) for name in _columns(files)]
    view(
        engine,
        "measured_lines",
        lens.judged(
            files,
            found,
            period.start,
            exp.alias_(exp.Anonymous(this=ROW_HASH, expressions=every), "line_hash"),
            exp.alias_(exp.column(FILE), "file_name"),
        ),
    )
    figures = dict(NO_LINES)
    by_file: defaultdict[tuple[Path, bool], Part] = defaultdict(Part)
    pool: defaultdict[tuple[str, str], Costs] = defaultdict(lambda: (Decimal(0),) * 3)
    for row in engine.fetch("measure_lines").dicts():
        place = Path(row["file_name"]), row["is_aside"]
        by_file[place] = by_file[place].plus(row["row_count"], row["cost_usd"])
        if not row["is_aside"]:
            figures = {name: figures[name] + row[name] for name in figures}
            service = row["service"], row["charge_class"]
            more = row["cost_usd"], row["amortized_usd"], row["net_amortized_usd"]
            pool[service] = tuple(map(add, pool[service], more))
    found = replace(found, has_faults=any(is_aside for _, is_aside in by_file))
    view(
        engine,
        "fact_cost_raw",
        union_by_name([empty(FACT_COST_RAW), lens.booked(files, found, period.start)]),
    )
    return Measured(found, figures, by_file, dict(pool), net_unused.halves(engine, period))


def _columns(files: DeliveredFiles) -> list[str]:
    """The columns that lie in the files, as spelled there."""
    return list(dict.fromkeys(column for sent in files.columns.values() for column, _ in sent.origins))
