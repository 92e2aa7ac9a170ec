"""CSV, zipped or not, as Parquet that can be read like any other delivery: typed once, nothing dropped.

Belongs here: headers, unpacking, and one statement per file. Text is read as text: amounts become exact
decimals without a double between, and what cannot be read stands beside the line as its fault. A file
with bytes that are no UTF-8 is first rewritten with those bytes marked, so its lines keep their cost.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlglot import exp

from cops_dagster.cur import names
from cops_dagster.cur import schema as cur_schema
from cops_dagster.cur.formats import Format
from cops_dagster.errors import CopsError
from cops_dagster.lake.engine import Engine, exact_name
from cops_dagster.lake.footers import COLUMNS_MAX, too_large, truncated
from cops_dagster.lake.functions import call

MAP_COLUMNS = frozenset({"product", "resource_tags", "cost_category", "discount", "tags"})
"""Columns of CUR 2.0 that hold a JSON object per line in CSV."""
RATIO_MAX = 200
"""CUR text compresses 20 to 40 times; a file that unpacks to more than this is a bomb."""
_HEADER_MAX = 1 << 20
_BILLING_PERIOD = "bill_billing_period_start_date"
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-01", re.ASCII)
_MARK_BEGIN, _MARK_END = "\ufdd0", "\ufdd1"  # noncharacters: no delivered text can hold them
_BLOCK = 1 << 20


def convert(
    engine: Engine, path: Path, kind: Format, target: Path, *, subject: str, mapped: frozenset[str]
) -> None:
    """Writes one delivered CSV file as Parquet under Athena names.

    Raises:
        CopsError: `E-FILE-TRUNC`, `E-FORMAT` (ragged or no CSV), `E-TAG-CLASH`, `E-RESOURCE`.
    """
    headers = _header(path, kind, subject)
    columns = names.flat_names(headers, mapped, subject=subject)
    with (
        _readable(path, kind, target, subject) as (source, compression),
        ThreadPoolExecutor(max_workers=1) as aside,
    ):
        # the engine does not look at gzip's checksum: without this a bit flipped on the way would be summed
        whole = aside.submit(_unpack, path, kind, subject) if kind == "csv.gz" else None
        try:
            engine.stage(_typed(_csv(source, compression, list(columns.values())), columns), target)
        except CopsError as problem:
            if whole:
                whole.result()  # which says better what is wrong with the file
            if not is_no_utf8(problem):
                raise _unreadable(path, problem, subject) from None
        else:
            if whole:
                whole.result()
            return
    with _marked(path, kind, target, subject) as source:
        try:
            engine.stage(_typed(_csv(source, "none", list(columns.values())), columns, marked=True), target)
        except CopsError as problem:
            raise _unreadable(path, problem, subject) from None


def header_names(
    path: Path, kind: Format, *, subject: str, mapped: frozenset[str] = frozenset()
) -> list[str]:
    """The Athena names of a CSV file's columns, in order. Raises what `convert` raises of a header."""
    return list(names.flat_names(_header(path, kind, subject), mapped, subject=subject).values())


def is_no_utf8(problem: CopsError) -> bool:
    """Whether the engine stumbled over bytes that are no UTF-8."""
    text = str(problem.details.get("engine_says", "")).lower()
    return problem.code == "E-SQL" and ("utf-8" in text or "unicode" in text or "string encoding" in text)


def _unreadable(path: Path, problem: CopsError, subject: str) -> CopsError:
    if problem.code != "E-SQL":
        return problem
    text = problem.found.lower()
    if any(word in text for word in ("gzip", "decompress", "deflate", "unterminated", "unexpected end")):
        return truncated(path, subject, problem.found)
    return CopsError(
        "E-FORMAT",
        f"{subject}, file {path.name!r}",
        expected="CSV with commas and double quotes, every line as long as its header",
        found=problem.found,
        next_step="the ingested month stays; ask AWS to deliver the month again",
    )


def _header(path: Path, kind: Format, subject: str) -> list[str]:
    try:
        with opened(path, kind) as stream:
            text = stream.read(_HEADER_MAX).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as problem:
        raise truncated(path, subject, f"{type(problem).__name__}: {problem}") from None
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error as problem:
        raise truncated(path, subject, f"no CSV header: {problem}") from None
    if not header or len(header) > COLUMNS_MAX or len(set(header)) != len(header):
        raise CopsError(
            "E-FORMAT",
            f"{subject}, file {path.name!r}",
            expected=f"a header of at most {COLUMNS_MAX} different names",
            found=f"{len(header)} names, {len(set(header))} different",
            next_step="ask AWS to deliver the month again",
        )
    return header


@contextmanager
def opened(path: Path, kind: Format) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a file. The one member of a zip is read in place, its name never used."""
    if kind == "csv.gz":
        with gzip.open(path, "rb") as stream:
            yield stream  # type: ignore[misc]
    elif kind == "csv.zip":
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1:
                raise zipfile.BadZipFile(f"{len(members)} members, expected 1")
            with archive.open(members[0]) as stream:
                yield stream
    else:
        with path.open("rb") as stream:
            yield stream


@contextmanager
def _readable(path: Path, kind: Format, target: Path, subject: str) -> Iterator[tuple[Path, str]]:
    """A path the engine can read, and its compression: it reads gzip itself, zip it does not."""
    if kind == "csv.gz":
        _check_stated_size(path, subject)
    if kind != "csv.zip":
        yield path, "gzip" if kind == "csv.gz" else "none"
        return
    unpacked = target.with_suffix(".csv")
    try:
        with unpacked.open("wb") as copy:
            for block in _blocks(path, kind, subject):
                copy.write(block)
        yield unpacked, "none"
    finally:
        unpacked.unlink(missing_ok=True)


def _check_stated_size(path: Path, subject: str) -> None:
    """The last four bytes of gzip state what it unpacks to. Too much is a bomb, or the end is missing."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(size - 4, 0))
        stated = int.from_bytes(stream.read(4), "little")
    if stated > RATIO_MAX * size + (_BLOCK << 4):
        _unpack(path, "csv.gz", subject)


def _unpack(path: Path, kind: Format, subject: str) -> None:
    """Unpacks a file to nowhere: its end is there, its checksum fits, and it is no bomb."""
    for _ in _blocks(path, kind, subject):
        pass


@contextmanager
def _marked(path: Path, kind: Format, target: Path, subject: str) -> Iterator[Path]:
    marked = target.with_suffix(".csv")
    codecs.register_error("cops_mark", _mark)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="cops_mark")
    try:
        with marked.open("w", encoding="utf-8", newline="") as copy:
            for block in _blocks(path, kind, subject):
                copy.write(decoder.decode(block))
            copy.write(decoder.decode(b"", final=True))
        yield marked
    finally:
        marked.unlink(missing_ok=True)


def _mark(problem: UnicodeError) -> tuple[str, int]:
    assert isinstance(problem, UnicodeDecodeError)
    return f"{_MARK_BEGIN}{problem.object[problem.start : problem.end].hex()}{_MARK_END}", problem.end


def _blocks(path: Path, kind: Format, subject: str) -> Iterator[bytes]:
    allowed = RATIO_MAX * path.stat().st_size + (_BLOCK << 4)
    try:
        with opened(path, kind) as stream:
            while block := stream.read(_BLOCK):
                allowed -= len(block)
                if allowed < 0:
                    raise too_large(path, subject, f"more than {RATIO_MAX} bytes of text per byte")
                yield block
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as problem:
        raise truncated(path, subject, f"{type(problem).__name__}: {problem}") from None


def _csv(path: Path, compression: str, columns: list[str]) -> exp.Table:
    quote = exp.Literal.string('"')
    kinds = exp.Struct(
        expressions=[
            exp.PropertyEQ(
                this=exp.to_identifier(name, quoted=True), expression=exp.Literal.string("VARCHAR")
            )
            for name in columns
        ]
    )
    options: dict[str, exp.Expr] = {
        "header": exp.true(),
        "auto_detect": exp.false(),
        "delim": exp.Literal.string(","),
        "quote": quote,
        "escape": quote.copy(),
        "strict_mode": exp.true(),
        "compression": exp.Literal.string(compression),
        "columns": kinds,
    }
    return exp.Table(
        this=exp.Anonymous(
            this="read_csv",
            expressions=[
                exp.Literal.string(exact_name(path)),
                *[exp.EQ(this=exp.column(name), expression=value) for name, value in options.items()],
            ],
        )
    )


def _typed(source: exp.Table, columns: dict[str, str], *, marked: bool = False) -> exp.Select:
    selected: list[exp.Expr] = []
    faults: list[tuple[exp.Expr, exp.Expr, exp.Expr]] = []
    lost: list[exp.Expr] = []
    if marked:
        faults.append(_no_utf8(list(columns.values())))
    for header, name in columns.items():
        text: exp.Expr = exp.func("NULLIF", exp.column(name, quoted=True), exp.Literal.string(""))
        column = cur_schema.BY_NAME.get(name)
        value = _value(header, column, text)
        selected.append(exp.alias_(value, name, quoted=True))
        if value is text:
            continue
        unread = exp.and_(text.copy().is_(exp.null()).not_(), value.copy().is_(exp.null()))
        said = exp.func(
            "CONCAT", exp.Literal.string(f"{name} = "), exp.func("LEFT", text, exp.Literal.number(80))
        )
        if name in cur_schema.VIEW_COSTS:
            faults.append((unread, call("TEXT_FAULT", text), said))
        elif column is not None and column.data_type == "timestamp" and column.required:
            faults.append((unread, exp.Literal.string("E-TIME"), said))
        else:
            lost.append(exp.Case().when(unread, said))
    code, reason = exp.Case(), exp.Case()
    for wrong, fault, explained in faults:
        code = code.when(wrong, fault)
        reason = reason.when(wrong.copy(), explained)
    nothing = exp.cast(exp.null(), "VARCHAR")
    every: exp.Expr = exp.func("CONCAT_WS", exp.Literal.string("; "), *lost)
    every = exp.func("NULLIF", every, exp.Literal.string(""))
    selected += [
        exp.alias_(code if faults else nothing, cur_schema.FAULT),
        exp.alias_(reason if faults else nothing, cur_schema.FAULT_TEXT),
        exp.alias_(every if lost else nothing, cur_schema.LOST),
    ]
    return exp.Select().from_(source).select(*selected, copy=False)


def billing_days(path: Path, kind: Format) -> set[str]:
    """First days of the billing months that the first lines of a CSV file name, `YYYY-MM-DD`.

    As far as they can be read: what is wrong with them is said when the file is converted.
    """
    with opened(path, kind) as stream:
        text = stream.read(_HEADER_MAX).decode("utf-8-sig", errors="replace")
    lines = list(csv.reader(io.StringIO(text.rpartition("\n")[0], newline="")))
    columns = list(names.flat_names(lines[0], frozenset(), subject=path.name).values()) if lines else []
    if _BILLING_PERIOD not in columns:
        return set()
    at = columns.index(_BILLING_PERIOD)
    found = {line[at][:10].strip() for line in lines[1:] if len(line) > at}
    return {day for day in found if _DAY.fullmatch(day)}


def _value(header: str, column: cur_schema.Column | None, text: exp.Expr) -> exp.Expr:
    if header in MAP_COLUMNS:
        parsed = exp.TryCast(this=text, to=exp.DataType.build("JSON", dialect="duckdb"))
        return exp.TryCast(this=parsed, to=exp.DataType.build("MAP(VARCHAR, VARCHAR)", dialect="duckdb"))
    if column is None or column.data_type == "varchar":
        return text
    if column.exact:
        return call("EXACT_TEXT_USD", text)
    if column.data_type == "timestamp":
        return call("UTC_TIME", text)
    return exp.TryCast(this=text, to=exp.DataType.build("double"))


def _no_utf8(columns: list[str]) -> tuple[exp.Expr, exp.Expr, exp.Expr]:
    every = exp.func(
        "CONCAT_WS", exp.Literal.string("|"), *[exp.column(name, quoted=True) for name in columns]
    )
    mark = exp.Literal.string(_MARK_BEGIN)
    wrong = exp.Anonymous(this="contains", expressions=[every, mark])
    hexed = exp.Anonymous(
        this="regexp_extract",
        expressions=[
            every.copy(),
            exp.Literal.string(f"{_MARK_BEGIN}([0-9a-f]+){_MARK_END}"),
            exp.Literal.number(1),
        ],
    )
    return wrong, exp.Literal.string("E-UTF8"), exp.func("CONCAT", exp.Literal.string("bytes 0x"), hexed)
