"""A small S3 over HTTP: versions, conditional writes, delete markers, parts, and failures on demand."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

_OTHERS = "/iceberg/"  # written by pyiceberg, which says neither digest nor condition
_HTTP_DATE = "Thu, 09 Oct 2025 00:00:00 GMT"
SECRET = "TOKEN-THAT-NOBODY-MAY-SEE"


@dataclass
class Bucket:
    """What the server holds. A version whose bytes are `None` is a delete marker."""

    url: str = ""
    versions: dict[str, list[tuple[str, bytes | None]]] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    """Answers that the next requests get, one each."""
    always: tuple[int, str] | None = None
    copies_refused: tuple[int, str] | None = None
    says_digests: bool = True
    """Whether an answer to a copy tells the digest of what was written."""
    copied: list[str] = field(default_factory=list)
    """Keys that were copied by the server, of parts one entry each."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of each object that answers to GET carried."""
    checksums: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What HEAD says of the SHA-256 of an object, in base64, and of its type."""
    modified: str = "2025-10-09T00:00:00.000Z"
    """When every object was written, as the listing tells."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self, key: str) -> bytes | None:
        found = self.versions.get(key)
        return found[-1][1] if found else None

    def on_top(self, key: str, data: bytes | None) -> str:
        """Puts a version, or a delete marker, on top of what is there."""
        versions = self.versions.setdefault(key, [])
        versions.append((f"v{len(versions) + 1}", data))
        return versions[-1][0]


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A server of one bucket, which boto3 finds by its environment and nothing else."""
    bucket = Bucket()

    class Handler(_Handler):
        held = bucket

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in [name for name in os.environ if name.upper().endswith("_PROXY") or name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL_S3": bucket.url, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_SESSION_TOKEN": SECRET, "NO_PROXY": "127.0.0.1",
        "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    held: Bucket

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._do()

    def do_HEAD(self) -> None:
        self._do()

    def do_PUT(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def do_DELETE(self) -> None:
        self._do()

    def _do(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        query = {name: value[0] for name, value in parse_qs(parts.query, keep_blank_values=True).items()}
        key = unquote(parts.path).split("/", 2)[2] if parts.path.count("/") > 1 else ""
        with self.held.lock:
            verb = "COPY" if "x-amz-copy-source" in self.headers else self.command
            self.held.calls.append(f"{verb} {key}")
            failure = self.held.failures.pop(0) if self.held.failures else self.held.always
            if failure is not None:
                self._error(*failure)
            elif self.command in ("GET", "HEAD"):
                self._read(key, query)
            elif self.command == "DELETE":
                self._delete(query)
            elif self.command == "POST" and "uploads" in query:
                self.held.parts[key] = {}
                self._answer(200, _xml("InitiateMultipartUploadResult", f"<UploadId>{key}</UploadId>"))
            elif "x-amz-copy-source" in self.headers:
                self._copy(key, query)
            elif "partNumber" in query:
                if self._intact(body):
                    self.held.parts[query["uploadId"]][int(query["partNumber"])] = body
                    self._answer(200, headers={"ETag": f'"{query["partNumber"]}"'})
            elif self.command == "POST":
                parts_of = self.held.parts.get(query["uploadId"], {})
                self._put(key, b"".join(data for _, data in sorted(parts_of.items())), whole=False)
            elif self._intact(body):
                self._put(key, body)

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            return _dechunked(body)
        return body

    def _delete(self, query: dict[str, str]) -> None:
        if "uploadId" in query:
            self.held.parts.pop(query["uploadId"], None)
            self._answer(204)
        else:
            self._error(403, "AccessDenied")  # nothing of ours is deleted

    def _read(self, key: str, query: dict[str, str]) -> None:
        if "list-type" in query:
            self._list_current(query.get("prefix", ""))
        elif "versions" in query:
            self._list(query["prefix"])
        else:
            self._get(key, query.get("versionId"))

    def _intact(self, body: bytes) -> bool:
        said = self.headers.get("x-amz-checksum-sha256")
        if said is None and _OTHERS in self.path:
            return True
        if said != base64.b64encode(hashlib.sha256(body).digest()).decode():
            self._error(400, "BadDigest")
            return False
        return True

    def _copy(self, key: str, query: dict[str, str]) -> None:
        """CopyObject and UploadPartCopy, whose SHA-256 S3 makes itself."""
        if self.held.copies_refused is not None:
            self._error(*self.held.copies_refused)
            return
        source = unquote(self.headers["x-amz-copy-source"]).lstrip("/").split("/", 1)[1]
        data = self.held.current(source)
        if data is None:
            self._error(404, "NoSuchKey")
            return
        if self.headers.get("x-amz-copy-source-if-match") not in (None, etag_of(data)):
            self._error(412, "PreconditionFailed")
            return
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("x-amz-copy-source-range", "")):
            data = data[int(found[1]) : int(found[2]) + 1]
        said = base64.b64encode(hashlib.sha256(data).digest()).decode()
        digest = f"<ChecksumSHA256>{said}</ChecksumSHA256>" if self.held.says_digests else ""
        self.held.copied.append(key)
        if "partNumber" in query:
            self.held.parts[query["uploadId"]][int(query["partNumber"])] = data
            etag = f"<ETag>{query['partNumber']}</ETag>"
            self._answer(200, _xml("CopyPartResult", f"{etag}{digest}"))
            return
        self._put(key, data, answer=_xml("CopyObjectResult", f"<ETag>{escape(etag_of(data))}</ETag>{digest}"))

    def _put(self, key: str, body: bytes, *, whole: bool = True, answer: bytes = b"") -> None:
        if self.headers.get("If-None-Match") != "*" and _OTHERS not in self.path:
            self._error(403, "AccessDenied")  # as the policy of a bucket of evidence has it
        elif self.held.current(key) is not None:
            self._error(412, "PreconditionFailed")
        else:
            version = self.held.on_top(key, body)
            xml = answer if whole else _xml("CompleteMultipartUploadResult", "<ETag>x</ETag>")
            self._answer(200, xml, {"x-amz-version-id": version})

    def _get(self, key: str, version: str | None) -> None:
        found = self.held.versions.get(key, [])
        wanted = [one for one in found if one[0] == version] if version else found[-1:]
        if not wanted or (version is None and wanted[0][1] is None):
            self._error(404, "NoSuchVersion" if version else "NoSuchKey")
        elif wanted[0][1] is None:
            self._error(405, "MethodNotAllowed")
        elif self.headers.get("If-Match") not in (None, etag_of(wanted[0][1])):
            self._error(412, "PreconditionFailed")
        else:
            data = wanted[0][1]
            headers = {"x-amz-version-id": wanted[0][0], "ETag": etag_of(data), "Last-Modified": _HTTP_DATE}
            if found_range := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(found_range[1]), int(found_range[2] or len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
                data = data[first : last + 1]
            if self.command == "GET":
                self.held.sent[key] = self.held.sent.get(key, 0) + len(data)
            elif key in self.held.checksums and "x-amz-checksum-mode" in self.headers:
                said = self.held.checksums[key]
                headers |= {"x-amz-checksum-sha256": said[0], "x-amz-checksum-type": said[1]}
            self._answer(206 if found_range else 200, data, headers)

    def _list_current(self, prefix: str) -> None:
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
            f"<ETag>{escape(etag_of(data))}</ETag><LastModified>{self.held.modified}</LastModified></Contents>"
            for key in sorted(self.held.versions)
            if key.startswith(prefix) and (data := self.held.current(key)) is not None
        )
        self._answer(200, _xml("ListBucketResult", f"<IsTruncated>false</IsTruncated>{rows}"))

    def _list(self, prefix: str) -> None:
        rows = []
        for key, versions in sorted(self.held.versions.items()):
            for number, (version, data) in reversed(list(enumerate(versions, start=1))):
                if key.startswith(prefix):
                    kind = "DeleteMarker" if data is None else "Version"
                    newest = str(number == len(versions)).lower()
                    rows.append(
                        f"<{kind}><Key>{key}</Key><VersionId>{version}</VersionId>"
                        f"<IsLatest>{newest}</IsLatest></{kind}>"
                    )
        self._answer(
            200, _xml("ListVersionsResult", "<IsTruncated>false</IsTruncated>" + "".join(rows))
        )  # fmt: skip

    def _error(self, status: int, code: str) -> None:
        self._answer(status, _xml("Error", f"<Code>{code}</Code><Message>{SECRET}</Message>"))

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _dechunked(body: bytes) -> bytes:
    """What an aws-chunked body carries: pieces behind their length in hex, then trailers."""
    found = b""
    while body:
        head, _, rest = body.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            break
        found, body = found + rest[:size], rest[size + 2 :]
    return found


def etag_of(data: bytes) -> str:
    """As S3 makes it for an object that was put whole."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _xml(root: str, inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'.encode()
