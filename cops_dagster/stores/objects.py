"""The evidence store: objects named by their own digest, written once; anchors and names beside them.

Belongs here: a folder or an S3 prefix behind one port, `Objects`. Does not belong here: what is proof of
what (`ledger/evidence.py`). Nothing is ever overwritten: the same bytes again change nothing, other bytes
under the same name are refused. Layout: `objects/<2 hex>/<sha256>`, `anchors/<seq>-<hash>`, `names/<name>`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from cops_dagster.errors import CopsError
from cops_dagster.stores import files

Status = Literal["ok", "mismatch", "incomplete"]
_FICLONE = 0x40049409  # ioctl: share the blocks of another file, where the file system can (btrfs, XFS)


@dataclass(frozen=True)
class Stored:
    """One stored object. `version_id` is S3's; a folder has none."""

    key: str
    sha256: str
    size_bytes: int
    version_id: str | None = None


class Objects(Protocol):
    """Where evidence lies."""

    def put(self, data: bytes) -> Stored:
        """Stores bytes; the same bytes again are the same object."""

    def put_file(self, path: Path) -> Stored:
        """Stores a file's bytes as they are now; later changes of the file do not reach the object."""

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """An object's bytes. Raises `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`."""

    def fetch(self, key: str, target: Path, version_id: str | None = None) -> None:
        """Writes an object's bytes to a new file. Raises as `get`."""

    def verify(self, stored: Stored) -> tuple[Status, str]:
        """Whether an object is what was stored, and what was found."""

    def path(self, key: str) -> Path | None:
        """Where an object lies as a local file; `None` where it does not."""

    def name(self, name: str, key: str) -> None:
        """Gives an object a name, once and for all. Raises `E-EVIDENCE-TAMPERED` when it names another."""

    def named(self, name: str) -> str:
        """The key of a named object. Raises `E-EVIDENCE-MISSING`."""

    def anchor(self, seq: int, entry_hash: str) -> None:
        """Writes the head of the chain down outside the database."""

    def anchors(self) -> list[tuple[int, str]]:
        """Every anchor, the oldest first."""


def key_of(sha256: str) -> str:
    """The key of the object with this digest."""
    return f"objects/{sha256[:2]}/{sha256}"


def open_objects(uri: str) -> Objects:
    """The store at `file:/folder`, a plain path, or `s3://bucket/prefix`.

    Raises:
        CopsError: `E-SETTING` for any other scheme.
    """
    scheme, colon, rest = uri.partition("://")
    if colon and scheme == "s3":
        from cops_dagster.stores.s3_objects import S3Objects

        bucket, _, prefix = rest.partition("/")
        return S3Objects(bucket, prefix.strip("/"))
    if colon and scheme != "file":
        raise CopsError(
            "E-SETTING", "setting evidence", expected="a folder, file:/folder or s3://bucket/prefix",
            found=repr(uri), next_step="correct COPS_EVIDENCE",
        )  # fmt: skip
    return FolderObjects(Path(uri.removeprefix("file://").removeprefix("file:")))


class FolderObjects:
    """Objects in a folder, as read-only files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> Stored:
        """See `Objects`."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self._partial() as partial:
            partial.write_bytes(data)
            return self._keep(partial, sha256, len(data))

    def put_file(self, path: Path) -> Stored:
        """See `Objects`. Blocks are shared where the file system can, else copied; never linked."""
        with self._partial() as partial:
            _clone(path, partial)
            return self._keep(partial, files.sha256(partial), partial.stat().st_size)

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """See `Objects`."""
        try:
            data = (self.root / key).read_bytes()
        except OSError as problem:
            raise missing(key, str(problem.strerror)) from None
        check(key, hashlib.sha256(data).hexdigest())
        return data

    def fetch(self, key: str, target: Path, version_id: str | None = None) -> None:
        """See `Objects`."""
        try:
            _clone(self.root / key, target)
        except OSError as problem:
            raise missing(key, str(problem.strerror)) from None
        check(key, files.sha256(target))

    def verify(self, stored: Stored) -> tuple[Status, str]:
        """See `Objects`."""
        path = self.root / stored.key
        try:
            size, sha256 = path.stat().st_size, files.sha256(path)
        except OSError as problem:
            return "incomplete", str(problem.strerror)
        if (size, sha256) != (stored.size_bytes, stored.sha256):
            return "mismatch", f"{size} bytes, sha256 {sha256[:16]}…"
        return "ok", f"{size} bytes"

    def path(self, key: str) -> Path | None:
        """See `Objects`."""
        return self.root / key

    def name(self, name: str, key: str) -> None:
        """See `Objects`."""
        with self._partial() as partial:
            partial.write_text(key, encoding="utf-8")
            self._link(partial, self.root / "names" / name)

    def named(self, name: str) -> str:
        """See `Objects`."""
        try:
            return (self.root / "names" / name).read_text(encoding="utf-8")
        except OSError as problem:
            raise missing(f"names/{name}", str(problem.strerror)) from None

    def anchor(self, seq: int, entry_hash: str) -> None:
        """See `Objects`."""
        with self._partial() as partial:
            partial.write_text(entry_hash, encoding="utf-8")
            self._link(partial, self.root / "anchors" / f"{seq:012d}-{entry_hash}")

    def anchors(self) -> list[tuple[int, str]]:
        """See `Objects`."""
        folder = self.root / "anchors"
        if not folder.is_dir():
            return []
        return sorted(
            (int(seq), entry_hash)
            for seq, dash, entry_hash in (path.name.partition("-") for path in folder.iterdir())
            if dash and seq.isdigit()
        )

    @contextmanager
    def _partial(self) -> Iterator[Path]:
        place = self.root / "partial"
        place.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _keep(self, partial: Path, sha256: str, size: int) -> Stored:
        key = key_of(sha256)
        self._link(partial, self.root / key)
        return Stored(key, sha256, size)

    def _link(self, partial: Path, target: Path) -> None:
        """Gives a complete file its name, unless the name is taken: then the bytes must be the same."""
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.chmod(0o444)
        handle = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(partial, target)
        except FileExistsError:
            if files.sha256(target) != files.sha256(partial):
                raise tampered(target.relative_to(self.root).as_posix(), "other bytes") from None
            return
        files.fsync_folder(target.parent)


def _clone(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        try:
            fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, written, 1 << 20)


def check(key: str, sha256: str) -> None:
    """Refuses bytes whose digest is not the one in their key."""
    if key.rpartition("/")[2] != sha256:
        raise tampered(key, f"bytes of digest {sha256[:16]}…")


def tampered(key: str, found: Any) -> CopsError:
    """What a store says whose object is not what was stored."""
    return CopsError(
        "E-EVIDENCE-TAMPERED", f"evidence {key}", expected="the bytes that were stored under it",
        found=str(found), next_step="stop: run `cops evidence verify`, and restore the store from its copy",
    )  # fmt: skip


def missing(key: str, found: str) -> CopsError:
    """What a store says that has no such object."""
    return CopsError(
        "E-EVIDENCE-MISSING", f"evidence {key}", expected="an object that was stored", found=found,
        next_step="check COPS_EVIDENCE and the rights on it, or restore the store from its copy",
    )  # fmt: skip
