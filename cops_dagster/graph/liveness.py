"""The sign of life of Dagster's runs, and telling Dagster of those whose process is gone.

A run holds a lock on a file of its own below the home while it works; the lock ends with the process, however
it ends (docs/adr/0039). Dagster itself notices nothing: with its default launcher a run whose worker was
killed is STARTED for `max_runtime_seconds`, and keeps its month's and one of the queue's places.

Belongs here: holding the lock, looking at others', reporting. Does not belong here: when a run counts as dead
(`graph/liveness_rules.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from cops_dagster.graph.liveness_rules import Machine, Sign, is_dead

_LAUNCHED_BY = ".dagster/grpc_info"
"""Tag of a run that Dagster's default launcher started: where the code server is that holds its process."""
_BELIEVED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

_held: dict[str, tuple[int, Path, int]] = {}  # run id → lock, its file, how many in this process rely on it


def here() -> Machine:
    """This machine."""
    return Machine(_read("/proc/sys/kernel/random/boot_id"), _name())


def _name() -> str:
    known = _read("/etc/machine-id")
    return f"{known} {socket.gethostname()}" if known else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def hold(home: Path, run_id: str) -> None:
    """Shows that a run lives, until `release` or the end of this process; without a home nothing is shown."""
    if run_id in _held:
        handle, place, count = _held[run_id]
        _held[run_id] = handle, place, count + 1
        return
    place = _folder(home) / run_id
    made = place.with_name(f".{uuid.uuid4().hex}")
    if not home.is_dir():
        return
    with suppress(OSError):  # a disk without locks or place: the run goes on, nobody can judge it
        place.parent.mkdir(exist_ok=True)
        handle = os.open(made, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        machine = here()
        os.write(handle, json.dumps({"boot": machine.boot, "name": machine.name}).encode())
        made.rename(place)  # a file that is found was locked before it had this name
        _held[run_id] = handle, place, 1


def release(run_id: str) -> None:
    """Takes the sign of a run away that goes on to its end by itself."""
    handle, place, count = _held.get(run_id, (-1, Path(), 0))
    if count > 1:
        _held[run_id] = handle, place, count - 1
    elif count:
        del _held[run_id]
        place.unlink(missing_ok=True)
        os.close(handle)


def bury(
    instance: dg.DagsterInstance,
    home: Path,
    *,
    ours: Callable[[dg.DagsterRun], bool] = lambda run: True,
    at: datetime | None = None,
) -> list[str]:
    """Reports every run as ended whose process is gone; their ids. Signs of ended runs are removed.

    Args:
        ours: of which runs it is for us to say so.
        at: the time it is, UTC; by default now.
    """
    moment, believed, buried = at or datetime.now(UTC), set(), []
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=_BELIEVED)):
        run = record.dagster_run
        believed.add(run.run_id)
        age = moment - record.update_timestamp.replace(tzinfo=UTC)
        if ours(run) and is_dead(_sign(instance, home, run), age) and _report(instance, run.run_id):
            buried.append(run.run_id)
    _clear(home, believed - set(buried))
    return buried


def _sign(instance: dg.DagsterInstance, home: Path, run: dg.DagsterRun) -> Sign:
    held, maker = _look(_folder(home) / run.run_id)
    return Sign(held, here().sees(maker), None if held is not None else _has_process(instance, run))


def _look(place: Path) -> tuple[bool | None, Machine]:
    """Whether a sign is held, and where it was made; `None` for none."""
    try:
        handle = os.open(place, os.O_RDWR)
    except OSError:
        return None, Machine("")
    try:
        said = _maker(os.read(handle, 4096))
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, said
    except OSError:
        return None, Machine("")
    finally:
        os.close(handle)
    return False, said


def _maker(written: bytes) -> Machine:
    try:
        said: dict[str, Any] = json.loads(written)
        return Machine(str(said["boot"]), str(said["name"]))
    except (ValueError, KeyError, TypeError):
        return Machine("")


def _has_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool | None:
    """Of a run that a code server on this machine started: whether the process is there that it named."""
    try:
        socket_ = json.loads(run.tags.get(_LAUNCHED_BY, "{}")).get("socket")
    except (ValueError, AttributeError):
        return None
    if not socket_ or not Path(socket_).is_socket():
        return None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event: Any = entry.dagster_event
        pid = event.event_specific_data and event.event_specific_data.metadata.get("pid")
        if pid is not None and str(pid.value).isdigit():
            return _is_there(int(pid.value))
    return None


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    # one that ended and was not waited for does nothing any more
    return not _read(f"/proc/{pid}/stat").rpartition(")")[2].strip().startswith("Z")


def _report(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in _BELIEVED:
        return False  # it said so itself meanwhile
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "the run's process ended while it was canceled")
    else:
        instance.report_run_failed(
            run, "the run's process is gone and never said why: killed, out of memory, or a restart"
        )
    return True


def _clear(home: Path, believed: set[str]) -> None:
    """Removes signs that nobody holds and no run needs."""
    for place in _folder(home).glob("*"):
        if place.name in believed:
            continue
        held, maker = _look(place)
        young = timedelta(seconds=datetime.now(UTC).timestamp() - _changed(place)) < timedelta(minutes=5)
        if held is False and here().sees(maker) and not young:
            place.unlink(missing_ok=True)


def _changed(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


def _folder(home: Path) -> Path:
    return home / "runs"
