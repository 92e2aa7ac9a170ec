"""The Iceberg tables as another program sees them: read in a process that never imports COPS."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from cops_dagster import settings
from cops_dagster.evidence import sweep
from cops_dagster.evidence.home import open_books
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import INPUTS, MONTH, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

NOTEBOOK = """
import json, sys
from decimal import Decimal
from pyiceberg.catalog.sql import SqlCatalog
root = sys.argv[1]
catalog = SqlCatalog("cops", uri=f"sqlite:///{root}/iceberg_catalog.db", warehouse=f"file://{root}/iceberg")
found = {}
for name, column in (("tagged", "unblended_cost"), ("allocated", "allocated_cost_usd")):
    table = catalog.load_table(f"cops.fact_cost_{name}")
    rows = table.scan().to_arrow()
    snapshot = table.current_snapshot().summary.additional_properties
    found[name] = [rows.num_rows, str(sum(rows[column].to_pylist(), Decimal(0))), snapshot["cops.run_id"],
                   sorted(task.file.file_path for task in table.scan().plan_files())]
assert not any(name.startswith("cops") for name in sys.modules)
json.dump(found, sys.stdout)
"""
QUERIES = {
    "tagged": "SELECT COUNT(*), CAST(SUM(unblended_cost) AS VARCHAR) FROM fact_cost_tagged",
    "allocated": "SELECT COUNT(*), CAST(SUM(allocated_cost_usd) AS VARCHAR) FROM fact_cost_allocated",
}


def elsewhere(books: Books, at: Path) -> dict[str, tuple[int, Decimal, str]]:
    """Rows, sum and newest run of each table, as plain pyiceberg reads them from the lake folder."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", NOTEBOOK, str(books.settings.lake_root)],
        cwd=at, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {}
    for name, (rows, usd, run_id, files) in json.loads(done.stdout).items():
        for file in files:
            assert Path(file.removeprefix("file://")).is_relative_to(books.settings.lake_root)
        found[name] = (rows, Decimal(usd), run_id)
    return found


def here(books: Books) -> dict[str, tuple[int, Decimal, str]]:
    heads = dict(answer(books, "SELECT table_name, run_id FROM period_head"))
    return {
        name: (rows, Decimal(usd), heads[f"fact_cost_{name}"])
        for name, query in QUERIES.items()
        for rows, usd in answer(books, query)
    }


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A month that was corrected once: files of the first run are in the lake and not in the tables."""
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path)
    run(opened)
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    run(opened)
    return opened


def test_another_program_reads_the_same_rows_sums_and_runs(books: Books, tmp_path: Path) -> None:
    found = elsewhere(books, tmp_path)
    assert found == here(books)
    assert {usd for _, usd, _ in found.values()} == {Decimal("41.880000001")}


@pytest.mark.long
def test_a_catalog_that_was_lost_is_made_anew_from_the_same_files(books: Books, tmp_path: Path) -> None:
    before = elsewhere(books, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in books.settings.lake_root.glob("fact_*/**/*.parquet")}
    (books.settings.lake_root / "iceberg_catalog.db").unlink()
    assert sweep.rebuild(books) == 6
    assert elsewhere(books, tmp_path) == before
    assert files == {
        path: path.stat().st_mtime_ns for path in books.settings.lake_root.glob("fact_*/**/*.parquet")
    }


@pytest.mark.long
def test_a_home_that_was_moved_answers_at_once_and_projects_again_after_a_rebuild(
    books: Books, tmp_path: Path
) -> None:
    before, sums = here(books), by_tenant(books)
    books.admin.close()
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    moved = open_books(settings.load(home=tmp_path / "elsewhere", cur=str(tmp_path / "cur"), actor="test"))
    assert here(moved) == before
    assert sweep.rebuild(moved) == 6
    assert elsewhere(moved, tmp_path) == before
    give(
        moved, tmp_path, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,"),
    )  # fmt: skip
    run(moved)
    assert elsewhere(moved, tmp_path) == here(moved)
    assert sum(by_tenant(moved).values()) == sum(sums.values())


@pytest.mark.long
def test_a_copy_of_a_home_never_writes_into_the_home_it_was_copied_from(books: Books, tmp_path: Path) -> None:
    """A restored backup or a staging copy: the catalog in the copy still names the original's tables."""
    books.admin.close()
    original = tmp_path / "home"
    shutil.copytree(original, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in original.rglob("*") if path.is_file()}
    copied = open_books(settings.load(home=tmp_path / "copy", cur=str(tmp_path / "cur"), actor="test"))
    write(tmp_path / "cur", [lines(MONTH)], assembly="a3")
    run(copied)
    after = {path: path.stat().st_mtime_ns for path in original.rglob("*") if path.is_file()}
    assert sorted(str(path.relative_to(original)) for path in after if path not in before) == []
    assert elsewhere(copied, tmp_path) == here(copied)
