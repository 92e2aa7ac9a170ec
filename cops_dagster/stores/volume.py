"""Where the lake's files are kept: the home alone, or S3 with a copy of what is needed in the home.

Belongs here: bringing a published file to S3 before a row speaks of it, and back when this machine does not
have it. Does not belong here: which files are live (`lake/live.py`). A file has one path for ever and is
never overwritten, so a copy needs no invalidation: it is there with the recorded digest, or it is fetched.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.stores import files
from cops_dagster.stores.aws import copies
from cops_dagster.stores.aws.copies import Source
from cops_dagster.stores.aws.s3 import S3Place

_there: dict[tuple[str, str], str] = {}
"""Where this process brought bytes to in S3, for other names of them: by root and digest, the path."""
_ahead: set[tuple[str, str, str]] = set()
"""Root, path and digest of files that S3 copied before they are kept."""


@dataclass(frozen=True)
class Volume:
    """The lake's folder, and the place in S3 that holds the same files, if there is one."""

    root: Path
    place: S3Place | None = None

    def copy(self, path: str, sha256: str, source: Source) -> None:
        """Lets S3 copy a file's bytes from where they were delivered; what it refuses, `keep` uploads.

        Args:
            path: a file that lies here with this digest.
        """
        if self.place is None:
            return
        with self.place.answering():
            if copies.copied(self.place, path, source, self.root / path, sha256):
                _ahead.add((self.place.uri(""), path, sha256))

    def keep(self, path: str, sha256: str) -> None:
        """Brings a file that was just written to S3; there before, it must be the same bytes.

        Bytes that this process has brought there under another name are copied there and not sent again.

        Raises:
            CopsError: `E-LAKE-STORE` when S3 does not take it, or holds other bytes under its path.
        """
        if self.place is None:
            return
        file, root = self.root / path, self.place.uri("")
        known = _there.setdefault((root, sha256), path)
        if (root, path, sha256) in _ahead:
            _ahead.remove((root, path, sha256))
            return
        if known != path:
            with self.place.answering():
                source = Source(self.place.bucket, self.place.at(known)["Key"])
                if copies.copied(self.place, path, source, file, sha256):
                    return
        with file.open("rb") as stream:
            _, there = self.place.keep(path, stream, sha256, file.stat().st_size)
        if there != sha256:
            raise unusable(self.place.uri(path), f"other bytes, sha256 {there[:16]}…")
        _there[root, sha256] = path

    def bring(self, path: str, sha256: str, mtime_ns: int) -> None:
        """Fetches a file that this machine does not have; what cannot be fetched whole is not there.

        Raises:
            CopsError: `E-LAKE-STORE` when S3 does not answer; `E-DIGEST` when it holds other bytes or none.
        """
        file = self.root / path
        if self.place is None or file.exists():
            return
        partial = file.with_name(f".{uuid.uuid4().hex}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = self.place.read_into(path, partial)
            if found != sha256:
                raise CopsError(
                    "E-DIGEST",
                    f"lake file {self.place.uri(path)}",
                    found=f"sha256 {found[:12]}…",
                    expected=f"the published bytes: sha256 {sha256[:12]}…",
                    next_step="restore the version of the object that was published",
                )
            os.utime(partial, ns=(mtime_ns, mtime_ns))  # a copy that was digested needs no second digest
            partial.replace(file)
            files.fsync_folder(file.parent)
        finally:
            partial.unlink(missing_ok=True)

    def uri(self, path: str) -> str:
        """Where other engines find a file."""
        return self.place.uri(path) if self.place else str(self.root / path)


def unusable(place: str, found: str) -> CopsError:
    """What a lake in S3 says that does not do its part."""
    return CopsError(
        "E-LAKE-STORE",
        f"lake {place}",
        expected="a bucket that can be read and written",
        found=found,
        next_step="check COPS_LAKE, the credentials and the rights on it; then run again",
    )


def _month(name: str) -> str:
    """The month in a lake file's path: table, month, attempt, file."""
    return name.split("/")[-3] if name.count("/") > 2 else "PERIOD"


def missing(name: str, found: str) -> CopsError:
    """What a lake in S3 says that has lost a published file."""
    return CopsError(
        "E-DIGEST",
        f"lake file {name}",
        expected="the object that was published",
        found=found,
        next_step=f"restore the object from its older version; `cops materialize {_month(name)}` makes it"
        " again where the month is open, see `cops docs operations`",
    )
