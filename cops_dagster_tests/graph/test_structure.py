"""What the definitions really hold, asked of Dagster: schemas, checks, the job, and what stops a run.

`test_graph.py` draws the graph; this file holds the drawing's sources (`CHECKS`) against the definitions.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cops_dagster.errors import CopsError
from cops_dagster.graph.build import JOB, build_defs
from cops_dagster.graph.checks import CHECKS
from cops_dagster.graph.launch import launch
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.operations.all_checks import BLOCKING
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, home
from cops_dagster_tests.graph.homes import last_run, month

__all__ = ["month"]  # the fixture
FIRST = Period(2025, 7)
CONTROLS = dg.AssetKey("control_status")


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs(first=FIRST)


def made(defs: dg.Definitions) -> list[dg.AssetSpec]:
    return [
        spec
        for asset in defs.assets or []
        if isinstance(asset, dg.AssetsDefinition) and asset.is_materializable
        for spec in asset.specs
    ]


def tables_made(defs: dg.Definitions) -> list[dg.AssetSpec]:
    return [spec for spec in made(defs) if spec.key != dg.AssetKey("close_report")]


def test_every_table_that_is_made_shows_its_columns_and_its_name(defs: dg.Definitions) -> None:
    for spec in tables_made(defs):
        columns = spec.metadata["dagster/column_schema"].columns
        assert len(columns) >= 3, spec.key
        assert all(column.name and column.type for column in columns)
        assert spec.metadata["dagster/table_name"] == spec.key.to_user_string()


def test_the_columns_shown_are_those_of_the_table(defs: dg.Definitions) -> None:
    shown = {
        spec.key.to_user_string(): {column.name for column in spec.metadata["dagster/column_schema"].columns}
        for spec in tables_made(defs)
    }
    assert shown["fact_cost_allocated"] == {name for name, _ in LAKE_TABLES["fact_cost_allocated"]}
    assert shown["recon_summary"] == {column.name for column in t.recon_run.c}


def test_every_made_asset_has_monthly_partitions_one_pool_and_kinds(defs: dg.Definitions) -> None:
    for spec in made(defs):
        assert spec.kinds in ({"duckdb", "parquet"}, {"sql"}, {"html"}), spec.key
        if spec.key != CONTROLS:  # judged by the clock, not by the month
            assert isinstance(spec.partitions_def, dg.MonthlyPartitionsDefinition), spec.key
    pools = {
        node.pool for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)
        for node in [asset.op] if isinstance(node, dg.OpDefinition)
    }  # fmt: skip
    assert pools == {"ledger", None}  # judging controls takes no turn among the runs


def test_the_checks_are_the_listed_ones_and_those_that_block_are_marked(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    real = {
        (key.asset_key.to_user_string(), key.name, graph.get_check_spec(key).blocking)
        for key in graph.asset_check_keys
    }
    assert real == {(asset, check.name, check.blocks) for asset, checks in CHECKS.items() for check in checks}
    assert {
        "delivery_is_complete", "schema_has_required_columns", "one_currency", "rows_match_delivery",
        "cost_matches_delivery", "tagging_preserves_cost", "key_totals_positive", "allocated_equals_pool",
    } <= BLOCKING  # fmt: skip
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.description, key
        assert spec.partitions_def is not None, key


def test_the_job_makes_every_table_of_the_month_and_no_source(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def(JOB)
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {
        spec.key.to_user_string()
        for spec in made(defs)
        if spec.key != CONTROLS
        and not (spec.group_name or "").endswith("_exports")  # they leave by a job of their own
    }
    assert job.partitions_def is not None
    assert job.partitions_def.get_first_partition_key() == "2025-07"


def test_every_asset_that_no_run_makes_is_refused_with_who_records_it(
    defs: dg.Definitions, month: Path
) -> None:
    """`--select cur_delivery` was an internal error of Dagster, with the advice to run again."""
    can = {key.to_user_string() for key in defs.resolve_job_def(JOB).asset_layer.executable_asset_keys}
    others = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()} - can
    assert {"cur_delivery", "fact_cost_adjustment", "control_status", "tenants"} < others
    books = home(month)
    for name in sorted(others):
        with pytest.raises(CopsError) as refused:
            launch(books, SEPTEMBER, ["recon_summary", name])
        said = refused.value
        assert (said.code, said.subject) == ("E-PARAM", f"--select {name!r}")
        assert set(said.expected.partition(": ")[2].split(", ")) == can
        assert "cops " in said.next_step, said.next_step
    with pytest.raises(CopsError, match="--select cur_billing_master"):
        launch(books, SEPTEMBER, ["cur_delivery"])


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", ["nonsense", "", "*", "a/b", "fact_cost_raw+", "FACT_COST_RAW"])
def test_a_name_of_no_asset_is_refused_with_those_that_there_are(name: str, month: Path) -> None:
    with pytest.raises(CopsError, match=r"(?s)E-PARAM.*fact_cost_raw.*no such asset"):
        launch(home(month), SEPTEMBER, [name])


def test_the_partitions_start_with_the_first_period_and_end_with_this_month(defs: dg.Definitions) -> None:
    from datetime import datetime

    (spec,) = [spec for spec in made(defs) if spec.key == dg.AssetKey("fact_cost_raw")]
    assert spec.partitions_def
    keys = spec.partitions_def.get_partition_keys(current_time=datetime(2025, 9, 30))
    assert keys == ["2025-07", "2025-08", "2025-09"]


@pytest.mark.long
def test_a_warning_of_a_blocking_check_stops_nothing(month: Path) -> None:
    """A rule version that starts inside the month: seen, said, and the month is allocated all the same."""
    rules = INPUTS["allocation_rules"].rstrip("\n") + "\nlate,1,2025-09-15,90,,tax,even,,,fail,kim\n"
    failed = launch(home(month, inputs=INPUTS | {"allocation_rules": rules}), SEPTEMBER, None)
    (late,) = [check for check in failed if check["check"] == "rules_unchanged_in_period"]
    assert (late["severity"], late["asset"]) == ("WARN", "allocation_key_snapshot")
    run, events = last_run(month)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    made_now = {
        event.dagster_event.asset_key.to_user_string()
        for event in events
        if event.dagster_event
        and event.dagster_event.is_step_materialization
        and event.dagster_event.asset_key
    }
    assert {"fact_cost_allocated", "recon_summary", "budget_master", "unallocated_cost"} <= made_now
