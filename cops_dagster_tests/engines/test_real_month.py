"""A real month from its delivery to its close on each engine: every row of every table, every run id.

    COPS_TEST_REAL_MONTH=/place/of/Oct2018.parquet make test-trino

What the month is made of: `real_month.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cops_dagster.lake.bill import recorded
from cops_dagster_tests import real_month
from cops_dagster_tests.engines.digits import sums
from cops_dagster_tests.engines.left import orphans


@pytest.fixture(scope="module")
def delivered() -> Path:
    place = real_month.place()
    if place is None:
        pytest.skip("COPS_TEST_REAL_MONTH names no file")
    return place


def test_a_real_month_has_the_rows_run_ids_and_seal_of_duckdb_from_delivery_to_close(
    given: dict[str, Any], delivered: Path, tmp_path: Path
) -> None:
    here, there = (
        real_month.closed(tmp_path / "here", delivered, {}),
        real_month.closed(tmp_path / "there", delivered, given),
    )
    assert sums(there) == sums(here)
    assert sums(here)["fact_cost_raw"][0][0] > 100_000
    assert {one["engine"] for one in recorded(there.settings.home)} == {given["engine"]}
    assert orphans(there) == []
    scanned = sum(one["scanned_bytes"] for one in recorded(there.settings.home))
    count = sum(one["queries"] for one in recorded(there.settings.home))
    size = delivered.stat().st_size
    print(f"{given['engine']}: {count} statements, {scanned} bytes scanned of {size} delivered", sums(there))  # noqa: T201
