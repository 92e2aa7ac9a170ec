"""Outlines: files of which this machine has the ends alone, since an engine elsewhere reads the object.

Belongs here: making one by range reads, the digest of its object, fetching it whole where lines are needed
here. Does not belong here: who may leave bytes in S3 (`settings.leaves_in_s3`), which files are read
(`lake/live.py`). An outline has the object's size, its first bytes and its Parquet footer; the rest is a hole
that takes no disk. A mark beside it names the object and its ETag. It comes before the outline and goes after
the whole file took its place: a crash in between costs a question to S3, and never a wrong byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cops_dagster.cur.formats import HEAD_BYTES
from cops_dagster.errors import CopsError
from cops_dagster.stores import faults
from cops_dagster.stores.aws.call import Call, calling
from cops_dagster.stores.aws.copies import Source
from cops_dagster.stores.files import blocks, digested, fsync_folder

TAIL = 64 << 10
"""Bytes of the end that are asked for first: the footer of most files. Twice as small a file comes whole."""
FOOTER_MAX = 64 << 20
"""A longer footer is no report's: 4,000 columns in 1,000 row groups take 30 MB."""
_END = b"PAR1"
_MARK = ".outline"
_GONE = ("PreconditionFailed", "412", "NoSuchKey", "404")


@dataclass(frozen=True)
class Outline:
    """The object that an outline is of. `sha256` once it was proved for this ETag."""

    source: Source
    sha256: str = ""

    @property
    def uri(self) -> str:
        """The object's address."""
        return f"s3://{self.source.bucket}/{self.source.key}"


def of(root: Path, file: Path) -> Outline | None:
    """What a file is an outline of; `None` for a whole one.

    Args:
        root: a folder that COPS alone writes to: a mark anywhere else is somebody's, and counts for nothing.
    """
    if not file.is_relative_to(root):
        return None
    try:
        said = json.loads(_mark(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Outline(Source(said["bucket"], said["key"], said["etag"]), said["sha256"])


def mark(file: Path, outline: Outline) -> None:
    """Says that a file is an outline, and of what."""
    source = outline.source
    said = {"bucket": source.bucket, "key": source.key, "etag": source.etag, "sha256": outline.sha256}
    partial = file.with_name(f".{uuid.uuid4().hex}.partial")
    partial.write_text(json.dumps(said), encoding="utf-8")
    partial.replace(_mark(file))


def forget(file: Path) -> None:
    """The file is whole, or gone."""
    _mark(file).unlink(missing_ok=True)


def make(client: Any, source: Source, size: int, mtime_ns: int, file: Path, sha256: str = "") -> bool:
    """Makes the outline of a Parquet object; `False`, and nothing made, for what must be fetched whole.

    Raises:
        ClientError: as S3 answers; 412 when the object has another ETag.
        OSError: of the disk.
    """
    if size <= 2 * TAIL:
        return False
    end = _span(client, source, size - TAIL, size)
    length = int.from_bytes(end[-8:-4], "little") + 8
    if end[-4:] != _END or length > min(FOOTER_MAX, size - HEAD_BYTES):
        return False
    if length > TAIL:
        end = _span(client, source, size - length, size - TAIL) + end
    head = _span(client, source, 0, HEAD_BYTES)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as written:
            written.write(head)
            written.truncate(size)
            written.seek(size - len(end))
            written.write(end)
            written.flush()
            os.fsync(written.fileno())
        os.utime(partial, ns=(mtime_ns, mtime_ns))
        mark(file, Outline(source, sha256))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    fsync_folder(file.parent)
    return True


def another(file: Path, target: Path, outline: Outline) -> None:
    """Gives an outline a second name, where no file is yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mark(target, outline)
    os.link(file, target, follow_symlinks=False)


def sha256_all(found: Sequence[tuple[Path, Outline]]) -> list[str]:
    """Digests of the objects of outlines, which have the ETag of then; each is remembered in its mark.

    S3's own SHA-256 where it covers the object; a composite one is of parts, so the object is streamed.

    Raises:
        CopsError: `E-DIGEST` for an object that is gone or was exchanged; `E-AWS-…`.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(_sha256, found))


def span_sha256(outline: Outline, first: int, last: int) -> str:
    """The digest of a part of an object, in base64 as S3 writes it."""
    with _asking(outline) as client:
        answer = client.get_object(**_pinned(outline.source), Range=f"bytes={first}-{last}")
        return base64.b64encode(bytes.fromhex(digested(blocks(answer["Body"]))[0])).decode()


def whole(file: Path, outline: Outline) -> None:
    """Fetches the object whole into the outline's place, with its time.

    Raises:
        CopsError: as `sha256_all`; `E-DISK`.
    """
    partial = file.with_name(f".{uuid.uuid4().hex}.partial")
    info = file.stat()
    try:
        state = hashlib.sha256()
        with _asking(outline) as client, partial.open("wb") as written:
            for block in blocks(client.get_object(**_pinned(outline.source))["Body"]):
                state.update(block)
                written.write(block)
            written.flush()
            os.fsync(written.fileno())
        if outline.sha256 not in ("", state.hexdigest()):
            raise exchanged(outline, f"sha256 {state.hexdigest()[:12]}…")
        os.utime(partial, ns=(info.st_mtime_ns, info.st_mtime_ns))
        partial.replace(file)
        forget(file)
    except OSError as problem:
        raise faults.of_disk(problem, str(file)) or problem from None
    finally:
        partial.unlink(missing_ok=True)


def exchanged(outline: Outline, found: str) -> CopsError:
    """What is said of an object that is no longer the one that was outlined."""
    return CopsError(
        "E-DIGEST",
        f"object {outline.uri}",
        expected=f"the object that was seen first, ETag {outline.source.etag}",
        found=found,
        next_step="run it again: it takes the bytes that lie there now, if they are right",
    )


def _sha256(found: tuple[Path, Outline]) -> str:
    file, outline = found
    with _asking(outline) as client:
        source = outline.source
        head = client.head_object(Bucket=source.bucket, Key=source.key, ChecksumMode="ENABLED")
        if head["ETag"] != source.etag:
            raise exchanged(outline, f"ETag {head['ETag']}")
        sha256 = outline.sha256 or _said(head)
        if not sha256:
            sha256, _ = digested(blocks(client.get_object(**_pinned(source))["Body"]))
    if not outline.sha256:
        mark(file, replace(outline, sha256=sha256))
    return sha256


def _said(head: Any) -> str:
    """What S3 says of the whole object's bytes, in hex, or nothing."""
    said = head.get("ChecksumSHA256", "")
    if head.get("ChecksumType") != "FULL_OBJECT" or "-" in said:
        return ""
    raw = base64.b64decode(said)
    return raw.hex() if len(raw) == hashlib.sha256().digest_size else ""


@contextmanager
def _asking(outline: Outline) -> Iterator[Any]:
    from botocore.exceptions import ClientError

    bucket = outline.source.bucket
    call = Call("s3", f"objects of s3://{bucket}", "s3:GetObject on them", bucket=bucket)
    with calling(call):
        try:
            yield call.client()
        except ClientError as problem:
            code = str(problem.response.get("Error", {}).get("Code", ""))
            if code in _GONE:
                raise exchanged(outline, "another one, or none") from None
            raise


def _span(client: Any, source: Source, first: int, end: int) -> bytes:
    answer = client.get_object(**_pinned(source), Range=f"bytes={first}-{end - 1}")
    data: bytes = answer["Body"].read()
    return data


def _pinned(source: Source) -> dict[str, Any]:
    return {"Bucket": source.bucket, "Key": source.key, "IfMatch": source.etag}


def _mark(file: Path) -> Path:
    return file.with_name(f".{file.name}{_MARK}")
