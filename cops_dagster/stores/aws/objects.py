"""The evidence store in S3: what is written stays, and is read by version id, digested on both ways.

Belongs here: objects, names and anchors over a place in S3. Does not belong here: the calls
(`stores/aws/s3.py`) and what a store promises (`stores/objects.py`). The bucket keeps versions, best under
Object Lock: then a newer version or a delete marker on top hides nothing, since objects are read by version
id, names and anchors from every version.
"""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cops_dagster.errors import CopsError
from cops_dagster.stores.aws.s3 import S3Place
from cops_dagster.stores.files import blocks, digested
from cops_dagster.stores.objects import (
    Status,
    Stored,
    anchor_name,
    anchors_of,
    check,
    compared,
    digest_of,
    key_of,
    missing,
    tampered,
    unusable,
)


class S3Objects:
    """Objects below `s3://bucket/prefix`."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.place = S3Place(bucket, prefix, unusable=unusable, missing=missing)

    def put(self, data: bytes) -> Stored:
        """See `Objects`."""
        sha256 = hashlib.sha256(data).hexdigest()
        return self._keep(io.BytesIO(data), sha256, len(data))

    def put_file(self, path: Path) -> Stored:
        """See `Objects`. S3 compares the digest, so a file that changes on its way is refused."""
        try:
            with path.open("rb") as stream:
                return self._keep(stream, *digested(blocks(stream)))
        except OSError as problem:
            raise unusable(str(path), str(problem.strerror)) from None

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """See `Objects`."""
        digest_of(key)
        with self.place.answering():
            data: bytes = self.place.opened(key, version_id)["Body"].read()
        check(key, hashlib.sha256(data).hexdigest())
        return data

    def fetch(self, key: str, target: Path, version_id: str | None = None) -> None:
        """See `Objects`."""
        digest_of(key)
        check(key, self.place.read_into(key, target, version_id))

    def verify(self, stored: Stored) -> tuple[Status, str]:
        """See `Objects`."""
        if stored.key != key_of(stored.sha256):
            return "mismatch", f"key {stored.key}"
        try:
            with self.place.answering():
                body = self.place.opened(stored.key, stored.version_id)["Body"]
                sha256, size = digested(blocks(body))
        except CopsError as problem:
            return "incomplete", problem.found
        return compared(stored, sha256, size)

    def path(self, key: str) -> Path | None:
        """See `Objects`."""
        return None

    def name(self, name: str, key: str) -> None:
        """See `Objects`."""
        self._write_once(f"names/{name}", key.encode())
        if self.named(name) != key:
            raise tampered(f"names/{name}", "the name of another object")

    def named(self, name: str) -> str:
        """See `Objects`. The oldest version counts: a name is given once."""
        place, full = self.place, f"names/{name}"
        with place.answering():
            versions = [one["VersionId"] for one in place.versions(full) if one["Key"] == place.prefix + full]
            if not versions:
                raise missing(full, "no such name")
            text: bytes = place.opened(full, versions[-1])["Body"].read()  # S3 lists the newest first
        return text.decode("utf-8", "replace")

    def anchor(self, seq: int, entry_hash: str) -> None:
        """See `Objects`."""
        self._write_once(anchor_name(seq, entry_hash), entry_hash.encode())

    def anchors(self) -> list[tuple[int, str]]:
        """See `Objects`. One that lies under a delete marker still counts."""
        with self.place.answering():
            return anchors_of(one["Key"].rpartition("/")[2] for one in self.place.versions("anchors/"))

    def anchored_at(self, seq: int, entry_hash: str) -> datetime | None:
        """See `Objects`. The oldest version counts, as of a name."""
        with self.place.answering():
            written = [one.get("LastModified") for one in self.place.versions(anchor_name(seq, entry_hash))]
        last = written[-1] if written else None
        return last.astimezone(UTC).replace(tzinfo=None) if isinstance(last, datetime) else None

    def _write_once(self, name: str, data: bytes) -> None:
        with self.place.answering():
            self.place.write_once(name, io.BytesIO(data), hashlib.sha256(data).hexdigest(), len(data))

    def _keep(self, stream: BinaryIO, sha256: str, size: int) -> Stored:
        key = key_of(sha256)
        version, there = self.place.keep(key, stream, sha256, size)
        check(key, there)
        return Stored(key, sha256, size, version)
