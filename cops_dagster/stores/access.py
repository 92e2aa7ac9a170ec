"""Who on this machine reads what COPS writes: its user alone, or its group where that was chosen.

Belongs here: the modes of a home and of everything a process writes once it works in one. Does not belong
here: rights in the databases (`deploy/postgresql`) and in S3.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

Access = Literal["owner", "group"]
_UMASK = {"owner": 0o077, "group": 0o007}
_MARKS = ("admin.db", "lake", "evidence", "dagster")
"""What only a home has: a folder without any of them may be somebody's, whatever `COPS_HOME` says."""


def keep(home: Path, access: Access) -> None:
    """From now on this process writes for those alone; a home that others may enter is closed to them.

    The process's own umask does not count: every tenant's cost lies here. A folder that nobody enters
    protects what lies in it: older files keep their modes, but the database. What is not ours stays.
    """
    os.umask(_UMASK[access])
    with suppress(OSError):  # no home yet, another's, or one on a mount that is only read
        is_common = home.stat().st_mode & stat.S_ISVTX
        if is_common or not any((home / mark).exists() for mark in _MARKS):
            return
        _restrict(home, access, 0o2070)  # setgid: what is made in it is of the group as well
        for name in ("admin.db", "admin.db-wal", "admin.db-shm"):
            with suppress(FileNotFoundError):
                _restrict(home / name, access, 0o060)


def _restrict(path: Path, access: Access, to_group: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    wanted = mode & ~0o077 if access == "owner" else mode & ~0o007 | to_group
    if mode != wanted:
        path.chmod(wanted)
