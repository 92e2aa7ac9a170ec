"""Room to work in: folders below the home that last as long as the process that made them.

Belongs here: making one, and clearing away those of processes that were killed. Does not belong here: files
that are staged to be published (`ledger/run.py`). As there, an OS file lock is the sign of life: it ends
with the process however the process ends, so nobody takes a living one's folder away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNSIGNED_SECONDS = 86_400
"""A folder without a lock is an older version's; what is younger than the longest run may be in use."""


@contextmanager
def folder(home: Path) -> Iterator[Path]:
    """A folder of one's own below the home, gone afterwards; in a home that only reads, elsewhere."""
    place, name = home / "spill", uuid.uuid4().hex
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(_lock_of(place / name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        with tempfile.TemporaryDirectory(prefix="cops-spill-") as elsewhere:
            yield Path(elsewhere)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # before there is a folder that a sweep could find
        (place / name).mkdir(mode=0o700)
        yield place / name
    finally:
        shutil.rmtree(place / name, ignore_errors=True)
        _lock_of(place / name).unlink(missing_ok=True)
        os.close(handle)


def clear(home: Path) -> int:
    """Removes the folders of processes that are gone; how many."""
    place, removed = home / "spill", 0
    if not place.is_dir():
        return 0
    names = {path.stem if path.suffix == ".lock" else path.name for path in place.iterdir()}
    for name in sorted(names):
        if _is_dead(place / name):
            removed += (place / name).is_dir()
            shutil.rmtree(place / name, ignore_errors=True)
            _lock_of(place / name).unlink(missing_ok=True)
    return removed


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _is_dead(path: Path) -> bool:
    try:
        handle = os.open(_lock_of(path), os.O_RDWR)
    except FileNotFoundError:
        return path.is_dir() and time.time() - path.stat().st_mtime > _UNSIGNED_SECONDS
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        # a lock without a folder may belong to one who is just about to take it
        return path.is_dir() or time.time() - _lock_of(path).stat().st_mtime > _UNSIGNED_SECONDS
    finally:
        os.close(handle)
