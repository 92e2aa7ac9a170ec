"""Views within a statement: what is left out, and what a union by name becomes; DuckDB runs it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from cops_dagster.lake.inlined import columns_of, inlined

VIEWS = {
    "typed": "SELECT CAST(NULL AS VARCHAR) AS a, CAST(NULL AS INTEGER) AS n WHERE FALSE",
    "first": "SELECT a AS a, n AS n, a || 'x' AS made FROM base",
    "every": (
        "SELECT * FROM typed UNION ALL BY NAME SELECT * FROM first UNION ALL BY NAME SELECT 7 AS n, 'z' AS z"
    ),
    "outer_one": "SELECT *, made || '!' AS more FROM first",
}
KNOWN = {"base": ["a", "n"]}


def whole(sql: str) -> str:
    views = {name: parsed(text) for name, text in VIEWS.items()}
    return inlined(parsed(sql), views, KNOWN).sql(dialect="duckdb")


def parsed(sql: str) -> Any:
    return sqlglot.parse_one(sql, read="duckdb")


def rows(sql: str) -> list[Any]:
    con = duckdb.connect()
    con.execute("CREATE TABLE base AS SELECT * FROM (VALUES ('p', 1), ('q', 2)) AS t(a, n)")
    return sorted(con.execute(sql).fetchall(), key=str)


def with_views(sql: str) -> list[Any]:
    con = duckdb.connect()
    con.execute("CREATE TABLE base AS SELECT * FROM (VALUES ('p', 1), ('q', 2)) AS t(a, n)")
    for name, text in VIEWS.items():
        con.execute(f"CREATE VIEW {name} AS {text}")
    return sorted(con.execute(sql).fetchall(), key=str)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n FROM every",
        "SELECT * FROM every",
        "SELECT z FROM every",
        "SELECT COUNT(*) FROM every",
        "SELECT COUNT(*) FROM first",
        "SELECT SUM(n) AS s FROM every WHERE a IS NOT NULL",
        "SELECT more FROM outer_one WHERE n = 2",
        "SELECT DISTINCT a FROM first AS f INNER JOIN every AS b USING (a)",
        "SELECT made FROM first WHERE a IN (SELECT a FROM first)",
        "WITH every AS (SELECT 1 AS n) SELECT n FROM every",
        "SELECT a, COUNT(*) FROM every GROUP BY 1 ORDER BY 1",
        "SELECT * FROM first UNION ALL SELECT a, n, a FROM every",
    ],
)
def test_a_statement_with_its_views_in_it_has_the_rows_of_one_over_views(sql: str) -> None:
    text = whole(sql)
    assert "BY NAME" not in text
    assert rows(text) == with_views(sql)


def test_what_nobody_names_is_left_out_and_what_is_named_stays() -> None:
    assert "'x'" not in whole("SELECT n FROM outer_one")
    assert "'x'" in whole("SELECT more FROM outer_one")
    assert "'x'" in whole("SELECT n FROM outer_one WHERE made <> ''")


def test_the_columns_of_a_union_by_name_are_those_of_its_branches_in_order() -> None:
    views = {name: parsed(text) for name, text in VIEWS.items()}
    made = inlined(exp.select("*").from_("every"), views, KNOWN)
    assert columns_of(made, KNOWN) == ["a", "n", "made", "z"]
