"""What one piece of work keeps on a cluster: its tables, its files, and that nothing of it stays.

Belongs here: the folder in S3 and the names in the catalog that begin with the session's id, and the lock by
which a dead session is known. Does not belong here: statements (`lake/cluster.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cops_dagster.errors import CopsError
from cops_dagster.lake import declared
from cops_dagster.lake.declared import DataFile
from cops_dagster.settings import Settings
from cops_dagster.stores import files
from cops_dagster.stores.aws import leftovers, outlines
from cops_dagster.stores.aws.call import Call, calling
from cops_dagster.stores.aws.s3 import S3Place
from cops_dagster.stores.places import open_volume
from cops_dagster.stores.volume import missing, unusable

if TYPE_CHECKING:
    from cops_dagster.lake.declared import Catalog


LOCKS = "sessions"
"""The home's folder of them."""


class Session:
    """A session, which lives as long as its lock is held."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.id = uuid.uuid4().hex
        self._place = place_of(settings)
        self._lake = open_volume(settings.lake_root, settings.lake.place)
        self._made = 0
        self._held: dict[str, tuple[int, str]] = {}
        folder = _locks(settings)
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(folder / self.id, os.O_CREAT | os.O_RDWR, 0o660)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    @cached_property
    def _catalog(self) -> Catalog:
        return _opened(self._settings)

    def prepare(self) -> None:
        """The database that its tables are in is there."""
        _ = self._catalog

    def new_table(self) -> tuple[str, str]:
        """A name for a table that the engine makes, and the place of its files."""
        self._made += 1
        return f"{_prefix(self.id)}{self._made}", self._place.uri(f"{self.id}/{self._made}")

    def declare(self, paths: Sequence[Path], rows: Sequence[int], types: Mapping[str, str]) -> str:
        """A table of exactly these files of this machine, where the engine finds them; its name."""
        name, location = self.new_table()
        found = []
        for path, count in zip(paths, rows, strict=True):
            uri = self.uri_of(path)
            self._held.setdefault(uri, leftovers.seen(self._place, uri))
            size = path.stat().st_size
            if self._held[uri][0] != size:
                raise _exchanged(uri, f"{self._held[uri][0]} bytes", f"{size} bytes")
            outline = outlines.of(self._settings.home, path)
            if outline and self._held[uri][1] != outline.source.etag:
                raise _exchanged(uri, f"ETag {self._held[uri][1]}", f"ETag {outline.source.etag}")
            found.append(DataFile(uri, count, size))
        with _glue():
            declared.declare(
                self._catalog, f"{self._settings.cluster.database}.{name}", location, types, found
            )
        return name

    def uri_of(self, path: Path) -> str:
        """Where the engine finds a file's bytes: in the lake, in AWS's own bucket, else uploaded."""
        from cops_dagster.stores.aws import reports

        if outline := outlines.of(self._settings.home, path):
            return outline.uri
        if source := reports.origin(self._settings.home / "fetched", path):
            return f"s3://{source.bucket}/{source.key}"
        if self._lake.place and path.is_relative_to(self._lake.root):
            below = path.relative_to(self._lake.root).as_posix()
            if below in self._lake.place.listed(below):
                return self._lake.uri(below)
        digest = files.sha256(path)
        name = f"{self.id}/up/{digest}.parquet"
        with path.open("rb") as stream:
            self._place.keep(name, stream, digest, path.stat().st_size)
        return self._place.uri(name)

    def require_same(self) -> None:
        """The objects that were declared are those of then.

        Raises:
            CopsError: `E-DIGEST` for one that was exchanged while it was read.
        """
        for uri, (size, etag) in self._held.items():
            now = leftovers.seen(self._place, uri)
            if now != (size, etag):
                raise _exchanged(uri, f"{now[0]} bytes, ETag {now[1]}", f"{size} bytes, ETag {etag}")

    def brought(self, table: str, folder: Path) -> list[Path]:
        """The files that the engine wrote into a table of the session, on this machine."""
        folder.mkdir(parents=True, exist_ok=True)
        with _glue():
            found = declared.files_of(self._catalog, f"{self._settings.cluster.database}.{table}")
        paths = []
        for number, file in enumerate(found):
            path = folder / f"{number:05d}.parquet"
            self._place.read_into(file.uri.removeprefix(self._place.uri("")), path)
            paths.append(path)
        return paths

    def close(self) -> None:
        """Takes all of it away; what cannot be now is left to the sweep."""
        try:
            with contextlib.suppress(CopsError):
                if self._made:
                    _take_away(self._settings, self.id, self._catalog)
                (_locks(self._settings) / self.id).unlink(missing_ok=True)
        finally:
            os.close(self._handle)


def sweep(settings: Settings) -> int:
    """Takes away what sessions left whose process is gone; how many there were."""
    count = 0
    for lock in sorted(_locks(settings).glob("*")) if _locks(settings).is_dir() else ():
        handle = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            _take_away(settings, lock.name, _opened(settings))
            lock.unlink(missing_ok=True)
            count += 1
        finally:
            os.close(handle)
    return count


def place_of(settings: Settings) -> S3Place:
    """Where sessions have their folders: `COPS_CLUSTER__OUTPUT`, else beside the lake."""
    output = settings.cluster.output or f"{settings.lake.place}-engine"
    bucket, _, prefix = output.removeprefix("s3://").partition("/")
    return S3Place(bucket, prefix.strip("/"), unusable=unusable, missing=missing)


def _opened(settings: Settings) -> Catalog:
    from cops_dagster.lake import iceberg

    catalog = iceberg.engine_catalog(place_of(settings))
    with _glue():
        catalog.create_namespace_if_not_exists(settings.cluster.database)
    return catalog


def _take_away(settings: Settings, session: str, catalog: Catalog) -> None:
    with _glue():
        declared.forget(catalog, settings.cluster.database, _prefix(session))
    leftovers.delete(place_of(settings), session)


def _prefix(session: str) -> str:
    return f"cops_{session}_"


def _locks(settings: Settings) -> Path:
    return settings.home / LOCKS


def _glue() -> contextlib.AbstractContextManager[Call]:
    return calling(Call("glue", "the Glue catalog", "glue:CreateTable, glue:DeleteTable and glue:GetTables"))


def _exchanged(uri: str, found: str, expected: str) -> CopsError:
    return CopsError(
        "E-DIGEST",
        f"object {uri}",
        expected=f"the object that was verified: {expected}",
        found=found,
        next_step="run it again: it takes the bytes that lie there now, if they are right",
    )
