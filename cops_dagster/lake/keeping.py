"""Delivered bytes brought into the lake: the same file where only COPS writes it, else shared or copied.

Belongs here: one file under another name, durable. Does not belong here: whether they are the bytes of first
sight, which the digest of what lies in the lake says (`ingestion/kept_bytes.py`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.stores import faults

_CLONE = 0x40049409  # FICLONE of linux/fs.h: the blocks of a file, shared until one of the two is written to
_PIECE = 1 << 30
_ELSEWHERE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY)
"""What a file system says that cannot do it this way."""


def keep(source: Path, target: Path, *, is_ours: bool) -> None:
    """Gives the bytes of `source` a place at `target`, where no file is yet.

    Args:
        is_ours: COPS made the file and never writes to it again, so that it need not be copied.

    Raises:
        CopsError: `E-DISK`, `E-DISK-READONLY`, `E-DISK-IO`; no file is left.
        OSError: `source` cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_ours and _linked(source, target):
        return
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as given:
        try:
            with target.open("xb") as kept:
                if not _cloned(given.fileno(), kept.fileno()):
                    _copied(given.fileno(), kept.fileno())
                os.fsync(kept.fileno())
        except OSError as problem:
            with suppress(OSError):
                target.unlink(missing_ok=True)
            fault: CopsError | None = faults.of_disk(problem, str(target))
            raise fault or problem from None


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def _cloned(given: int, kept: int) -> bool:
    try:
        fcntl.ioctl(kept, _CLONE, given)
    except OSError as problem:
        if problem.errno not in _ELSEWHERE:
            raise
        return False
    return True


def _copied(given: int, kept: int) -> None:
    """In the kernel where it can; a file that is cut meanwhile ends early, and its digest says so."""
    try:
        while os.copy_file_range(given, kept, _PIECE):
            pass
    except OSError as problem:
        if problem.errno not in _ELSEWHERE or os.lseek(given, 0, os.SEEK_CUR):
            raise
        with os.fdopen(os.dup(given), "rb") as source, os.fdopen(os.dup(kept), "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
