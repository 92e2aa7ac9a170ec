"""Where the lake's files are kept: the home alone, or S3 with a copy of what is needed in the home.

Belongs here: bringing a published file to S3 before a row speaks of it, and back when this machine does not
have it. Does not belong here: which files are live (`lake/live.py`). A file has one path for ever and is
never overwritten, so a copy needs no invalidation: it is there with the recorded digest, or it is fetched.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.stores import files
from cops_dagster.stores.aws import copies, leftovers, outlines
from cops_dagster.stores.aws.copies import Source
from cops_dagster.stores.aws.s3 import S3Place

_there: dict[tuple[str, str], str] = {}
"""Where this process brought bytes to in S3, for other names of them: by root and digest, the path."""
_ahead: set[tuple[str, str, str]] = set()
"""Root, path and digest of files that S3 copied before they are kept."""


@dataclass(frozen=True)
class Volume:
    """The lake's folder, and the place in S3 that holds the same files, if there is one.

    Attributes:
        outlined: what this machine does not have comes as an outline, where that is enough.
    """

    root: Path
    place: S3Place | None = None
    outlined: bool = False

    def copy(self, path: str, sha256: str, source: Source) -> None:
        """Lets S3 copy a file's bytes from where they were delivered; what it refuses, `keep` uploads.

        Args:
            path: a file that lies here with this digest, or an outline of `source`, which has it. An outline
                of what S3 does not copy is fetched whole.
        """
        if self.place is None:
            return
        if self._copied(path, sha256, source):
            _ahead.add((self.place.uri(""), path, sha256))
        elif outline := outlines.of(self.root, self.root / path):
            outlines.whole(self.root / path, outline)

    def _copied(self, path: str, sha256: str, source: Source) -> bool:
        assert self.place is not None
        file = self.root / path
        outline = outlines.of(self.root, file)
        span = partial(outlines.span_sha256, outline) if outline else None
        with self.place.answering():
            done = copies.copied(self.place, path, source, file, sha256, span)
            if done and outline:  # from now on of the lake's own object
                at, (_, etag) = self.place.at(path), leftovers.seen(self.place, self.place.uri(path))
                outlines.mark(file, outlines.Outline(Source(at["Bucket"], at["Key"], etag), sha256))
        return done

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
        if known != path and self._copied(
            path, sha256, Source(self.place.bucket, self.place.at(known)["Key"])
        ):
            return
        if outline := outlines.of(self.root, file):
            if outline.uri == self.uri(path):
                return
            outlines.whole(file, outline)
        with file.open("rb") as stream:
            _, there = self.place.keep(path, stream, sha256, file.stat().st_size)
        if there != sha256:
            raise unusable(self.place.uri(path), f"other bytes, sha256 {there[:16]}…")
        _there[root, sha256] = path

    def bring(self, path: str, sha256: str, mtime_ns: int, *, whole: bool = False) -> None:
        """Fetches a file that this machine does not have; what cannot be fetched whole is not there.

        Args:
            whole: an outline is not enough, since lines are read here.

        Raises:
            CopsError: `E-LAKE-STORE` when S3 does not answer; `E-DIGEST` when it holds other bytes or none.
        """
        file = self.root / path
        if self.place is None or self._is_here(path, mtime_ns, whole=whole):
            return
        fetched = file.with_name(f".{uuid.uuid4().hex}.partial")
        fetched.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = self.place.read_into(path, fetched)
            if found != sha256:
                raise CopsError(
                    "E-DIGEST",
                    f"lake file {self.place.uri(path)}",
                    found=f"sha256 {found[:12]}…",
                    expected=f"the published bytes: sha256 {sha256[:12]}…",
                    next_step="restore the version of the object that was published",
                )
            os.utime(fetched, ns=(mtime_ns, mtime_ns))  # a copy that was digested needs no second digest
            fetched.replace(file)
            outlines.forget(file)
            files.fsync_folder(file.parent)
        finally:
            fetched.unlink(missing_ok=True)

    def _is_here(self, path: str, mtime_ns: int, *, whole: bool) -> bool:
        """The file is there, or its outline, where that is enough; one is made where it comes as that."""
        assert self.place is not None
        file = self.root / path
        if file.exists():
            return not whole or outlines.of(self.root, file) is None
        if whole or not self.outlined:
            return False
        try:
            size, etag = leftovers.seen(self.place, self.place.uri(path))
        except CopsError:
            return False  # fetching it says what is wrong
        at = self.place.at(path)
        with self.place.answering():
            source = Source(at["Bucket"], at["Key"], etag)
            return outlines.make(self.place.client, source, size, mtime_ns, file)

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
