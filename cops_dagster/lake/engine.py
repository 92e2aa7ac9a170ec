"""The engine seam: what a step of the month asks of whatever reads lines and adds up, as a protocol.

Belongs here: the verbs and their results. Does not belong here: an engine (`lake/duck.py` in this process,
`lake/reader.py` in one of its own), which tables there are (`lake/namespace.py`). A relation over exactly
some files is a node of the tree, `footers.parquet`: DuckDB reads it as it stands, another engine puts a table
in its place that it has made of these files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from sqlglot import exp

from cops_dagster.lake.statements import Written

Value = str | int | bool | date | datetime | Decimal | None
Row = tuple[Any, ...]
Asked = str | exp.Expr | Written
"""A statement by its name (`sql/<name>.sql`), as a tree, which is used up, or written before."""


@dataclass(frozen=True)
class Rows:
    """A fetched result: column names, and tuples with exact `Decimal` money."""

    columns: tuple[str, ...]
    rows: list[Row]

    def dicts(self) -> list[dict[str, Any]]:
        """Each row by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def one(self) -> dict[str, Any]:
        """The only row."""
        (row,) = self.dicts()
        return row


class Engine(Protocol):
    """Statements over views, kept tables and files; whoever does them, the digits are the same.

    Attributes:
        is_apart: it works in a process of its own, so it may read bytes that COPS has not written.
        reads_elsewhere: it reads objects where they lie, so outlines of them are enough on this machine.
    """

    is_apart: bool
    reads_elsewhere: bool

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        """The rows of a statement, for results that a driver holds."""
        ...

    def each(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Iterator[Row]:
        """The same one by one, for results of some size; ask nothing else until the last one."""
        ...

    def keep(self, name: str, statement: Asked, params: Mapping[str, Value] | None = None) -> None:
        """The rows of a statement as a table of the engine's, for the questions that follow."""
        ...

    def stage(self, statement: Asked, target: Path, params: Mapping[str, Value] | None = None) -> int:
        """Writes a statement's rows to one durable Parquet file; the number of rows."""
        ...

    def table(self, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> None:
        """A small table of the driver's, with DuckDB's types."""
        ...

    def view(self, name: str, query: exp.Query | Written) -> None:
        """Gives a query a name, in place of what had it."""
        ...

    def columns(self, name: str) -> list[str]:
        """The columns of a view or table that it was given, in order."""
        ...

    def relies_on(self, still: Callable[[], None]) -> None:
        """What must hold of the files behind its views for as long as they are read; it raises if not."""
        ...
