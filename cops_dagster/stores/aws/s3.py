"""A place in S3, `s3://bucket/prefix`: conditional writes, reads by version id, listings.

Belongs here: the calls, and their failures as coded errors. Does not belong here: what lies there and what it
proves (`stores/objects.py`, `stores/volume.py`). A write says `If-None-Match: *` and its SHA-256: nothing is
overwritten, and S3 refuses bytes that changed on their way. No text of AWS enters a message, since a refused
signature quotes the session token.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from cops_dagster.errors import CopsError
from cops_dagster.stores import faults
from cops_dagster.stores.aws import call
from cops_dagster.stores.aws.call import ODD, meaning, odd_answers
from cops_dagster.stores.files import blocks, digested

ATTEMPTS = 6
"""Tries of each call, with botocore's growing pauses in between; throttling takes some."""
WHOLE_MAX = 1 << 30
"""Beyond it a file goes in parts: a lost connection then costs one part, and S3 takes 5 GiB at once."""
PART = 64 << 20
_ABSENT = ("404", "405", "MethodNotAllowed", "NoSuchKey", "NoSuchVersion")  # 405: a delete marker's own id
Refusal = Callable[[str, str], CopsError]


class S3Place:
    """What lies below `s3://bucket/prefix`. Credentials, region and endpoint are boto3's affair.

    Args:
        unusable: the coded error of a store that does not do its part, from a place and what was found.
        missing: the coded error of an object that is not there, from its name and what was found.
    """

    def __init__(self, bucket: str, prefix: str, *, unusable: Refusal, missing: Refusal) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self._unusable, self._missing = unusable, missing

    @cached_property
    def session(self) -> Any:
        """What finds the credentials."""
        return call.session()

    @cached_property
    def client(self) -> Any:
        """Made at the first call: to know where a thing lies needs no credentials."""
        return call.client(
            self.session,
            "s3",
            attempts=ATTEMPTS,
            # digests are ours, over whole objects; boto's own would cover the same bytes again
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )

    def uri(self, name: str) -> str:
        """The address of what lies there under a name."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def keep(self, name: str, stream: BinaryIO, sha256: str, size: int) -> tuple[str | None, str]:
        """Writes an object unless it is there; its version, and the digest of what now lies there."""
        with self.answering():
            wrote, version = self.write_once(name, stream, sha256, size)
            if wrote:
                return version, sha256
            there = self.opened(name)  # taken: by the same bytes, or by somebody who does not want them there
            return there.get("VersionId"), digested(blocks(there["Body"]))[0]

    def read_into(self, name: str, target: Path, version_id: str | None = None) -> str:
        """Writes an object's bytes to a file; their digest."""
        state = hashlib.sha256()
        try:
            with self.answering(), target.open("wb") as written:
                for block in blocks(self.opened(name, version_id)["Body"]):
                    state.update(block)
                    written.write(block)
        except OSError as problem:
            raise faults.of_disk(problem, str(target)) or self._unusable(
                str(target), str(problem.strerror)
            ) from None
        return state.hexdigest()

    def write_once(self, name: str, stream: BinaryIO, sha256: str, size: int) -> tuple[bool, str | None]:
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
            **self.at(name), Body=stream, IfNoneMatch="*", ChecksumSHA256=_base64(bytes.fromhex(sha256))
        )
        version: str | None = answer.get("VersionId")
        return version

    def _in_parts(self, name: str, stream: BinaryIO, sha256: str) -> str | None:
        from botocore.exceptions import ClientError

        place = self.at(name)
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
                raise self._unusable(f"s3://{self.bucket}", "a file that changed while it was stored")
            answer = self.client.complete_multipart_upload(
                **place, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            with suppress(ClientError):
                self.client.abort_multipart_upload(**place)  # parts left lying are paid for
            raise
        version: str | None = answer.get("VersionId")
        return version

    def opened(self, name: str, version_id: str | None = None) -> Any:
        """S3's answer to a read, its `Body` a stream."""
        from botocore.exceptions import ClientError

        try:
            return self.client.get_object(
                **self.at(name), **({"VersionId": version_id} if version_id else {})
            )
        except ClientError as problem:
            if _code(problem) in _ABSENT:
                raise self._missing(name, _code(problem)) from None
            raise

    def listed(self, below: str) -> Iterator[str]:
        """Names of the first objects below a name, a thousand at most."""
        with self.answering():
            found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + below)
        for one in found.get("Contents", []):
            yield str(one["Key"])[len(self.prefix) :]

    def versions(self, below: str) -> Iterator[Any]:
        """Every version below a name; of one name the newest first."""
        pages = self.client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + below):
            yield from page.get("Versions", [])

    def at(self, name: str) -> dict[str, Any]:
        """A name's bucket and key, as the calls take them."""
        return {"Bucket": self.bucket, "Key": self.prefix + name}

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Failures of S3 within the block become coded errors."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, ValueError) as problem:  # ValueError: an endpoint that is no URL
            said = meaning(problem, self.bucket)
            refusal = self._unusable(f"s3://{self.bucket}/{self.prefix}", said.found)
            refusal.next_step = said.next_step or refusal.next_step
            raise refusal from None
        except odd_answers():
            raise self._unusable(f"s3://{self.bucket}/{self.prefix}", ODD) from None


def _code(problem: Any) -> str:
    return str(problem.response.get("Error", {}).get("Code", "no code"))[:80]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
