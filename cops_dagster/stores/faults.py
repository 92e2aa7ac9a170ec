"""What a database or a disk says when it does not do its part, as coded refusals.

Belongs here: the meaning of SQLite's error names, PostgreSQL's SQLSTATEs and the operating system's error
numbers. Does not belong here: when they are asked (`stores/admin.py`, `cli/start.py`, `graph/launch.py`).
Errors that are answers (a constraint, a guard, a statement that is wrong) are none of these.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cops_dagster.errors import CopsError

RESTORE = "stop COPS, keep the damaged file, restore admin.db from its copy (cops docs operations)"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room at all, or none for one file of this size."""
_LOCKED = (errno.EROFS, errno.EACCES, errno.EPERM)
_LEAST_FREE = 64 << 10
"""Below it a disk counts as full: SQLite needs 32 KiB beside the file before it reads."""


def of(
    problem: BaseException, subject: str, place: Path | None = None, *, writes: bool = True
) -> CopsError | None:
    """The refusal that a fault of database or disk stands for; `None` for anything else.

    Args:
        place: file or folder that it is about: "disk I/O error" on a full disk is a full disk.
        writes: whether writing was meant; a write that a read-only transaction refuses is a mistake of ours.
    """
    for one in _chain(problem):
        if isinstance(one, CopsError):
            return one
        if isinstance(one, sqlite3.Error):
            found = _sqlite(one, subject, place, writes=writes)
        elif hasattr(one, "pgcode"):  # psycopg2's, which need not be installed
            found = _postgresql(str(one.pgcode or ""), one, subject, writes=writes)
        elif isinstance(one, OSError):
            found = of_disk(one, subject)
        else:
            continue
        if found:
            return found
    return None


def of_disk(problem: OSError, subject: str) -> CopsError | None:
    """A full, read-only or failing disk; `None` for any other error, such as a file that is not there."""
    place = str(problem.filename or subject)
    said = str(problem.strerror or problem)
    if problem.errno in _FULL or "No space left" in said or "Disk quota exceeded" in said:
        return full(place, said)
    if problem.errno in _LOCKED:
        return CopsError(
            "E-DISK-READONLY",
            place,
            expected="a place that can be written to",
            found=said,
            next_step="correct its rights or mount it for writing, then run again",
        )
    if problem.errno == errno.EIO:
        return CopsError(
            "E-DISK-IO",
            place,
            expected="a disk that can be read and written",
            found=said,
            next_step="look at the disk and its log (dmesg); when it is sound again, run again",
        )
    return None


@contextmanager
def writing_to(folder: Path, other: str) -> Iterator[None]:
    """What the file system refuses of a folder that a person chose, as coded refusals.

    Args:
        other: what that person does to choose another one.

    Raises:
        CopsError: `E-DISK`, `E-DISK-READONLY`, `E-DISK-IO`; `E-PARAM` for what cannot be such a folder.
    """
    try:
        yield
    except OSError as problem:
        raise of_disk(problem, str(folder)) or CopsError(
            "E-PARAM",
            f"folder {folder}",
            expected="a folder that can be written to",
            found=str(problem.strerror or problem),
            next_step=other,
        ) from None


def full(place: str, found: str) -> CopsError:
    """The disk is full."""
    return CopsError(
        "E-DISK",
        place,
        expected="room on the disk",
        found=found,
        next_step="free disk and run again; nothing is half-written",
    )


def corrupt(subject: str, found: str) -> CopsError:
    """The database's own bytes are damaged."""
    return CopsError(
        "E-DB-CORRUPT", subject, expected="a database whose pages are whole", found=found, next_step=RESTORE
    )


def read_only(subject: str, found: str) -> CopsError:
    """The database can be read and not written."""
    return CopsError(
        "E-DB-READONLY",
        subject,
        expected="a database that can be written to",
        found=found,
        next_step="correct rights or mount, or copy the home to where it can be written; reading goes on",
    )


def busy(subject: str, found: str) -> CopsError:
    """Somebody else holds the lock."""
    return CopsError(
        "E-DB-BUSY",
        subject,
        expected="the write lock within 30 s",
        found=found,
        next_step="wait until the other COPS process is done, then try again",
    )


def unreachable(subject: str, found: str) -> CopsError:
    """Nothing answers, or not with a database."""
    return CopsError(
        "E-DB-UNREACHABLE",
        subject,
        expected="a database that accepts connections and writes",
        found=found,
        next_step="check COPS_ADMIN_DB, and that the database runs and can be written to",
    )


def _failing(subject: str, found: str) -> CopsError:
    return CopsError(
        "E-DB-IO",
        subject,
        expected="a disk that can be read and written",
        found=found,
        next_step="look at disk, quota and mount; when they are sound again, run again",
    )


def _exhausted(subject: str, found: str) -> CopsError:
    return CopsError(
        "E-RESOURCE", subject, expected="memory enough", found=found, next_step="free memory and run again"
    )


def _sqlite(problem: sqlite3.Error, subject: str, place: Path | None, *, writes: bool) -> CopsError | None:
    name = str(getattr(problem, "sqlite_errorname", ""))
    kind = name.removeprefix("SQLITE_").partition("_")[0]
    found = f"{problem} ({name})"
    if kind in ("CORRUPT", "NOTADB") or name in ("SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_DATA"):
        return corrupt(subject, found)
    if (
        kind == "FULL"
        or name == "SQLITE_IOERR_SHMSIZE"
        or (kind in ("IOERR", "CANTOPEN") and _is_full(place))
    ):
        return full(subject, found)
    if name == "SQLITE_READONLY_DBMOVED":
        return unreachable(subject, "its file was moved or replaced while it was open")
    if (kind == "READONLY" and (writes or name != "SQLITE_READONLY")) or (
        kind == "CANTOPEN" and _is_read_only(place)
    ):
        return read_only(subject, found)
    if name == "SQLITE_IOERR_NOMEM" or kind == "NOMEM":
        return _exhausted(subject, found)
    if kind in ("BUSY", "LOCKED", "PROTOCOL"):
        return busy(subject, found)
    if kind == "IOERR":
        return _failing(subject, found)
    return unreachable(subject, found) if kind in ("CANTOPEN", "PERM", "AUTH") else None


def _postgresql(state: str, problem: BaseException, subject: str, *, writes: bool) -> CopsError | None:
    found = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    if state == "53100":
        return full(f"{subject}, on its server", found)
    if state in ("XX001", "XX002", "58P01"):
        return CopsError(
            "E-DB-CORRUPT",
            subject,
            expected="a database whose pages are whole",
            found=found,
            next_step="stop COPS and restore the database (cops docs operations)",
        )
    if state == "25006":
        return read_only(subject, found) if writes else None
    if state == "58030":
        return _failing(subject, found)
    if state == "53200":
        return _exhausted(subject, found)
    if state in ("55P03", "40P01"):
        return busy(subject, found)
    is_gone = state[:2] in ("08", "28") or state in ("3D000", "53300", "57P01", "57P02", "57P03", "57P05")
    if is_gone or (not state and type(problem).__name__ in ("OperationalError", "InterfaceError")):
        return unreachable(subject, found)
    return None


def _is_full(place: Path | None) -> bool:
    there = _folder(place)
    if there is None:
        return False
    free = os.statvfs(there)
    return free.f_bavail * free.f_frsize < _LEAST_FREE


def _is_read_only(place: Path | None) -> bool:
    there = _folder(place)
    return there is not None and not os.access(
        there, os.W_OK, effective_ids=os.access in os.supports_effective_ids
    )


def _folder(place: Path | None) -> Path | None:
    folder = place and (place if place.is_dir() else place.parent)
    return folder if folder and folder.is_dir() else None


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """The problem, what the driver said, and what came before it."""
    seen: list[BaseException] = []
    todo = [problem]
    while todo and len(seen) < 20:
        one = todo.pop(0)
        if one in seen:
            continue
        seen.append(one)
        yield one
        handled = None if one.__suppress_context__ else one.__context__
        before = (getattr(one, "orig", None), one.__cause__ or handled)
        todo += [other for other in before if isinstance(other, BaseException)]
