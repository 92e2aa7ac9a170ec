"""The SQL files of `sql/`, found in a wheel and in a checkout, carried to the engine's dialect.

Belongs here: loading a statement by name, its digest, and translation by sqlglot. Statements are
written in the dialect that Athena engine v3 and Trino share, with `:name` parameters. Does not
belong here: running them (`lake/duck.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import sqlglot
from sqlglot import exp

from cops_dagster import shipped
from cops_dagster.lake.functions import expanded

SOURCE_DIALECT = "trino"


@cache
def text(name: str) -> str:
    """The statement `sql/<name>.sql` as written."""
    return shipped.find(f"sql/{name}.sql").read_text(encoding="utf-8")


def sha256(name: str) -> str:
    """Digest of the statement's text: evidence of what ran, not part of a run's id."""
    return hashlib.sha256(text(name).encode()).hexdigest()


@dataclass(frozen=True)
class Written:
    """A query that stands in DuckDB's dialect already: it was translated once and is asked again as text.

    Attributes:
        tree: makes it anew for another engine, as a tree that is used up.
    """

    text: str
    tree: Callable[[], exp.Query] = field(compare=False)


def written(make: Callable[[], exp.Query]) -> Written:
    """A query that is translated now and can be made anew."""
    return Written(to_duckdb(make()), make)


def parsed(name: str) -> exp.Select:
    """The statement as a tree of the caller's own, who may extend it before it is translated."""
    return _kept(name).copy()


@cache
def _kept(name: str) -> exp.Select:
    return _read(name)


def _read(name: str) -> exp.Select:
    tree = sqlglot.parse_one(text(name), read=SOURCE_DIALECT)
    assert isinstance(tree, exp.Query)
    return tree  # type: ignore[return-value]


@cache
def translated(name: str) -> str:
    """The statement `sql/<name>.sql` in DuckDB's dialect: read and translated once per process."""
    return to_duckdb(_read(name))


def to_duckdb(query: exp.Expr | Written) -> str:
    """The statement in DuckDB's dialect, `:name` as `$name`, the functions of this package expanded.

    A tree is used up: it is neither copied before it is expanded nor before it is written.
    """
    if isinstance(query, Written):
        return query.text
    return expanded(query).sql(dialect="duckdb", copy=False)


def tree_of(sql: str) -> exp.Expr | None:
    """A person's query as a tree to look at; `None` for what only the engine can read."""
    try:
        return sqlglot.parse_one(sql, read="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
