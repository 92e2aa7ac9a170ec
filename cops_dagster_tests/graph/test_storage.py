"""Dagster's storage kept open by a command: Dagster's own files, read by others meanwhile and afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from cops_dagster.graph import storage

KEY = dg.AssetKey("a")


@dg.op
def nothing() -> None:
    """One step."""


@dg.job
def job() -> None:
    nothing()


def report(instance: dg.DagsterInstance, number: int) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata={"number": number}))


def numbers(instance: dg.DagsterInstance) -> list[object]:
    found = instance.fetch_materializations(KEY, limit=100).records
    materializations = [one.asset_materialization for one in found]
    return sorted(one.metadata["number"].value for one in materializations if one)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """The SQLite files that SQLAlchemy opens, once for each time."""
    found: list[str] = []

    def opened(raw: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        ((_number, _name, path),) = raw.execute("PRAGMA database_list").fetchall()  # type: ignore[attr-defined]
        found.append(Path(path).name)

    sa.event.listen(sa.pool.Pool, "connect", opened)
    try:
        yield found
    finally:
        sa.event.remove(sa.pool.Pool, "connect", opened)


def test_a_file_is_opened_once_however_many_events_are_stored(tmp_path: Path) -> None:
    with storage.opened(tmp_path) as instance:
        report(instance, 0)  # Dagster makes the files and their tables
        instance.get_runs_count()
        with opened_files() as found:
            for number in range(1, 20):
                report(instance, number)
                instance.get_runs_count()
        assert sorted(found) == [".db", "index.db", "runs.db"]


def test_dagster_itself_opens_its_files_for_each_event(tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(str(storage.dagster_home(tmp_path))) as instance:
        report(instance, 0)
        with opened_files() as found:
            for number in range(1, 20):
                report(instance, number)
        assert len(found) > 19


def _made_a_home(folder: Path) -> Counter[str]:
    """How often Alembic read each folder of scripts while Dagster made the files of an event and a run."""
    found: Counter[str] = Counter()
    init = ScriptDirectory.__init__

    def counted(self: ScriptDirectory, folder: str, *given: Any, **named: Any) -> None:
        found[str(folder)] += 1
        init(self, folder, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "__init__", counted)
        with storage.opened(folder) as instance:
            report(instance, 0)
            instance.create_run_for_job(job)
    return found


def test_alembic_reads_the_scripts_of_a_folder_once_while_files_are_made(tmp_path: Path) -> None:
    assert set(_made_a_home(tmp_path).values()) == {1}


def test_dagster_itself_has_them_read_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "scripts_read_once", nullcontext)
    assert max(_made_a_home(tmp_path).values()) > 2


def test_what_alembic_reads_is_its_own_affair_again_afterwards(tmp_path: Path) -> None:
    before = vars(ScriptDirectory)["from_config"]
    with storage.opened(tmp_path):
        assert vars(ScriptDirectory)["from_config"] is not before
    assert vars(ScriptDirectory)["from_config"] is before


def test_what_a_command_stores_is_read_by_others_at_once_and_afterwards(tmp_path: Path) -> None:
    with storage.opened(tmp_path) as instance:
        for number in range(5):
            report(instance, number)
        with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as other:
            assert numbers(other) == [0, 1, 2, 3, 4]
            report(other, 5)
        assert numbers(instance) == [0, 1, 2, 3, 4, 5]
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as other:
        assert numbers(other) == [0, 1, 2, 3, 4, 5]


def test_a_home_that_dagster_made_itself_keeps_its_history(tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(str(storage.dagster_home(tmp_path))) as instance:
        report(instance, 1)
    with storage.opened(tmp_path) as instance:
        report(instance, 2)
        assert numbers(instance) == [1, 2]


def test_afterwards_the_storage_is_dagsters_own_again(tmp_path: Path) -> None:
    with dg.DagsterInstance.from_config(str(storage.dagster_home(tmp_path))) as instance:
        with storage.kept_open(instance):
            report(instance, 1)
        assert not {"run_connection", "index_connection", "has_table"} & set(vars(instance.event_log_storage))
        assert "connect" not in vars(instance.run_storage)
        assert numbers(instance) == [1]


def test_an_event_that_cannot_be_stored_takes_nothing_with_it(tmp_path: Path) -> None:
    with storage.opened(tmp_path) as instance:
        report(instance, 1)
        storing: Any = instance.event_log_storage

        def half_done() -> None:
            with storing.index_connection() as con:
                con.execute(sa.text("DELETE FROM event_logs"))
                con.execute(sa.text("SELECT * FROM no_such_table"))

        with pytest.raises(sa.exc.OperationalError):
            half_done()
        assert numbers(instance) == [1]


def test_a_storage_that_is_no_file_is_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance, storage.kept_open(instance):
        for number in range(3):
            report(instance, number)
        assert numbers(instance) == [0, 1, 2]
