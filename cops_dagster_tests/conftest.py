"""What every test gets: no settings, homes or caches of the machine it runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from cops_dagster import settings

# The same examples on every machine and in every run; no verdict rests on the machine's speed.
hypothesis_settings.register_profile("cops", derandomize=True, deadline=None)
hypothesis_settings.load_profile("cops")


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("COPS_", "DAGSTER_")) and not name.startswith("COPS_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "cops-home"))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    settings.current.cache_clear()
    umask = os.umask(0o022)  # a process that opens books narrows it for good, and a test is no process
    yield
    os.umask(umask)
    settings.current.cache_clear()
