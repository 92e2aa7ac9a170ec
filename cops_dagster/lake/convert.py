"""CSV, zipped or not, as Parquet that can be read like any other delivery: typed once, nothing dropped.

Belongs here: headers, and one statement per file; `lake/archives.py` unpacks. Text is read as text:
amounts become exact decimals without a double between, and what cannot be read stands beside the line as its
fault. A file with bytes that are no UTF-8 is first rewritten with those bytes marked, so its lines keep
their cost.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from cops_dagster.cur import names, schema
from cops_dagster.cur.formats import Format
from cops_dagster.errors import CopsError
from cops_dagster.lake import archives, maps, shapes, spellings
from cops_dagster.lake.duck import DuckDB, exact_name
from cops_dagster.lake.footers import COLUMNS_MAX, truncated
from cops_dagster.lake.functions import call, joined
from cops_dagster.lake.lines import needs_span
from cops_dagster.lake.mend import is_no_utf8

BILLING_PERIOD = "bill_billing_period_start_date"
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-01", re.ASCII)
_MARK_BEGIN, _MARK_END = "\ufdd0", "\ufdd1"  # noncharacters: no delivered text can hold them


@dataclass(frozen=True)
class _Column:
    """One column of a CSV file: the name it gets, which others may share, and its own to read it by."""

    name: str
    read_as: str


def convert(engine: DuckDB, path: Path, kind: Format, target: Path, *, subject: str) -> None:
    """Writes one delivered CSV file as Parquet under Athena names.

    Raises:
        CopsError: `E-FILE-TRUNC`, `E-FORMAT` (ragged, no CSV, no report in the zip), `E-RESOURCE`.
    """
    columns = _columns(path, kind, subject)
    with (
        _readable(path, kind, target, subject) as (source, compression),
        ThreadPoolExecutor(max_workers=1) as aside,
    ):
        # the engine does not look at gzip's checksum: without this a bit flipped on the way would be summed
        whole = aside.submit(archives.check_whole, path, kind, subject) if kind == "csv.gz" else None
        try:
            engine.stage(_typed(_csv(source, compression, columns), columns), target)
        except CopsError as problem:
            if whole:
                whole.result()  # which says better what is wrong with the file
            if not is_no_utf8(problem) and not (whole and _is_no_gzip(problem)):
                raise _unreadable(path, problem, subject) from None
        else:
            if whole:
                whole.result()
            return
    # bytes that are no UTF-8, or gzip that is whole but padded, which the engine does not take
    with _marked(path, kind, target, subject) as source:
        try:
            engine.stage(_typed(_csv(source, "none", columns), columns, marked=True), target)
        except CopsError as problem:
            raise _unreadable(path, problem, subject) from None


def header_names(path: Path, kind: Format, *, subject: str) -> list[str]:
    """The Athena names of a CSV file's columns, in order. Raises what `convert` raises of a header."""
    return list(dict.fromkeys(one.name for one in _columns(path, kind, subject)))


def _unreadable(path: Path, problem: CopsError, subject: str) -> CopsError:
    if problem.code != "E-SQL":
        return problem
    if _is_no_gzip(problem) or "unterminated" in problem.found.lower():
        return truncated(path, subject, problem.found)
    return CopsError(
        "E-FORMAT",
        f"{subject}, file {path.name!r}",
        expected="CSV with commas and double quotes, every line as long as its header",
        found=problem.found,
        next_step="the ingested month stays; ask AWS to deliver the month again",
    )


def _is_no_gzip(problem: CopsError) -> bool:
    text = problem.found.lower()
    return problem.code == "E-SQL" and any(
        word in text for word in ("gzip", "decompress", "deflate", "unexpected end")
    )


def _columns(path: Path, kind: Format, subject: str) -> list[_Column]:
    """The header's columns: each under a name of its own to read it by, and the name that it gets."""
    header = _header(path, kind, subject)
    found: list[_Column] = []
    for name in names.flat_names(header, schema.BY_NAME):
        number = sum(one.name == name for one in found)
        found.append(_Column(name, f"{name} spelling {number + 1}" if number else name))
    return found


def _header(path: Path, kind: Format, subject: str) -> list[str]:
    text = archives.head(path, kind, subject).decode("utf-8-sig", errors="replace")
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error as problem:
        if "unexpected end" in str(problem):
            raise truncated(path, subject, f"no CSV header: {problem}") from None
        raise CopsError(
            "E-FORMAT",
            f"{subject}, file {path.name!r}",
            expected="CSV with a header line",
            found=str(problem),
            next_step="ask AWS to deliver the month again; the ingested month stays",
        ) from None
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
def _readable(path: Path, kind: Format, target: Path, subject: str) -> Iterator[tuple[Path, str]]:
    """A path the engine can read, and its compression: it reads gzip itself, zip it does not."""
    if kind == "csv.gz":
        archives.check_stated_size(path, subject)
    if kind != "csv.zip":
        yield path, "gzip" if kind == "csv.gz" else "none"
        return
    unpacked = target.with_suffix(".csv")
    try:
        with unpacked.open("wb") as copy:
            for block in archives.blocks(path, kind, subject):
                copy.write(block)
        yield unpacked, "none"
    finally:
        unpacked.unlink(missing_ok=True)


@contextmanager
def _marked(path: Path, kind: Format, target: Path, subject: str) -> Iterator[Path]:
    marked = target.with_suffix(".csv")
    codecs.register_error("cops_mark", _mark)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="cops_mark")
    try:
        with marked.open("w", encoding="utf-8", newline="") as copy:
            for block in archives.blocks(path, kind, subject):
                copy.write(decoder.decode(block))
            copy.write(decoder.decode(b"", final=True))
        yield marked
    finally:
        marked.unlink(missing_ok=True)


def _mark(problem: UnicodeError) -> tuple[str, int]:
    assert isinstance(problem, UnicodeDecodeError)
    return f"{_MARK_BEGIN}{problem.object[problem.start : problem.end].hex()}{_MARK_END}", problem.end


def _csv(path: Path, compression: str, columns: Sequence[_Column]) -> exp.Table:
    quote = exp.Literal.string('"')
    kinds = exp.Struct(
        expressions=[
            exp.PropertyEQ(
                this=exp.to_identifier(one.read_as, quoted=True), expression=exp.Literal.string("VARCHAR")
            )
            for one in columns
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


def _typed(source: exp.Table, columns: Sequence[_Column], *, marked: bool = False) -> exp.Select:
    selected: list[exp.Expr] = []
    faults: list[tuple[exp.Expr, exp.Expr, exp.Expr]] = []
    lost: list[exp.Expr] = []
    if marked:
        faults.append(_no_utf8([one.read_as for one in columns]))
    given: dict[str, list[exp.Expr]] = {}
    for one in columns:
        text: exp.Expr = exp.func("NULLIF", exp.column(one.read_as, quoted=True), exp.Literal.string(""))
        given.setdefault(one.name, []).append(text)
    for name, texts in given.items():
        text = spellings.one_value(name, texts)
        value = _value(name, schema.BY_NAME.get(name), text)
        selected.append(exp.alias_(value, name, quoted=True))
        if len(texts) > 1 and not names.is_tag(name):
            two = spellings.contradict(texts), shapes.said(name, joined(" | ", texts))
            if schema.is_booked_by(name):
                faults.append((two[0], exp.Literal.string(spellings.CLASH), two[1]))
            else:
                lost.append(exp.Case().when(*two))
        if value is not text:
            of_line, of_value = _unread(name, text, value, given)
            faults += of_line
            lost += of_value
    code, reason = exp.Case(), exp.Case()
    for wrong, fault, explained in faults:
        code = code.when(wrong, fault)
        reason = reason.when(wrong.copy(), explained)
    nothing = exp.cast(exp.null(), "VARCHAR")
    every = exp.func("NULLIF", joined("; ", lost), exp.Literal.string(""))
    selected += [
        exp.alias_(code if faults else nothing, schema.FAULT),
        exp.alias_(reason if faults else nothing, schema.FAULT_TEXT),
        exp.alias_(every if lost else nothing, schema.LOST),
    ]
    return exp.Select().from_(source).select(*selected, copy=False)


def billing_days(path: Path, kind: Format, *, subject: str) -> set[str]:
    """First days of the billing months that the first lines of a CSV file name, `YYYY-MM-DD`.

    As far as they can be read: what is wrong with them is said when the file is converted.
    """
    text = archives.head(path, kind, subject).decode("utf-8-sig", errors="replace")
    lines = list(csv.reader(io.StringIO(text.rpartition("\n")[0], newline="")))
    columns = names.flat_names(lines[0], schema.BY_NAME) if lines else []
    if BILLING_PERIOD not in columns:
        return set()
    at = columns.index(BILLING_PERIOD)
    found = {line[at][:10].strip() for line in lines[1:] if len(line) > at}
    return {day for day in found if _DAY.fullmatch(day)}


def _unread(
    name: str, text: exp.Expr, value: exp.Expr, given: dict[str, list[exp.Expr]]
) -> tuple[list[tuple[exp.Expr, exp.Expr, exp.Expr]], list[exp.Expr]]:
    """What it means that a text gave no value: a fault of the line, or a value lost that no view needs."""
    unread = exp.and_(text.is_(exp.null()).not_(), value.copy().is_(exp.null()))
    said = shapes.said(name, text)
    column = schema.BY_NAME.get(name)
    if name in schema.VIEW_COSTS:
        return [(unread, call("TEXT_FAULT", text), said)], []
    if name in names.MAP_COLUMNS:
        return [(maps.is_unreadable(text), exp.Literal.string(shapes.UNREADABLE_MAP), said)], []
    if column is None or column.data_type != "timestamp" or not column.required:
        return [], [exp.Case().when(unread, said)]
    late = exp.Literal.string("E-TIME")
    kinds = given.get("line_item_line_item_type")
    if name != "line_item_usage_start_date" or kinds is None:
        return [(unread, late, said)], []
    spanned = needs_span(kinds[0])
    lost = exp.Case().when(exp.and_(unread, spanned.not_()), said)
    return [(exp.and_(unread, spanned), late, said.copy())], [lost]


def _value(name: str, column: schema.Column | None, text: exp.Expr) -> exp.Expr:
    if name in names.MAP_COLUMNS:
        return maps.of_json(text)
    if column is None or column.data_type == "varchar":
        return text
    if column.exact:
        return call("EXACT_TEXT_USD", text)
    if column.data_type == "timestamp":
        return call("UTC_TIME", text)
    return exp.TryCast(this=text, to=exp.DataType.build("double"))


def _no_utf8(columns: list[str]) -> tuple[exp.Expr, exp.Expr, exp.Expr]:
    every = joined("|", [exp.column(name, quoted=True) for name in columns])
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
