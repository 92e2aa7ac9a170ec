"""CSV files of admin tables, read as text and typed.

Belongs here: everything that can be said of a file without looking at any other row or table. Does not belong
here: which columns there are (`inputs/columns.py`), references (`inputs/references.py`), conflicts
(`inputs/conflicts.py`), writing (`inputs/load.py`).

The `csv` module splits the text: pandas pads short lines, drops the end of long ones and knows no line
numbers. pandera checks the text frame lazily: one refusal names every bad cell. Both are imported where used.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.inputs import cells
from cops_dagster.inputs.columns import FIELDS, Field

FILE_BYTES_MAX = 64 << 20
_LINE_CHARS_MAX = 1 << 20
_FAILURES_SHOWN = 20
_USAGE_FILE = re.compile(r"tenant_([a-z][a-z0-9_]*)_usage", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One typed row, and where it was read: `file` as given, `line` (the header is line 1)."""

    table: str
    values: dict[str, Any]
    file: str = ""
    line: int = 0

    def where(self, column: str = "") -> str:
        """The row, or one cell of it, for a message."""
        return f"{self.file}, line {self.line}" + (f", column {column}" if column else "")


@dataclass(frozen=True)
class File:
    """One file as it was read: its table, its rows, and the digest of the very bytes they come from."""

    path: Path
    table: str
    rows: list[Row]
    sha256: str
    size_bytes: int


def read(path: Path) -> File:
    """The table a file is named after, its rows and its digest.

    Raises:
        CopsError: `E-LOAD-FILE`, `E-LOAD-COLUMN`, or the code of the first bad cell by line and column
            (`E-LOAD-VALUE`, `E-COST-…`, `E-KEY-NEG`, `E-KEY-RANGE`, `E-TENANT-RESERVED`, `E-RULE-METHOD`,
            `E-RULE-SUM`, `E-FX`, `E-CCY-UNKNOWN`); `details["failures"]` lists the first twenty.
    """
    if not path.is_file():
        raise _bad_file(path, "a regular file", "none of this name")
    table, fixed = _named_after(path)
    fields = {field.name: field for field in FIELDS[table] if field.name not in fixed}
    content = _content(path)
    records = _records(path, content)
    line, header = next(records, (1, []))
    if not header:
        raise _bad_file(path, "a CSV file with a header", "an empty file")
    _check_separator(path, header, fields)
    _check_header(path, header, fields)
    lines, cells = [], []
    for line, record in records:
        if len(record) != len(header):
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line {line}",
                expected=f"{len(header)} fields, as in the header",
                found=f"{len(record)} fields",
                next_step='correct the line; a value with a comma is written in "quotes"',
            )
        lines.append(line)
        cells.append(record)
    rows = []
    if cells:
        columns = _typed(path, header, lines, cells, fields)
        absent = {name: field.default for name, field in fields.items() if name not in columns}
        rows = [
            Row(table, {**fixed, **absent, **dict(zip(columns, values, strict=True))}, str(path), line)
            for line, values in zip(lines, zip(*columns.values(), strict=True), strict=True)
        ]
    return File(path, table, rows, hashlib.sha256(content).hexdigest(), len(content))


def _named_after(path: Path) -> tuple[str, dict[str, Any]]:
    if path.suffix == ".csv" and path.stem in FIELDS:
        return path.stem, {}
    usage = _USAGE_FILE.fullmatch(path.stem)
    if path.suffix == ".csv" and usage:
        return "tenant_usage", {"measure": usage[1]}
    near = difflib.get_close_matches(path.stem, FIELDS, n=1)
    raise _bad_file(
        path,
        f"a name such as {near[0] if near else 'tenants'}.csv, after one of {', '.join(FIELDS)} or "
        "tenant_<measure>_usage",
        repr(path.name),
    )


def _content(path: Path) -> bytes:
    if (size := path.stat().st_size) > FILE_BYTES_MAX:
        raise _bad_file(path, f"at most {FILE_BYTES_MAX} bytes", f"{size} bytes", "split the file")
    try:
        return path.read_bytes()
    except OSError as problem:
        raise _bad_file(path, "a file that can be read", str(problem.strerror)) from None


def _records(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Records with the line they begin on; blank lines are skipped."""
    _check_kind(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _bad_file(path, "UTF-8 text", f"byte {problem.start} is not", "save it as CSV UTF-8") from None
    reader = csv.reader(_lines(path, text), strict=True)
    begin = 1
    try:
        for record in reader:
            if record:
                yield begin, record
            begin = reader.line_num + 1
    except csv.Error as problem:
        raise _bad_file(path, "CSV with commas and double quotes", f"line {begin}: {problem}") from None


_OTHER_KINDS = (
    (b"PK\x03\x04", "a workbook (xlsx, ods) or zip archive under this name", "save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "a workbook (xls) under this name", "save the sheet as CSV UTF-8"),
    (b"\x1f\x8b", "a gzip archive under this name", "unpack it"),
    (b"\xff\xfe", "text in UTF-16", "save it as CSV UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as CSV UTF-8"),
)
"""What else people name `.csv`, by its first bytes, and what to do about it."""


def _check_kind(path: Path, content: bytes) -> None:
    for begins, found, next_step in _OTHER_KINDS:
        if content.startswith(begins):
            raise _bad_file(path, "CSV text", found, next_step)


_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def _check_separator(path: Path, header: Sequence[str], fields: Mapping[str, Field]) -> None:
    """A spreadsheet of a country that writes decimals with a comma separates by semicolons."""
    for separator, name in _SEPARATORS.items():
        names = {part.strip(' "').lower() for cell in header for part in cell.split(separator)}
        if any(separator in cell for cell in header) and names & set(fields):
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line 1",
                expected="columns separated by commas",
                found=f"columns separated by {name}",
                next_step="save it with commas, decimals with a point",
            )


def _lines(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > _LINE_CHARS_MAX or "\0" in line:
            raise _bad_file(path, "CSV text", f"line {number} is too long or binary")
        yield line


def _bad_file(path: Path, expected: str, found: str, next_step: str = "") -> CopsError:
    return CopsError(
        "E-LOAD-FILE",
        f"file {path}",
        expected=expected,
        found=found,
        next_step=next_step or "correct or leave out the file, then load again; nothing was written",
    )


def _check_header(path: Path, header: Sequence[str], fields: Mapping[str, Field]) -> None:
    for position, name in enumerate(header):
        if name not in fields or name in header[:position]:
            near = difflib.get_close_matches(name, fields, n=1)
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line 1, column {name!r}",
                expected=f"each of these once at most: {', '.join(fields)}",
                found="it twice" if name in fields else f"{name!r}",
                next_step=f"did you mean {near[0]}?" if near and name not in fields else "remove the column",
            )
    for name, field in fields.items():
        if field.required and name not in header:
            raise CopsError(
                "E-LOAD-COLUMN",
                f"{path}, line 1, column {name}",
                expected=f"the required column {name}",
                found=f"columns {', '.join(header)}",
                next_step="add the column",
            )


def _typed(
    path: Path, header: list[str], lines: list[int], cells: list[list[str]], fields: Mapping[str, Field]
) -> dict[str, list[Any]]:
    """Column → values, each distinct text parsed once. Raises the first bad cell."""
    import pandas as pd
    import pandera.pandas as pa

    frame = pd.DataFrame(cells, columns=header, index=lines, dtype="str")
    values: dict[str, dict[str, Any]] = {name: {} for name in header}
    faults: dict[str, dict[str, CopsError]] = {name: {} for name in header}
    for name in header:
        for text in frame[name].unique():
            try:
                values[name][text] = _cell(fields[name], text)
            except CopsError as problem:
                faults[name][text] = problem
    schema = pa.DataFrameSchema(
        {
            name: pa.Column("str", pa.Check(lambda column, bad=tuple(faults[name]): ~column.isin(bad)))
            for name in header
        },
        strict=True,
    )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as problem:
        failed = problem.failure_cases[["index", "column", "failure_case"]].itertuples(index=False)
        cases = sorted((int(line), header.index(column), text) for line, column, text in failed)
        raise _refused(path, header, cases, faults) from None
    return {name: [values[name][text] for text in frame[name]] for name in header}


def _refused(
    path: Path,
    header: list[str],
    cases: list[tuple[int, int, str]],
    faults: dict[str, dict[str, CopsError]],
) -> CopsError:
    line, position, text = cases[0]
    first = faults[header[position]][text]
    more = f" ({len(cases)} bad cells in this file)" if len(cases) > 1 else ""
    return CopsError(
        first.code,
        f"{path}, line {line}, column {header[position]}",
        expected=first.expected,
        found=first.found + more,
        next_step=first.next_step,
        details={
            "failures": [
                {"line": line, "column": header[at], "code": faults[header[at]][text].code, "found": text}
                for line, at, text in cases[:_FAILURES_SHOWN]
            ]
        },
    )


def _cell(field: Field, text: str) -> Any:
    if text:
        return field.parse(text)
    if field.required:
        raise cells.bad("a value", text, "fill the cell")
    return field.default
