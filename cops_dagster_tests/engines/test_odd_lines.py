"""Lines in types that AWS does not write: every column of them as DuckDB reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from cops_dagster.lake import footers, opened
from cops_dagster.lake.delivered import master_query
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.judged import lines_query
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.engines.both import in_order
from cops_dagster_tests.engines.conformance import WORDING
from cops_dagster_tests.lake.odd import Odd, table
from cops_dagster_tests.lake.odd_types import columns

pytestmark = pytest.mark.parametrize("engine", ["trino"], indirect=True)


@pytest.fixture
def elsewhere(given: dict[str, Any], tmp_path: Path) -> Iterator[Engine]:
    books = home(tmp_path, inputs=None, **given)
    with (
        opened.apart(books.settings, books.admin, None) as beside,
        opened.scanning(books.settings, beside, "odd lines") as found,
    ):
        yield found


def answered(engine: Engine, query: exp.Query) -> list[list[str]]:
    """Its rows, but for the wording of evidence, which each engine has its own of."""
    found = engine.fetch(query)
    shown = [at for at, name in enumerate(found.columns) if name not in WORDING]
    return in_order([tuple(row[at] for at in shown) for row in found.rows])


def test_lines_of_odd_types_are_read_to_the_same_text_and_number(elsewhere: Engine, tmp_path: Path) -> None:
    for name, given in columns().items():
        with DuckDB() as duck:
            odd = Odd(duck, tmp_path).take(table(5, **given))
            for query in (lines_query, master_query):
                assert answered(elsewhere, query(odd.files)) == answered(duck, query(odd.files)), name


def test_a_column_that_one_file_has_of_the_null_type_is_empty_there_and_read_of_the_others(
    elsewhere: Engine, tmp_path: Path
) -> None:
    nothing = {"bill_invoice_id": pa.nulls(5), "product_region": pa.nulls(5)}
    with DuckDB() as duck:
        odd = Odd(duck, tmp_path).take(table(5, **nothing), table(2, product_region=pa.nulls(2)))
        everything = exp.select("*").from_(footers.parquet(odd.files.reading, by_name=True))
        asked = ["identity_line_item_id", "bill_invoice_id", "product_region"]
        query = exp.select(*asked).from_(everything.subquery("files"))
        found = answered(elsewhere, query.copy())
        assert found == answered(duck, query)
        assert len(found) == 7
        assert answered(elsewhere, lines_query(odd.files)) == answered(duck, lines_query(odd.files))
