"""The evidence store in S3: conditional writes, reads by version id, every byte digested on both ways.

Belongs here: the calls, and their failures as coded errors. Does not belong here: what a store promises
(`stores/objects.py`). The bucket keeps versions, best under Object Lock: then a newer version or a delete
marker on top hides nothing, since objects are read by version id, names and anchors from every version.
No text of AWS enters a message, since a refused signature quotes the session token.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cops_dagster.errors import CopsError
from cops_dagster.stores.objects import (
    Status,
    Stored,
    anchor_name,
    anchors_of,
    check,
    compared,
    digest_of,
    digested,
    key_of,
    missing,
    tampered,
    unusable,
)

ATTEMPTS = 6
"""Tries of each call, with botocore's growing pauses in between; throttling takes some."""
WHOLE_MAX = 1 << 30
"""Beyond it a file goes in parts: a lost connection then costs one part, and S3 takes 5 GiB at once."""
PART = 64 << 20
_BLOCK = 1 << 20
_ABSENT = ("404", "405", "MethodNotAllowed", "NoSuchKey", "NoSuchVersion")  # 405: a delete marker's own id


class S3Objects:
    """Objects below `s3://bucket/prefix`. Credentials, region and endpoint are boto3's affair."""

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        with self._answering():
            self.client = client or _client()

    def put(self, data: bytes) -> Stored:
        """See `Objects`."""
        sha256 = hashlib.sha256(data).hexdigest()
        return self._keep(io.BytesIO(data), sha256, len(data))

    def put_file(self, path: Path) -> Stored:
        """See `Objects`. S3 compares the digest, so a file that changes on its way is refused."""
        try:
            with path.open("rb") as stream:
                return self._keep(stream, *digested(_blocks(stream)))
        except OSError as problem:
            raise unusable(str(path), str(problem.strerror)) from None

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """See `Objects`."""
        digest_of(key)
        with self._answering():
            data: bytes = self._opened(key, version_id)["Body"].read()
        check(key, hashlib.sha256(data).hexdigest())
        return data

    def fetch(self, key: str, target: Path, version_id: str | None = None) -> None:
        """See `Objects`."""
        state = hashlib.sha256()
        digest_of(key)
        try:
            with self._answering(), target.open("wb") as written:
                for block in _blocks(self._opened(key, version_id)["Body"]):
                    state.update(block)
                    written.write(block)
        except OSError as problem:
            raise unusable(str(target), str(problem.strerror)) from None
        check(key, state.hexdigest())

    def verify(self, stored: Stored) -> tuple[Status, str]:
        """See `Objects`."""
        if stored.key != key_of(stored.sha256):
            return "mismatch", f"key {stored.key}"
        try:
            with self._answering():
                body = self._opened(stored.key, stored.version_id)["Body"]
                sha256, size = digested(_blocks(body))
        except CopsError as problem:
            return "incomplete", problem.found
        return compared(stored, sha256, size)

    def path(self, key: str) -> Path | None:
        """See `Objects`."""
        return None

    def name(self, name: str, key: str) -> None:
        """See `Objects`."""
        data = key.encode()
        with self._answering():
            self._write_once(f"names/{name}", io.BytesIO(data), hashlib.sha256(data).hexdigest(), len(data))
        if self.named(name) != key:
            raise tampered(f"names/{name}", "the name of another object")

    def named(self, name: str) -> str:
        """See `Objects`. The oldest version counts: a name is given once."""
        full = f"names/{name}"
        with self._answering():
            versions = [one["VersionId"] for one in self._versions(full) if one["Key"] == self.prefix + full]
            if not versions:
                raise missing(full, "no such name")
            text: bytes = self._opened(full, versions[-1])["Body"].read()  # S3 lists the newest first
        return text.decode("utf-8", "replace")

    def anchor(self, seq: int, entry_hash: str) -> None:
        """See `Objects`."""
        data = entry_hash.encode()
        with self._answering():
            self._write_once(
                anchor_name(seq, entry_hash), io.BytesIO(data), hashlib.sha256(data).hexdigest(), len(data)
            )

    def anchors(self) -> list[tuple[int, str]]:
        """See `Objects`. One that lies under a delete marker still counts."""
        with self._answering():
            return anchors_of(one["Key"].rpartition("/")[2] for one in self._versions("anchors/"))

    def _keep(self, stream: BinaryIO, sha256: str, size: int) -> Stored:
        key = key_of(sha256)
        with self._answering():
            wrote, version = self._write_once(key, stream, sha256, size)
            if not wrote:  # taken: by the same bytes, or by somebody who does not want them there
                there = self._opened(key, None)
                version = there.get("VersionId")
                check(key, digested(_blocks(there["Body"]))[0])
        return Stored(key, sha256, size, version)

    def _write_once(self, name: str, stream: BinaryIO, sha256: str, size: int) -> tuple[bool, str | None]:
        """Whether it was written, and as which version; not if there is an object of that name."""
        from botocore.exceptions import ClientError

        write: Callable[..., str | None] = self._whole if size <= WHOLE_MAX else self._in_parts
        for left in reversed(range(ATTEMPTS)):
            stream.seek(0)
            try:
                return True, write(name, stream, sha256)
            except ClientError as problem:
                status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status == 412:
                    return False, None
                if status != 409 or not left:  # 409: S3 was just deciding another write of that name
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _whole(self, name: str, stream: BinaryIO, sha256: str) -> str | None:
        answer = self.client.put_object(
            **self._place(name), Body=stream, IfNoneMatch="*", ChecksumSHA256=_base64(bytes.fromhex(sha256))
        )
        version: str | None = answer.get("VersionId")
        return version

    def _in_parts(self, name: str, stream: BinaryIO, sha256: str) -> str | None:
        from botocore.exceptions import ClientError

        place = self._place(name)
        begun = self.client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")
        place["UploadId"] = begun["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            state = hashlib.sha256()
            while block := stream.read(PART):
                state.update(block)
                checksum = _base64(hashlib.sha256(block).digest())
                part = {"PartNumber": len(parts) + 1, "ChecksumSHA256": checksum}
                answer = self.client.upload_part(**place, **part, Body=block)
                parts.append({**part, "ETag": answer["ETag"]})
            if state.hexdigest() != sha256:  # S3 compares parts only, so the whole is compared here
                raise unusable(f"s3://{self.bucket}", "a file that changed while it was stored")
            answer = self.client.complete_multipart_upload(
                **place, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            with suppress(ClientError):
                self.client.abort_multipart_upload(**place)  # parts left lying are paid for
            raise
        version: str | None = answer.get("VersionId")
        return version

    def _opened(self, name: str, version_id: str | None) -> Any:
        from botocore.exceptions import ClientError

        try:
            return self.client.get_object(
                **self._place(name), **({"VersionId": version_id} if version_id else {})
            )
        except ClientError as problem:
            if _code(problem) in _ABSENT:
                raise missing(name, _code(problem)) from None
            raise

    def _versions(self, below: str) -> Iterator[Any]:
        pages = self.client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + below):
            yield from page.get("Versions", [])

    def _place(self, name: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.prefix + name}

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        place = f"s3://{self.bucket}/{self.prefix}"
        try:
            yield
        except ClientError as problem:
            raise unusable(place, f"the answer {_code(problem)}") from None
        except (BotoCoreError, ValueError) as problem:  # ValueError: an endpoint that is no URL
            raise unusable(place, type(problem).__name__) from None


def _client() -> Any:
    from boto3.session import Session
    from botocore.config import Config

    return Session().client(
        "s3",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=10,
            read_timeout=60,
            # digests are ours, over whole objects; boto's own checksums would cover the same bytes again
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _blocks(stream: Any) -> Iterator[bytes]:
    return iter(lambda: stream.read(_BLOCK), b"")


def _code(problem: Any) -> str:
    return str(problem.response.get("Error", {}).get("Code", "no code"))[:80]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
