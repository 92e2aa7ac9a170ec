"""S3 behind a door that refuses when it is told to: what passes goes to moto as it came.

Who asks is told by the words the clients use of themselves: the engine is Java, COPS is Boto3.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_CODES = {403: "AccessDenied", 503: "SlowDown"}
_OF_THE_WAY = ("content-length", "transfer-encoding", "connection")


@dataclass
class Door:
    """The door.

    Attributes:
        status: what those who are refused get; 0 lets everybody pass.
        who: a word of the client's that is refused.
        passing: how many of its reads of Parquet pass before.
        refused: what was refused.
    """

    url: str = ""
    status: int = 0
    who: str = ""
    passing: int = 0
    refused: list[str] = field(default_factory=list)

    def refuses(self, method: str, path: str, agent: str) -> bool:
        """Whether this one is refused now."""
        if not self.status or self.who not in agent.lower():
            return False
        if method == "GET" and ".parquet" in path and self.passing > 0:
            self.passing -= 1
            return False
        is_refused = self.passing <= 0 and (".parquet" in path or bool(self.refused))
        if is_refused:
            self.refused.append(f"{method} {path}")
        return is_refused


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    door: Door
    behind: str

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        body = self._body()
        if self.door.refuses(self.command, self.path, self.headers.get("User-Agent", "")):
            code = _CODES[self.door.status]
            said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
            self._answer(self.door.status, [("Content-Type", "application/xml")], said.encode())
            return
        connection = http.client.HTTPConnection(self.behind)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_WAY}
        connection.request(self.command, self.path, body, {**kept, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read())
        connection.close()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, headers: list[tuple[str, str]], said: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in (*_OF_THE_WAY, "date", "server"):
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", length if is_head else str(len(said)))
        self.end_headers()
        if not is_head:
            self.wfile.write(said)


@contextmanager
def before(aws: str) -> Iterator[Door]:
    """A door before the S3 at an address."""
    door = Door()
    handler = type("Handler", (_Handler,), {"door": door, "behind": urlsplit(aws).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    door.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
