"""The shapes in which tools write a report as Parquet, and the plain one that COPS reads.

Belongs here: which columns of several files agree, and what counts as a column of nothing. A file whose shape
is odd is written anew once, plainly, with its faults beside the line as those of a converted CSV. Does not
belong here: reading footers (`lake/footers.py`), maps that came otherwise (`lake/maps.py`), which columns a
delivery must have (`cur/schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from cops_dagster.cur import names, schema
from cops_dagster.errors import CopsError
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Asked, Rows, Value
from cops_dagster.lake.maps import is_unreadable, of_kind

UNREADABLE_MAP = "E-MAP-PARSE"
"""A line whose map is text that is no JSON object: its tags or its product cannot be told."""
MAP = "map varchar"
OWN = (schema.FAULT, schema.FAULT_TEXT, schema.LOST)

_NULL = '"NULL"'
_NORMAL = {
    "VARCHAR": "varchar",
    "DOUBLE": "double",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP WITH TIME ZONE": schema.ZONED,
    _NULL: schema.NOTHING,
    '"NULL"[]': schema.NOTHING,
    'MAP(VARCHAR, "NULL")': schema.NOTHING,
}
_PLAIN_MAP = re.compile(r"MAP\(VARCHAR, (VARCHAR|DOUBLE)\)")
_PAIRS = re.compile(r'STRUCT\("?key"? .*, "?value"? .*\)\[\]', re.IGNORECASE)
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_ENGINE_TYPE = {
    "varchar": "VARCHAR",
    "double": "DOUBLE",
    "timestamp": "TIMESTAMP",
    schema.ZONED: "TIMESTAMPTZ",
    "decimal": "DECIMAL(38, 18)",
    MAP: "MAP(VARCHAR, VARCHAR)",
    "map double": "MAP(VARCHAR, DOUBLE)",
}
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
_TIMES = frozenset({"timestamp", schema.ZONED, "DATE"})
_BLANK = ("", "{}", "[]", "nan")


def is_nothing(engine_type: str) -> bool:
    """A column of this type, as the reader calls it, has no value."""
    return _NORMAL.get(engine_type) == schema.NOTHING


@dataclass(frozen=True)
class Seen:
    """One file as its footer describes it.

    Attributes:
        types: column as spelled → the engine's own name of its type.
        source: the file as a table.
    """

    path: Path
    rows: int
    types: Mapping[str, str]
    source: exp.Table


@dataclass(frozen=True)
class Agreement:
    """What the files of a delivery have in common.

    Attributes:
        kinds: column as spelled → its one type; `NOTHING` where no file has a value.
        odd: per file, the columns that must be written anew, and how; empty for a plain file.
        faults: columns of JSON text, whose lines may be unreadable.
    """

    kinds: dict[str, str]
    odd: list[dict[str, exp.Expr]]
    faults: list[list[str]]


def is_map(name: str) -> bool:
    """Whether a column holds a map in CUR 2.0, however it is spelled."""
    return name.lower() in names.MAP_COLUMNS


def agree(engine: DuckDB, files: Sequence[Seen], subject: str) -> Agreement:
    """The columns of all files under one type each.

    A file without rows, and a column that no row of a file has, fit everything.

    Raises:
        CopsError: `E-SCHEMA-MIXED` (files that contradict each other), `E-SCHEMA-TYPE` (a map column of a
            type that is no map).
    """
    full = [one for one in files if one.rows] or list(files[:1])
    _check_names(full, subject)
    kinds: dict[str, str] = {}
    odd: dict[Path, dict[str, exp.Expr]] = {one.path: {} for one in files}
    faults: dict[Path, list[str]] = {one.path: [] for one in files}
    for name in full[0].types:
        if name in OWN:
            continue
        by_file = {one.path: _kind(name, one.types[name]) for one in full}
        kinds[name] = settled = _settled(engine, full, name, by_file, subject)
        widths = {one.types[name] for one in full if by_file[one.path] == "decimal"}
        for one in full:
            kind = by_file[one.path]
            changed = _changed(settled, kind, name, one.types[name], several_widths=len(widths) > 1)
            if changed is not None:
                odd[one.path][name] = changed
            if kind == "json" and settled == MAP:
                faults[one.path].append(name)
    for one in files:
        if not one.rows and dict(one.types) != dict(full[0].types):
            odd[one.path] = {name: exp.column(name, quoted=True) for name in full[0].types}
    return Agreement(kinds, list(odd.values()), list(faults.values()))


def are_plain(files: Sequence[Seen]) -> bool:
    """Whether their footers alone say that none must be written anew; what is refused is as good as plain."""
    try:
        return not any(agree(_Footers(), files, "").odd)
    except _AsksLines:
        return False
    except CopsError:
        return True


class _AsksLines(Exception):
    """What a column holds decides."""


class _Footers(DuckDB):
    """An engine that reads no line."""

    def __init__(self) -> None:
        pass

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        raise _AsksLines


def _changed(
    settled: str, kind: str, name: str, engine_type: str, *, several_widths: bool
) -> exp.Expr | None:
    """How a column of one file is written anew to be of the settled kind; `None` for one that is."""
    column = exp.column(name, quoted=True)
    if settled == schema.NOTHING:
        return None
    if kind == schema.NOTHING:  # the null type fits as it is, another might not unify with the others
        return None if engine_type == _NULL else exp.cast(exp.null(), _ENGINE_TYPE.get(settled, settled))
    if settled == MAP and kind != MAP:
        return of_kind(kind, engine_type, column)
    if settled == "timestamp" and kind != "timestamp":
        return in_utc(column, kind)
    if kind in _WHOLE and settled in ("double", "decimal"):
        return exp.cast(column, "DOUBLE" if settled == "double" else "DECIMAL(38, 18)")
    if (
        settled == "decimal" and several_widths
    ):  # read together they would be rounded to the first one's digits
        return exp.cast(column, "DECIMAL(38, 18)")
    return None


def plain(engine: DuckDB, files: Sequence[Seen], agreed: Agreement, targets: Iterable[Path]) -> list[Path]:
    """The files to read instead: each odd one written anew to the next target, the others as they are."""
    next_target = iter(targets)
    first = next((one for one in files if one.rows), files[0])
    any_faults = any(agreed.faults)
    reading: list[Path] = []
    for one, odd, faults in zip(files, agreed.odd, agreed.faults, strict=True):
        if not odd:
            reading.append(one.path)
            continue
        target = next(next_target)
        if one.rows:
            query = _written(one, odd, faults, judged=any_faults)
        else:  # no row, so only its columns matter: those of a file that has rows
            place = files.index(first)
            query = _written(first, agreed.odd[place], agreed.faults[place], judged=any_faults).where(
                exp.false()
            )
        engine.stage(query, target)
        reading.append(target)
    return reading


def in_utc(value: exp.Expr, kind: str) -> exp.Expr:
    """A delivered time without zone, in UTC. The engine's cast would follow the machine's zone."""
    if kind == schema.ZONED:
        return exp.func("make_timestamp", exp.func("epoch_us", value))
    return exp.cast(value, "TIMESTAMP")


def _written(one: Seen, odd: dict[str, exp.Expr], faults: list[str], *, judged: bool) -> exp.Select:
    selected: list[exp.Expr] = []
    for name in one.types:
        if name not in OWN:
            value = odd.get(name, exp.column(name, quoted=True))
            selected.append(exp.alias_(value.copy(), name, quoted=True))
    nothing: exp.Expr = exp.cast(exp.null(), "VARCHAR")
    if judged or schema.FAULT in one.types:
        code, reason = exp.Case(), exp.Case()
        if schema.FAULT in one.types:
            before = exp.column(schema.FAULT)
            code = code.when(before.is_(exp.null()).not_(), before.copy())
            reason = reason.when(before.is_(exp.null()).not_(), exp.column(schema.FAULT_TEXT))
        for name in faults:
            wrong = is_unreadable(exp.column(name, quoted=True))
            code = code.when(wrong, exp.Literal.string(UNREADABLE_MAP))
            reason = reason.when(wrong.copy(), said(name, exp.column(name, quoted=True)))
        lost = exp.column(schema.LOST) if schema.LOST in one.types else nothing
        some = bool(code.args.get("ifs"))
        selected += [
            exp.alias_(code if some else nothing.copy(), schema.FAULT),
            exp.alias_(reason if some else nothing.copy(), schema.FAULT_TEXT),
            exp.alias_(lost.copy(), schema.LOST),
        ]
    return exp.Select().from_(one.source.copy()).select(*selected, copy=False)


def said(name: str, text: exp.Expr) -> exp.Expr:
    """`name = value`, shortened: what stood there, for whoever looks at a line that was set aside."""
    return exp.func(
        "CONCAT",
        exp.Literal.string(f"{name} = "),
        exp.func("LEFT", exp.cast(text.copy(), "VARCHAR"), exp.Literal.number(80)),
    )


def _check_names(full: Sequence[Seen], subject: str) -> None:
    first = set(full[0].types) - set(OWN)
    for one in full[1:]:
        differing = sorted((set(one.types) - set(OWN)) ^ first)
        if differing:
            where = "missing" if differing[0] in first else "only there"
            found = f"{len(differing)} columns differ, first {differing[0]} ({where})"
            raise _mixed(full[0], one, found, subject)


def _settled(engine: DuckDB, full: Sequence[Seen], name: str, by_file: dict[Path, str], subject: str) -> str:
    """The one type of a column; `by_file` is changed where a file turns out to hold nothing in it."""
    given = set(by_file.values()) - {schema.NOTHING}
    if is_map(name):
        return _settled_map(engine, full, name, by_file, subject)
    if len(given) > 1 or any(not schema.takes(name, kind) for kind in given):
        _drop_empty(engine, full, name, by_file)
        given = set(by_file.values()) - {schema.NOTHING}
    if not given:
        return schema.NOTHING
    if len(given) > 1 and given <= _TIMES:
        return "timestamp"
    fractional = given - _WHOLE
    if len(given) > 1 and len(fractional) == 1 and fractional <= {"double", "decimal"}:
        return fractional.pop()  # a file whose amounts all happen to be whole
    if len(given) > 1:
        one = next(one for one in full if by_file[one.path] in given)
        other = next(two for two in full if by_file[two.path] in given - {by_file[one.path]})
        types = " and ".join(sorted(given))
        raise _mixed(one, other, f"column {name} with values of type {types}", subject)
    return given.pop()


def _settled_map(
    engine: DuckDB, full: Sequence[Seen], name: str, by_file: dict[Path, str], subject: str
) -> str:
    given = set(by_file.values()) - {schema.NOTHING}
    if len(given) > 1 or not given <= {MAP, "map double"}:
        _drop_empty(engine, full, name, by_file)
        given = set(by_file.values()) - {schema.NOTHING}
    for one in full:
        kind = by_file[one.path]
        if kind == "json" and not _any_json(engine, one, name):
            raise _no_map(name, "text that is no JSON object", one, subject)
        if kind not in (MAP, "map double", "json", "pairs", "struct", "other map", schema.NOTHING):
            raise _no_map(name, f"type {one.types[name]}", one, subject)
    if not given:
        return schema.NOTHING
    return given.pop() if len(given) == 1 and given <= {MAP, "map double"} else MAP


def _drop_empty(engine: DuckDB, full: Sequence[Seen], name: str, by_file: dict[Path, str]) -> None:
    blank = exp.In(
        this=exp.func("LOWER", exp.func("TRIM", exp.cast(exp.column(name, quoted=True), "VARCHAR"))),
        expressions=[exp.Literal.string(text) for text in _BLANK],
    )
    value = exp.func("COUNT_IF", exp.func("COALESCE", blank.not_(), exp.false()), dialect="duckdb")
    for one in full:
        if by_file[one.path] == schema.NOTHING:
            continue
        if engine.fetch(exp.select(value.copy()).from_(one.source.copy())).rows[0][0] == 0:
            by_file[one.path] = schema.NOTHING


def _any_json(engine: DuckDB, one: Seen, name: str) -> bool:
    column = exp.column(name, quoted=True)
    readable = exp.and_(column.is_(exp.null()).not_(), is_unreadable(column).not_())
    found = exp.select(exp.Literal.number(1)).from_(one.source.copy()).where(readable).limit(1)
    return bool(engine.fetch(found).rows)


def _kind(name: str, engine_type: str) -> str:
    if match := _DECIMAL.fullmatch(engine_type):
        digits, scale = int(match[1]), int(match[2])
        return "decimal" if scale <= 18 and digits - scale <= 20 else engine_type
    if match := _PLAIN_MAP.fullmatch(engine_type):
        return f"map {match[1].lower()}"
    if is_map(name):
        if engine_type in ("VARCHAR", "JSON"):
            return "json"
        if _PAIRS.fullmatch(engine_type):
            return "pairs"
        if engine_type.startswith("STRUCT(") and engine_type.endswith(")"):
            return "struct"
        if engine_type.startswith("MAP(VARCHAR, ") and engine_type not in _NORMAL:
            return "other map"
    return _NORMAL.get(engine_type, engine_type)


def _mixed(first: Seen, other: Seen, found: str, subject: str) -> CopsError:
    return CopsError(
        "E-SCHEMA-MIXED",
        f"{subject}, file {other.path.name!r}",
        expected=f"the columns of {first.path.name!r}",
        found=found,
        next_step="write all files of the month with the same columns and types, or ask AWS to deliver the"
        " month again",
    )


def _no_map(name: str, found: str, one: Seen, subject: str) -> CopsError:
    return CopsError(
        "E-SCHEMA-TYPE",
        f"{subject}, file {one.path.name!r}, column {name}",
        expected="a map of text: MAP, JSON text, a list of key and value, or a struct",
        found=found,
        next_step=f"deliver {name} as AWS sends it; without its keys every line would be untagged",
    )
