"""The folder that the processes of one test session share: what one of them made, the others copy.

Belongs here: where it is, and making a thing in it once. It goes when the session ends.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_NAME = "COPS_TEST_SHARED"


def begin() -> None:
    """Makes the folder; workers and every process that a test starts find it by the environment."""
    os.environ[_NAME] = tempfile.mkdtemp(prefix="cops-tests-")


def end() -> None:
    """Removes the folder."""
    shutil.rmtree(os.environ.pop(_NAME), ignore_errors=True)


def folder() -> Path:
    """The folder of this session, or of this process when no session began."""
    if _NAME not in os.environ:
        begin()
        atexit.register(end)
    return Path(os.environ[_NAME])


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The thing of this name, made by whoever asks first while the others wait."""
    path = folder() / name
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = path.with_suffix(".new")
            make(made)
            made.rename(path)
    return path
