"""The evidence store: objects named by their own digest, written once; anchors and names beside them.

Belongs here: the port, `Objects`, and a folder behind it (S3: `stores/aws/objects.py`). Does not belong
here: what is proof of what (`evidence/chain.py`). Nothing is ever overwritten: the same bytes again change
nothing, other bytes under the same name are refused. Layout: `objects/<2 hex>/<sha256>`, `names/<name>`,
`anchors/<seq>-<hash>`. Keys come out of a database that may have been tampered with: they are not trusted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from cops_dagster.errors import CopsError
from cops_dagster.stores import faults, files

Status = Literal["ok", "mismatch", "incomplete"]
_KEY = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_ANCHOR = re.compile(r"([0-9]{12})-([0-9a-f]{64})")
_FICLONE = 0x40049409  # ioctl: share the blocks of another file, where the file system can (btrfs, XFS)


@dataclass(frozen=True)
class Stored:
    """One stored object. `version_id` is S3's; a folder has none."""

    key: str
    sha256: str
    size_bytes: int
    version_id: str | None = None


class Objects(Protocol):
    """Where evidence lies. Every verb raises `E-EVIDENCE-STORE` when the store does not do its part."""

    def put(self, data: bytes) -> Stored:
        """Stores bytes; the same bytes again are the same object."""

    def put_file(self, path: Path) -> Stored:
        """Stores a file's bytes as they are now; later changes of the file do not reach the object."""

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """An object's bytes. Raises `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`."""

    def fetch(self, key: str, target: Path, version_id: str | None = None) -> None:
        """Writes an object's bytes to a new file. Raises as `get`."""

    def verify(self, stored: Stored) -> tuple[Status, str]:
        """Whether an object is what was stored, and what was found; incomplete if it cannot be read."""

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

    def anchored_at(self, seq: int, entry_hash: str) -> datetime | None:
        """When an anchor was written, UTC, by the store's own clock; `None` when it does not say."""


def key_of(sha256: str) -> str:
    """The key of the object with this digest."""
    return f"objects/{sha256[:2]}/{sha256}"


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
            with path.open("rb") as source:
                _copy(source, partial)
            return self._keep(partial, files.sha256(partial), partial.stat().st_size)

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """See `Objects`."""
        with self._opened(key) as stream:
            data = stream.read()
        check(key, hashlib.sha256(data).hexdigest())
        return data

    def fetch(self, key: str, target: Path, version_id: str | None = None) -> None:
        """See `Objects`."""
        with self._opened(key) as stream:
            try:
                _copy(stream, target)
            except OSError as problem:
                raise faults.of_disk(problem, str(target)) or unusable(
                    str(target), str(problem.strerror)
                ) from None
        check(key, files.sha256(target))

    def verify(self, stored: Stored) -> tuple[Status, str]:
        """See `Objects`."""
        if stored.key != key_of(stored.sha256):
            return "mismatch", f"key {stored.key}"
        try:
            with self._opened(stored.key) as stream:
                sha256, size = files.digested(files.blocks(stream))
        except CopsError as problem:
            return "incomplete", problem.found
        return compared(stored, sha256, size)

    def path(self, key: str) -> Path | None:
        """See `Objects`."""
        digest_of(key)
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
            self._link(partial, self.root / anchor_name(seq, entry_hash))

    def anchors(self) -> list[tuple[int, str]]:
        """See `Objects`."""
        try:
            return anchors_of(path.name for path in (self.root / "anchors").iterdir())
        except FileNotFoundError:
            return []
        except OSError as problem:
            raise unusable(str(self.root / "anchors"), str(problem.strerror)) from None

    def anchored_at(self, seq: int, entry_hash: str) -> datetime | None:
        """See `Objects`."""
        try:
            written = (self.root / anchor_name(seq, entry_hash)).stat().st_mtime
        except OSError:
            return None
        return datetime.fromtimestamp(written, UTC).replace(tzinfo=None)

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        digest_of(key)
        try:
            # not blocking, not following: a pipe or a link in the object's place is no object
            handle = os.open(self.root / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise missing(key, "something that is no file")
                yield stream
        except OSError as problem:
            raise missing(key, str(problem.strerror)) from None

    @contextmanager
    def _partial(self) -> Iterator[Path]:
        """An empty file that is gone afterwards, whatever happened; failures get their code."""
        try:
            place = self.root / "partial"
            _make(place)
            handle, name = tempfile.mkstemp(dir=place)
            os.close(handle)
            try:
                yield Path(name)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as problem:
            where = str(problem.filename or self.root)
            raise faults.of_disk(problem, where) or unusable(where, str(problem.strerror)) from None

    def _keep(self, partial: Path, sha256: str, size: int) -> Stored:
        key = key_of(sha256)
        self._link(partial, self.root / key)
        return Stored(key, sha256, size)

    def _link(self, partial: Path, target: Path) -> None:
        """Gives a complete file its name, unless the name is taken: then the bytes must be the same."""
        _make(target.parent)
        partial.chmod(
            target.parent.stat().st_mode & 0o444
        )  # read by whoever reads the folder, written by none
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
        # also where it was there: who linked it may not have come this far
        files.fsync_folder(target.parent)


def _make(folder: Path) -> None:
    """Makes a folder whose name outlasts a power cut; `mkdir(parents=True)` leaves that to chance."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        files.fsync_folder(folder.parent)


def _copy(source: BinaryIO, target: Path) -> None:
    with target.open("wb") as written:
        try:
            fcntl.ioctl(written.fileno(), _FICLONE, source.fileno())
        except OSError:
            shutil.copyfileobj(source, written, 1 << 20)


def digest_of(key: str) -> str:
    """The digest in a key. Raises `E-EVIDENCE-TAMPERED` for what is no key, such as a path elsewhere."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise tampered(key, "no key of an object")
    return found[2]


def anchor_name(seq: int, entry_hash: str) -> str:
    """Where an anchor lies; the name says all, so that to list anchors is to read them."""
    return f"anchors/{seq:012d}-{entry_hash}"


def anchors_of(names: Iterable[str]) -> list[tuple[int, str]]:
    """The anchors that these names stand for, the oldest first."""
    found = (_ANCHOR.fullmatch(name) for name in names)
    return sorted({(int(one[1]), one[2]) for one in found if one})


def compared(stored: Stored, sha256: str, size: int) -> tuple[Status, str]:
    """The verdict on bytes that could be read."""
    same = (sha256, size) == (stored.sha256, stored.size_bytes)
    return ("ok", f"{size} bytes") if same else ("mismatch", f"{size} bytes, sha256 {sha256[:16]}…")


def check(key: str, sha256: str) -> None:
    """Refuses bytes whose digest is not the one in their key."""
    if digest_of(key) != sha256:
        raise tampered(key, f"bytes of digest {sha256[:16]}…")


def tampered(key: str, found: str) -> CopsError:
    """What a store says whose object is not what was stored."""
    return CopsError(
        "E-EVIDENCE-TAMPERED",
        f"evidence {key}",
        expected="the bytes that were stored under it",
        found=found,
        next_step="stop: run `cops evidence verify`, and restore the store from its copy",
    )


def missing(key: str, found: str) -> CopsError:
    """What a store says that has no such object."""
    return CopsError(
        "E-EVIDENCE-MISSING",
        f"evidence {key}",
        expected="an object that was stored",
        found=found,
        next_step="check COPS_EVIDENCE and the rights on it, or restore the store from its copy",
    )


def unusable(place: str, found: str) -> CopsError:
    """What a store says that does not do its part."""
    return CopsError(
        "E-EVIDENCE-STORE",
        f"evidence store {place}",
        expected="a store that can be read and written",
        found=found,
        next_step="check COPS_EVIDENCE, the rights and the space there; then run again",
    )
