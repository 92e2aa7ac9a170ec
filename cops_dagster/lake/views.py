"""Views made of pieces: over files, over nothing, one after the other by name.

Belongs here: queries that any table is shown by, and an admin table's types in the engine. Does not belong
here: which tables there are and which files they show (`lake/namespace.py`), questions (`sql/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.lake import statements
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.statements import Written
from cops_dagster.lake.tables import Columns
from cops_dagster.stores import tables as t


def admin_columns(table: sa.Table) -> Columns:
    """An admin table's columns with the engine's types."""
    return tuple(
        (column.name, next(kind for base, kind in _ADMIN_TYPES if isinstance(column.type, base)))
        for column in table.columns
    )


def view(engine: Engine, name: str, query: exp.Query | Written) -> None:
    """Creates or replaces one view; a tree is used up."""
    engine.view(name, query)


def empty(columns: Columns) -> exp.Query:
    """A query with the given columns and no row: it gives a union its types and order."""
    nulls = [
        exp.alias_(exp.Cast(this=exp.null(), to=_type(kind).copy()), name, quoted=True, copy=False)
        for name, kind in columns
    ]
    return exp.Select().select(*nulls, copy=False).where(exp.false(), copy=False)


@cache
def _type(kind: str) -> exp.DataType:
    return exp.DataType.build(kind)  # it parses: 2,730 times in a small month


@cache
def _empty(columns: Columns) -> str:
    return statements.to_duckdb(empty(columns))


def read_parquet(paths: Sequence[Path]) -> exp.Query:
    """All columns of the given files, matched by name."""
    return exp.select("*").from_(parquet(paths, by_name=len(paths) > 1))


def over_files(columns: Columns, paths: Sequence[Path]) -> Written:
    """The contract's columns first, whatever the files hold beyond them behind; by name."""
    none = Written(_empty(columns), lambda: empty(columns))
    return written_by_name([none, statements.written(lambda: read_parquet(paths))] if paths else [none])


def written_by_name(queries: Sequence[Written]) -> Written:
    """`UNION ALL BY NAME` of one or more queries, in DuckDB's dialect."""
    text = " UNION ALL BY NAME ".join(one.text for one in queries)
    return Written(text, lambda: union_by_name([one.tree() for one in queries]))


def union_by_name(queries: Sequence[exp.Query]) -> exp.Query:
    """`UNION ALL BY NAME` of one or more queries."""
    combined = queries[0]
    for query in queries[1:]:
        combined = exp.Union(this=combined, expression=query, distinct=False, by_name=True)
    return combined


_ADMIN_TYPES: tuple[tuple[type[Any], str], ...] = (
    (t.Money, "DECIMAL(38,18)"),
    (sa.Boolean, "BOOLEAN"),
    (sa.DateTime, "TIMESTAMP"),
    (sa.Date, "DATE"),
    (sa.Integer, "BIGINT"),
    (sa.Text, "VARCHAR"),
)
