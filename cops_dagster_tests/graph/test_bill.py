"""What a step asked of other machines stands beside what it made."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from cops_dagster.graph import outcome
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.lake import bill
from cops_dagster.lake.bill import Bill, recorded
from cops_dagster.period import Period
from cops_dagster.stores.queries import Ran

HOST = Host(billing_periods(Period(2025, 8)))


def asks(home: Path, scanned: int) -> None:
    asked = Bill("athena", "lines of 2025-09", Decimal(5), 10**15)
    asked.ran("measure_lines", Ran("1", (), [], scanned))
    asked.record(home)


def shown() -> dict[str, object]:
    made = outcome.materialized(HOST, "fact_cost_tagged", {}, "1").metadata or {}
    return {name: value.value for name, value in made.items() if name.startswith("engine")}  # type: ignore[union-attr]


def test_a_materialisation_shows_what_its_own_step_scanned_and_paid(tmp_path: Path) -> None:
    bill.begin("a run")
    asks(tmp_path, 10**12)
    asks(tmp_path, 10**12)
    assert shown() == {
        "engine": "athena", "engine_queries": "2", "engine_scanned_bytes": f"{2 * 10**12}",
        "engine_usd": "10",
    }  # fmt: skip
    bill.begin("another run")
    assert shown() == {}  # as with DuckDB, which asks nobody
    assert [one["dagster_run_id"] for one in recorded(tmp_path)] == ["a run", "a run"]
