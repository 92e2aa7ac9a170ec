"""The graph as people see it, and a run of it: gating, exact figures, partitions."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cops_dagster.errors import CopsError
from cops_dagster.graph.build import build_defs
from cops_dagster.graph.checks import CHECKS
from cops_dagster.graph.launch import launch
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home
from cops_dagster_tests.graph.homes import last_run, month

__all__ = ["month"]  # the fixture

SNAPSHOT = Path(__file__).with_name("graph.txt")


def drawn() -> str:
    """One line an asset, indented ones its checks. Run this module to redraw it."""
    found = []
    for spec in sorted(build_defs(first=Period(2025, 7)).resolve_all_asset_specs(), key=lambda one: one.key):
        name = spec.key.to_user_string()
        deps = ", ".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or "-"
        found.append(f"{spec.group_name} / {name} <- {deps} ({', '.join(sorted(spec.owners))})")
        found += [
            f"    {check.name}{' [blocking]' if check.blocks else ''}" for check in CHECKS.get(name, ())
        ]
    return "\n".join(found) + "\n"


def test_the_graph_is_the_one_that_was_reviewed() -> None:
    assert drawn() == SNAPSHOT.read_text(encoding="utf-8")


def test_the_definitions_load_and_every_asset_says_what_it_is() -> None:
    definitions = build_defs(first=Period(2025, 7))
    dg.Definitions.validate_loadable(definitions)
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
    (periods,) = {
        spec.partitions_def for spec in definitions.resolve_all_asset_specs() if spec.partitions_def
    }
    assert periods.get_partition_keys()[0] == "2025-07"


@pytest.mark.long
def test_a_run_reports_each_check_for_its_period_with_exact_figures(month: Path) -> None:
    failed = launch(home(month), SEPTEMBER, None)
    assert "tag_coverage_at_target" in {check["check"] for check in failed}
    run, events = last_run(month)
    evaluations = {
        data.check_name: data
        for event in events
        if event.dagster_event and event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        for data in [event.dagster_event.event_specific_data]
    }
    assert run.status == dg.DagsterRunStatus.SUCCESS
    of_month = {asset: checks for asset, checks in CHECKS.items() if asset != "focus_export"}
    assert set(evaluations) == {check.name for checks in of_month.values() for check in checks}
    assert {data.partition for data in evaluations.values()} == {"2025-09"}
    cost = evaluations["cost_matches_delivery"]
    assert cost.passed
    assert cost.metadata["delivered_usd"].value == "40.880000001000000000"
    assert cost.metadata["difference_usd"].value == "0.000000000000000000"


@pytest.mark.long
def test_an_empty_key_is_a_red_check_and_nothing_after_it_runs(month: Path) -> None:
    books = home(month)
    give(
        books, month, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace(",1,", ",0,").replace(",2,", ",0,"),
    )  # fmt: skip
    with pytest.raises(CopsError, match="key totals positive"):
        launch(books, SEPTEMBER, None)
    _, events = last_run(month)
    made = {
        event.dagster_event.asset_key.to_user_string()
        for event in events
        if event.dagster_event
        and event.dagster_event.is_step_materialization
        and event.dagster_event.asset_key
    }
    assert "allocation_key_snapshot" in made
    assert not made & {"fact_cost_allocated", "recon_summary"}


if __name__ == "__main__":
    SNAPSHOT.write_text(drawn(), encoding="utf-8")
