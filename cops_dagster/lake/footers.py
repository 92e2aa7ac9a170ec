"""What files of Parquet say of themselves: columns, keys of map columns, row counts. No money is read.

Belongs here: footers, and the one scan for map keys. Does not belong here: which columns a delivery must
have (`cur/schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sqlglot import exp

from cops_dagster.cur import names
from cops_dagster.cur import schema as cur_schema
from cops_dagster.cur.schema import Sent
from cops_dagster.errors import CopsError
from cops_dagster.lake.engine import Engine, exact_name

COLUMNS_MAX = 4000
"""More columns or map keys than this are no report: a payer has at most 500 active tags."""

ROWS_PER_BYTE_MAX = 100
"""A real month takes 40 bytes a line; more rows than this are declared, not delivered."""

_NORMAL = {
    "VARCHAR": "varchar",
    "DOUBLE": "double",
    "FLOAT": "double",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP WITH TIME ZONE": cur_schema.ZONED,
}
_MAP = re.compile(r"MAP\(VARCHAR, (VARCHAR|DOUBLE)\)")
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def inspect(
    engine: Engine, paths: Sequence[Path], *, subject: str, mapped: frozenset[str] = frozenset()
) -> tuple[dict[str, Sent], list[int]]:
    """Flat columns and rows per file.

    A map column of CUR 2.0 (`product`, `resource_tags`, …) becomes one column per key that any row has.

    Args:
        mapped: flat names that must come from one spelling only.

    Raises:
        CopsError: `E-FILE-TRUNC` (cut short or unreadable footer), `E-SCHEMA-MIXED` (files of one delivery
            with different columns), `E-TAG-CLASH`, `E-RESOURCE` (absurdly many columns).
    """
    schemas: list[dict[str, str]] = []
    counts: list[int] = []
    for path in paths:
        _check_ends(path, subject)
        try:
            source = exp.Select().select("*").from_(parquet([path])).sql("duckdb")
            schemas.append({row[0]: _normal(row[1]) for row in engine.run(f"DESCRIBE {source}").rows})
            metadata = exp.Table(
                this=exp.Anonymous(this="parquet_file_metadata", expressions=[_literal(path)])
            )
            counted = engine.run(exp.select("num_rows").from_(metadata).sql("duckdb"))
        except CopsError as problem:
            if problem.code in ("E-READER-CRASH", "E-RESOURCE"):
                raise
            raise truncated(path, subject, problem.found) from None
        counts.append(int(counted.rows[0][0]))
        if counts[-1] > ROWS_PER_BYTE_MAX * path.stat().st_size:
            raise too_large(path, subject, f"{counts[-1]} rows in {path.stat().st_size} bytes")
    _check_same(paths, schemas, subject)
    return _flat(engine, paths, schemas[0], mapped, subject), counts


def parquet(paths: Sequence[Path], *, by_name: bool = False) -> exp.Table:
    """`read_parquet` over exactly these files: names are no patterns, folders name no columns."""
    options = {"hive_partitioning": False} | ({"union_by_name": True} if by_name else {})
    return exp.Table(
        this=exp.Anonymous(
            this="read_parquet",
            expressions=[
                exp.Array(expressions=[_literal(path) for path in paths]),
                *[
                    exp.EQ(this=exp.column(name), expression=exp.Boolean(this=value))
                    for name, value in options.items()
                ],
            ],
        )
    )


def truncated(path: Path, subject: str, found: str) -> CopsError:
    """The refusal of a file that ends too early or cannot be read."""
    return CopsError(
        "E-FILE-TRUNC",
        f"{subject}, file {path.name!r}",
        expected="a whole, readable file",
        found=found,
        next_step="wait for the next delivery, or copy the file again; the ingested month stays",
    )


def too_large(path: Path, subject: str, found: str) -> CopsError:
    """The refusal of a file that holds far more than its size allows for."""
    return CopsError(
        "E-RESOURCE",
        f"{subject}, file {path.name!r}",
        expected="a file whose content fits its size",
        found=found,
        next_step="look at the delivered file: it unpacks to far more than a report does",
    )


def _flat(
    engine: Engine, paths: Sequence[Path], types: dict[str, str], mapped: frozenset[str], subject: str
) -> dict[str, Sent]:
    found: dict[str, Sent] = {}
    for name, kind in types.items():
        if not kind.startswith("map"):
            found[name] = Sent(kind, ((name, None),))
    for column in [name for name, kind in types.items() if kind.startswith("map")]:
        kind = types[column].removeprefix("map ")
        here: dict[str, str] = {}
        for key in _keys(engine, paths, column, subject):
            name = names.map_column(column.lower(), key)
            if name in here and name in mapped:
                names.flat_names([here[name], key], frozenset({names.athena_name(key)}), subject=subject)
            here.setdefault(name, key)
            before = found.get(name)
            origins = (*before.origins, (column, key)) if before else ((column, key),)
            found[name] = Sent(before.data_type if before else kind, origins)
    if len(found) > COLUMNS_MAX:
        raise _too_many(subject, len(found))
    return found


def _keys(engine: Engine, paths: Sequence[Path], column: str, subject: str) -> list[str]:
    keys = exp.func("unnest", exp.func("map_keys", exp.column(column, quoted=True)))
    query = exp.select(exp.alias_(keys, "key")).distinct().from_(parquet(paths)).limit(COLUMNS_MAX + 1)
    rows = engine.fetch(query).rows
    if len(rows) > COLUMNS_MAX:
        raise _too_many(f"{subject}, map {column}", len(rows))
    return sorted(row[0] for row in rows if row[0])


def _too_many(subject: str, found: int) -> CopsError:
    return CopsError(
        "E-RESOURCE",
        subject,
        expected=f"at most {COLUMNS_MAX} columns",
        found=f"{found} or more",
        next_step="look at the delivered files: a payer has at most 500 active tags",
    )


def _check_same(paths: Sequence[Path], schemas: list[dict[str, str]], subject: str) -> None:
    for path, columns in zip(paths, schemas, strict=True):
        if columns != schemas[0]:
            differing = sorted(set(columns.items()) ^ set(schemas[0].items()))
            raise CopsError(
                "E-SCHEMA-MIXED",
                f"{subject}, file {path.name!r}",
                expected=f"the columns of {paths[0].name!r}",
                found=f"{len(differing)} differences, first {differing[0][0]} {differing[0][1]}",
                next_step="ask AWS to deliver the month again",
            )


def _normal(kind: str) -> str:
    if match := _MAP.fullmatch(kind):
        return f"map {match[1].lower()}"
    if match := _DECIMAL.fullmatch(kind):
        digits, scale = int(match[1]), int(match[2])
        return "decimal" if scale <= 18 and digits - scale <= 20 else kind
    return _NORMAL.get(kind, kind)


def _literal(path: Path) -> exp.Expr:
    return exp.Literal.string(exact_name(path))


def _check_ends(path: Path, subject: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(size - 4, 0))
        tail = stream.read(4)
    if tail != b"PAR1" or size < 12:
        raise truncated(path, subject, f"{size} bytes without the closing PAR1")
