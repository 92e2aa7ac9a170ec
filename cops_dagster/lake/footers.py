"""What files of Parquet say of themselves: columns, keys of map columns, row counts. No money is read.

Belongs here: footers, and the one scan for map keys. Does not belong here: which columns a delivery must
have (`cur/schema.py`), columns that came in an odd shape (`lake/shapes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlglot
from sqlglot import exp

from cops_dagster.cur import names, schema
from cops_dagster.cur.schema import Sent
from cops_dagster.errors import CopsError
from cops_dagster.lake import shapes, statements
from cops_dagster.lake.duck import DuckDB, exact_name
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.shapes import Seen

COLUMNS_MAX = 4000
"""More columns or map keys than this are no report: a payer has at most 500 active tags."""

ROWS_PER_BYTE_MAX = 100
"""A real month takes 40 bytes a line; more rows than this are declared, not delivered."""
Keys = dict[str, list[tuple[str, bool]]]
"""By map column its keys, each with whether some line has one of its keys twice."""
_KEYS = f"""
SELECT DISTINCT
    map_name AS of_map, k.named, CARDINALITY(ARRAY_DISTINCT(s.keys)) < CARDINALITY(s.keys) AS twice
FROM (SELECT DISTINCT MAP_KEYS(map_column) AS keys FROM files_of_maps) AS s
CROSS JOIN UNNEST(s.keys) AS k (named)
LIMIT {2 * COLUMNS_MAX + 1}
"""


def survey(engine: DuckDB, paths: Sequence[Path], subject: str) -> list[Seen]:
    """What each file's footer says.

    Raises:
        CopsError: `E-FILE-TRUNC` (cut short or unreadable footer), `E-RESOURCE` (more rows than it can hold).
    """
    found: list[Seen] = []
    for path in paths:
        _check_ends(path, subject)
        source = parquet([path])
        try:
            described = engine.run(f"DESCRIBE {exp.Select().select('*').from_(source).sql('duckdb')}")
            metadata = exp.Table(
                this=exp.Anonymous(this="parquet_file_metadata", expressions=[_literal(path)])
            )
            counted = engine.run(exp.select("num_rows").from_(metadata).sql("duckdb"))
        except CopsError as problem:
            if problem.code in ("E-READER-CRASH", "E-RESOURCE"):
                raise
            raise truncated(path, subject, problem.found) from None
        rows = int(counted.rows[0][0])
        if rows > ROWS_PER_BYTE_MAX * path.stat().st_size:
            raise too_large(path, subject, f"{rows} rows in {path.stat().st_size} bytes")
        found.append(Seen(path, rows, {row[0]: row[1] for row in described.rows}, source))
    return found


def names_in(engine: DuckDB, path: Path) -> set[str]:
    """The names of a file's columns, and of what is inside them, as they are written in the file."""
    schemas = exp.Table(this=exp.Anonymous(this="parquet_schema", expressions=[_literal(path)]))
    return {name for (name,) in engine.run(exp.select("name").from_(schemas).sql("duckdb")).rows}


def inspect(
    engine: DuckDB,
    paths: Sequence[Path],
    *,
    subject: str,
    surveyed: Sequence[Seen] | None = None,
    keys_in: Engine | None = None,
) -> tuple[dict[str, Sent], list[int]]:
    """Flat columns and rows per file.

    A map column of CUR 2.0 (`product`, `resource_tags`, …) becomes one column per key that any row has; one
    that must first be written plainly (`lake/shapes.py`) has no keys yet.

    Args:
        surveyed: what `survey` found, if it was asked before.
        keys_in: what reads the lines for their keys, where these files are outlines.

    Raises:
        CopsError: what `survey` and `shapes.agree` raise, `E-RESOURCE` (absurdly many columns).
    """
    files = survey(engine, paths, subject) if surveyed is None else surveyed
    agreed = shapes.agree(engine, files, subject)
    own = {
        name: Sent("varchar", ((name, None),))
        for name in shapes.OWN
        if any(name in one.types for one in files)
    }
    return _flat(keys_in or engine, paths, agreed, subject) | own, [one.rows for one in files]


def parquet(paths: Sequence[Path], *, by_name: bool = False, file_column: str = "") -> exp.Table:
    """`read_parquet` over exactly these files: names are no patterns, folders name no columns.

    Args:
        file_column: a column that says of each row in which file it stands.
    """
    options: dict[str, exp.Expr] = {"hive_partitioning": exp.false()}
    if by_name:
        options["union_by_name"] = exp.true()
    if file_column:
        options["filename"] = exp.Literal.string(file_column)
    return exp.Table(
        this=exp.Anonymous(
            this="read_parquet",
            expressions=[
                exp.Array(expressions=[_literal(path) for path in paths]),
                *[exp.EQ(this=exp.column(name), expression=value) for name, value in options.items()],
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


def _flat(engine: Engine, paths: Sequence[Path], agreed: shapes.Agreement, subject: str) -> dict[str, Sent]:
    found: dict[str, Sent] = {}
    maps = {name: kind for name, kind in agreed.kinds.items() if kind.startswith("map ")}
    for name, kind in agreed.kinds.items():
        if name not in maps and not (shapes.is_map(name) and kind == schema.NOTHING):
            found[name] = Sent(kind, ((name, None),))
    spelled = {name.lower(): name for name in found}
    not_plain = {name for odd in agreed.odd for name in odd}
    wanted_maps = sorted(maps.keys() - not_plain)
    keys = _keys_elsewhere if engine.reads_elsewhere else _keys_here
    for column, rows in keys(engine, paths, wanted_maps).items():
        kind = maps[column].removeprefix("map ")
        for key in _checked(rows, column, subject):
            wanted = names.map_column(column.lower(), key)
            name = spelled.setdefault(wanted, wanted)
            before = found.get(name)
            if before is None or before.data_type == schema.NOTHING:
                found[name] = Sent(kind, ((column, key),))
                continue
            same = kind if before.data_type == kind else "varchar"
            found[name] = Sent(same, (*before.origins, (column, key)))
    if len(found) > COLUMNS_MAX:
        raise _too_many(subject, len(found))
    return found


def _keys_here(engine: Engine, paths: Sequence[Path], columns: Sequence[str]) -> Keys:
    """The keys that any line has in each column; a column at a time, so that one that is bad is named."""
    return {column: _keys_of(engine, paths, column) for column in columns}


def _keys_of(engine: Engine, paths: Sequence[Path], column: str) -> list[tuple[str, bool]]:
    """Lines share few sets of keys, so each set is looked at once."""
    keys = exp.func("map_keys", exp.column(column, quoted=True))
    source = parquet(paths, by_name=len(paths) > 1)
    sets = exp.select(exp.alias_(keys, "keys")).distinct().from_(source).subquery("sets")
    different = exp.func("len", exp.func("list_distinct", exp.column("keys"), dialect="duckdb"))
    twice = exp.LT(this=different, expression=exp.func("len", exp.column("keys")))
    one = exp.alias_(exp.func("unnest", exp.column("keys")), "key")
    query = exp.select(one, exp.alias_(twice, "twice")).distinct().from_(sets).limit(2 * COLUMNS_MAX + 1)
    return [(key, twice) for key, twice in engine.fetch(query).rows]


def _keys_elsewhere(engine: Engine, paths: Sequence[Path], columns: Sequence[str]) -> Keys:
    """The same in one statement: each waits there, and reads the maps again."""
    union: exp.Query | None = None
    for column in columns:
        each = sqlglot.parse_one(_KEYS, read=statements.SOURCE_DIALECT)
        assert isinstance(each, exp.Query)
        for named in list(each.find_all(exp.Column, exp.Table)):
            if named.name == "map_column":
                named.replace(exp.column(column, quoted=True))
            elif named.name == "map_name":
                named.replace(exp.Literal.string(column))
            elif named.name == "files_of_maps":
                named.replace(parquet(paths, by_name=len(paths) > 1))
        union = each if union is None else exp.union(union, each, distinct=False, copy=False)
    found: Keys = {column: [] for column in columns}
    for column, key, twice in engine.fetch(union).rows if union else ():
        found[column].append((key, twice))
    return found


def _checked(rows: Sequence[tuple[str, bool]], column: str, subject: str) -> list[str]:
    found = {key for key, _ in rows if key}
    if len(found) > COLUMNS_MAX:
        raise _too_many(f"{subject}, map {column}", len(found))
    if any(repeats for _, repeats in rows):
        raise CopsError(
            "E-SCHEMA-TYPE",
            f"{subject}, column {column}",
            expected="a map that holds each key once",
            found="a map with a key twice",
            next_step=f"deliver {column} as AWS sends it",
            details={"repeats": True},
        )
    return sorted(found)


def _too_many(subject: str, found: int) -> CopsError:
    return CopsError(
        "E-RESOURCE",
        subject,
        expected=f"at most {COLUMNS_MAX} columns",
        found=f"{found} or more",
        next_step="look at the delivered files: a payer has at most 500 active tags",
    )


def _literal(path: Path) -> exp.Expr:
    return exp.Literal.string(exact_name(path))


def _check_ends(path: Path, subject: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(size - 4, 0))
        tail = stream.read(4)
    if tail != b"PAR1" or size < 12:
        raise truncated(path, subject, f"{size} bytes without the closing PAR1")
