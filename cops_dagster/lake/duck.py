"""DuckDB in memory, the engine of every step unless the settings say otherwise.

Belongs here: its limits, its bound parameters, its lock-down, its failures as coded errors. Does not belong
here: the verbs that every engine has (`lake/engine.py`), views over live files (`lake/namespace.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import statements
from cops_dagster.lake.engine import Asked, Row, Rows, Value
from cops_dagster.lake.statements import Written
from cops_dagster.stores import faults

_FULL = ("No space left", "Disk quota exceeded", "Could not write all bytes")
_TOO_LARGE = ("DECIMAL(38", "HUGEINT")
_BATCH = 10_000
"""Rows that are turned into values, or back, at a time."""


class DuckDB:
    """One in-memory DuckDB. Two threads' worth of work streams through it; nothing is kept.

    Attributes:
        is_apart: it works in a process of its own, so it may read bytes that COPS has not written.
    """

    is_apart = False
    reads_elsewhere = False

    def __init__(self, *, memory_limit: str = "2500MiB", spill: Path | None = None) -> None:
        self._con = duckdb.connect(config=configuration(memory_limit, spill))
        self._still: list[Callable[[], None]] = []

    def close(self) -> None:
        """Frees everything the engine holds."""
        self._con.close()

    def __enter__(self) -> DuckDB:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
        if not any(raised):
            self._check()

    def relies_on(self, still: Callable[[], None]) -> None:
        """What must hold of the files behind its views for as long as they are read; it raises if not.

        Asked after every file that is staged and when the engine is done, so no result outlives a doubt.
        """
        self._still.append(still)

    def _check(self) -> None:
        for still in self._still:
            still()

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        """Rows of a statement given by name (`sql/<name>.sql`) or as a tree."""
        return self.run(self._translated(statement), params)

    def keep(self, name: str, statement: Asked, params: Mapping[str, Value] | None = None) -> None:
        """The rows of a statement as a table in memory, for the questions that follow."""
        target = exp.to_identifier(name, quoted=True).sql("duckdb")
        self.run(f"CREATE OR REPLACE TEMP TABLE {target} AS {self._translated(statement)}", params)

    def stage(
        self,
        statement: Asked,
        target: Path,
        params: Mapping[str, Value] | None = None,
    ) -> int:
        """Writes a statement's rows to one Parquet file; the number of rows.

        zstd at level 1, row groups of 122,880: the default level takes 15 % more CPU for files 17 %
        smaller, groups of 1 M triple the copy's time (measured on 10 M lines).
        The file is durable before this returns, since a database row will speak of it.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        sql = self._translated(statement)
        path = exp.Literal.string(str(target)).sql(dialect="duckdb")
        rows = self.run(
            f"COPY ({sql}) TO {path} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)", params
        )
        with target.open("rb") as written:
            os.fsync(written.fileno())
        self._check()
        return int(rows.rows[0][0])

    def view(self, name: str, query: exp.Query | Written) -> None:
        """Creates or replaces one view; a tree is used up."""
        named = exp.to_table(name, dialect="duckdb").sql(dialect="duckdb")
        self.run(f"CREATE OR REPLACE VIEW {named} AS {statements.to_duckdb(query)}")

    def columns(self, name: str) -> list[str]:
        """The columns of a view or table, in order."""
        named = exp.to_identifier(name, quoted=True).sql("duckdb")
        return [row[0] for row in self.run(f"DESCRIBE {named}").rows]

    def run(self, sql: str, params: Mapping[str, Value] | None = None) -> Rows:
        """Runs text that this package built; results are fetched whole (an open one blocks the next)."""
        try:
            asked = self._named_parameters(sql) if params else set()
            used = {name: value for name, value in (params or {}).items() if name in asked}
            columns, rows = self._execute(sql, used)
        except duckdb.Error as problem:
            raise _coded(problem) from problem
        except RuntimeError as problem:
            if "Query interrupted" in str(problem):  # what DuckDB makes of a signal's handler that raised
                raise KeyboardInterrupt from None
            raise
        return Rows(tuple(columns), rows)

    def statements(self, sql: str) -> list[tuple[str, set[str]]]:
        """The statements in a text as the engine's parser sees them: kind, and names of parameters."""
        try:
            found = self._parts(sql)
        except duckdb.Error as problem:
            raise _coded(problem) from problem
        return [(one.type.name, set(one.named_parameters)) for one in found]

    def table(self, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> None:
        """A small table in memory, one bound list per column: no Arrow, no pandas, no row loop.

        Rows are taken a batch at a time, so those of an iterator need not be there all at once.
        """
        quoted = [(exp.to_identifier(column, quoted=True).sql("duckdb"), kind) for column, kind in columns]
        target = exp.to_identifier(name, quoted=True).sql("duckdb")
        self.run(f"CREATE OR REPLACE TABLE {target} ({', '.join(f'{c} {k}' for c, k in quoted)})")
        selected = ", ".join(f"CAST(unnest(CAST(? AS VARCHAR[])) AS {kind})" for _, kind in quoted)
        given = iter(rows)
        while batch := list(islice(given, _BATCH)):
            values = [[_text(row[index]) for row in batch] for index in range(len(columns))]
            try:
                self._execute(f"INSERT INTO {target} SELECT {selected}", values)
            except duckdb.Error as problem:
                raise _coded(problem) from problem

    def each(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Iterator[Row]:
        """Rows of a statement one by one, for results of some size; ask nothing else until the last one."""
        sql = self._translated(statement)
        asked = self._named_parameters(sql) if params else set()
        used = {name: value for name, value in (params or {}).items() if name in asked}
        try:
            cursor = self._con.execute(sql, used) if used else self._con.execute(sql)
            while rows := cursor.fetchmany(_BATCH):
                yield from rows
        except duckdb.Error as problem:
            raise _coded(problem) from problem

    def lock_down(self, readable: Sequence[Path], writable: Path | None = None) -> None:
        """From here on only `readable` files can be read, and nothing can be installed.

        `allowed_paths` alone does not stop `COPY … TO` (measured): the parser's one-SELECT rule does.

        Args:
            writable: a folder of which files may be read and written too.
        """
        # both spellings: the engine checks the pattern it was given and the file it opens
        spelled = [spelling for path in readable for spelling in (str(path), exact_name(path))]
        listed = exp.Array(expressions=[exp.Literal.string(spelling) for spelling in spelled])
        self.run(f"SET allowed_paths = {listed.sql(dialect='duckdb')}")
        if writable is not None:
            folders = exp.Array(expressions=[exp.Literal.string(f"{writable}/")])
            self.run(f"SET allowed_directories = {folders.sql(dialect='duckdb')}")
        self.run("SET enable_external_access = false")
        self.run("SET lock_configuration = true")

    def _named_parameters(self, sql: str) -> set[str]:
        return {name for one in self._parts(sql) for name in one.named_parameters}

    def _parts(self, sql: str) -> list[duckdb.Statement]:
        return self._con.extract_statements(sql)

    def _execute(self, sql: str, values: Mapping[str, Any] | Sequence[Any]) -> tuple[list[str], list[Row]]:
        cursor = self._con.execute(sql, values) if values else self._con.execute(sql)
        rows = cursor.fetchall()
        return [column[0] for column in cursor.description or ()], rows

    def _translated(self, statement: Asked) -> str:
        if isinstance(statement, str):
            return statements.translated(statement)
        return statements.to_duckdb(statement)


def configuration(memory_limit: str, spill: Path | None) -> dict[str, Any]:
    """How every DuckDB of COPS is opened; see design 3 for what was measured."""
    return {
        "memory_limit": memory_limit,
        "preserve_insertion_order": False,
        "temp_directory": str(spill) if spill else "",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def exact_name(path: Path) -> str:
    """A path for the engine's readers, which take * ? [ as patterns: in brackets each is itself."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _text(value: Value) -> str | None:
    if value is None:
        return None
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _coded(problem: duckdb.Error) -> CopsError:
    text = str(problem)
    first = text.split("\n")[0]
    if isinstance(problem, duckdb.OutOfMemoryException):
        return CopsError(
            "E-RESOURCE",
            "query",
            expected="work within the memory limit",
            found=first,
            next_step="raise COPS_MEMORY_LIMIT, or free disk for spilling",
        )
    if "File too large" in text:
        return CopsError(
            "E-RESOURCE",
            "query",
            expected="files of a size that fits the delivery",
            found=first,
            next_step="look at the delivered files: their content is far larger than they are",
        )
    if isinstance(problem, duckdb.OutOfRangeException) and any(sign in text for sign in _TOO_LARGE):
        return CopsError(
            "E-COST-RANGE",
            "query",
            expected="sums with at most 20 digits before the point",
            found=first,
            next_step="no amount was rounded or written; look for lines with absurd amounts: what AWS cannot"
            " have billed, it must deliver again",
        )
    if any(sign in text for sign in _FULL):
        return faults.full("query", first)
    return CopsError(
        "E-SQL",
        "query",
        expected="a statement the engine can run",
        found=first,
        next_step="correct the query; `cops sql` names tables and columns with information_schema",
        details={"engine_says": text[:2000]},
    )
