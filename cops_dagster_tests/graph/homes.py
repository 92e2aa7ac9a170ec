"""What runs of the graph share: a month in the home that the process names, the last run, the handlers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cops_dagster.graph.storage import dagster_home
from cops_dagster_tests.deliveries import MONTH, lines, write
from cops_dagster_tests.docs.pages import ROOT


def handlers() -> Any:
    spec = importlib.util.spec_from_file_location("handlers", ROOT / "deploy" / "aws" / "handlers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A month in the home and report root that this process's settings name."""
    from cops_dagster import settings

    write(tmp_path / "cur", [lines(MONTH)])
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    settings.current.cache_clear()
    return tmp_path


def last_run(folder: Path) -> tuple[dg.DagsterRun, list[dg.EventLogEntry]]:
    with dg.DagsterInstance.from_config(str(dagster_home(folder / "home"))) as instance:
        run = instance.get_runs(limit=1)[0]
        return run, list(instance.all_logs(run.run_id))
