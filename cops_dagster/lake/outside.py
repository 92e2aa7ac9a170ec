"""The raw lines for Trino and Athena: the kept files as external tables, and the lens over them as views.

Belongs here: one table for each run's folder, exact or refused, and the statements as text. Does not belong
here: DuckDB's views (`lake/printed.py`), the words of these dialects (`lake/trino.py`). The other lake tables
are Iceberg tables, which these engines read by their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.cur import schema
from cops_dagster.errors import CopsError
from cops_dagster.lake import footers, trino
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.live import LiveFile, live_files
from cops_dagster.lake.namespace import LENS, kept_delivery
from cops_dagster.lake.tables import LAKE_TABLES, Columns
from cops_dagster.lake.trino import Dialect
from cops_dagster.stores.volume import Volume

LONGEST = 262_144
"""Bytes of a statement that Athena takes."""
_WORDS = {
    "VARCHAR": "VARCHAR", "DOUBLE": "DOUBLE", "TIMESTAMP": "TIMESTAMP", "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP", "TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "DATE": "DATE", "BOOLEAN": "BOOLEAN", "TINYINT": "TINYINT", "SMALLINT": "SMALLINT", "INTEGER": "INTEGER",
    "BIGINT": "BIGINT", "MAP(VARCHAR, VARCHAR)": "MAP(VARCHAR, VARCHAR)",
    "MAP(VARCHAR, DOUBLE)": "MAP(VARCHAR, DOUBLE)",
}  # fmt: skip
"""The engine's type of a column in a file → the type that these dialects declare for it."""
_DECIMAL = re.compile(r"DECIMAL\(\d+,\d+\)")
_NAME = re.compile(r"[a-z0-9_]+", re.ASCII)
_SAME_TEXT = frozenset(
    {"varchar", "decimal", schema.NOTHING, "DATE", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
)
"""Delivered types that every engine writes alike as text."""
_PLAIN_NAMES = "columns of letters, digits and _ whose names differ in more than case"
_HEAD = """\
-- fact_cost_raw and cur_quarantine over the files that the lake keeps, for {name}.
-- Run it in a schema of its own in a Hive catalog{athena}: every name is one of that schema.
-- The other tables of the lake are Iceberg tables of the same names in the schema cops, apart from these.
-- The wording of quarantine_reason is the engine's own, every other value that of `cops sql`.
"""
_TRINO = """\
-- Hive reads times to the millisecond; with hive.timestamp-precision=MICROSECONDS declare timestamp(6). INT96
-- times need hive.parquet.time-zone=UTC.
"""


def views(
    con: sa.Connection, lake: Volume, engine: DuckDB, dialect: Dialect, period_start: date | None = None
) -> str:
    """External tables of exactly the kept files, and the two views over them, as statements.

    Args:
        engine: one in a process of its own (`Books.lines`): what a file's footer says is read here.

    Raises:
        CopsError: `E-DIALECT` for what has no exact form there, `E-DIGEST` and `E-LAKE-STORE` for lost files.
    """
    if dialect == "athena" and lake.place is None:
        raise _refusal(
            "views", "athena", "a lake in S3, where Athena reads", f"a folder, {lake.root}", "set COPS_LAKE"
        )
    head = _HEAD.format(
        name=dialect.title(), athena="" if dialect == "trino" else ", as AWS's Data Catalog is"
    )
    made = [head + (_TRINO if dialect == "trino" else "")]
    for name in LENS:
        runs: dict[str, list[LiveFile]] = {}
        for file in live_files(con, lake, name, period_start=period_start):
            runs.setdefault(file.run_id, []).append(file)
        over = [Over(con, lake, engine, dialect, files) for files in runs.values()]
        for one in over:
            made += [one.table_text(), created(one.name, one.lines, dialect)]
        shown = [(one.name, one.columns) for one in over]
        made.append(created(name, union(shown, columns_in(LAKE_TABLES[name], shown)), dialect))
    return "\n".join(made)


def columns_in(known: Columns, over: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """The columns of a view over others: what AWS added is text, and stands behind those that are known."""
    columns = dict(known)
    for _, has in over:
        columns |= {column: "VARCHAR" for column in has if column not in columns}
    return columns


def created(name: str, query: exp.Query, dialect: Dialect) -> str:
    """A view's statement. One for each run keeps it short: Athena takes so many bytes.

    Raises:
        CopsError: `E-DIALECT` for one that is too long.
    """
    created = exp.Create(this=exp.to_table(name), kind="VIEW", replace=True, expression=query)
    text = trino.expanded(created, dialect).sql(dialect=dialect, pretty=True, comments=False) + ";\n"
    if dialect == "athena" and len(text.encode()) > LONGEST:
        found = f"{len(text.encode())} bytes"
        raise _refusal(
            f"view {name}",
            dialect,
            f"a statement of at most {LONGEST} bytes",
            found,
            "print fewer months at once",
        )
    return text


def union(over: Sequence[tuple[str, Sequence[str]]], columns: Mapping[str, str]) -> exp.Query:
    """The rows of views, each with the columns it has, under all of `columns`; without any, no row."""
    made: exp.Query = _nothing(columns)
    for number, (name, has) in enumerate(over):
        branch = _branch(name, has, columns)
        made = exp.union(made, branch, distinct=False, copy=False) if number else branch
    return made


def _branch(name: str, has: Sequence[str], columns: Mapping[str, str]) -> exp.Select:
    """Every column of the view in its order, NULL where these files have none: UNION goes by position."""
    values = [
        exp.column(column, quoted=True)
        if column in has
        else exp.alias_(exp.cast(exp.null(), kind), column, quoted=True)
        for column, kind in columns.items()
    ]
    return exp.Select().from_(exp.to_table(name)).select(*values, copy=False)


def _nothing(columns: Mapping[str, str]) -> exp.Select:
    nulls = [exp.alias_(exp.cast(exp.null(), kind), name, quoted=True) for name, kind in columns.items()]
    return exp.Select().select(*nulls, copy=False).where(exp.false(), copy=False)


class Over:
    """One run's files as a table, and the view over it.

    Attributes:
        run: the beginning of the run's id.
        name: of the view.
        table: its name.
        files, rows: the run's files, and the rows of each.
        kinds: of each column of the files that is read, as it is written there, the reader's type.
        kept: the delivery, where the files are its bytes.
        lines: the lines of the run, as a query over the table.
        columns: what the view has.
    """

    def __init__(
        self, con: sa.Connection, lake: Volume, engine: DuckDB, dialect: Dialect, files: list[LiveFile]
    ) -> None:
        first = files[0]
        self.files, self._dialect = files, dialect
        self._subject = f"{first.table_name} of {first.period_start:%Y-%m}, source {first.source_id}"
        self.run = first.run_id[:16]
        self.name = f"{first.table_name}_{self.run}"
        self.table = f"{self.name}_files"
        self._lake = lake
        self._through = Lens.from_json(first.lens) if first.lens else None
        self.kept = kept_delivery(con, files, self._through) if self._through else None
        self.kinds: dict[str, str] = {}
        self._types = self._declared(engine)
        self.lines = self._seen()
        self.columns = self.lines.named_selects

    def table_text(self) -> str:
        """The statement that makes the table."""
        columns = [
            exp.ColumnDef(
                this=exp.to_identifier(name, quoted=True), kind=exp.DataType.build(kind, dialect="trino")
            )
            for name, kind in self._types.items()
        ]
        parquet, at = (
            exp.FileFormatProperty(this=exp.Literal.string("PARQUET")),
            exp.Literal.string(self._folder()),
        )
        properties: list[exp.Expr] = (
            [exp.Property(this=exp.var("external_location"), value=at), parquet]
            if self._dialect == "trino"
            else [
                exp.ExternalProperty(),
                exp.FileFormatProperty(this=exp.var("PARQUET"), hive_format=True),
                exp.LocationProperty(this=at),
            ]
        )
        created = exp.Create(
            this=exp.Schema(this=exp.to_table(self.table), expressions=columns),
            kind="TABLE",
            exists=True,
            properties=exp.Properties(expressions=properties),
        )
        return created.sql(dialect=self._dialect, pretty=True) + ";\n"

    def _seen(self) -> exp.Query:
        """The lines of the run."""
        table = exp.to_table(self.table)
        if self._through is None or self.kept is None:
            return exp.select(*[exp.column(name, quoted=True) for name in self._types]).from_(table)
        first = self.files[0]
        return self.over_table(LENS[first.table_name](self.kept, self._through, first.period_start))

    def over_table(self, query: exp.Query) -> exp.Query:
        """A query over the run's files as one over its table."""
        for source in list(query.find_all(exp.Table)):
            if isinstance(source.this, exp.Anonymous):  # read_parquet
                source.replace(exp.to_table(self.table))
        return query

    def _folder(self) -> str:
        """Where the files lie: a folder of them alone, since these engines read all that is in one."""
        lake = self._lake
        folders = {file.path.parent for file in self.files}
        folder = min(folders)
        below = folder.relative_to(lake.root).as_posix()
        there = (
            {path.name for path in folder.iterdir()}
            if lake.place is None
            else {name.rpartition("/")[2] for name in lake.place.listed(f"{below}/")}
        )
        strange = sorted(there - {file.path.name for file in self.files})
        if len(folders) > 1 or strange:
            found = f"{strange[0]!r} beside them" if strange else f"{len(folders)} folders"
            raise self._refused(
                "the run's files alone in one folder", found, "take away what COPS did not write"
            )
        return f"{lake.uri(below)}/" if lake.place else f"file://{folder}/"

    def _declared(self, engine: DuckDB) -> dict[str, str]:
        """The columns that are read, by name in lower case, with their types in the files."""
        given: dict[str, set[str]] = {}
        seen = footers.survey(engine, [file.path for file in self.files], self._subject)
        self.rows = [one.rows for one in seen]
        for one in [one for one in seen if one.rows] or seen:
            written = footers.names_in(engine, one.path)
            for column, kind in one.types.items():
                if column not in written:  # the engine gave it this name, since another has its own
                    raise self._refused(_PLAIN_NAMES, column)
                given.setdefault(column, set()).add(kind)
        read = self._read() if self.kept else {name: [None] for name in given}
        declared: dict[str, str] = {}
        for column, names in read.items():
            kinds = given[column]
            kind = min(kinds)
            word = kind if _DECIMAL.fullmatch(kind) else _WORDS.get(kind)
            lower = column.lower()
            if len(kinds) > 1:
                raise self._refused(
                    "one type of a column in every file", f"{column}: {' and '.join(sorted(kinds))}"
                )
            if word is None:
                raise self._refused("types that both engines read alike", f"{column}: {kind}")
            if not _NAME.fullmatch(lower) or lower in declared:
                raise self._refused(_PLAIN_NAMES, column)
            declared[lower], self.kinds[column] = word, kind
            self._require_exact(column, kind, names)
        return declared

    def _read(self) -> dict[str, list[Any]]:
        """Columns of the files that the lens reads, each with what it is read as."""
        assert self.kept
        found: dict[str, list[Any]] = {}
        for name, sent in self.kept.columns.items():
            # no line has a value in a column of nothing, so the lens does not read it
            for column, _ in sent.origins if sent.data_type != schema.NOTHING else ():
                found.setdefault(column, []).append((name, sent))
        return found

    def _require_exact(self, column: str, kind: str, names: Sequence[Any]) -> None:
        """Refuses what would be written as text, or read from text, in an engine's own way."""
        for one in names:
            if one is None:
                continue
            name, sent = one
            known = schema.BY_NAME.get(name.lower())
            as_text = known is None or known.data_type == "varchar"
            if as_text and sent.data_type not in _SAME_TEXT:
                raise self._refused("a type that every engine writes alike as text", f"{column}: {kind}")
            if (
                known
                and known.data_type == "double"
                and not known.exact
                and sent.data_type == "varchar"
                and kind == "VARCHAR"
            ):
                raise self._refused("a number, not a text that engines read otherwise", f"{column}: {kind}")

    def _refused(
        self,
        expected: str,
        found: str,
        next_step: str = "read this month with DuckDB, or `cops lake export` it",
    ) -> CopsError:
        return _refusal(self._subject, self._dialect, expected, found, next_step)


def _refusal(subject: str, dialect: Dialect, expected: str, found: str, next_step: str) -> CopsError:
    return CopsError(
        "E-DIALECT", f"{subject} for {dialect}", expected=expected, found=found, next_step=next_step
    )
