"""The SQL files of `sql/`, found in a wheel and in a checkout, carried to the engine's dialect.

Belongs here: loading a statement by name, its digest, and translation by sqlglot. Statements are
written in the dialect that Athena engine v3 and Trino share, with `:name` parameters. Does not
belong here: running them (`lake/engine.py`).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import sqlglot
from sqlglot import exp

from cops_dagster.errors import CopsError

SOURCE_DIALECT = "trino"

# The decimal of a delivered double is the one with fewest decimals that reads back as the same
# double. Below 100,000 and with at most 10 decimals (15 digits) that decimal is unique, so the
# cheap cast is right whenever it reads back (0.12 s for 10 M values; the text route takes 0.9 s).
# Otherwise the engine's shortest text of the double is parsed. What needs more than 18 decimals
# is refused before (sql/measure_delivery.sql), so nothing is rounded here.
_EXACT_USD = """
CASE WHEN CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DOUBLE) = x
     THEN CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
     ELSE TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, 18)) END
"""
# True for NULL: absence is judged elsewhere. Through text, because decimal → double divides and may
# miss the double by one unit.
_IS_EXACT_USD = """
CASE WHEN x IS NULL THEN TRUE
     WHEN COALESCE(CAST(TRY_CAST(x AS DECIMAL(15, 10)) AS DOUBLE) = x, FALSE) THEN TRUE
     ELSE COALESCE(
         CAST(CAST(TRY_CAST(CAST(x AS VARCHAR) AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = x, FALSE) END
"""


@cache
def text(name: str) -> str:
    """The statement `sql/<name>.sql` as written."""
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "sql", here.parent / "sql"):
        path = folder / f"{name}.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"sql/{name}.sql is not installed")


def sha256(name: str) -> str:
    """Digest of the statement's text: evidence of what ran, not part of a run's id."""
    return hashlib.sha256(text(name).encode()).hexdigest()


def parsed(name: str) -> exp.Select:
    """The statement as a tree that a caller may extend by columns before it is translated."""
    tree = sqlglot.parse_one(text(name), read=SOURCE_DIALECT)
    assert isinstance(tree, exp.Query)
    return tree  # type: ignore[return-value]


def to_duckdb(tree: exp.Expr) -> str:
    """The statement in DuckDB's dialect, `:name` as `$name`, the exact-money functions expanded."""

    def expand(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Anonymous) and node.name.upper() in _FUNCTIONS:
            argument = node.expressions[0].transform(expand)
            return exp.Paren(
                this=_FUNCTIONS[node.name.upper()]
                .copy()
                .transform(lambda part: argument.copy() if part == exp.column("x") else part)
            )
        return node

    return tree.transform(expand).sql(dialect="duckdb")


_FUNCTIONS: dict[str, exp.Expr] = {
    "EXACT_USD": sqlglot.parse_one(_EXACT_USD, read="duckdb"),
    "IS_FINITE": sqlglot.parse_one("isfinite(x)", read="duckdb"),
    "IS_EXACT_USD": sqlglot.parse_one(_IS_EXACT_USD, read="duckdb"),
}


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
