"""The raw lines as Trino and Athena read them: every shape of delivery in their words, or a coded refusal.

No Trino runs here. What is printed is read back by the dialect's parser and calls known functions alone.
With the few words that DuckDB lacks put in place, it gives DuckDB the digits of `cops sql`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import outside
from cops_dagster.ledger.books import Books
from cops_dagster.stores.volume import Volume
from cops_dagster_tests.cli.called import cops, cops_json
from cops_dagster_tests.deliveries import SEPTEMBER, home, write
from cops_dagster_tests.golden import stored
from cops_dagster_tests.lake.shaped import (
    PRINTED,
    QUESTIONS,
    REVIEWED,
    SHAPES,
    delivered,
    functions,
    ingested,
    reviewed,
    said,
    statements,
    twice,
)
from cops_dagster_tests.lake.spoken import BRACKETED, KNOWN
from cops_dagster_tests.shown import answer

QUICK = ("cur 2.0", "csv")


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=() if one in QUICK else pytest.mark.long) for one in SHAPES],
)
def books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    opened = ingested(tmp_path_factory.mktemp("shape"), request.param)
    yield opened
    opened.admin.close()


def called(text: str) -> set[str]:
    """Words before a bracket in a statement as it is printed: functions, types with parameters, keywords."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    return set(re.findall(r"\b([A-Za-z_]\w*)\s*\(", bare)) - BRACKETED


def tables(text: str) -> set[str]:
    """The tables that are made: a bracket with their columns stands behind their names."""
    return set(re.findall(r"CREATE (?:EXTERNAL )?TABLE IF NOT EXISTS (\w+)", text))


class InS3(Volume):
    """The lake of a folder, shown as if it lay in S3."""

    def uri(self, path: str) -> str:
        return f"s3://cops/lake/{path}"


class Bucket:
    """What a place in S3 is asked here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def listed(self, below: str) -> list[str]:
        return [f"{below}{path.name}" for path in (self.root / below).iterdir()]


def in_s3(books: Books) -> Volume:
    return InS3(books.lake.root, Bucket(books.lake.root))  # type: ignore[arg-type]


def test_every_statement_is_read_back_by_its_dialect_and_calls_known_functions_alone(books: Books) -> None:
    for dialect, text in (("trino", said(books)), ("athena", said(books, "athena", in_s3(books)))):
        found = statements(text, dialect)
        assert len(found) == 6  # table, view and union of the lines, and of those set aside
        for one in found:
            assert one.sql(dialect=dialect) == sqlglot.parse_one(one.sql(dialect=dialect), read=dialect).sql(
                dialect
            )
        assert (
            called("\n".join(line for line in text.splitlines() if line[:2] != "--")) - tables(text) <= KNOWN
        )
        assert not re.search(
            r"(?i)read_parquet|by name|union_by|list_|struct|epoch|\bisfinite|full_match", text
        )
        assert max(len(part.encode()) for part in text.split(";\n")) < outside.LONGEST


def test_the_digits_are_those_of_cops_sql(books: Books) -> None:
    bare = carried(said(books))
    for name, question in QUESTIONS.items():
        if name in ("columns and types", "what was set aside, and why"):
            continue
        found = sorted(str(row) for row in bare.execute(question).fetchall())
        assert found == sorted(str(row) for row in answer(books, question)), name
    codes = "SELECT identity_line_item_id, quarantine_code FROM cur_quarantine ORDER BY 1"
    assert bare.execute(codes).fetchall() == answer(books, codes)
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'fact_cost_raw'"
    assert sorted(bare.execute(columns).fetchall()) == sorted(answer(books, columns))


def carried(text: str) -> duckdb.DuckDBPyConnection:
    """The statements for Trino, run by DuckDB: tables over the folders they name, missing words as macros."""
    con = duckdb.connect()
    con.execute("CREATE MACRO is_finite(x) AS isfinite(x)")
    con.execute("CREATE MACRO array_join(x, y) AS array_to_string(x, y)")
    con.execute("CREATE MACRO element_at_(m, k) AS map_extract_value(m, k)")
    con.execute("CREATE MACRO java(x) AS CAST(x AS VARCHAR)")
    for one in statements(text):
        if one.args["kind"] == "TABLE":
            (place,) = [
                found["value"].name for prop in one.args["properties"].expressions
                if (found := prop.args).get("value") is not None and "location" in str(found["this"])
            ]  # fmt: skip
            columns = ", ".join(f'"{column.name}"' for column in one.this.expressions)
            files = f"read_parquet('{place.removeprefix('file://')}*.parquet', union_by_name=true)"
            con.execute(
                f"SET TimeZone = 'UTC'; CREATE VIEW {one.this.this.name} AS SELECT {columns} FROM {files}"
            )
            continue
        con.execute(carried_view(one))
    return con


def carried_view(tree: exp.Expr) -> str:
    for node in list(tree.find_all(exp.RegexpReplace)):
        node.set("modifiers", exp.Literal.string("g"))
    for node in list(tree.find_all(exp.Format)):
        node.replace(exp.Anonymous(this="java", expressions=[node.expressions[-1]]))
    text = tree.sql(dialect="duckdb")
    return re.sub(r"'\$(\d)(:?)(\$?\d?)", r"'\\\1\2\3", text)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("shape", REVIEWED)
def test_the_delivered_lines_are_printed_as_they_were_reviewed(shape: str, tmp_path: Path) -> None:
    """`python -m cops_dagster_tests.lake.make_outside` writes the texts anew."""
    assert reviewed(ingested(tmp_path, shape)) == (PRINTED / f"{shape}.sql").read_text(encoding="utf-8")


def test_the_functions_are_printed_as_they_were_reviewed() -> None:
    assert functions() == (PRINTED / "functions.txt").read_text(encoding="utf-8")


def test_a_home_without_lines_has_views_without_rows(tmp_path: Path) -> None:
    text = said(home(tmp_path, inputs=None))
    assert carried(text).execute("SELECT COUNT(*) FROM fact_cost_raw").fetchall() == [(0,)]


@pytest.mark.long
def test_months_of_before_are_tables_of_typed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    which = [one for one in stored.kept() if one[1] == "sqlite"][-1]
    made = stored.restore(stored.HERE / which[0], tmp_path / "home", which[1])
    for name, value in made.settings().items():
        monkeypatch.setenv(name, value)
    old = open_books(settings.load())
    sums = "COUNT(*), SUM(line_item_unblended_cost), SUM(amortized_cost)"
    asked = f"SELECT period_start, {sums} FROM fact_cost_raw GROUP BY ALL"
    text = said(old)
    assert sorted(carried(text).execute(asked).fetchall()) == sorted(answer(old, asked))


# --- what has no exact form -------------------------------------------------------------------------------

ODD = {
    "a number that AWS added": pa.array([1.5] * 10, pa.float64()),
    "a time that AWS added": pa.array([datetime(2025, 9, 1)] * 10, pa.timestamp("us")),
    "four bytes of a number": pa.array([1.5] * 10, pa.float32()),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ODD)
def test_a_column_whose_text_engines_write_otherwise_is_refused(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "cur", [delivered(SEPTEMBER).append_column("line_item_new", ODD[kind])])
    books = home(tmp_path, inputs=None)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    with pytest.raises(CopsError, match="E-DIALECT") as refusal:
        said(books)
    assert "line_item_new" in refusal.value.found
    assert "2025-09" in refusal.value.subject


@pytest.mark.sampled(4)
@pytest.mark.parametrize("values", [[1] * 10, [True] * 10, ["x"] * 10, [None] * 10])
def test_a_column_whose_text_is_one_everywhere_is_taken(values: list[Any], tmp_path: Path) -> None:
    write(tmp_path / "cur", [delivered(SEPTEMBER).append_column("line_item_new", pa.array(values))])
    books = home(tmp_path, inputs=None)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    asked = "SELECT line_item_new, COUNT(*) FROM fact_cost_raw GROUP BY ALL"
    assert carried(said(books)).execute(asked).fetchall() == answer(books, asked)


def test_two_columns_whose_names_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    """A Hive table has one of them; DuckDB gives the other a name of its own."""
    write(tmp_path / "cur", [twice(delivered(SEPTEMBER))])
    books = home(tmp_path, inputs=None)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    with pytest.raises(CopsError, match=r"E-DIALECT.*differ in more than case"):
        said(books)


def test_a_folder_with_a_strange_file_is_no_table(tmp_path: Path) -> None:
    books = ingested(tmp_path, "cur 1.0")
    (folder,) = books.settings.lake_root.glob("fact_cost_raw/2025-09/*")
    (folder / "more.parquet").write_bytes(b"PAR1")
    with pytest.raises(CopsError, match=r"E-DIALECT.*'more.parquet' beside them"):
        said(books)


def test_athena_reads_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CopsError, match=r"E-DIALECT.*lake in S3"):
        said(home(tmp_path, inputs=None), "athena")


def test_the_command_prints_the_dialect_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ingested(tmp_path, "cur 2.0")
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    settings.current.cache_clear()
    text = cops("lake", "views", "2025-09", "--dialect", "trino")
    assert text.strip() == said(books).strip()
    shown = cops_json("lake", "views", "--dialect", "trino")
    assert (shown["dialect"], "ELEMENT_AT" in shown["sql"]) == ("trino", True)


def test_the_two_blank_rules_are_about_the_same_characters() -> None:
    """DuckDB's TRIM cuts category Zs; the pattern that Trino gets names it."""
    import unicodedata

    blanks = duckdb.execute(
        "SELECT i FROM range(1, 1114112) AS t(i) WHERE i NOT BETWEEN 55296 AND 57343"
        " AND LENGTH(TRIM(CHR(i::INT) || 'x' || CHR(i::INT))) = 1"
    ).fetchall()
    assert {i for (i,) in blanks} == {i for i in range(0x110000) if unicodedata.category(chr(i)) == "Zs"}
