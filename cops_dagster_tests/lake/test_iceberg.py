"""The Iceberg projection, read back with plain pyiceberg as any other reader would."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from pyiceberg.catalog.sql import SqlCatalog

from cops_dagster import settings
from cops_dagster.lake import iceberg
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.iceberg import Commit

SEPTEMBER, OCTOBER = date(2025, 9, 1), date(2025, 10, 1)
USD = "DECIMAL(38,18)"


class Lake:
    """A lake folder, its projection and a reader that knows nothing of COPS."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalog = iceberg.open_catalog(settings.load(home=root.parent))

    def file(
        self, name: str, *costs: str, month: date = SEPTEMBER, source: str = "report", more: str = ""
    ) -> Path:
        """A staged file of `fact_cost_raw`, one line for each cost."""
        path = self.root / "fact_cost_raw" / name
        values = ", ".join(f"('{cost}')" for cost in costs) or "(NULL)"
        text = (
            f"SELECT CAST(c AS {USD}) AS line_item_unblended_cost, DATE '{month}' AS period_start,"
            f" '{source}' AS source_id{more} FROM (VALUES {values}) AS v(c) WHERE c IS NOT NULL"
        )
        with DuckDB() as engine:
            engine.stage(sqlglot.parse_one(text, read="duckdb"), path)
        return path

    def publish(
        self, seq: int, *paths: Path, table: str = "fact_cost_raw", month: date = SEPTEMBER,
        source: str = "report", replaces: bool = False,
    ) -> bool:  # fmt: skip
        return iceberg.project(
            self.catalog,
            Commit(seq, f"run-{seq}", table, month, source, replaces, [str(path) for path in paths]),
        )

    def table(self, name: str = "fact_cost_raw") -> Any:
        plain = SqlCatalog(
            "cops",
            uri=f"sqlite:///{self.root / 'iceberg_catalog.db'}",
            warehouse=f"file://{self.root / 'iceberg'}",
        )
        return plain.load_table(f"cops.{name}")

    def costs(self, name: str = "fact_cost_raw", **scan: Any) -> list[Decimal]:
        rows = self.table(name).scan(**scan).to_arrow()
        column = "line_item_unblended_cost" if name == "fact_cost_raw" else "allocated_cost_usd"
        return sorted(rows.column(column).to_pylist())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def usd(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


def test_another_reader_sees_the_published_lines_to_the_last_digit(lake: Lake) -> None:
    exact = "99999999999999999999.999999999999999999", "-0.000000000000000001"
    assert lake.publish(1, lake.file("1.parquet", *exact))
    assert lake.costs() == sorted(usd(*exact))
    assert {row["source_id"] for row in lake.table().scan().to_arrow().to_pylist()} == {"report"}


def test_the_very_files_are_added_and_nothing_is_rewritten(lake: Lake) -> None:
    path = lake.file("1.parquet", "1", "2")
    before = path.stat().st_mtime_ns
    lake.publish(1, path)
    assert [task.file.file_path for task in lake.table().scan().plan_files()] == [str(path)]
    assert path.stat().st_mtime_ns == before


def test_a_journal_row_is_applied_once(lake: Lake) -> None:
    path = lake.file("1.parquet", "1", "2")
    assert [lake.publish(1, path), lake.publish(1, path)] == [True, False]
    assert lake.costs() == usd("1", "2")


def test_a_journal_row_is_known_again_behind_later_ones_and_by_a_new_process(lake: Lake) -> None:
    one, two = lake.file("1.parquet", "1"), lake.file("2.parquet", "2")
    lake.publish(1, one)
    lake.publish(2, two, replaces=True)
    again = Lake(lake.root)
    assert again.publish(1, one) is False
    assert again.costs() == usd("2")


def test_a_commit_says_which_run_and_journal_row_it_is(lake: Lake) -> None:
    lake.publish(7, lake.file("1.parquet", "1"))
    summary = lake.table().current_snapshot().summary.additional_properties
    assert (summary["cops.run_id"], summary["cops.journal_seq"]) == ("run-7", "7")


def test_a_replaced_month_shows_its_new_lines_only_and_others_stay(lake: Lake) -> None:
    lake.publish(1, lake.file("1.parquet", "1", "2"))
    lake.publish(2, lake.file("2.parquet", "10", month=OCTOBER), month=OCTOBER)
    lake.publish(3, lake.file("3.parquet", "20", source="other"), source="other")
    lake.publish(4, lake.file("4.parquet", "4"), replaces=True)
    assert lake.costs() == usd("4", "10", "20")
    lake.publish(5, lake.file("5.parquet", "50", month=OCTOBER), month=OCTOBER, replaces=True)
    assert lake.costs() == usd("4", "20", "50")
    assert lake.costs(row_filter="period_start = '2025-09-01'") == usd("4", "20")


def test_a_month_of_several_sources_replaced_as_a_whole_is_replaced_as_a_whole(lake: Lake) -> None:
    lake.publish(1, lake.file("1.parquet", "1"), lake.file("2.parquet", "2", source="b"), source="")
    lake.publish(2, lake.file("3.parquet", "3"), source="", replaces=True)
    assert lake.costs() == usd("3")


def test_an_append_only_table_keeps_every_run(lake: Lake) -> None:
    for seq, cost in ((1, "5"), (2, "-5"), (3, "6")):
        path = lake.root / "fact_cost_allocated" / f"{seq}.parquet"
        text = f"SELECT DATE '2025-09-01' AS period_start, CAST({cost} AS {USD}) AS allocated_cost_usd"
        with DuckDB() as engine:
            engine.stage(sqlglot.parse_one(text, read="duckdb"), path)
        lake.publish(seq, path, table="fact_cost_allocated", source="", replaces=seq > 1)
    assert lake.costs("fact_cost_allocated") == usd("-5", "5", "6")


def test_a_column_that_aws_added_is_appended_and_null_before(lake: Lake) -> None:
    lake.publish(1, lake.file("1.parquet", "1"))
    known = lake.table().schema().column_names
    lake.publish(2, lake.file("2.parquet", "2", month=OCTOBER, more=", 'x' AS zz_added"), month=OCTOBER)
    table = lake.table()
    assert table.schema().column_names == [*known, "zz_added"]
    rows = table.scan().to_arrow().to_pylist()
    assert sorted((row["line_item_unblended_cost"], row["zz_added"]) for row in rows) == [
        (Decimal(1), None), (Decimal(2), "x"),
    ]  # fmt: skip


def test_a_file_without_an_added_column_or_an_expected_one_still_fits(lake: Lake) -> None:
    lake.publish(
        1, lake.file("1.parquet", "1", more=", 'x' AS zz_added, 1.5::DOUBLE AS line_item_usage_amount")
    )
    lake.publish(2, lake.file("2.parquet", "2", month=OCTOBER), month=OCTOBER)
    rows = lake.table().scan().to_arrow().to_pylist()
    assert sorted((row["line_item_unblended_cost"], row["zz_added"]) for row in rows) == [
        (Decimal(1), "x"), (Decimal(2), None),
    ]  # fmt: skip


def test_an_empty_month_is_projected_and_replaces_a_full_one(lake: Lake) -> None:
    lake.publish(1, lake.file("1.parquet", "1"))
    lake.publish(2, lake.file("2.parquet"), replaces=True)
    assert lake.costs() == []
    lake.publish(3, lake.file("3.parquet", "3"), replaces=True)
    assert lake.costs() == usd("3")


def test_a_projection_that_was_dropped_is_made_anew_from_the_same_files(lake: Lake) -> None:
    path = lake.file("1.parquet", "1")
    lake.publish(1, path)
    for namespace in lake.catalog.list_namespaces():
        for table in lake.catalog.list_tables(namespace):
            lake.catalog.drop_table(table)
    assert path.exists()
    assert lake.publish(1, path) is True
    assert lake.costs() == usd("1")


@pytest.mark.long
@pytest.mark.parametrize("source", ["a/b/c", "prä fix/é", "x" * 200], ids=lambda name: f"{len(name)}")
def test_any_source_id_is_a_partition(source: str, lake: Lake) -> None:
    """A source id is a bucket prefix with the report's name: up to 1,024 bytes."""
    lake.publish(1, lake.file("1.parquet", "1", "2", source=source), source=source)
    lake.publish(2, lake.file("2.parquet", "3", source=source), source=source, replaces=True)
    assert lake.costs() == usd("3")


@pytest.mark.long
@pytest.mark.parametrize("name", ["with space", "ü", "a#b"])
def test_a_lake_may_lie_in_any_folder(name: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / name / "lake")
    lake.publish(1, lake.file("1.parquet", "1"))
    iceberg_again = Lake(lake.root)
    rows = iceberg_again.catalog.load_table("cops.fact_cost_raw").scan().to_arrow()
    assert rows.column("line_item_unblended_cost").to_pylist() == usd("1")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_statement_meets_an_orm_that_is_half_imported() -> None:
    """A projection is imported in a thread, and SQLAlchemy asks its ORM about values once that has begun."""
    asked = (
        "import sys, threading; from cops_dagster.lake import iceberg;"
        " began = 'sqlalchemy.orm' in sys.modules; ended = 'sqlalchemy.orm.session';"
        " threading.Thread.start = lambda thread: print(began, ended in sys.modules);"
        " iceberg.prepare()"
    )
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True"]
