"""Places opened: the objects of evidence and the lake, each in a folder or in S3.

Belongs here: from an address to the store behind it. Does not belong here: how places are written
(`settings_places.py`), what a store does (`stores/objects.py`, `stores/volume.py`), report roots
(`ingestion/places.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

from cops_dagster.errors import CopsError
from cops_dagster.settings_places import is_s3, s3_meant
from cops_dagster.stores.aws.s3 import S3Place
from cops_dagster.stores.objects import FolderObjects, Objects
from cops_dagster.stores.volume import Volume, missing, unusable


def open_objects(uri: str) -> Objects:
    """The store at `file:/folder`, a plain path, or `s3://bucket/prefix`.

    Raises:
        CopsError: `E-SETTING` for any other scheme.
    """
    scheme = re.match(r"[a-z][a-z0-9+.-]*:", uri, re.IGNORECASE)
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if is_s3(uri) and bucket:
        from cops_dagster.stores.aws.objects import S3Objects

        return S3Objects(bucket, prefix.strip("/"))
    if (scheme and scheme[0] != "file:") or uri in ("", "file:", "file://"):
        raise CopsError(
            "E-SETTING",
            "setting evidence",
            expected="a folder, file:/folder or s3://bucket/prefix",
            found=repr(uri),
            next_step=f"correct COPS_EVIDENCE{': write ' + right if (right := s3_meant(uri)) else ''}",
        )
    # absolute, since paths of objects are recorded, and the next process may start elsewhere
    return FolderObjects(Path(uri.removeprefix("file://").removeprefix("file:")).expanduser().absolute())


def open_volume(root: Path, uri: str | None, *, outlined: bool = False) -> Volume:
    """The lake below `root`, kept in `s3://bucket/prefix` if that is given; `outlined` as of a `Volume`."""
    if uri is None:
        return Volume(root)
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return Volume(root, S3Place(bucket, prefix.strip("/"), unusable=unusable, missing=missing), outlined)
