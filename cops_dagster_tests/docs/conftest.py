"""One demo, made once through `cops demo`, and a copy of it that commands may change."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from cops_dagster import settings
from cops_dagster.demo import cur
from cops_dagster.evidence.home import open_books
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.docs import pages
from cops_dagster_tests.docs.pages import ROOT

CopsResult = subprocess.CompletedProcess[str]


def run_cops(command: str, *, home: Path, cwd: Path, **more: str) -> CopsResult:
    """Runs a line as a shell would, `cops` being this checkout's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COPS_", "DAGSTER_"))}
    env = {**kept, "COPS_HOME": str(home), "PYTHONPATH": str(ROOT), "DAGSTER_DISABLE_TELEMETRY": "1", **more}
    script = f'cops() {{ "{sys.executable}" -m cops_dagster.cli.start "$@"; }}; {command}'
    return subprocess.run(  # the lines are those of our own documents
        ["/bin/bash", "-c", script], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@dataclass
class Workshop:
    """A copied home and the working directory that the documents' commands assume."""

    home: Path
    cwd: Path
    report_root: Path
    ran: dict[str, CopsResult] = field(default_factory=dict)

    def run(self, command: str) -> CopsResult:
        """The command's outcome; what ran once in this session is not run again."""
        if command not in self.ran:
            self.ran[command] = run_cops(
                command,
                home=self.home,
                cwd=self.cwd,
                COPS_CUR=str(self.report_root),
                COPS_NOTIFY__RECEIVERS__DESK='{"kind": "console"}',
            )
        return self.ran[command]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo takes a minute to make, and each command a process."""
    for item in items:
        if "demo_home" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the first process that asks; the others of this test run wait for it and read the same."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder of its own below that of the run
    home = folder / "docs" / "home"
    home.parent.mkdir(exist_ok=True)
    with (home.parent / "made").open("a+") as made, exclusively(made):
        if not made.tell():
            done = run_cops("cops demo", home=home, cwd=home.parent)
            assert done.returncode == 0, done.stderr
            made.write("made\n")
    return home


@contextmanager
def exclusively(file: IO[str]) -> Iterator[None]:
    """Until the end of the block no other process holds this lock."""
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0, os.SEEK_END)
    try:
        yield
    finally:
        file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def demo(demo_home: Path) -> Books:
    """The demo's books, to be read only."""
    return open_books(settings.load(home=demo_home))


@pytest.fixture(scope="session")
def workshop(demo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    home, cwd = folder / "home", folder / "work"
    shutil.copytree(demo_home, home, ignore=shutil.ignore_patterns("demo", "spill"))
    shutil.copytree(demo_home / "demo" / "inputs", cwd / "inputs")
    shutil.copytree(ROOT / "sql", cwd / "sql")
    cur.write_month(folder / "cur", Period(2025, 6), lines=2_000)
    (cwd / "report").mkdir()
    for file in (folder / "cur").rglob("*.parquet"):
        shutil.copy2(file, cwd / "report")
    for kind in ("json", "toml", "text"):
        for block in pages.blocks(kind):
            if block.file:
                (cwd / block.file).write_text(block.text, encoding="utf-8")
    return Workshop(home, cwd, demo_home / "demo" / "cur")
