"""`cops rules` as a person or a CI meets it: exit codes, tables, JSON with exact amounts."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import open_books
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import INPUTS, MONTH, home, lines, run, write

RUNNER = CliRunner()
HEADER = INPUTS["allocation_rules"].split("\n")[0] + "\n"
EVEN = "transfer,2,2025-09-01,10,AWSDataTransfer,,even,,,fail,kim\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A month that has run; this process's settings name its home."""
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    books.admin.close()
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    settings.current.cache_clear()
    return tmp_path


def cops(*arguments: str) -> Result:
    return RUNNER.invoke(app, ["rules", *arguments], catch_exceptions=False)


def said(*arguments: str) -> Any:
    done = cops(*arguments, "--json")
    assert done.exit_code == 0
    return json.loads(done.stdout)


def rules(folder: Path, *rows: str) -> str:
    path = folder / "allocation_rules.csv"
    path.write_text(HEADER + "".join(rows), encoding="utf-8")
    return str(path)


@pytest.mark.long
def test_warnings_end_with_nought_and_are_listed(folder: Path) -> None:
    found = said("check", "--period", "2025-09")
    assert (found["errors"], found["warnings"], found["days"]) == (0, 1, ["2025-09-01"])
    (gap,) = found["problems"]
    assert (gap["code"], gap["severity"], gap["rule_ids"], gap["days"]) == (
        "E-RULE-GAP", "warning", [], ["2025-09-01"],
    )  # fmt: skip
    done = cops("check")
    assert done.exit_code == 0
    assert "E-RULE-GAP" in done.stdout


@pytest.mark.long
def test_errors_in_the_stored_rules_end_with_one(folder: Path) -> None:
    books = open_books(settings.current())
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.allocation_rules).values(
                rule_id="bad", version=1, effective_from=date(2025, 1, 1), priority=10, method="even",
                on_zero_key="fail", approved_by="kim",
            )
        )  # fmt: skip
    done = cops("check", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["problems"][0]["rule_ids"] == ["bad", "transfer"]
    assert cops("check").exit_code == 1


@pytest.mark.long
def test_a_file_is_checked_over_the_stored_rules_and_not_loaded(folder: Path) -> None:
    rest = "all,1,2025-01-01,90,,,proportional_cost,,,even,kim\n"
    assert said("check", rules(folder, rest))["problems"] == []
    assert [one["code"] for one in said("check")["problems"]] == ["E-RULE-GAP"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("x,NO,2025-01-01,40,,,even,,,fail,kim\n", "E-LOAD-VALUE"),
        ("x,1,2025-01-01,10,,,even,,,fail,kim\n", "E-RULE-OVERLAP"),
        ("x,1,2025-01-01,40,,,even\n", "E-LOAD-COLUMN"),
    ],
)
def test_a_file_that_no_load_would_take_is_refused_with_the_code_of_the_load(
    folder: Path, row: str, code: str
) -> None:
    path = rules(folder, row)
    for command in (["rules", "check", path], ["admin", "load", path]):
        with pytest.raises(CopsError) as refusal:
            RUNNER.invoke(app, command, catch_exceptions=False)
        assert refusal.value.code == code


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "nowhere.csv"], "E-LOAD-FILE"),
        (["check", "--period", "2025-13"], "E-PERIOD"),
        (["explain", "2025-13"], "E-PERIOD"),
        (["explain", "2025-08"], "E-PERIOD-UNKNOWN"),
        (["diff", "2025-09", "--with", "nowhere.csv"], "E-LOAD-FILE"),
        (["diff", "2025-09", "--with", "2025-02-30"], "E-PARAM"),
        (["diff", "2025-08", "--with", "2025-02-28"], "E-PERIOD-UNKNOWN"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_refused_with_its_code(folder: Path, arguments: list[str], code: str) -> None:
    with pytest.raises(CopsError) as refusal:
        cops(*arguments)
    assert refusal.value.code == code


@pytest.mark.long
def test_an_explanation_has_exact_amounts_and_a_line_for_what_no_rule_claimed(folder: Path) -> None:
    found = said("explain", "2025-09")
    transfer = found["rules"][0]
    assert (transfer["rule_id"], transfer["pools"], transfer["claimed_usd"]) == (
        "transfer", 1, "9.000000001000000000",
    )  # fmt: skip
    assert transfer["keys"] == [
        {"key_name": "network", "measure": "network", "total": "3.000000000000000000", "tenants": 2}
    ]
    assert found["unclaimed"] == [
        {"service": "AmazonEC2", "charge_class": "tax", "pools": 1, "unblended_usd": "0.070000000000000000"}
    ]
    shown = cops("explain", "2025-09").stdout
    assert "(no rule)" in shown
    assert "network 3 over 2" in shown
    columns = ("tenants_usd", "operator_usd", "unallocated_usd")
    for one in found["rules"]:
        assert sum(Decimal(one[name]) for name in columns) == Decimal(one["claimed_usd"])


@pytest.mark.long
def test_a_difference_has_exact_amounts_that_sum_to_nothing(folder: Path) -> None:
    path = rules(folder, EVEN)
    found = said("diff", "2025-09", "--with", path)
    assert found["rules"] == [{"rule_id": "transfer", "version_before": 1, "version_after": 2}]
    assert found["basis"] == "unblended"
    assert sum(Decimal(one["unblended_difference_usd"]) for one in found["effects"]) == 0
    assert found["effects"][2]["tenant_id"] == "acme"
    assert found["effects"][2]["unblended_difference_usd"] == "1.500000000166666667"
    shown = cops("diff", "2025-09", "--with", path).stdout
    assert "1.50" in shown
    assert "-1.50" in shown


def test_the_rules_of_another_day_are_compared(folder: Path) -> None:
    found = said("diff", "2025-09", "--with", "2024-12-31")
    assert {one["version_after"] for one in found["rules"]} == {None}
    assert "not in force" in cops("diff", "2025-09", "--with", "2024-12-31").stdout
