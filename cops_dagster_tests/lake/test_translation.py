"""What a cluster would be sent, without one: read back by its dialect, of known functions, short enough.

Whether the digits are the same is shown by `make test-trino`, on a real server.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from cops_dagster.cur import schema
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import cluster, declared_files, footers, functions, statements, trino
from cops_dagster.lake.delivered import master_query
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Rows
from cops_dagster.lake.judged import lines_query
from cops_dagster.lake.trino import Dialect
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import SEPTEMBER, acts, home, write
from cops_dagster_tests.engines.both import Heard, listening
from cops_dagster_tests.lake.odd import Odd, table
from cops_dagster_tests.lake.odd_types import columns
from cops_dagster_tests.lake.shaped import SHAPES, delivered
from cops_dagster_tests.lake.spoken import unknown

SQL = Path(__file__).parents[2] / "sql"


def require_spoken(text: str, dialect: str) -> None:
    text = re.sub(r"^CREATE TABLE \w+ WITH \([^)]*\) AS ", "", text)
    assert sqlglot.parse_one(text, read=dialect).sql(dialect=dialect, comments=False) == text
    assert unknown(text) == set(), text[:300]
    assert not re.search(r"(?i)read_parquet|by name|\bisfinite\(|full_match|epoch_us|map_extract", text)
    assert len(text.encode()) < cluster.LONGEST


def spoken(name: str, dialect: Dialect) -> str:
    return trino.expanded(statements.parsed(name), dialect).sql(dialect=dialect, comments=False)


@pytest.mark.parametrize("dialect", ["trino", "athena"])
def test_every_statement_is_read_back_and_calls_known_functions_alone(dialect: Dialect) -> None:
    for path in sorted(SQL.rglob("*.sql")):
        require_spoken(spoken(path.relative_to(SQL).with_suffix("").as_posix(), dialect), dialect)


def test_what_stands_within_a_rewritten_part_is_rewritten_too() -> None:
    instant = exp.func("make_timestamp", exp.func("epoch_us", exp.column("x")))
    for around in (
        functions.joined("; ", [functions.joined(", ", [instant]), exp.column("y")]),
        exp.func(
            "CONCAT", exp.cast(exp.func("CONCAT", instant, exp.column("y")), "VARCHAR"), exp.column("z")
        ),
        exp.func("TRIM", exp.cast(exp.func("TRIM", exp.cast(instant, "VARCHAR")), "VARCHAR")),
    ):
        text = trino.expanded(exp.select(around).from_("t"), "trino").sql(dialect="trino")
        assert not re.search("(?i)epoch_us|[(]TRIM", text)
        require_spoken(text, "trino")


def test_a_column_of_the_null_type_is_declared_in_no_table_and_is_empty_in_its_rows(tmp_path: Path) -> None:
    with DuckDB() as engine:
        odd = Odd(engine, tmp_path).take(
            table(1, bill_invoice_id=pa.nulls(1), product_region=pa.nulls(1)),
            table(1, product_region=pa.nulls(1)),
        )
        files = declared_files.agreed(footers.survey(engine, odd.files.reading, "d"))
    assert ["bill_invoice_id" in part.types for part in files.parts] == [False, True]
    assert not any("product_region" in part.types for part in files.parts)
    query = declared_files.rows(files, ["t_1", "t_2"], {}, None)
    assert query is not None
    first, second = query.sql(dialect="trino").split(" UNION ALL ")
    assert 'NULL AS "bill_invoice_id"' in first
    assert ', "bill_invoice_id"' in second
    assert 'CAST(NULL AS VARCHAR) AS "product_region"' in first
    assert 'CAST(NULL AS VARCHAR) AS "product_region"' in second


@pytest.mark.parametrize("odd", columns())
def test_a_value_that_becomes_text_or_number_does_so_by_a_function_of_the_package(
    odd: str, tmp_path: Path
) -> None:
    """A cast's text of a double or a time, and its number of a text, is each engine's own."""
    with DuckDB() as engine:
        taken = Odd(engine, tmp_path).take(table(5, **columns()[odd]))
    text = "double", "FLOAT", "timestamp", schema.ZONED
    own = {name for sent in taken.columns.values() if sent.data_type in text for name, _ in sent.origins}
    for query in (lines_query(taken.files), master_query(taken.files)):
        for cast in query.find_all(exp.Cast):
            evidence = cast.find_ancestor(exp.Alias)
            if evidence is not None and evidence.alias == "quarantine_reason":
                continue  # evidence for people, which each engine words
            assert not _makes_text_of(cast, own), cast.sql()
            assert not isinstance(cast, exp.TryCast), cast.sql()


def _makes_text_of(cast: exp.Cast, names: set[str]) -> bool:
    of = cast.this
    if isinstance(of, exp.Anonymous) and of.name.lower() == "map_extract_value":
        of = of.expressions[0]
    is_column = isinstance(of, exp.Column) and of.name in names
    return is_column and cast.to.this == exp.DType.VARCHAR


def test_the_statements_are_spoken_as_they_were_reviewed() -> None:
    """`python -m cops_dagster_tests.lake.make_spoken` writes the text anew."""
    from cops_dagster_tests.lake import make_spoken

    assert make_spoken.text() == make_spoken.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "shape", ["cur 2.0", *(pytest.param(one, marks=pytest.mark.long) for one in SHAPES if one != "cur 2.0")]
)
def test_every_tree_of_a_month_is_read_back_and_calls_known_functions_alone(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SHAPES[shape](tmp_path / "cur")
    heard, asked = Heard("athena"), []
    with listening(monkeypatch, heard, asked):
        acts(home(tmp_path), SEPTEMBER)
    assert len(heard.texts) > 20
    assert "group_lines_by_tags" in " ".join(asked) or "measure_lines" in asked
    for text in heard.texts:
        require_spoken(text, "athena")


def test_the_keys_of_maps_are_asked_in_one_statement() -> None:
    asked: list[exp.Expr] = []

    class There:
        reads_elsewhere = True

        def fetch(self, tree: exp.Expr) -> Rows:
            asked.append(tree)
            return Rows((), [("resource_tags", "user_a", False), ("product", "b", True)])

    columns = ["product", "resource_tags"]
    found = footers._keys_elsewhere(There(), [Path("/a"), Path("/b")], columns)  # type: ignore[arg-type]
    assert found == {"product": [("b", True)], "resource_tags": [("user_a", False)]}
    (tree,) = asked
    for one in list(tree.find_all(exp.Table)):
        if isinstance(one.this, exp.Anonymous):
            one.replace(exp.to_table("made_1"))
    require_spoken(trino.expanded(tree, "athena").sql(dialect="athena", comments=False), "athena")


def test_a_month_of_500_long_tags_is_short_enough_for_athena(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = delivered(SEPTEMBER)
    for number in range(500):
        name = f"resource_tags_user_{'a_tag_of_a_long_name_' * 3}{number:03d}"
        table = table.append_column(name, pa.array(["x"] * table.num_rows))
    write(tmp_path / "cur", [table])
    heard, books = Heard("athena"), home(tmp_path)
    with listening(monkeypatch, heard, []):
        look.look(books, SEPTEMBER)
        ingest.ingest(books, SEPTEMBER)
        tag.tag(books, SEPTEMBER)
    longest = max(len(text.encode()) for text in heard.texts)
    assert 10_000 < longest < cluster.LONGEST


def test_a_longer_statement_is_refused_before_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SHAPES["cur 1.0"](tmp_path / "cur")
    monkeypatch.setattr(cluster, "LONGEST", 1000)
    with (
        listening(monkeypatch, Heard("athena"), []),
        pytest.raises(Exception, match=r"1000 bytes"),
    ):
        acts(home(tmp_path), SEPTEMBER)
