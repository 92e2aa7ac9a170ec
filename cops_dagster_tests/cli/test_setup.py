"""The first day: `cops init` asks, writes what is missing, checks access; first mistakes are helped."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from cops_dagster.cli.main import app
from cops_dagster_tests.deliveries import MONTH, lines, write

COMMANDS = typer.main.get_command(app)


def cops(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    whole = {name: value for name, value in os.environ.items() if not name.startswith("COPS_")} | env
    return subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.main", *args],
        cwd=folder, env=whole, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_init_asks_and_leads_to_a_first_allocation(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if not name.startswith("COPS_")}
    started = subprocess.Popen(
        [sys.executable, "-m", "cops_dagster.cli.main", "init"],
        cwd=tmp_path, env=env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.write(ours, b"cur\nkim\n")
    said, errors = started.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert started.returncode == 0, errors
    assert "2025-09 to 2025-09 from 1 source(s)" in said
    assert "cops materialize 2025-09" in errors
    assert f'cur = "{tmp_path / "cur"}"' in (tmp_path / "cops.toml").read_text()

    with (tmp_path / "inputs" / "tenants.csv").open("a") as tenants:
        tenants.write("acme,Acme,standard,2025-01-01\nglobex,Globex,standard,2025-01-01\n")
    assert cops(tmp_path, "admin", "load", "inputs").returncode == 0
    assert cops(tmp_path, "rules", "check", "inputs/allocation_rules.csv").returncode == 0
    done = cops(tmp_path, "materialize", "2025-09", "--json")
    assert done.returncode in (0, 1), done.stderr  # without invoices a check does not hold
    (shown,) = json.loads(cops(tmp_path, "status", "--json").stdout)
    assert shown["gap_usd"] == "0.000000000000000000"


def test_init_without_a_terminal_asks_nothing_and_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "cops.toml").write_text("# mine\n")
    (tmp_path / "reports").mkdir()
    done = cops(tmp_path, "init", "--cur", "reports", "--actor", "kim", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (tmp_path / "cops.toml").read_text() == "# mine\n"
    assert told["written"] == [f"inputs/{name}.csv" for name in ("plans", "tenants", "allocation_rules")]
    assert {one["what"]: one["found"] for one in told["reached"]}["report roots"] == "no delivery yet"


def test_init_says_what_cannot_be_reached(tmp_path: Path) -> None:
    done = cops(tmp_path, "init", "--cur", "not-there", "--json")
    assert done.returncode == 1
    (bad,) = [one for one in json.loads(done.stdout)["reached"] if not one["is_good"]]
    assert (bad["what"], bad["found"]) == ("report roots", "E-SOURCE-UNKNOWN: no such folder")
    assert bad["next_step"]


def leaves(command: object, name: str = "cops") -> list[tuple[str, set[str]]]:
    inner = getattr(command, "commands", None)
    if inner:
        return [leaf for one, sub in inner.items() for leaf in leaves(sub, f"{name} {one}")]
    return [(name, {option for param in command.params for option in param.opts})]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "options"), [leaf for leaf in leaves(COMMANDS) if leaf[0] != "cops demo"])
def test_every_command_speaks_to_scripts(name: str, options: set[str]) -> None:
    assert options & {"--json", "--format", "--as"}, name


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("materialize", "2025-9"), "YYYY-MM"),
        (("materialize", "September"), "YYYY-MM"),
        (("status", "2025-09"), "cops "),
        (("materialize", "2025-09"), "COPS_CUR"),
        (("close", "2025-09"), "cops materialize 2025-09"),
        (("admin", "load", "nowhere.csv"), "nowhere.csv"),
        (("sql", "-q", "SELECT * FROM fact_cost"), "information_schema"),
        (("sql", "-q", "DELETE FROM tenants"), "SELECT"),
        (("reverse", "abc", "--reason", "x"), "cops runs"),
        (("explain", "--tenant", "acme", "--period", "2025-09"), "cops "),
    ],
)  # fmt: skip
def test_a_newcomers_first_mistakes_are_answered_with_what_to_do(
    tmp_path: Path, args: tuple[str, ...], says: str
) -> None:
    done = cops(tmp_path, *args)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert says in done.stderr


def test_a_shell_completes_the_commands(tmp_path: Path) -> None:
    asked = {"_COPS_COMPLETE": "complete_bash", "COMP_WORDS": "cops mat", "COMP_CWORD": "1"}
    assert Path(sys.executable).with_name("cops").exists()
    done = subprocess.run(
        [Path(sys.executable).with_name("cops")], cwd=tmp_path, env=os.environ | asked,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["materialize"]
