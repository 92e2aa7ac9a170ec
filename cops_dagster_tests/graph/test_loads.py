"""What people loaded, as Dagster shows it on the tables that they loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from cops_dagster.evidence.home import open_books
from cops_dagster.graph import loads
from cops_dagster.graph.build import build_defs
from cops_dagster.settings import load
from cops_dagster_tests.deliveries import INPUTS, give, home
from cops_dagster_tests.graph.homes import month

__all__ = ["month"]  # the fixture


def observed(instance: dg.DagsterInstance, name: str) -> list[dict[str, Any]]:
    records = instance.fetch_observations(dg.AssetKey(name), limit=10).records
    return [
        {name: one.value for name, one in record.asset_observation.metadata.items()}
        for record in records
        if record.asset_observation
    ]


def test_every_load_is_an_observation_of_its_table_once_whoever_reports_it(month: Path) -> None:
    books = home(month)
    (sensor,) = [one for one in build_defs().sensors or [] if one.name == "loaded_inputs"]
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        first: Any = sensor(context)
        (seen,) = observed(instance, "tenants")
        assert (seen["loaded_by"], seen["rows"]) == ("test", str(INPUTS["tenants"].strip().count("\n")))
        (file,) = seen["files"].records
        assert (file.data["file"], len(str(file.data["sha256"]))) == ("tenants.csv", 64)
        assert len(observed(instance, "tenant_network_usage")) == 1
        assert loads.report(books, instance) == 0
        again: Any = sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
        assert again.skip_reason.skip_message == "nothing was loaded or closed"
        heading = INPUTS["tenants"].splitlines()[0]
        give(books, month, tenants=f"{heading}\nnewcomer,Newcomer,team,2025-09-01\n")
        sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
        assert [one["rows"] for one in observed(instance, "tenants")] == ["1", seen["rows"]]


def test_inputs_are_observed_not_never_materialized_and_observing_shows_their_newest_load(
    month: Path,
) -> None:
    """They stood as "Never materialized" beside their own observations."""
    home(month)
    definitions = build_defs()
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.observable_asset_keys} >= set(loads.INPUTS)
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        wanted = [dg.AssetKey("tenants"), dg.AssetKey("budgets")]
        assert job.execute_in_process(asset_selection=wanted, instance=instance).success
        (seen,) = observed(instance, "tenants")
        assert (seen["loaded_by"], len(seen["load_id"]) > 8) == ("test", True)
        assert (observed(instance, "budgets"), observed(instance, "allocation_rules")) == ([], [])
        loads.report(open_books(load(home=month / "home")), instance)
        assert len(observed(instance, "tenants")) == 1


def test_observing_inputs_makes_no_home(month: Path) -> None:
    job = build_defs().resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(asset_selection=[dg.AssetKey("tenants")], instance=instance).success
    assert not (month / "home" / "admin.db").exists()
