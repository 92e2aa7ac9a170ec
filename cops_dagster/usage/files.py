"""Asking the files of a day: flow logs, access logs, whatever is Parquet or delimited text.

Belongs here: which files a day has, in folders and S3, their digests, one SELECT over them in a locked
process. Does not belong here: how the engine reads them (`lake/asked_files.py`), fetching
(`stores/aws/day_files.py`).
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.settings_places import is_s3
from cops_dagster.stores import scratch
from cops_dagster.stores.files import sha256
from cops_dagster.usage.answer import ROWS_MAX, Answer, refused, two_columns
from cops_dagster.usage.declared import Files, Measure

FILES_MAX = 20_000


def ask(books: Books, measure: Measure, day: date) -> Answer:
    """What the SELECT gives over the files of the day; `:day` and `:next_day` are its parameters.

    Raises:
        CopsError: `E-USAGE-FILES`, `E-USAGE-QUERY`; `E-AWS-…` for S3, `E-READER-CRASH`, `E-RESOURCE`.
    """
    source = measure.source
    assert isinstance(source, Files)
    with ExitStack() as opened:
        room = opened.enter_context(scratch.folder(books.settings.home))
        found = _found(measure, source.paths, day, room)
        paths = [path for _, path in found]
        if not paths:
            raise refused(
                "E-USAGE-FILES", measure.name, day, "files of the day",
                f"none: {', '.join(_placed(one, day) for one in source.paths)}",
                "deliver them, or correct paths; {year}, {month} and {day} stand for the day",
            )  # fmt: skip
        if len(paths) > FILES_MAX or len({path.name.endswith(".parquet") for path in paths}) > 1:
            raise refused(
                "E-USAGE-FILES", measure.name, day, f"at most {FILES_MAX} files, all Parquet or all text",
                f"{len(paths)} files, mixed" if len(paths) <= FILES_MAX else f"{len(paths)} files",
                "narrow the pattern: {year}, {month}, {day}, a suffix",
            )  # fmt: skip
        try:
            before = [_state(path) for path in paths]
            read = [
                {"file": name, "sha256": sha256(path), "size_bytes": path.stat().st_size}
                for name, path in sorted(found)
            ]
            rows = _rows(books, measure, day, paths, room)
            is_same = before == [_state(path) for path in paths]
        except OSError as problem:
            raise _unread(measure, day, f"{problem.filename}: {problem.strerror}") from None
        if not is_same:
            raise _unread(measure, day, "one that changed meanwhile")
    return Answer(rows, source.query, {"files": read})


def _state(path: Path) -> tuple[int, int, int, int]:
    """What shows that a file was written to, or another one put in its place."""
    now = path.stat()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


def _unread(measure: Measure, day: date, found: str) -> CopsError:
    return refused(
        "E-USAGE-FILES", measure.name, day, "files that can be read, and stay while they are", found,
        f"once they are delivered whole: cops keys refresh {measure.name} --day {day}",
    )  # fmt: skip


def _rows(books: Books, measure: Measure, day: date, paths: list[Path], room: Path) -> list[tuple[Any, Any]]:
    from cops_dagster.lake import asked_files

    params = {"day": day, "next_day": day + timedelta(days=1)}
    separator = getattr(measure.source, "separator", None)
    with books.reader(f"usage {measure.name} {day}", paths, room / "work") as engine:
        try:
            rows = asked_files.answer(engine, paths, measure.query, params, separator=separator)
        except CopsError as problem:
            if problem.code not in ("E-SQL", "E-PARAM"):
                raise
            raise refused(
                "E-USAGE-QUERY", measure.name, day,
                "one SELECT over the table files, which reads nothing else", problem.found,
                "correct query; its parameters are :day and :next_day",
            ) from None  # fmt: skip
    two_columns(measure.name, day, rows.columns)
    if len(rows.rows) > ROWS_MAX:
        raise refused(
            "E-USAGE-QUERY", measure.name, day, f"at most {ROWS_MAX} rows", f"{len(rows.rows)}",
            "group by the tenant's name",
        )  # fmt: skip
    return [(name, value) for name, value in rows.rows]


def _found(measure: Measure, patterns: Sequence[str], day: date, room: Path) -> list[tuple[str, Path]]:
    """Name and place of each file of the day, once, however many patterns and links mean it."""
    found: dict[str, tuple[str, Path]] = {}
    for number, pattern in enumerate(patterns):
        for name, path in _of_pattern(measure, _placed(pattern, day), day, room / f"s3-{number}"):
            found.setdefault(name if is_s3(name) else str(path.resolve()), (name, path))
    return list(found.values())


def _of_pattern(measure: Measure, placed: str, day: date, room: Path) -> Iterator[tuple[str, Path]]:
    if is_s3(placed):
        from cops_dagster.stores.aws import day_files

        yield from day_files.fetch(placed, room, at_most=FILES_MAX)
        return
    for path in sorted(glob.glob(placed, recursive=True)):  # noqa: PTH207, patterns are absolute
        if Path(path).is_file():
            yield path, Path(path)
        elif not Path(path).exists():  # a part of the day that is not there
            raise _unread(measure, day, f"{path}, a link that leads nowhere")


def _placed(pattern: str, day: date) -> str:
    for word, number in (("{year}", day.year), ("{month}", day.month), ("{day}", day.day)):
        pattern = pattern.replace(word, f"{number:02d}")
    return pattern
