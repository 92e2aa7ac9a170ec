"""The SQL files of `sql/`, found in a wheel and in a checkout, carried to the engine's dialect.

Belongs here: loading a statement by name, its digest, and translation by sqlglot. Statements are
written in the dialect that Athena engine v3 and Trino share, with `:name` parameters. Does not
belong here: running them (`lake/engine.py`).
"""

from __future__ import annotations

import hashlib
from functools import cache

import sqlglot
from sqlglot import exp

from cops_dagster import shipped
from cops_dagster.errors import CopsError
from cops_dagster.lake.functions import expanded

SOURCE_DIALECT = "trino"


@cache
def text(name: str) -> str:
    """The statement `sql/<name>.sql` as written."""
    return shipped.find(f"sql/{name}.sql").read_text(encoding="utf-8")


def sha256(name: str) -> str:
    """Digest of the statement's text: evidence of what ran, not part of a run's id."""
    return hashlib.sha256(text(name).encode()).hexdigest()


def parsed(name: str) -> exp.Select:
    """The statement as a tree that a caller may extend by columns before it is translated."""
    tree = sqlglot.parse_one(text(name), read=SOURCE_DIALECT)
    assert isinstance(tree, exp.Query)
    return tree  # type: ignore[return-value]


@cache
def translated(name: str) -> str:
    """The statement `sql/<name>.sql` in DuckDB's dialect: read and translated once per process."""
    return to_duckdb(parsed(name))


def to_duckdb(tree: exp.Expr) -> str:
    """The statement in DuckDB's dialect, `:name` as `$name`, the functions of this package expanded."""
    return expanded(tree).sql(dialect="duckdb")


def one_select(sql: str, *, dialect: str = "duckdb") -> exp.Query:
    """The single SELECT in `sql`. Raises `E-SQL` for anything else the parser finds."""
    try:
        parsed = sqlglot.parse(sql, read=dialect)
        trees = [tree for tree in parsed if tree is not None and not isinstance(tree, exp.Semicolon)]
    except (sqlglot.errors.SqlglotError, RecursionError) as problem:
        raise _not_select(str(problem).split("\n")[0]) from None
    if len(trees) != 1:
        raise _not_select(f"{len(trees)} statements")
    if not isinstance(trees[0], exp.Query):
        raise _not_select(trees[0].key.upper())
    writes = trees[0].find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into, exp.Create, exp.Command)
    if writes is not None:
        raise _not_select(f"{writes.key.upper()} inside it")
    return trees[0]


def _not_select(found: str) -> CopsError:
    return CopsError(
        "E-SQL",
        "query",
        expected="exactly one SELECT statement",
        found=found,
        next_step="give one SELECT; data is changed by commands, never by SQL",
    )
