"""Runs whose process is gone: told, their months free again; runs that live are left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from cops_dagster import settings
from cops_dagster.graph import liveness
from cops_dagster.graph.build import build_defs
from cops_dagster.graph.storage import dagster_home
from cops_dagster.period import Period
from cops_dagster_tests import deliveries

ROOT = Path(__file__).resolve().parents[2]
LATER = datetime.now(UTC) + timedelta(minutes=1)
HOLDER = (
    "import sys, pathlib, cops_dagster.graph.liveness as l\n"
    "l.hold(pathlib.Path(sys.argv[1]), sys.argv[2]); print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def instance(place: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(dagster_home(place))) as found:
        yield found


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job
def some_job() -> None:
    """A run of it."""
    nothing()


def started(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED, **tags: str
) -> str:
    """A run that Dagster believes in."""
    run = instance.create_run_for_job(some_job, status=status, tags=tags)
    return str(run.run_id)


def status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return str(run.status.value)


def held_by_another(place: Path, run_id: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place), run_id], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.long
def test_a_run_that_lives_is_left_alone_and_once_killed_it_is_reported(
    instance: dg.DagsterInstance, place: Path
) -> None:
    living, canceled = started(instance), started(instance, dg.DagsterRunStatus.CANCELING)
    holders = [held_by_another(place, run_id) for run_id in (living, canceled)]
    assert liveness.bury(instance, place, at=LATER) == []
    assert status(instance, living) == "STARTED"
    for holder in holders:
        holder.kill()
        holder.wait()
    assert set(liveness.bury(instance, place)) == {living, canceled}
    assert (status(instance, living), status(instance, canceled)) == ("FAILURE", "CANCELED")
    assert liveness.bury(instance, place) == []


def test_a_run_of_which_nothing_is_seen_here_is_not_reported(
    instance: dg.DagsterInstance, place: Path
) -> None:
    elsewhere = started(instance, **{".dagster/grpc_info": json.dumps({"host": "code-server", "port": 4000})})
    foreign = started(instance)
    (place / "runs").mkdir(exist_ok=True)
    (place / "runs" / foreign).write_text(json.dumps({"boot": "another", "name": "another"}))
    (place / "runs" / "torn").write_text("{")
    assert liveness.bury(instance, place, at=LATER) == []
    assert {status(instance, one) for one in (elsewhere, foreign)} == {"STARTED"}


def test_a_run_in_this_process_shows_itself_once_however_many_parts_rely_on_it(
    instance: dg.DagsterInstance, place: Path
) -> None:
    run_id = started(instance)
    liveness.hold(place, run_id)
    liveness.hold(place, run_id)
    liveness.release(run_id)
    assert liveness.bury(instance, place, at=LATER) == []
    liveness.release(run_id)
    assert not (place / "runs" / run_id).exists()
    liveness.release(run_id)


def test_a_home_that_is_not_there_is_not_made_by_a_sign(tmp_path: Path) -> None:
    liveness.hold(tmp_path / "nowhere", "run")
    assert not (tmp_path / "nowhere").exists()


def test_the_sweep_looks_for_dead_runs_within_a_minute(
    instance: dg.DagsterInstance, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sweep,) = [one for one in build_defs(first=Period(2025, 7)).sensors or [] if one.name == "publish_sweep"]
    assert sweep.minimum_interval_seconds <= 60
    dead = started(instance)
    holder = held_by_another(place, dead)
    holder.kill()
    holder.wait()
    monkeypatch.setenv("COPS_HOME", str(place))
    settings.current.cache_clear()
    deliveries.empty_database(place)
    said = sweep(dg.build_sensor_context(instance=instance))
    assert isinstance(said, dg.SkipReason)
    assert str(said.skip_message).startswith(f"run {dead[:8]} is dead; 0 projected")
    assert status(instance, dead) == "FAILURE"
