"""A wheel holds everything that runs, and the instance file is one file in two places."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = (
    "README.md",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "MANIFEST.in",
    "LICENSE",
    "workspace.yaml",
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")

# The real loader in a process of its own; -I keeps the working directory and the environment out.
READ_EVERY_STATEMENT = """
import sys
root, *names = sys.argv[1:]
sys.path.insert(0, root)
from cops_dagster.lake import statements
assert statements.__file__.startswith(root), statements.__file__
assert all(statements.text(name).strip() for name in names)
"""


READ_WHAT_IS_NAMED = """
import sys
sys.path.insert(0, sys.argv[1])
from cops_dagster import shipped
from cops_dagster.operations import all_checks
assert shipped.__file__.startswith(sys.argv[1])
assert {"closing", "readme", "adr/0001"} <= set(shipped.topics())
looks = [one.look for one in all_checks.CHECKS]
named = [word[1:] for look in looks for word in look.split() if word.startswith("@")]
assert named and set(named) <= set(shipped.diagnostics()), named
"""


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site folder of a wheel built from a copy of this checkout, without a network."""
    scratch = tmp_path_factory.mktemp("wheel")
    checkout, wheels, site = scratch / "checkout", scratch / "wheels", scratch / "site"
    checkout.mkdir()
    for name in BUILT_FROM:
        shutil.copy2(ROOT / name, checkout)
    for folder in ("cops_dagster", "cops_dagster_tests", "docs", "sql"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=LEFT_OUT)
    # what an earlier build left behind must not come back
    stale = checkout / "build" / "lib" / "cops_dagster" / "sql" / "stage_of_yesterday.sql"
    stale.parent.mkdir(parents=True)
    stale.write_text("SELECT 1")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), str(checkout))
    (wheel,) = wheels.iterdir()
    run(*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(site), str(wheel))
    return site


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd="/", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_wheel_holds_every_statement_byte_for_byte(installed: Path) -> None:
    assert files_under(installed / "cops_dagster" / "sql") == files_under(ROOT / "sql")


def test_a_wheel_holds_the_documents_and_the_readme(installed: Path) -> None:
    package = installed / "cops_dagster"
    ours = {name: text for name, text in files_under(ROOT / "docs").items() if name.endswith(".md")}
    assert files_under(package / "docs") == ours
    assert (package / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()


def test_commands_and_texts_of_the_wheel_name_what_is_in_it(installed: Path) -> None:
    run(sys.executable, "-I", "-c", READ_WHAT_IS_NAMED, str(installed))


def test_a_wheel_holds_every_file_of_the_package_migrations_included(installed: Path) -> None:
    shipped = files_under(installed / "cops_dagster")
    ours = files_under(ROOT / "cops_dagster")
    missing = [name for name, content in ours.items() if shipped.get(name) != content]
    assert missing == [], "a folder of code needs an __init__.py to be packaged"
    assert any(name.startswith("stores/migrations/versions/") for name in shipped)


def test_a_wheel_holds_the_instance_file_and_the_workspace(installed: Path) -> None:
    package = installed / "cops_dagster"
    assert (package / "graph" / "dagster.yaml").read_bytes() == (ROOT / "dagster.yaml").read_bytes()
    assert (package / "workspace.yaml").read_bytes() == (ROOT / "workspace.yaml").read_bytes()


def test_a_wheel_brings_the_package_alone_no_tests_no_second_sql_folder(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names == {"bin", "cops_dagster"}
    assert (installed / "bin" / "cops").is_file()


@pytest.mark.parametrize("where", ["wheel", "checkout"])
def test_the_loader_finds_every_statement(where: str, installed: Path) -> None:
    """In a wheel sql/ lies inside the package, in a checkout beside it."""
    sql = ROOT / "sql"
    names = [str(path.relative_to(sql).with_suffix("")) for path in sql.rglob("*.sql")]
    assert names
    root = installed if where == "wheel" else ROOT
    run(sys.executable, "-I", "-c", READ_EVERY_STATEMENT, str(root), *names)


def test_the_instance_file_of_the_package_is_the_one_at_the_top_level() -> None:
    """`cops` reads the one in graph/, people read the one at the top level."""
    ours, shipped = ROOT / "dagster.yaml", ROOT / "cops_dagster" / "graph" / "dagster.yaml"
    assert shipped.read_text() == ours.read_text(), "cp dagster.yaml cops_dagster/graph/dagster.yaml"


def test_dagster_starts_on_the_instance_file(tmp_path: Path) -> None:
    import dagster as dg

    shutil.copy2(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 2
        (per_period,) = queue.tag_concurrency_limits
        assert per_period["key"] == "dagster/partition"
        assert per_period["value"] == {"applyLimitPerUniqueValue": True}
        assert per_period["limit"] == 1
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_nothing_that_is_built_or_fetched_lies_at_the_top() -> None:
    """A wheel that a tool left there was committed with everything else, 2.9 MB of it."""
    kept = {".cfg", ".in", ".lock", ".md", ".py", ".toml", ".yaml", ""}
    assert {path.name for path in ROOT.iterdir() if path.is_file() and path.suffix not in kept} == set()
