"""What is shipped to run COPS: it starts what there is, with the limits that were tested."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from cops_dagster_tests import postgres
from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.graph.logins import LOGINS, PASSWORDS

DEPLOY = ROOT / "deploy"
STARTED = {"dagster-webserver", "dagster-daemon", "cops"}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.long
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
    started = [services[name]["command"][0] for name in ("webserver", "viewer", "daemon", "finance")]
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


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())[
        "services"
    ]
    return found


USED = {
    "migrate": {"COPS_OWNER_PASSWORD", "DAGSTER_DB_PASSWORD"},
    "webserver": {"COPS_DAEMON_PASSWORD", "DAGSTER_DB_PASSWORD"},
    "daemon": {"COPS_DAEMON_PASSWORD", "DAGSTER_DB_PASSWORD"},
    "finance": {"COPS_FINANCE_PASSWORD", "DAGSTER_DB_PASSWORD"},
    "viewer": {"COPS_VIEWER_PASSWORD", "DAGSTER_VIEWER_PASSWORD"},
    "door": set(),
    "postgresql": {*PASSWORDS, "POSTGRES_PASSWORD"},
}


@pytest.mark.parametrize("name", USED)
def test_a_service_holds_its_own_passwords_and_no_other(name: str) -> None:
    assert set(services()) == set(USED)
    service = services()[name]
    assert set(re.findall(r"\w+_PASSWORD(?=:\?)", str(service.get("environment", {})))) == USED[name]
    assert service.get("env_file") in (None, "cops.env"), "all of .env would go to everybody"


def test_the_viewer_has_no_keys_of_aws_and_no_home_of_the_ledger() -> None:
    viewer = services()["viewer"]
    assert "env_file" not in viewer
    assert "volumes" not in viewer
    assert not any(name.startswith("AWS") for name in viewer["environment"])


def test_what_compose_asks_for_stands_in_its_examples() -> None:
    asked = set(re.findall(r"\$\{(\w+):[?-]", (DEPLOY / "compose" / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "compose" / "example.env").read_text(), re.MULTILINE))
    assert asked == given
    for name, url in re.findall(r"(\w+): (postgresql\S+)", (DEPLOY / "compose" / "compose.yaml").read_text()):
        found = re.fullmatch(r"postgresql\+psycopg2://(\w+):\$\{(\w+):\?\}@postgresql:5432/(\w+)", url)
        assert found, name
        assert LOGINS[found[1]] == (found[3], PASSWORDS[found[2]]), name


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.stem)
def test_a_unit_starts_what_there_is_as_nobody_special(unit: Path) -> None:
    lines = dict(
        line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"
    )
    command = shlex.split(lines["ExecStart"])
    assert Path(command[0]).name in STARTED
    assert ("--read-only" in command) == ("viewer" in unit.name)
    name = "cops-viewer" if "viewer" in unit.name else "cops"
    assert (lines["User"], lines["StateDirectory"]) == (name, name)
    assert lines["EnvironmentFile"] == f"/etc/cops/{name.removeprefix('cops-')}.env"
    assert (lines["NoNewPrivileges"], lines["ProtectSystem"], lines["UMask"]) == ("yes", "strict", "0077")
    if "-h" in command:
        assert command[command.index("-h") + 1] == "127.0.0.1"  # the door is nginx


POLICIES = sorted((DEPLOY / "aws").glob("*.json"))
NAMED = {
    "athena:GetQueryExecution": {"workgroup"}, "budgets:ViewBudget": {"budget"},
    "glue:CreateDatabase": {"catalog", "database"}, "glue:CreateTable": {"catalog", "database", "table"},
    "glue:GetCrawler": {"crawler"}, "glue:GetDatabase": {"catalog", "database"},
    "glue:GetPartitions": {"catalog", "database", "table"}, "glue:GetTable": {"catalog", "database", "table"},
    "glue:StartCrawler": {"crawler"}, "glue:UpdateTable": {"catalog", "database", "table"},
}  # fmt: skip
"""What a right is about, by AWS's service authorization reference: each kind must be named by an ARN."""
DELETES = {"cops-engine-policy": {"glue:DeleteTable", "s3:DeleteObject"}}
"""Rights to delete, which the policy of an engine elsewhere has for its own place."""
ONLY_STAR = {"ce:ListCostAllocationTags"}
"""Rights that the same reference gives no kind of resource for."""


def statements(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["Statement"]
    return [
        one | {"Resource": [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]}
        for one in found
    ]


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_names_every_right_and_none_that_deletes(path: Path) -> None:
    for statement in statements(path):
        for action in statement["Action"]:
            assert "*" not in action, action
            assert "Delete" not in action or action in DELETES.get(path.stem, ()), action


def test_what_may_be_deleted_is_the_engines_own_place_alone() -> None:
    """Its scratch tables, its bucket, and names in the catalog: Glue forgets a name and deletes no file."""
    for statement in statements(DEPLOY / "aws" / "cops-engine-policy.json"):
        if DELETES["cops-engine-policy"] & set(statement["Action"]):
            named = [arn for arn in statement["Resource"] if not arn.endswith(":catalog")]
            of_names = all(action.startswith("glue:") for action in statement["Action"])
            own = ("cops_scratch", "ENGINE-BUCKET", *(["cops_lines"] if of_names else []))
            assert all(any(one in arn for one in own) for arn in named), named


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_names_the_resource_wherever_aws_knows_one(path: Path) -> None:
    for statement in statements(path):
        is_star = "*" in statement["Resource"]
        assert not is_star or set(statement["Action"]) <= ONLY_STAR, statement["Sid"]
        for arn in () if is_star else statement["Resource"]:
            _, _, service, _, _, name = arn.split(":", 5)
            assert name.strip("*/"), f"{arn}: every resource of {service}"
            assert {action.split(":")[0] for action in statement["Action"]} == {service}
        kinds = {arn.split(":", 5)[5].split("/")[0] for arn in statement["Resource"] if arn != "*"}
        for action in statement["Action"]:
            assert NAMED.get(action, kinds) <= kinds, f"{action} needs {NAMED[action]}"


def test_the_policy_grants_what_refusals_ask_for() -> None:
    code = "".join(path.read_text() for path in (ROOT / "cops_dagster").rglob("*.py"))
    asked = set(re.findall(r"\b(?:glue|athena|budgets|ce|sns):[A-Z]\w+", code))
    granted = {
        action
        for name in ("cops-policy", "cops-engine-policy")
        for one in statements(DEPLOY / "aws" / f"{name}.json")
        for action in one["Action"]
    }
    assert asked - granted == set()
