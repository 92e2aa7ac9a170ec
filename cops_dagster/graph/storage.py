"""Dagster's storage as a command uses it: made once, and its SQLite files kept open while a run writes.

Dagster opens, compiles for and closes a database for each event that it stores: 1,666 times for one month, a
third of a small month's processor time (docs/adr/0046). Files, tables and rows are Dagster's own, so its
webserver and daemon read them as ever.

Belongs here: opening Dagster's instance below the home. Does not belong here: what a run is
(`graph/launch.py`).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from alembic.config import Config
from alembic.script import ScriptDirectory

from cops_dagster.stores.open_files import keeping

_INSTANCE_FILE = "dagster.yaml"


def dagster_home(home: Path) -> Path:
    """`$COPS_HOME/dagster`, made once: several first processes on a fresh home would crash (measured)."""
    with scripts_read_once():
        folder, made = _made(home)
    if made:
        made.dispose()
    return folder


@contextmanager
def opened(home: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of a home, made if there is none; its files are open until this ends."""
    with scripts_read_once():
        folder, made = _made(home)
        with made or dg.DagsterInstance.from_config(str(folder)) as instance, kept_open(instance):
            yield instance


def _made(home: Path) -> tuple[Path, dg.DagsterInstance | None]:
    """Dagster's folder, and the instance that this process made it with, if it did."""
    folder, instance = home / "dagster", None
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".init.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        target = folder / _INSTANCE_FILE
        if not target.exists():
            target.write_text(_shipped(), encoding="utf-8")
            instance = dg.DagsterInstance.from_config(str(folder))
            instance.get_runs_count()  # creates the storage's schema
    return folder, instance


def _shipped() -> str:
    return Path(__file__).with_name(_INSTANCE_FILE).read_text(encoding="utf-8")


@contextmanager
def kept_open(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keeps one engine per SQLite file of Dagster's runs and events.

    Only the doors of its storage are held, by their public names; what goes through them is Dagster's own.
    """
    doors: list[tuple[Any, str]] = [
        (instance.event_log_storage, "run_connection"),
        (instance.event_log_storage, "index_connection"),
        (instance.run_storage, "connect"),
    ]
    with ExitStack() as stack:
        for storage, door in doors:
            if hasattr(storage, door):
                setattr(storage, door, keeping(getattr(storage, door), stack))
                stack.callback(delattr, storage, door)
        events: Any = instance.event_log_storage
        if hasattr(events, "has_table"):  # asked for each check, with a database opened for it
            events.has_table = cache(events.has_table)
            stack.callback(delattr, events, "has_table")
        yield


@contextmanager
def scripts_read_once() -> Iterator[None]:
    """Alembic reads the scripts of a folder once; for each file that it makes, Dagster has all read twice."""
    door: Any = ScriptDirectory
    given, read = vars(door)["from_config"], {}

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in read:
            read[folder] = given.__get__(None, door)(config)
        return read[folder]

    door.from_config = staticmethod(from_config)
    try:
        yield
    finally:
        door.from_config = given
