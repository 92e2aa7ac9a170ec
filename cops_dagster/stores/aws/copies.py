"""Objects that S3 copies itself, so that their bytes need not go through this machine.

Belongs here: the calls, and the proof of what was copied. Does not belong here: which object is copied where
(`stores/volume.py`), what is done where S3 refuses (it is uploaded).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cops_dagster.stores.aws.s3 import S3Place
from cops_dagster.stores.files import blocks, digested

WHOLE_MAX = 1 << 30
"""Beyond it an object is copied in parts; S3 copies 5 GiB at once, but answers only when it is done."""
PART = 512 << 20
_BLOCK = 1 << 20
Span = Callable[[int, int], str]


@dataclass(frozen=True)
class Source:
    """An object as it was when its bytes were read: S3 copies it only while it has this ETag."""

    bucket: str
    key: str
    etag: str | None = None


def copied(
    place: S3Place, name: str, source: Source, file: Path, sha256: str, span: Span | None = None
) -> bool:
    """Lets S3 copy an object to a name that is free; `False` where it does not, whatever the reason.

    S3 digests what it writes (SHA-256), the whole object or each part of it, and its answer says so. That is
    compared with `sha256`, or part by part with `file`, which has that digest: what lies there afterwards is
    what was digested at first sight, not merely what has the same ETag. Where it says none, it is read back.

    Args:
        file: the same bytes on this machine, as was verified; with `span` of the same size.
        span: the digest of a part of the bytes, by its first and last place, where `file` has them not.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    size = file.stat().st_size
    try:
        if size > WHOLE_MAX:
            return _in_parts(place, name, source, span or partial(_digest, file), size)
        return _whole(place, name, source, sha256)
    except (BotoCoreError, ClientError, LookupError, TypeError):  # the last two: an answer of another service
        return False


def _whole(place: S3Place, name: str, source: Source, sha256: str) -> bool:
    answer = place.client.copy_object(
        **place.at(name), **_from(source), IfNoneMatch="*", ChecksumAlgorithm="SHA256",
        TaggingDirective="REPLACE",  # with tags, the right to read them would be needed
    )  # fmt: skip
    said = answer["CopyObjectResult"].get("ChecksumSHA256")
    if said is None:
        return digested(blocks(place.opened(name)["Body"]))[0] == sha256
    return bool(said == _base64(bytes.fromhex(sha256)))


def _in_parts(place: S3Place, name: str, source: Source, span_of: Span, size: int) -> bool:
    from botocore.exceptions import ClientError

    at = place.at(name)
    begun = place.client.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")
    at["UploadId"] = begun["UploadId"]
    try:
        parts: list[dict[str, Any]] = []
        for first in range(0, size, PART):
            last = min(first + PART, size) - 1
            number = {"PartNumber": len(parts) + 1}
            span = f"bytes={first}-{last}"
            made = place.client.upload_part_copy(**at, **number, **_from(source), CopySourceRange=span)
            result = made["CopyPartResult"]
            if result.get("ChecksumSHA256") != span_of(first, last):
                place.client.abort_multipart_upload(**at)
                return False
            parts.append({**number, "ETag": result["ETag"], "ChecksumSHA256": result["ChecksumSHA256"]})
        place.client.complete_multipart_upload(**at, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    except BaseException:
        with suppress(ClientError):
            place.client.abort_multipart_upload(**at)  # parts left lying are paid for
        raise
    return True


def _from(source: Source) -> dict[str, Any]:
    found: dict[str, Any] = {"CopySource": {"Bucket": source.bucket, "Key": source.key}}
    return found | ({"CopySourceIfMatch": source.etag} if source.etag else {})


def _digest(file: Path, first: int, last: int) -> str:
    state, left = hashlib.sha256(), last + 1 - first
    with file.open("rb") as stream:
        stream.seek(first)
        while left and (block := stream.read(min(_BLOCK, left))):
            state.update(block)
            left -= len(block)
    return _base64(state.digest())


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
