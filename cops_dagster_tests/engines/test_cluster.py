"""A month's lines on a real Trino, and on Athena's protocol in front: DuckDB's digits, or it fails.

What a month asks of its lines is asked of both engines (`engines/both.py`), with the relations that it really
has. Does not belong here: every statement by itself (`test_conformance.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from cops_dagster.ingestion import look
from cops_dagster.lake import footers, opened, statements
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import SEPTEMBER, acts, home, lines, write
from cops_dagster_tests.engines.both import comparing
from cops_dagster_tests.engines.doubles import hard_doubles
from cops_dagster_tests.lake.shaped import SHAPES as SHAPED
from cops_dagster_tests.lake.shaped import delivered
from cops_dagster_tests.shown import answer

SQL = Path(__file__).parents[2] / "sql"
DOUBLES = 400_000
LIVE = "fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated", "period_head", "recon_summary", "lake_file"


def digits(books: Books) -> dict[str, list[Any]]:
    return {name: sorted(map(str, answer(books, f"SELECT * FROM {name}"))) for name in LIVE}


def hard(root: Path) -> None:
    """Doubles that are no money, or none that can be carried; costs as text come in CSV, read here."""
    doubles = [
        0.1,
        -0.0,
        float("nan"),
        float("inf"),
        1e20,
        1e-19,
        5e-324,
        1.87e16,
        0.1 + 0.2,
        9.9e19,
        12.5,
        None,
    ]
    write(root, [put(odd(["acme"] * 12), "line_item_unblended_cost", pa.array(doubles, pa.float64()))])


def blanks(root: Path) -> None:
    """Tags that engines trim, fold and compose otherwise, and amounts at the edge of what can be carried."""
    spelled = [
        "acme",
        " acme",
        "\u00a0acme",
        "\tacme",
        "acme\n",
        "\u2003",
        "",
        None,
        "ÀÉİ",
        "e\u0301",
        "o'?",
        "x" * 300,
    ]
    amounts = [
        0.1,
        -0.0,
        1e-18,
        1.5e-17,
        1.87e16,
        0.1 + 0.2,
        12.5,
        1 / 3,
        4.35,
        2.5e-05,
        9007199254740993.0,
        7.0,
    ]
    write(root, [put(odd(spelled), "line_item_unblended_cost", pa.array(amounts, pa.float64()))])


def odd(tags: list[str | None]) -> pa.Table:
    table = lines("type service account cost\n" + "Usage AmazonEC2 111111111111 1\n" * len(tags))
    ids = pa.array([f"id-{number}" for number in range(len(tags))])
    table = table.append_column("identity_line_item_id", ids)
    return table.append_column("resource_tags_user_tenant_id", pa.array(tags, pa.string()))


def put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


SHAPES = {**SHAPED, "blanks": blanks}


COMPARED = [
    ("trino", "cur 2.0"), ("trino", "csv"), ("trino", "times and numbers as text"), ("trino", "blanks"),
    ("athena", "cur 2.0"), ("athena", "blanks"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "shape"), COMPARED, indirect=["engine"])
def test_whatever_a_month_asks_has_the_rows_of_duckdb(
    shape: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SHAPES[shape](tmp_path / "cur")
    books = home(tmp_path, **given)
    asked: list[str] = []
    with comparing(monkeypatch, asked):
        acts(books, SEPTEMBER)
    assert len(asked) > 15
    assert {"measure_delivery", "measure_lines", "find_negations", "group_lines_by_tags"} <= set(asked)


@pytest.mark.parametrize("engine", ["trino", "athena"], indirect=True)
def test_hard_lines_are_judged_as_duckdb_judges_them(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard(tmp_path / "cur")
    asked: list[str] = []
    with comparing(monkeypatch, asked):
        look.look(home(tmp_path, **given), SEPTEMBER)
    assert {"measure_delivery", "measure_delivery_faults", "measure_repeated_lines"} <= set(asked)


def test_a_month_has_the_rows_and_run_ids_of_duckdb(given: dict[str, Any], tmp_path: Path) -> None:
    found = {}
    for name, more in (("there", given), ("here", {})):
        write(tmp_path / name / "cur", [delivered(SEPTEMBER)])
        books = home(tmp_path / name, **more)
        acts(books, SEPTEMBER)
        found[name] = digits(books)
    for table in ("fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"):
        assert found["there"][table] == found["here"][table]
    for books in (tmp_path / "there", tmp_path / "here"):
        assert not list((books / "home" / "sessions").glob("*"))


def test_the_decimal_of_a_double_is_that_of_duckdb(given: dict[str, Any], tmp_path: Path) -> None:
    """Rounded money, many digits, random bits, and what is no number."""
    values = hard_doubles(DOUBLES)
    judged = sqlglot.parse_one(
        "SELECT n, x, IS_EXACT_USD(x) AS exact, CARRIED_USD(x) AS carried, DOUBLE_FAULT(x) AS fault,"
        " CASE WHEN IS_EXACT_USD(x) THEN EXACT_USD(x) END AS usd FROM given_doubles",
        read=statements.SOURCE_DIALECT,
    )
    books = home(tmp_path, inputs=None, **given)
    with opened.kept_files(books.settings, books.admin, None) as here:
        columns = [("n", "BIGINT"), ("x", "DOUBLE")]
        here.table("given_doubles", columns, enumerate(values))
        target = books.settings.lake_root / "judged.parquet"
        here.stage(judged.copy(), target)
        names = ("n", "x", "exact", "carried", "fault", "usd")
        with opened.scanning(books.settings, here, "doubles") as there:
            there.view("here", exp.select("*").from_(footers.parquet([target])))
            there.view("given_doubles", exp.select("n", "x").from_("here"))
            there.view("there", judged.copy())
            differing = " OR ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in names[2:])
            asked = (
                f"SELECT COUNT(*) AS n, COUNT_IF({differing}) AS wrong FROM here a JOIN there b ON a.n = b.n"
            )
            (found,) = there.fetch(sqlglot.parse_one(asked, read="trino")).rows
    assert found == (len(values), 0)
