"""The printed views over the kept files, asked by DuckDB alone, give the digits of `cops sql`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cops_dagster.demo import cur
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import printed
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.lake.shaped import CSV, DEMO, MAPS, QUESTIONS, delivered
from cops_dagster_tests.layouts import LAYOUTS
from cops_dagster_tests.shown import answer

ALONE = """
import json, sys
import duckdb
given = json.load(sys.stdin)
con = duckdb.connect()
con.execute(given["views"])
found = {name: [[str(value) for value in row] for row in con.execute(sql).fetchall()]
         for name, sql in given["questions"].items()}
assert not any(name.startswith("cops") for name in sys.modules)
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """A month of the demo, one of CUR 2.0 with its maps, one of CSV; in the latter two lines stand aside."""
    folder = tmp_path_factory.mktemp("three")
    cur.write_month(folder / "cur", DEMO, lines=1000)
    LAYOUTS["data exports parquet, overwrite"](folder / "cur", [delivered(MAPS)], MAPS, "a1")
    LAYOUTS["legacy csv gzip, overwrite"](folder / "cur", [delivered(CSV)], CSV, "a1")
    opened = home(folder, inputs=None)
    for period in (DEMO, MAPS, CSV):
        look.look(opened, period)
        ingest.ingest(opened, period)
    yield opened
    opened.admin.close()


@pytest.fixture(scope="module")
def alone(books: Books, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with books.admin.read() as con:
        given = {"views": printed.views(con, books.lake), "questions": QUESTIONS}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE], input=json.dumps(given), cwd=tmp_path_factory.mktemp("alone"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("question", QUESTIONS)
def test_duckdb_alone_gives_the_digits_of_cops_sql(
    question: str, books: Books, alone: dict[str, Any]
) -> None:
    here = [[str(value) for value in row] for row in answer(books, QUESTIONS[question])]
    assert sorted(alone[question]) == sorted(here)
    assert here


def test_there_are_lines_and_some_that_stand_aside_in_every_kind_of_month(alone: dict[str, Any]) -> None:
    months = {row[0]: int(row[3]) for row in alone["how many by source"]}
    assert months == {"2025-07-01": 1000, "2025-08-01": 8, "2025-09-01": 8}
    codes = sorted((row[0], row[1]) for row in alone["what was set aside, and why"])
    assert codes == [
        ("2025-08-01", "E-ACCOUNT"), ("2025-08-01", "E-TIME"),
        ("2025-09-01", "E-ACCOUNT"), ("2025-09-01", "E-TIME"),
    ]  # fmt: skip
