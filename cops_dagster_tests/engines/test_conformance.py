"""Every statement of `sql/`, every tree and every function, on DuckDB, Trino and Athena's protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cops_dagster.lake import functions
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.engines import conformance


@pytest.mark.parametrize("engine", ["trino"], indirect=True)
def test_every_statement_tree_and_function_has_the_rows_of_duckdb(
    given: dict[str, Any], tmp_path: Path
) -> None:
    made = conformance.recorded(tmp_path)
    books = home(tmp_path / "books", inputs=None, **given)
    lines = conformance.compared(made, books)
    Path(tmp_path / "lines.txt").write_text("\n".join(map(repr, lines)))
    if os.environ.get("COPS_TEST_WRITE_CONFORMANCE"):
        conformance.write(conformance.table(lines))
    assert [line for line in lines if line.wrong] == []
    assert made.left == []
    asked = {line.name for line in lines if line.cases}
    assert sorted(set(conformance.every_statement()) - asked) == []
    every = {*functions.FUNCTIONS, functions.ROW_HASH, functions.READ_WHOLE}
    assert {f"{name}(…)" for name in every} <= asked
    assert conformance.written() == conformance.table(lines)
