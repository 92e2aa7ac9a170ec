"""Receivers as servers on this machine: SMTP, SNS over HTTP, webhooks; each can fail, hang and recover."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass
class Seen:
    """What a server took, and how it behaves: ok, fail, hang (longer than a client waits), refuse, late."""

    taken: list[Any] = field(default_factory=list)
    mode: str = "ok"
    calls: int = 0
    hang_seconds: float = 1.5
    ended: threading.Event = field(default_factory=threading.Event)


class _Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def smtp(seen: Seen) -> Iterator[int]:
    """An SMTP server without TLS; its port. `refuse` refuses every recipient, `partly` the first."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            seen.calls += 1
            if seen.mode == "hang":
                time.sleep(seen.hang_seconds)
                return
            self.say("220 here" if seen.mode != "fail" else "421 not now")
            refused = 0
            while line := self.rfile.readline():
                verb = line.split(b" ")[0].strip().upper()
                if verb in (b"EHLO", b"HELO", b"MAIL", b"RSET"):
                    self.say("250 ok")
                elif verb == b"RCPT":
                    bad = seen.mode == "refuse" or (seen.mode == "partly" and not refused)
                    refused += bad
                    self.say("550 no such user" if bad else "250 ok")
                elif verb == b"DATA":
                    self.say("354 go on")
                    body = []
                    while (one := self.rfile.readline()) not in (b".\r\n", b""):
                        body.append(one)
                    seen.taken.append(b"".join(body).decode())
                    self.say("250 taken")
                elif verb == b"QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("502 what")

        def say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    yield from _serving(_Threads(("127.0.0.1", 0), Session))


@contextmanager
def web(seen: Seen) -> Iterator[str]:
    """A webhook; its address. `late` takes the message and answers too late, `redirect` points elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.calls += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if seen.mode == "hang":
                time.sleep(seen.hang_seconds)
                return
            if seen.mode in ("ok", "late"):
                seen.taken.append((dict(self.headers), json.loads(body)))
            if seen.mode == "late":
                time.sleep(seen.hang_seconds)
            self.send_response({"fail": 500, "refuse": 400, "redirect": 302}.get(seen.mode, 200))
            if seen.mode == "redirect":
                self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    for port in _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)):
        yield f"http://127.0.0.1:{port}/hook/s3cret"


@contextmanager
def starving(seen: Seen, answer: bytes = b"") -> Iterator[int]:
    """Takes connections and gives its answer one byte now and then, the last for ever; its port.

    Without an answer it says nothing at all. `seen.ended` is set when a client goes away.
    """

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen.calls += 1
            left = list(answer)
            self.request.settimeout(0.02)
            while True:
                with suppress(TimeoutError, OSError):
                    if self.request.recv(65536) == b"":
                        break
                if not answer:
                    continue
                try:
                    self.request.sendall(bytes([left.pop(0) if left else answer[-1]]))
                except OSError:
                    break
            seen.ended.set()

    yield from _serving(_Threads(("127.0.0.1", 0), Session))


@contextmanager
def sns(seen: Seen, subscriptions: int = 2, pending: int = 1) -> Iterator[str]:
    """An SNS endpoint that speaks the query protocol; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.calls += 1
            given = {
                name: values[0]
                for name, values in parse_qs(
                    self.rfile.read(int(self.headers["Content-Length"])).decode()
                ).items()
            }
            action = given["Action"]
            if seen.mode == "hang":
                time.sleep(seen.hang_seconds)
                return
            if seen.mode == "fail":
                self.answer(500, "<ErrorResponse><Error><Code>InternalError</Code></Error></ErrorResponse>")
                return
            if seen.mode == "refuse":
                self.answer(
                    403,
                    "<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code>"
                    "<Message>token s3cret</Message></Error></ErrorResponse>",
                )
                return
            if action == "Publish":
                seen.taken.append(given)
                result = "<MessageId>m-1</MessageId>"
            elif action == "GetTopicAttributes":
                policy = json.dumps({"Statement": [{"Effect": "Allow"}, {"Effect": "Deny"}]})
                entry = f"<key>Policy</key><value>{policy.replace(chr(34), '&quot;')}</value>"
                result = f"<Attributes><entry>{entry}</entry></Attributes>"
            else:
                arns = ["PendingConfirmation"] * pending + ["arn:x"] * (subscriptions - pending)
                members = "".join(
                    f"<member><SubscriptionArn>{arn}</SubscriptionArn></member>" for arn in arns
                )
                result = f"<Subscriptions>{members}</Subscriptions>"
            self.answer(
                200, f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"
            )

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    for port in _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)):
        yield f"http://127.0.0.1:{port}"


def _serving(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
