"""The command as a person or a script meets it: exit codes, coded errors, machine-readable output."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cops_dagster_tests.cli.started import cops, refusal
from cops_dagster_tests.deliveries import MONTH, home, lines, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "cur", [lines(MONTH)])
    home(tmp_path)
    return tmp_path


def checks(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    return sorted((one["check"], one["severity"]) for one in json.loads(done.stdout)["failed_checks"])


@pytest.mark.long
def test_a_month_runs_and_runs_again_with_nothing_to_do(folder: Path) -> None:
    first = cops(folder, "materialize", "2025-09", "--json")
    assert first.returncode == 1, first.stderr  # coverage is below 98 %: a check failed, and it says so
    assert {"check": "tag_coverage_at_target", "severity": "ERROR"}.items() <= {
        key: value for check in json.loads(first.stdout)["failed_checks"]
        if check["check"] == "tag_coverage_at_target" for key, value in check.items()
    }.items()  # fmt: skip
    again = cops(folder, "materialize", "2025-09", "--json")
    assert (again.returncode, json.loads(again.stdout)["outcome"]) == (1, "nothing to do")
    assert checks(again) == checks(first)  # a job that repeats itself does not turn green by that
    (status,) = json.loads(cops(folder, "status", "2025-09", "--json").stdout)
    assert status["aws_usd"] == status["allocated_usd"] == "40.880000001000000000"
    runs = json.loads(cops(folder, "runs", "2025-09", "--json").stdout)
    assert [run["table_name"] for run in runs] == ["fact_cost_raw", "fact_cost_tagged", "fact_cost_allocated"]


@pytest.mark.long
def test_an_incomplete_delivery_ends_with_two_and_its_code(folder: Path) -> None:
    next((folder / "cur").rglob("*.parquet")).unlink()
    said = refusal(cops(folder, "materialize", "2025-09"))
    assert said["code"] == "E-CHUNK-MISSING"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("period", ["2025-13", "../2025-09", "2031-01"])
def test_a_period_that_is_none_ends_with_two(folder: Path, period: str) -> None:
    assert refusal(cops(folder, "materialize", period))["code"] in ("E-PERIOD", "E-PERIOD-UNKNOWN")


def test_a_wrong_setting_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPS_CHARGE__BASIS", "blended")
    said = refusal(cops(folder, "status"))
    assert (said["code"], "charge.basis" in said["subject"]) == ("E-SETTING", True)


@pytest.mark.long
def test_a_question_without_its_parameter_is_refused_and_with_it_answered(folder: Path) -> None:
    sql = "SELECT COUNT(*) AS n FROM fact_cost_raw WHERE period_start = :start"
    assert refusal(cops(folder, "sql", "-q", sql))["code"] == "E-PARAM"
    done = cops(folder, "sql", "-q", sql, "--param", "start=2025-09", "--format", "json")
    assert json.loads(done.stdout) == [{"n": 0}]


def test_text_that_a_spreadsheet_would_run_is_prefixed_and_numbers_stay_numbers(folder: Path) -> None:
    sql = "SELECT '=cmd()' AS a, '@x' AS b, -12.50 AS c, 'plain' AS d"
    done = cops(folder, "sql", "-q", sql, "--format", "csv")
    assert done.stdout == "a,b,c,d\n'=cmd(),'@x,-12.50,plain\n"


@pytest.mark.sampled(9)
@pytest.mark.parametrize(
    "command",
    ["", "materialize", "deliver", "sql", "status", "runs", "init", "demo", "admin load", "lake rebuild"],
)
def test_every_command_helps(folder: Path, command: str) -> None:
    done = cops(folder, *command.split(), "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
