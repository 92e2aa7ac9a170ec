"""Folders as report roots, and digests of local files. Implements the `Files` port of `cur`.

Belongs here: listing and reading what lies on this machine. Does not belong here: S3 (`stores/aws/`).
Only regular files are listed, opened without following links (a link could lead out of the root).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cops_dagster.cur.files import FileStat
from cops_dagster.errors import CopsError

_DEPTH_MAX = 10  # prefix/account/report/… : deeper trees are not report roots
_BLOCK = 1 << 20


class Folder:
    """A report root on a file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folders_named(self, fits: Callable[[str], bool]) -> list[tuple[str, ...]]:
        """Folders whose name fits, at most ten levels down, links not followed."""
        if not self.root.is_dir():
            raise CopsError(
                "E-SOURCE-UNKNOWN",
                f"report root {self.root}",
                expected="a folder that can be read",
                found="no such folder",
                next_step="correct COPS_CUR",
            )
        found: list[tuple[str, ...]] = []
        level: list[tuple[str, ...]] = [()]
        for _ in range(_DEPTH_MAX):
            deeper: list[tuple[str, ...]] = []
            for parts in level:
                for name in self.folders(parts):
                    (found if fits(name) else deeper).append((*parts, name))
            level = deeper
        return sorted(found)

    def listing(self, parts: tuple[str, ...]) -> list[FileStat]:
        """Regular files of one folder, by name."""
        return [
            FileStat(entry.path, entry.name, info.st_size, info.st_mtime_ns)
            for entry in self._entries(parts)
            if stat.S_ISREG((info := entry.stat(follow_symlinks=False)).st_mode)
        ]

    def folders(self, parts: tuple[str, ...]) -> list[str]:
        """Names of real sub-folders, sorted."""
        return [entry.name for entry in self._entries(parts) if entry.is_dir(follow_symlinks=False)]

    def read(self, file: FileStat, limit: int) -> bytes:
        """The whole of a small file."""
        if file.size > limit:
            raise CopsError(
                "E-MANIFEST",
                f"file {file.name}",
                expected=f"at most {limit} bytes",
                found=f"{file.size} bytes",
                next_step="check what was put into the report folder",
            )
        with os.fdopen(os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            return stream.read(limit)

    def sha256(self, file: FileStat) -> str:
        """Hex digest of one file."""
        return sha256(Path(file.path))

    def _entries(self, parts: tuple[str, ...]) -> Iterable[os.DirEntry[str]]:
        with os.scandir(self.root.joinpath(*parts)) as entries:
            return sorted(entries, key=lambda entry: entry.name)


Identity = tuple[int, int, int, int, int]
"""Device, inode, size, time of change of the bytes, and of the inode, which no program can set."""


def identity(path: Path) -> Identity:
    """Which file lies at a path. Another one, or one that was written to since, has another identity.

    A file of equal size whose time was set back has it too: `utime` moves the time of the inode. What is
    left is a write within the same tick of the clock (4 ms on most kernels) and a file system without inodes.
    A link is not followed: it is a file of its own, and none that is read.
    """
    info = path.lstat()
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def sha256(path: Path) -> str:
    """Hex SHA-256 of a regular file; refuses to follow a link in its last part."""
    state = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as stream:
        block = bytearray(_BLOCK)
        view = memoryview(block)
        while size := stream.readinto(view):
            state.update(view[:size])
    return state.hexdigest()


def digested(blocks: Iterable[bytes]) -> tuple[str, int]:
    """Digest and size of a stream."""
    state, size = hashlib.sha256(), 0
    for block in blocks:
        state.update(block)
        size += len(block)
    return state.hexdigest(), size


def blocks(stream: Any) -> Iterator[bytes]:
    """A stream in pieces."""
    return iter(lambda: stream.read(_BLOCK), b"")


def sha256_all(paths: Iterable[Path]) -> list[str]:
    """Digests in the order given; two threads, since hashing leaves the interpreter lock."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(sha256, paths))


def fsync_folder(folder: Path) -> None:
    """Makes the names in a folder durable before a database row speaks of them."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
