"""Report roots in S3: what AWS delivered there, brought into the home.

Belongs here: listing a root, fetching what is new or changed by its ETag, keeping what was fetched. Does not
belong here: which files make a delivery (`cur/layout.py`) and their digests. The bucket is only read.

DuckDB reads local files, so a month is copied once; for an engine elsewhere outlines do (`outlines.py`).
Every object is read with `If-Match`: bytes that AWS replaces meanwhile are never mixed. Manifests come last,
so a delivery that is cut short on its way here looks like one that AWS has not finished.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cops_dagster.cur.layout import period_of
from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.stores.aws import outlines
from cops_dagster.stores.aws.call import Call, calling
from cops_dagster.stores.aws.copies import Source

INDEX = ".fetched.json"
SMALL = 1 << 20
"""Objects outside any month that are fetched with it: Athena's status table, not somebody's data."""
ROUNDS = 3
"""How often a root is listed anew when AWS replaces objects while they are read."""
_BLOCK = 1 << 20
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Listed:
    """One object of a root: its path below the root, and what tells its bytes apart."""

    parts: tuple[str, ...]
    key: str
    etag: str
    size: int
    modified_s: int

    @property
    def is_manifest(self) -> bool:
        """A manifest decides what belongs to a delivery."""
        return self.parts[-1].endswith("Manifest.json")

    @property
    def mtime_ns(self) -> int:
        """S3's time of modification; its nanoseconds come from the ETag, for S3 tells whole seconds."""
        return self.modified_s * _SECOND + _mark(self.etag)


class _Replaced(Exception):
    """An object changed between listing and reading."""


def fetch(uri: str, place: Path, period: Period | None, *, outlined: bool = False) -> int:
    """Brings manifests, and the files of one month, into `place`; how many objects were fetched.

    Args:
        outlined: of Parquet the outlines are enough. One that is there is not fetched whole by this.

    Raises:
        CopsError: `E-SOURCE-UNKNOWN` when nothing lies under the address; `E-AWS-DENIED`,
            `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE`; `E-DELIVERY-UPDATING` when AWS keeps replacing;
            `E-DISK`.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
    call = Call("s3", f"report root {uri}", "s3:ListBucket and s3:GetObject on it", bucket=bucket)
    with calling(call):
        client = call.client()
        for _ in range(ROUNDS):
            listed = _listing(client, bucket, prefix)
            if not listed:
                raise CopsError(
                    "E-SOURCE-UNKNOWN",
                    f"report root {uri}",
                    expected="objects under this address",
                    found="none",
                    next_step="correct COPS_CUR",
                )
            try:
                wanted = [one for one in listed if _wanted(one, period)]
                brought = _bring(client, bucket, wanted, place, outlined=outlined)
                _forget(place, {one.parts for one in listed}, period)
                return brought
            except _Replaced:
                continue
    raise CopsError(
        "E-DELIVERY-UPDATING",
        f"report root {uri}",
        expected="objects that stay while they are read",
        found=f"changed {ROUNDS} times",
        next_step="AWS is delivering: run again later",
    )


def origin(fetched: Path, file: Path) -> Source | None:
    """The object that a fetched file is; `None` for any other file.

    Args:
        fetched: the folder below which every root has its place, by bucket and prefix.
    """
    if not file.is_relative_to(fetched):
        return None
    bucket, *parts = file.relative_to(fetched).parts
    for depth in range(len(parts)):
        place = fetched.joinpath(bucket, *parts[:depth])
        etag = _index(place).get("/".join(parts[depth:])) if (place / INDEX).is_file() else None
        if etag is not None and file.stat().st_mtime_ns % _SECOND == _mark(etag):
            return Source(bucket, "/".join(parts), etag)
    return None


def _mark(etag: str) -> int:
    return int.from_bytes(hashlib.sha256(etag.encode()).digest()[:4], "big") % _SECOND


def _listing(client: Any, bucket: str, prefix: str) -> list[Listed]:
    found = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for one in page.get("Contents", []):
            parts = tuple(str(one["Key"])[len(prefix) :].split("/"))
            # a key is no path: what could lead out of the place, or hide in it, is not fetched
            if all(
                part not in ("", ".", "..") and not part.startswith(".") and "\0" not in part
                for part in parts
            ):
                found.append(
                    Listed(
                        parts, one["Key"], one["ETag"], int(one["Size"]), int(one["LastModified"].timestamp())
                    )
                )
    return found


def _wanted(one: Listed, period: Period | None) -> bool:
    if one.is_manifest:
        return True
    of = period_of(one.parts[:-1])
    return period is not None and (of == period if of else one.size <= SMALL)


def _bring(client: Any, bucket: str, listed: Sequence[Listed], place: Path, *, outlined: bool) -> int:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            index = _index(place)
            missing = [one for one in listed if not _is_there(place, index, one)]
            for one in sorted(missing, key=lambda one: (one.is_manifest, one.parts)):
                _read(client, bucket, one, place.joinpath(*one.parts), outlined=outlined)
                index["/".join(one.parts)] = one.etag
            if missing:
                partial = place / f"{INDEX}.partial"
                partial.write_text(json.dumps(index), encoding="utf-8")
                partial.replace(place / INDEX)
            return len(missing)
    except OSError as problem:
        raise CopsError(
            "E-DISK",
            f"folder {place}",
            expected="room and rights to keep what AWS delivered",
            found=str(problem.strerror),
            next_step="free disk, or correct the rights, and run again",
        ) from None


def _forget(place: Path, listed: set[tuple[str, ...]], period: Period | None) -> None:
    """Removes files of the month that AWS has removed: else they would look like strays of its delivery."""
    for file in place.rglob("*") if period else ():
        parts = file.relative_to(place).parts
        is_ours = file.is_file() and not parts[-1].startswith(".")
        if is_ours and parts not in listed and period_of(parts[:-1]) == period:
            file.unlink(missing_ok=True)
            outlines.forget(file)


def _index(place: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((place / INDEX).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # fetched anew: only time is lost
    return found


def _is_there(place: Path, index: dict[str, str], one: Listed) -> bool:
    file = place.joinpath(*one.parts)
    return (
        index.get("/".join(one.parts)) == one.etag
        and file.is_file()
        and file.stat().st_size == one.size
        and file.stat().st_mtime_ns == one.mtime_ns
    )


def _read(client: Any, bucket: str, one: Listed, file: Path, *, outlined: bool) -> None:
    from botocore.exceptions import ClientError

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    source = Source(bucket, one.key, one.etag)
    try:
        if (
            outlined
            and file.suffix == ".parquet"
            and outlines.make(client, source, one.size, one.mtime_ns, file)
        ):
            return
        body = client.get_object(Bucket=bucket, Key=one.key, IfMatch=one.etag)["Body"]
    except ClientError as problem:
        if problem.response.get("Error", {}).get("Code") in ("PreconditionFailed", "412", "NoSuchKey"):
            raise _Replaced from None
        raise
    with partial.open("wb") as written:
        for block in body.iter_chunks(_BLOCK):
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    os.utime(partial, ns=(one.mtime_ns, one.mtime_ns))
    partial.replace(file)
    outlines.forget(file)
