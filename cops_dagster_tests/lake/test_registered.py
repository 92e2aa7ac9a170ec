"""Kept files and the lens in Glue: tables of exactly the published files, and views that Athena reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import iceberg, opened, registered
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, acts, home, lines, write
from cops_dagster_tests.engines.both import Heard
from cops_dagster_tests.lake.spoken import unknown
from cops_dagster_tests.stores.buckets import bucket
from cops_dagster_tests.stores.glue_server import serving
from cops_dagster_tests.stores.s3_server import Bucket

__all__ = ["bucket"]  # the fixture


def register(books: Books, heard: Heard) -> registered.Registered:
    with books.admin.read() as con, opened.kept_files(books.settings, books.admin, None) as engine:
        catalog = iceberg.open_catalog(books.settings)
        return registered.register(con, books.lake, engine, catalog, heard)


def files_of(books: Books, table: str) -> set[str]:
    found = iceberg.open_catalog(books.settings).load_table(f"{registered.DATABASE}.{table}")
    return {task.file.file_path for task in found.scan().plan_files()}


def kept(bucket: Bucket) -> set[str]:
    return {f"s3://cops/{key}" for key in bucket.versions if key.startswith("lake/fact_cost_raw/")}


def test_kept_files_are_tables_and_the_lens_is_views_over_them(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH), lines(MONTH)])
    with serving(monkeypatch) as glue:
        books, heard = home(tmp_path, lake="s3://cops/lake", catalog="glue"), Heard("athena")
        acts(books, SEPTEMBER)
        done = register(books, heard)
        (table,) = done.tables
        before = kept(bucket)
        assert files_of(books, table) == before
        assert len(before) == 2
        assert glue.tables[table]["DatabaseName"] == registered.DATABASE
        assert {"fact_cost_raw", "cur_quarantine", "cur_billing_master"} <= set(done.views)
        made: dict[str, Any] = {}
        for text in heard.texts:
            tree = sqlglot.parse_one(text, read="athena")
            made[tree.this.name] = {one.name for one in tree.expression.find_all(exp.Table)}
            assert tree.args["kind"] == "VIEW"
            assert unknown(text) == set()
        assert list(made) == list(done.views)
        run = table.removeprefix("fact_cost_raw_").removesuffix("_files")
        assert made["fact_cost_raw"] == {f"fact_cost_raw_{run}"}
        assert table in made[f"fact_cost_raw_{run}"]
        assert table in made[f"cur_billing_master_{run}"]

        write(tmp_path / "cur", [lines(MONTH.replace("10.10", "11.10")), lines(MONTH)], assembly="b2")
        acts(books, SEPTEMBER)
        again = register(books, heard)
        assert again.forgotten == (table,)
        assert again.tables != done.tables
        assert files_of(books, again.tables[0]) == kept(bucket) - before
        assert before < kept(bucket)  # no file went with its table
        assert register(books, heard) == registered.Registered(again.tables, again.views, ())


def test_a_lake_in_a_folder_is_not_registered(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    with pytest.raises(CopsError, match="E-DIALECT"):
        register(books, Heard("athena"))


def test_many_runs_are_shown_by_views_of_views() -> None:
    heard = Heard("athena")
    runs = [(f"run_{number}", ["a"]) for number in range(30)]
    made = registered._made_of(heard, "fact_cost_raw", runs, {"a": "VARCHAR", "b": "BIGINT"})
    assert made == ["fact_cost_raw_part_0", "fact_cost_raw_part_1", "fact_cost_raw_part_2", "fact_cost_raw"]
    assert sum(text.count("FROM run_") for text in heard.texts) == 30
