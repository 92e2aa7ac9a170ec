"""First sight of a delivery: its digests, its columns, what it holds, and whether it can be carried.

Belongs here: everything that is read of delivered files before they are believed, in a reader of its own
(`lake/reader.py`), and the refusals of whole deliveries. Does not belong here: which delivery is the
newest (`ingestion/look.py`), taking lines (`ingestion/ingest.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.cur import foreign, formats, layout, schema
from cops_dagster.cur.formats import Format
from cops_dagster.cur.schema import Sent
from cops_dagster.errors import CopsError
from cops_dagster.ingestion.plausible import UNPRICED as UNPRICED
from cops_dagster.ingestion.plausible import Figures
from cops_dagster.lake import live, opened, shapes
from cops_dagster.lake.convert import convert, header_names
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.footers import inspect, parquet, survey
from cops_dagster.lake.judged import lines_query
from cops_dagster.lake.mend import mend, needs_mending
from cops_dagster.lake.views import view
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import files
from cops_dagster.stores.aws import outlines

REPEATS_OF = 2_000_000
"""How many lines are looked at for repeats: all 10 M take 1.2 s, a sixth of them 0.2 s (measured)."""


@dataclass(frozen=True)
class ReadFile:
    """The Parquet that is read instead of a delivered file, and what was written."""

    position: int
    path: Path
    sha256: str


@dataclass(frozen=True)
class Fault:
    """Lines to set aside for one reason."""

    code: str
    rows: int
    cost_usd: Decimal
    unpriced_rows: int


Measured = tuple[
    dict[str, Sent], list[int], list[Path], dict[str, Any], list[Fault], list[tuple[str, str, int, Decimal]]
]


@dataclass(frozen=True)
class Sight:
    """What first sight found.

    Attributes:
        digested: per file its sha256 and rows, in the manifest's order.
        totals: the figures of `sql/measure_delivery_totals.sql`.
        breakdown: (dimension, value, rows, cost in USD).
    """

    delivery_id: str
    file_format: Format
    columns: dict[str, Sent]
    digested: list[tuple[str, int]]
    read_files: list[ReadFile]
    totals: dict[str, Any]
    faults: list[Fault]
    breakdown: list[tuple[str, str, int, Decimal]]

    def figures(self) -> Figures:
        """The delivery as `ingestion/plausible.py` compares it."""
        days = {
            date.fromisoformat(value): (rows, cost)
            for dimension, value, rows, cost in self.breakdown
            if dimension == "usage_day"
        }
        return Figures(self.totals["row_count"], self.totals["cost_usd"], days)


def first_sight(books: Books, delivered: layout.Delivered) -> Sight:
    """Reads a delivery for the first time.

    Raises:
        CopsError: whatever a whole delivery is refused for; files that COPS made of it are gone again.
    """
    paths = [Path(file.path) for file in delivered.files]
    _fetch_whole(books, paths, f"delivery {delivered.source_id} {delivered.period}")
    try:
        return _seen(books, delivered, paths)
    except CopsError as problem:
        if not (needs_mending(problem) and any(outlines.of(books.settings.home, path) for path in paths)):
            raise
    live.fetch_whole(books.settings.home, paths)  # lines are mended on this machine
    return _seen(books, delivered, paths)


def _seen(books: Books, delivered: layout.Delivered, paths: list[Path]) -> Sight:
    subject = f"delivery {delivered.source_id} {delivered.period}"
    seen = [files.identity(path) for path in paths]
    kind = _format(delivered, subject)
    readable = [*paths, *(Path(file.path) for file in delivered.status_files)]
    if kind != "parquet":
        _refuse_foreign(header_columns(paths[:1], kind, subject=subject), subject)
    with (
        books.reader(subject, readable, books.settings.converted_root) as engine,
        ThreadPoolExecutor(max_workers=1) as aside,
    ):
        # digests are taken here while the reader reads: they need no engine
        digesting = aside.submit(live.sha256_of, books.settings.home, paths)
        made: list[Path] = []
        try:
            reading = paths
            if kind != "parquet":
                reading = _converted(books, engine, paths, kind, subject, made)
            measured = _measured(books, engine, delivered, reading, made, subject)
            _check_athena(engine, delivered, subject)
        except BaseException:
            _discard(made)
            raise
        digests = digesting.result()
    try:
        _require_same(paths, seen, subject)
    except CopsError:
        _discard(made)
        raise
    for path, identity, sha256 in zip(paths, seen, digests, strict=True):
        live.remember(path, sha256, identity)
    columns, counts, reading, totals, faults, breakdown = measured
    _discard([path for path in made if path not in reading])
    read_files = [
        ReadFile(position, path, files.sha256(path))
        for position, (path, original) in enumerate(zip(reading, paths, strict=True))
        if path != original
    ]
    return Sight(
        delivery_id=digest(
            delivered.source_id,
            str(delivered.period),
            digest(delivered.manifest_body.decode("utf-8")),
            [(file.name, file.size, sha) for file, sha in zip(delivered.files, digests, strict=True)],
        ),
        file_format=kind,
        columns=columns,
        digested=list(zip(digests, counts, strict=True)),
        read_files=read_files,
        totals=totals,
        faults=faults,
        breakdown=breakdown,
    )


def _fetch_whole(books: Books, paths: Sequence[Path], subject: str) -> None:
    """Fetches whole what is here as an outline, if this machine must read its lines.

    It must where no engine elsewhere does, and to write files of an odd shape plainly.
    """
    home = books.settings.home
    if not any(outlines.of(home, path) for path in paths):
        return
    if books.settings.leaves_in_s3:
        with books.reader(subject, paths, books.settings.converted_root) as engine:
            if shapes.are_plain(survey(engine, paths, subject)):
                return
    live.fetch_whole(home, paths)


def _require_same(paths: Sequence[Path], seen: Sequence[files.Identity], subject: str) -> None:
    """What was measured and what was digested are the same bytes: nobody put others there meanwhile."""
    for path, identity in zip(paths, seen, strict=True):
        if not path.exists() or files.identity(path) != identity:
            raise CopsError(
                "E-DIGEST",
                subject,
                expected="files that stay as they are while they are read",
                found=f"other bytes in place of {path.name!r}",
                next_step="run it again once AWS has written the delivery; the ingested month stays",
            )


def _format(delivered: layout.Delivered, subject: str) -> Format:
    kinds = set()
    for file in delivered.files:
        with Path(file.path).open("rb") as stream:
            head = stream.read(formats.HEAD_BYTES)
        kinds.add(formats.check(head, file.size, file.name, delivered.compression, subject=subject))
    if len(kinds) > 1:
        raise CopsError(
            "E-FORMAT",
            subject,
            expected="files of one format",
            found=", ".join(sorted(kinds)),
            next_step="deliver the report in one format",
        )
    return kinds.pop()


def _converted(
    books: Books, engine: DuckDB, paths: list[Path], kind: Format, subject: str, made: list[Path]
) -> list[Path]:
    for path in paths:
        made.append(new_read_file(books))
        convert(engine, path, kind, made[-1], subject=subject)
    return list(made)


def _discard(made: list[Path]) -> None:
    for path in made:
        path.unlink(missing_ok=True)


def new_read_file(books: Books) -> Path:
    """Where a file made of a delivered one is written; no delivered text is part of the path."""
    folder = books.settings.converted_root
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{uuid.uuid4().hex}.parquet"


def _measured(
    books: Books,
    engine: DuckDB,
    delivered: layout.Delivered,
    reading: list[Path],
    made: list[Path],
    subject: str,
) -> Measured:
    if made:
        return _looked_at(books, engine, delivered, reading, made, subject)
    try:
        return _looked_at(books, engine, delivered, reading, made, subject)
    except CopsError as problem:
        is_here = not any(outlines.of(books.settings.home, path) for path in reading)
        if not (needs_mending(problem) and is_here):
            raise
    mended = []
    for path in reading:
        made.append(new_read_file(books))
        mended.append(mend(path, made[-1], subject=subject, maps=True))
    return _looked_at(books, engine, delivered, mended, made, subject)


def _looked_at(
    books: Books,
    engine: DuckDB,
    delivered: layout.Delivered,
    reading: list[Path],
    made: list[Path],
    subject: str,
) -> Measured:
    """What Parquet files hold, once those of an odd shape are written plainly."""
    surveyed = survey(engine, reading, subject)
    _refuse_foreign(
        {name: Sent(kind, ((name, None),)) for one in surveyed for name, kind in one.types.items()}, subject
    )  # before the rules of a report are held against it
    agreed = shapes.agree(engine, surveyed, subject)
    if any(agreed.odd):
        targets = [new_read_file(books) for odd in agreed.odd if odd]
        made += targets
        reading = shapes.plain(engine, surveyed, agreed, targets)
        surveyed = survey(engine, reading, subject)
    with opened.scanning(books.settings, engine, subject, work=books.settings.converted_root) as scanning:
        keys_in = scanning if any(outlines.of(books.settings.home, path) for path in reading) else engine
        columns, counts = inspect(engine, reading, subject=subject, surveyed=surveyed, keys_in=keys_in)
        require(columns, subject)
        totals, faults, breakdown = measure(scanning, _as_read(delivered, columns, reading), delivered.period)
    accept(totals, faults, subject=subject)
    return columns, counts, reading, totals, faults, breakdown


def require(columns: dict[str, Sent], subject: str) -> None:
    """Refuses columns that no ledger can be made of.

    Raises:
        CopsError: `E-SCHEMA-MISSING`, `E-SCHEMA-TYPE`; `E-EXPORT-FOREIGN`, because of the former, for what is
            no Cost and Usage Report at all.
    """
    try:
        schema.require(columns, subject=subject)
    except CopsError as problem:
        kind = foreign.foreign_kind(columns) if problem.code == "E-SCHEMA-MISSING" else None
        if kind is None:
            raise
        raise CopsError(
            foreign.FOREIGN,
            subject,
            expected="a Cost and Usage Report, legacy or CUR 2.0",
            found=kind,
            next_step="let AWS export CUR 2.0",
            details={"kind": kind},
        ) from problem


def _refuse_foreign(columns: dict[str, Sent], subject: str) -> None:
    """Spares the conversion of what is no report; whatever else is wrong is found when it is converted."""
    try:
        require(columns, subject)
    except CopsError as problem:
        if problem.code == foreign.FOREIGN:
            raise


def header_columns(paths: Sequence[Path], kind: Format, *, subject: str) -> dict[str, Sent]:
    """The columns of CSV files by their headers alone, each with the type it will be converted to."""
    names = [name for path in paths for name in header_names(path, kind, subject=subject)]
    known = {name: schema.BY_NAME.get(name) for name in names}
    return {
        name: Sent(column.data_type if column else "varchar", ((name, None),))
        for name, column in known.items()
    }


def _as_read(delivered: layout.Delivered, columns: dict[str, Sent], reading: list[Path]) -> DeliveredFiles:
    return DeliveredFiles("", delivered.source_id, columns, tuple(reading), (), ())


def measure(
    engine: Engine, delivered: DeliveredFiles, period: Period
) -> tuple[dict[str, Any], list[Fault], list[tuple[str, str, int, Decimal]]]:
    """Totals, faults and breakdown of one delivery: one scan of its lines, the rest over its groups."""
    view(engine, "delivered_lines", lines_query(delivered))
    engine.keep("delivered_groups", "measure_delivery")
    provide_bad_accounts(engine)
    span = {"period_start": period.start, "period_end": period.end}
    totals = engine.fetch("measure_delivery_totals", span).one()
    share = 1 + totals["row_count"] // REPEATS_OF
    totals |= engine.fetch("measure_repeated_lines", {"share": share}).one()
    faults = [Fault(*row) for row in engine.fetch("measure_delivery_faults").rows]
    breakdown = [tuple(row) for row in engine.fetch("measure_delivery_breakdown").rows]
    return totals, faults, breakdown


def provide_bad_accounts(engine: Engine) -> bool:
    """Makes the table of account ids to set aside from `delivered_groups`; whether it has any."""
    accounts = engine.fetch(exp.select("account").distinct().from_("delivered_groups")).rows
    bad = schema.untrusted_accounts(account for (account,) in accounts)
    engine.table("bad_accounts", [("account", "VARCHAR")], [(account,) for account in bad])
    return bool(bad)


def accept(totals: dict[str, Any], faults: list[Fault], *, subject: str) -> None:
    """Refuses a delivery of which nothing can be carried. Each code names the lines."""
    if faults and sum(fault.rows for fault in faults) == totals["row_count"]:
        raise CopsError(
            faults[0].code,
            subject,
            expected="lines that can be booked",
            found=f"none of {totals['row_count']}; {faults[0].rows} for this reason",
            next_step="the ingested month stays; ask AWS to deliver the month again",
        )
    refused = (
        ("other_currency_rows", "E-CCY", "every line in USD", f"currency {totals['other_currency']!r}"),
        ("no_currency_rows", "E-CCY-MIX", "a currency on every line", "no currency"),
        ("other_period_rows", "E-MANIFEST-SCOPE", "lines of this billing period", "another billing period"),
    )
    for name, code, expected, found in refused:
        if totals[name]:
            raise CopsError(
                code,
                subject,
                expected=expected,
                found=f"{found} on {totals[name]} of {totals['row_count']} lines",
                next_step="the ingested month stays; ask AWS to deliver the month again",
            )


def _check_athena(engine: Engine, delivered: layout.Delivered, subject: str) -> None:
    """A report with Athena integration says itself whether its files are being replaced."""
    for file in delivered.status_files:
        rows = engine.fetch(exp.select("*").from_(parquet([Path(file.path)])).limit(2)).rows
        if any(str(value).upper() == "UPDATING" for row in rows for value in row):
            raise CopsError(
                "E-DELIVERY-UPDATING",
                subject,
                expected="cost_and_usage_data_status READY",
                found="UPDATING",
                next_step="wait until AWS has replaced the files, then run again; the ingested month stays",
            )
