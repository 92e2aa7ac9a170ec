"""Where there is no home: every command but those that make one says so, and makes nothing.

The commands are found by walking the application, so one that is added later is covered without being named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer.main
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.stores.admin import open_admin
from cops_dagster_tests import postgres
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write

MAKE = {"init", "demo", "deliver", "admin load", "materialize"}
"""What may make a home. A command that is not here must refuse where there is none."""
NEED_NONE = {"alerts test", "athena status", "docs", "tags validate", "tags active", "evidence replay"}
"""What works without a home: it asks AWS, a receiver, a file, or the evidence store alone."""
GIVEN = {
    "period": "2025-09", "amount_usd": "1", "hours": "1", "to": "acme=100", "other": "2025-09-01",
}  # fmt: skip
"""Values of parameters that take no other text."""
INSTEAD = {"sql": ["-q", "SELECT 1"], "explain": ["--tenant", "acme", "--period", "2025-09"]}
"""Arguments of commands of which one of several is needed."""


def leaves(command: Any = None, path: tuple[str, ...] = ()) -> dict[str, Any]:
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        return {" ".join(path): command}
    return {name: one for key, child in below.items() for name, one in leaves(child, (*path, key)).items()}


def arguments(name: str, command: Any) -> list[str]:
    if name in INSTEAD:
        return INSTEAD[name]
    given = []
    for parameter in command.params:
        if parameter.required:
            value = GIVEN.get(parameter.name, "x")
            given += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return given


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def cops(*given: str) -> Any:
    settings.current.cache_clear()
    return CliRunner().invoke(app, list(given))


def refused(*given: str) -> CopsError:
    done = cops(*given)
    assert isinstance(done.exception, CopsError), (given, done.output, done.exception)
    return done.exception


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which nobody has worked."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("COPS_HOME")
    return tmp_path


@pytest.mark.sampled(9)
@pytest.mark.parametrize("name", sorted(set(leaves()) - MAKE - NEED_NONE))
def test_a_command_without_a_home_says_so_and_makes_nothing(name: str, nowhere: Path) -> None:
    refusal = refused(*name.split(), *arguments(name, leaves()[name]))
    assert refusal.code == "E-HOME"
    assert str(nowhere / "here" / ".cops") in refusal.found
    assert tree(nowhere) == ["here"]


@pytest.mark.parametrize("name", sorted(NEED_NONE & set(leaves())))
def test_a_command_that_needs_no_home_makes_none(name: str, nowhere: Path) -> None:
    cops(*name.split(), *arguments(name, leaves()[name]))
    assert tree(nowhere) == ["here"]


def test_the_commands_that_make_a_home_are_commands() -> None:
    assert set(leaves()) >= MAKE


def test_a_load_makes_a_home_and_a_read_finds_it(nowhere: Path) -> None:
    (nowhere / "here" / "plans.csv").write_text("plan_id,effective_from,markup_bps\nteam,2025-01-01,0\n")
    assert cops("admin", "load", "plans.csv").exit_code == 0
    assert cops("status").exit_code == 0


def test_a_home_above_is_named(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_admin(f"sqlite:///{nowhere / 'here' / '.cops' / 'admin.db'}").close()
    (nowhere / "here" / "inputs").mkdir()
    monkeypatch.chdir(nowhere / "here" / "inputs")
    refusal = refused("status")
    assert (refusal.code, "did you mean ../.cops?" in refusal.next_step) == ("E-HOME", True)
    monkeypatch.setenv("COPS_HOME", "../.cops")  # the advice, followed
    assert cops("status").exit_code == 0


def test_a_home_that_cops_toml_above_names_is_found(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_admin(f"sqlite:///{nowhere / 'books' / 'admin.db'}").close()
    (nowhere / "here" / "cops.toml").write_text('home = "../books"\n')
    (nowhere / "here" / "sub").mkdir()
    monkeypatch.chdir(nowhere / "here" / "sub")
    assert "books" in refused("status").next_step


def test_a_mistyped_home_is_named_with_who_named_it(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_admin(f"sqlite:///{nowhere / 'books' / 'admin.db'}").close()
    monkeypatch.setenv("COPS_HOME", str(nowhere / "boks"))
    refusal = refused("freeze", "check", "2025-08")
    assert "(named by COPS_HOME)" in refusal.found
    assert "books" in refusal.next_step
    assert not (nowhere / "boks").exists()


def test_a_home_that_is_a_file_is_no_home(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "file").write_text("x")
    monkeypatch.setenv("COPS_HOME", str(nowhere / "file"))
    assert refused("status").code == "E-HOME"
    assert refused("materialize", "2025-09").code == "E-HOME"


def test_an_empty_postgresql_is_no_home_and_stays_empty(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.empty_database()
    monkeypatch.setenv("COPS_ADMIN_DB", url)
    refusal = refused("status")
    assert (refusal.code, "empty admin database" in refusal.found) == ("E-HOME", True)
    assert sa.inspect(sa.create_engine(url)).get_table_names() == []
    assert tree(nowhere) == ["here"]


def test_a_migrated_postgresql_is_a_home_on_a_new_machine(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_ADMIN_DB", postgres.database())
    assert cops("status").exit_code == 0


@pytest.mark.parametrize("name", ["status", "doctor 2025-09", *sorted(MAKE - {"demo", "deliver"})])
def test_lake_without_its_database_is_told_and_no_new_one_is_begun_beside_it(
    name: str, nowhere: Path
) -> None:
    file = nowhere / "here" / ".cops" / "lake" / "fact_cost_raw" / "2025-09" / "a1" / "run.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1")
    before = tree(nowhere)
    given = [] if name.startswith("doctor") else arguments(name, leaves()[name])
    if name.startswith("doctor"):  # it says what it can find out
        done = cops(*name.split())
        assert (done.exit_code, "E-HOME-TORN" in done.output) == (1, True)
    else:
        refusal = refused(*name.split(), *given)
        assert refusal.code == "E-HOME-TORN"
        assert "admin.db is missing or empty in a home that has lake" in refusal.found
    assert tree(nowhere) == before


def test_an_empty_lake_folder_is_nothing_to_restore(nowhere: Path) -> None:
    (nowhere / "here" / ".cops" / "lake").mkdir(parents=True)
    assert refused("status").code == "E-HOME"
    assert cops("init", "--json").exit_code == 0


# --- months that the books do not know ------------------------------------------------------------------


@pytest.fixture(scope="module")
def books_of_september(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("september")
    write(folder / "cur", [lines(MONTH)])
    books = home(folder)
    run(books)
    books.admin.close()
    return folder


@pytest.fixture
def september(books_of_september: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COPS_HOME", str(books_of_september / "home"))
    monkeypatch.setenv("COPS_CUR", str(books_of_september / "cur"))
    settings.current.cache_clear()
    return books_of_september


ASKED = [
    "freeze check", "freeze release", "period show", "exceptions list", "adjust list", "runs", "status",
    "evidence verify", "close --dry-run", "statement", "bridge", "report", "rules explain",
]  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ASKED)
def test_a_month_that_the_books_do_not_know_is_not_all_good(name: str, september: Path) -> None:
    reason = ["--reason", "r", "--evidence", "e"] if name == "freeze release" else []
    assert refused(*name.split(), "2031-01", *reason).code == "E-PERIOD-UNKNOWN"


@pytest.mark.parametrize(
    "name", ["freeze check", "period show", "adjust list", "runs", "status", "evidence verify"]
)
def test_a_month_that_the_books_know_is_answered(name: str, september: Path) -> None:
    done = cops(*name.split(), str(SEPTEMBER))
    assert done.exit_code == 0, done.output


def test_doctor_without_a_month_takes_the_newest_open_one(september: Path) -> None:
    assert str(SEPTEMBER) in cops("doctor").stdout


def test_a_control_without_a_database_to_ask_ends_with_2(tmp_path: Path) -> None:
    url = "postgresql+psycopg2://u@127.0.0.1:1/x"
    done = subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", "freeze", "check", "2025-09"],
        cwd=tmp_path, env={**os.environ, "COPS_ADMIN_DB": url}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert json.loads(done.stderr)["code"] == "E-DB-UNREACHABLE"
