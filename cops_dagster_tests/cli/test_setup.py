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
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import MONTH, lines, write

COMMANDS = typer.main.get_command(app)


def cops(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    whole = {name: value for name, value in os.environ.items() if not name.startswith("COPS_")} | env
    return subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", *args],
        cwd=folder, env=whole, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.long
def test_init_asks_and_leads_to_a_first_allocation(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if not name.startswith("COPS_")}
    started = subprocess.Popen(
        [sys.executable, "-m", "cops_dagster.cli.start", "init"],
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


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {one["what"]: one["found"] for one in json.loads(done.stdout)["reached"]}


@pytest.mark.long
def test_init_adds_what_an_existing_file_lacks_and_changes_nothing_in_it(tmp_path: Path) -> None:
    """`--cur` and `--actor` were ignored without a word when there was a cops.toml."""
    (tmp_path / "cops.toml").write_text("# mine\n\n[tags]\nplan_id = []\n")
    (tmp_path / "reports").mkdir()
    for _ in range(2):
        done = cops(tmp_path, "init", "--cur", "reports", "--actor", "kim", "--json")
        assert done.returncode == 0, done.stderr
        assert told(done)["report root"] == f"{tmp_path / 'reports'}: no delivery yet"
        assert (tmp_path / "cops.toml").read_text() == (
            f'cur = "{tmp_path / "reports"}"\nactor = "kim"\n\n# mine\n\n[tags]\nplan_id = []\n'
        )
    assert (tmp_path / "inputs" / "allocation_rules.csv").is_file()


def test_init_refuses_an_option_that_what_is_set_contradicts(tmp_path: Path) -> None:
    (tmp_path / "cops.toml").write_text('cur = "s3://billing/cur"\nactor = "kim"\n')
    done = cops(tmp_path, "init", "--cur", "reports", "--json")
    assert done.returncode == 2
    refusal = json.loads(done.stderr)
    assert (refusal["code"], refusal["subject"]) == ("E-SETTING", "setting cur")
    assert "s3://billing/cur" in refusal["expected"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cops.toml"]


@pytest.mark.long
def test_init_without_a_terminal_and_an_address_writes_a_file_to_fill_in(tmp_path: Path) -> None:
    done = cops(tmp_path, "init", "--json")
    assert done.returncode == 0, done.stderr
    assert '# cur = "s3://bucket/prefix"' in (tmp_path / "cops.toml").read_text()
    assert told(done)["report root"] == "none is set"
    assert json.loads(done.stdout)["written"] == [
        "cops.toml", "inputs/plans.csv", "inputs/tenants.csv", "inputs/allocation_rules.csv",
    ]  # fmt: skip
    write(tmp_path / "cur", [lines(MONTH)])
    assert cops(tmp_path, "init", "--cur", "cur", "--json").returncode == 0


@pytest.mark.long
def test_init_before_the_first_delivery_gives_every_month_a_rule_and_a_place(tmp_path: Path) -> None:
    """Rule and plan began with the month of `cops init`, so older months that came then had none."""
    (tmp_path / "cur").mkdir()
    assert cops(tmp_path, "init", "--cur", "cur", "--actor", "kim").returncode == 0
    assert "first_period" not in (tmp_path / "cops.toml").read_text()
    assert cops(tmp_path, "admin", "load", "inputs").returncode == 0
    old = Period(2018, 10)
    write(tmp_path / "cur", [lines(MONTH, old)], period=old)
    done = cops(tmp_path, "materialize", "2018-10", "--json")
    assert done.returncode in (0, 1), done.stderr
    claimed = json.loads(cops(tmp_path, "rules", "explain", "2018-10", "--json").stdout)
    assert "by_direct_cost" in json.dumps(claimed)


@pytest.mark.long
def test_init_where_nothing_can_be_written_is_refused_by_code(tmp_path: Path) -> None:
    """It was an internal error about `.cops.toml.partial`."""
    write(tmp_path / "cur", [lines(MONTH)])
    done = cops(Path("/proc"), "init", "--cur", str(tmp_path / "cur"), COPS_HOME=str(tmp_path / "home"))
    refused = json.loads(done.stderr)
    assert (done.returncode, refused["code"]) == (2, "E-PARAM")
    assert "cd FOLDER" in refused["next_step"]


@pytest.mark.long
def test_init_says_what_cannot_be_reached(tmp_path: Path) -> None:
    done = cops(tmp_path, "init", "--cur", "not-there", "--json")
    assert done.returncode == 1
    (bad,) = [one for one in json.loads(done.stdout)["reached"] if not one["is_good"]]
    assert bad["what"] == "report root"
    assert str(tmp_path / "not-there") in bad["found"]
    assert "no such folder" in bad["found"]
    assert bad["next_step"]


@pytest.mark.long
def test_init_reads_a_file_as_a_run_does(tmp_path: Path) -> None:
    folder = write(tmp_path / "cur", [lines(MONTH)])
    for file in folder.glob("*.parquet"):
        file.write_bytes(b"PAR1 not really")
    done = cops(tmp_path, "init", "--cur", "cur", "--json")
    assert done.returncode == 1
    assert "E-FILE-TRUNC" in told(done)["report root"] or "E-FORMAT" in told(done)["report root"]


@pytest.mark.long
def test_init_names_the_folder_above_a_month(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    done = cops(tmp_path, "init", "--cur", "cur/report/20250901-20251001", "--json")
    assert done.returncode == 1
    (bad,) = [one for one in json.loads(done.stdout)["reached"] if not one["is_good"]]
    assert f"name the folder above it in COPS_CUR: {tmp_path / 'cur' / 'report'}" in bad["next_step"]
    (tmp_path / "cops.toml").unlink()
    above = cops(tmp_path, "init", "--cur", bad["next_step"].rpartition(" ")[2], "--json")
    assert above.returncode == 0, above.stderr


@pytest.mark.long
def test_init_shows_the_delivered_tags_when_none_of_them_is_mapped(tmp_path: Path) -> None:
    table = lines(MONTH).rename_columns(
        [name.replace("user_tenant_id", "user_tenantid") for name in lines(MONTH).column_names]
    )
    write(tmp_path / "cur", [table])
    done = cops(tmp_path, "init", "--cur", "cur", "--json")
    assert done.returncode == 0, done.stderr
    assert told(done)["tags"] == "no delivery has user_tenant_id; near: user_tenantid, user_plan_id"
    step = {one["what"]: one["next_step"] for one in json.loads(done.stdout)["reached"]}["tags"]
    assert step.endswith('[tags] tenant_id = ["user_tenantid"]')


def leaves(command: object, name: str = "cops") -> list[tuple[str, set[str]]]:
    inner = getattr(command, "commands", None)
    if inner:
        return [leaf for one, sub in inner.items() for leaf in leaves(sub, f"{name} {one}")]
    return [(name, {option for param in command.params for option in param.opts})]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "options"), [leaf for leaf in leaves(COMMANDS) if leaf[0] != "cops demo"])
def test_every_command_speaks_to_scripts(name: str, options: set[str]) -> None:
    assert options & {"--json", "--format", "--as"}, name


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("materialize", "2025-9"), "YYYY-MM"),
        (("materialize", "September"), "YYYY-MM"),
        (("status", "2025-09"), "cops "),
        (("materialize", "2025-09"), "COPS_CUR"),
        (("close", "2025-09"), "to make one: cops init"),
        (("admin", "load", "nowhere.csv"), "nowhere.csv"),
        (("sql", "-q", "SELECT * FROM fact_cost"), "to make one: cops init"),
        (("reverse", "abc", "--reason", "x"), "to make one: cops init"),
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
