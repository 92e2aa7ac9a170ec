"""What is shipped to run COPS: it starts what there is, with the limits that were tested."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from cops_dagster_tests import postgres
from cops_dagster_tests.docs.pages import ROOT

DEPLOY = ROOT / "deploy"
STARTED = {"dagster-webserver", "dagster-daemon", "cops"}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_deployed_instance_differs_from_the_tested_one_in_its_storage_alone() -> None:
    deployed, tested = loaded(DEPLOY / "dagster.yaml"), loaded(ROOT / "dagster.yaml")
    assert set(deployed.pop("storage")) == {"postgres"}
    assert deployed == tested


def test_the_deployed_instance_opens_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres.empty_database())
    (tmp_path / "dagster.yaml").write_bytes((DEPLOY / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_runs_count() == 0
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 2  # type: ignore[union-attr]


def test_composed_services_start_what_there_is_and_only_the_door_is_open() -> None:
    composed = loaded(DEPLOY / "compose" / "compose.yaml")
    services = composed["services"]
    started = [services[name]["command"][0] for name in ("webserver", "viewer", "daemon")]
    assert {*started, *services["migrate"]["command"][2].split()[:1]} == STARTED
    for name in ("webserver", "viewer", "daemon"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert [name for name, service in services.items() if "ports" in service] == ["door"]
    assert "--read-only" in services["viewer"]["command"]
    assert "--read-only" not in services["webserver"]["command"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith((".", "/")) and source != "./door":  # which the operator makes
                assert (DEPLOY / "compose" / source).exists(), volume


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.stem)
def test_a_unit_starts_what_there_is_as_nobody_special(unit: Path) -> None:
    lines = dict(
        line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"
    )
    command = shlex.split(lines["ExecStart"])
    assert Path(command[0]).name in STARTED
    assert ("--read-only" in command) == ("viewer" in unit.name)
    assert (lines["User"], lines["NoNewPrivileges"], lines["ProtectSystem"]) == ("cops", "yes", "strict")
    if "-h" in command:
        assert command[command.index("-h") + 1] == "127.0.0.1"  # the door is nginx


@pytest.mark.parametrize("path", sorted((DEPLOY / "aws").glob("*.json")), ids=lambda path: path.stem)
def test_a_policy_names_every_right_and_none_that_deletes(path: Path) -> None:
    for statement in json.loads(path.read_text())["Statement"]:
        for action in statement["Action"]:
            assert "*" not in action, action
            assert "Delete" not in action, action
