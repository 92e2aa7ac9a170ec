"""What every test gets: no settings, homes or caches of the machine it runs on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from cops_dagster import settings
from cops_dagster_tests import boxed, remembered, shared

# The same examples on every machine and in every run; no verdict rests on the machine's speed.
# `make test` takes a quarter of the examples; a test that asks for a number of its own asks `examples`.
hypothesis_settings.register_profile("long", derandomize=True, deadline=None, max_examples=100)
hypothesis_settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis_settings.load_profile("quick" if config.option.markexpr == "not long" else "long")
    if not hasattr(config, "workerinput"):
        shared.begin()
        boxed.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared.end()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test marked `sampled(n)`, all but the first and each n-th after it are long."""
    met: Counter[str] = Counter()
    for item in items:
        for mark in item.iter_markers("sampled"):
            test = item.nodeid.partition("[")[0]
            if met[test] % mark.args[0]:
                item.add_marker(pytest.mark.long)
            met[test] += 1
    boxed.order(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    boxed.stop_when_time_is_up(item)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    boxed.note(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    boxed.tell(terminalreporter)


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("COPS_", "DAGSTER_")) and not name.startswith("COPS_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "cops-home"))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    remembered.under(monkeypatch)
    settings.current.cache_clear()
    umask = os.umask(0o022)  # a process that opens books narrows it for good, and a test is no process
    yield
    os.umask(umask)
    settings.current.cache_clear()
