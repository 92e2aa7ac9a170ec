"""The demo on each engine: three months from delivery to reconciled, the first of them closed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cops_dagster.demo import PERIODS, write_demo
from cops_dagster.inputs.load import load
from cops_dagster.lake.bill import recorded
from cops_dagster.ledger.books import Books
from cops_dagster_tests.closing.ready import aged, close_by_two
from cops_dagster_tests.deliveries import acts, home
from cops_dagster_tests.engines.digits import sums
from cops_dagster_tests.engines.left import orphans


def demonstrated(folder: Path, made: Path, given: dict[str, Any]) -> Books:
    """What `cops demo` does with what it made, without Dagster."""
    shutil.copytree(made, folder)
    books = home(folder, inputs=None, **given)
    load(books, [folder / "inputs"])
    for period in PERIODS:
        acts(books, period)
    close_by_two(books, PERIODS[0])
    return books


def test_the_demo_has_the_rows_run_ids_and_seal_of_duckdb(given: dict[str, Any], tmp_path: Path) -> None:
    made = tmp_path / "made"
    write_demo(made)  # once: lines of the demo have no order, so its files need not be the same bytes
    aged(made / "cur")
    here, there = demonstrated(tmp_path / "here", made, {}), demonstrated(tmp_path / "there", made, given)
    assert sums(there) == sums(here)
    assert sums(here)["fact_cost_raw"][0][0] >= 60_000
    assert sums(here)["fact_cost_allocated"][0][0] > 0
    assert {one["engine"] for one in recorded(there.settings.home)} == {given["engine"]}
    assert orphans(there) == []
