"""COPS as a guest in somebody else's Dagster: nothing of theirs is in the way, and a month is made there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from cops_dagster.closing import status
from cops_dagster.component import CostLedger
from cops_dagster.graph.host import JOBS, REFRESH_USAGE_KEYS, Host
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, write
from cops_dagster_tests.docs import pages

NAME = "cops_dagster.component.CostLedger"
THEIRS = """
import dagster as dg

class Ledger(dg.ConfigurableResource):
    name: str = "theirs"

@dg.asset(partitions_def=dg.DailyPartitionsDefinition(start_date="2025-09-01"))
def fact_cost_raw(ledger: Ledger) -> None:
    assert ledger.name == "theirs"

@dg.asset(deps=[dg.AssetKey(["finance", "aws", "recon_summary"])])
def dashboard() -> None: ...

@dg.schedule(job_name="materialise_period", cron_schedule="0 0 * * *")
def open_periods() -> dg.SkipReason:
    return dg.SkipReason("theirs")

@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        assets=[fact_cost_raw, dashboard],
        jobs=[dg.define_asset_job("materialise_period", selection="fact_cost_raw")],
        schedules=[open_periods],
        resources={"ledger": Ledger()},
        executor=dg.multiprocess_executor,
    )
"""  # everything that COPS by itself would call the same


@contextmanager
def project(*ledgers: dict[str, Any]) -> Iterator[dg.Definitions]:
    """Their project, with these ledgers in it."""
    with create_defs_folder_sandbox() as sandbox:
        (sandbox.defs_folder_path / "theirs.py").write_text(THEIRS, encoding="utf-8")
        for number, attributes in enumerate(ledgers):
            sandbox.scaffold_component(
                CostLedger, f"costs{number}", defs_yaml_contents={"type": NAME, "attributes": attributes}
            )
        with sandbox.build_all_defs() as defs:
            yield defs


def ours(folder: Path, *prefix: str, **more: object) -> dict[str, Any]:
    return {"home": str(folder), "key_prefix": list(prefix), **more}


def keys(defs: dg.Definitions, *prefix: str) -> set[dg.AssetKey]:
    graph = defs.resolve_asset_graph()
    return {key for key in graph.get_all_asset_keys() if tuple(key.path[: len(prefix)]) == prefix}


def test_nothing_of_a_project_is_in_the_way_of_a_ledger(tmp_path: Path) -> None:
    with project(ours(tmp_path / "home", "finance", "aws")) as defs:
        dg.Definitions.validate_loadable(defs)
        graph = defs.resolve_asset_graph()
        guest = keys(defs, "finance", "aws")
        theirs = {dg.AssetKey("fact_cost_raw"), dg.AssetKey("dashboard")}
        assert graph.get_all_asset_keys() == guest | theirs
        assert len(guest) > 20
        assert {key.asset_key for key in graph.asset_check_keys} <= guest
        assert len(graph.asset_check_keys) > 30
        assert (
            dg.AssetKey(["finance", "aws", "recon_summary"])
            in graph.get(dg.AssetKey("dashboard")).parent_keys
        )
        for name in JOBS - {REFRESH_USAGE_KEYS}:  # which a home has that declares usage keys
            assert {*defs.resolve_job_def(f"finance_aws_{name}").asset_layer.executable_asset_keys} <= guest
        assert defs.executor is dg.multiprocess_executor
        named = {one.name for one in [*(defs.sensors or []), *(defs.schedules or [])]}
        assert {one for one in named if not one.startswith("finance_aws_")} == {"open_periods"}


def test_two_ledgers_stand_side_by_side(tmp_path: Path) -> None:
    with project(ours(tmp_path / "one", "one"), ours(tmp_path / "two", "two")) as defs:
        dg.Definitions.validate_loadable(defs)
        assert {key.path[1] for key in keys(defs, "one")} == {key.path[1] for key in keys(defs, "two")}


@pytest.mark.parametrize("prefix", [[], ["finance-aws"], ["a/b"], [""]], ids=str)
def test_a_ledger_without_a_prefix_that_names_can_begin_with_is_refused(
    prefix: list[str], tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="costs0") as refused, project(ours(tmp_path / "home", *prefix)):
        pass
    assert "key_prefix" in str(refused.value.__cause__)


def test_a_project_gives_its_own_group_and_owners_and_keeps_sensors_off(tmp_path: Path) -> None:
    said = {"group": "costs", "owners": ["team:them"], "automated": False}
    with project(ours(tmp_path / "home", "aws", **said)) as defs:
        specs = [spec for spec in defs.resolve_all_asset_specs() if spec.key.path[0] == "aws"]
        assert {spec.group_name for spec in specs} == {"costs"}
        assert {owner for spec in specs for owner in spec.owners} == {"team:them"}
        on = [one.name for one in defs.sensors or [] if one.default_status == dg.DefaultSensorStatus.RUNNING]
        assert on == []


@pytest.mark.long
def test_a_month_is_made_in_their_project_with_the_home_and_file_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    (tmp_path / "ours.toml").write_text(f"cur = '{tmp_path / 'cur'}'\n", encoding="utf-8")
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "elsewhere"))
    attributes = ours(tmp_path / "home", "finance", "aws", config=str(tmp_path / "ours.toml"))
    with project(attributes) as defs, dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("finance_aws_materialise_period")
        done = job.execute_in_process(partition_key="2025-09", instance=instance)
    assert done.success
    (made,) = status.statuses(books, SEPTEMBER)
    assert made.gap_usd == 0
    assert not (tmp_path / "elsewhere").exists()
    events = done.get_asset_materialization_events()
    assert {tuple(event.asset_key.path[:2]) for event in events if event.asset_key} == {("finance", "aws")}
    (tagged,) = [one for one in events if one.asset_key and one.asset_key.path[-1] == "fact_cost_tagged"]
    lineage: Any = tagged.materialization.metadata["dagster/column_lineage"].value
    parents = {dep.asset_key for deps in lineage.deps_by_column.values() for dep in deps}
    assert dg.AssetKey(["finance", "aws", "fact_cost_raw"]) in parents


def test_a_guest_hears_its_own_runs_and_no_others() -> None:
    guest = Host(billing_periods(Period(2025, 7)), ("finance", "aws"))
    mine = frozenset({dg.AssetKey(["finance", "aws", "fact_cost_raw"])})
    for heard in (
        dg.DagsterRun(job_name="finance_aws_materialise_period"),
        dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=mine),
    ):
        assert guest.runs(heard)
        assert guest.plain(heard.job_name) in ("materialise_period", "ASSET_JOB")
    for unheard in (
        dg.DagsterRun(job_name="materialise_period"),
        dg.DagsterRun(job_name="finance_aws_else"),
        dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=frozenset({dg.AssetKey("fact_cost_raw")})),
    ):
        assert not guest.runs(unheard)
        assert Host(guest.periods).runs(unheard)  # COPS by itself hears all


@pytest.mark.long
def test_dagsters_own_tool_scaffolds_checks_and_lists_it_as_the_page_says(tmp_path: Path) -> None:
    tool = os.environ.get("COPS_TEST_DG") or shutil.which("dg")
    if tool is None:
        pytest.skip("needs Dagster's tool: pip install dagster-dg-cli, or COPS_TEST_DG=/path/to/dg")
    package = tmp_path / "src" / "theirs"
    (package / "defs").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n\n"
        "@dg.definitions\ndef defs() -> dg.Definitions:\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (tmp_path / "src" / "theirs" / "defs" / "__init__.py").touch()
    (tmp_path / "src" / "theirs" / "defs" / "theirs.py").write_text(
        THEIRS.replace('"finance", "aws"', '"cops"')
    )
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "theirs"\nversion = "1"\n[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "theirs"\n'
    )
    env = {
        **os.environ, "PYTHONPATH": f"{pages.ROOT}:{tmp_path / 'src'}", "DAGSTER_DISABLE_TELEMETRY": "1",
        "VIRTUAL_ENV": str(Path(tool).parents[1]), "COLUMNS": "200",
        "PATH": f"{Path(tool).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    (block,) = [one for one in pages.blocks("shell") if one.page == "docs/operations.md"]
    said = {}
    for line in block.text.splitlines():
        done = subprocess.run(
            [tool, *line.split()[1:]], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said[line] = done.stdout
    assert NAME in (package / "defs" / "costs" / "defs.yaml").read_text()
    assert "cops/fact_cost_allocated" in said["dg list defs"]
    assert "fact_cost_raw" in said["dg list defs"].replace("cops/fact_cost_raw", "")
