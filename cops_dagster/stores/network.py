"""Why somebody could not be reached, in words that people know.

Belongs here: the meaning of what sockets, TLS and HTTP libraries raise, found in the chain of their errors;
no text of theirs, in messages or logs, since it may hold an address that is a secret. Does not belong here:
who was called.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

_BY_NUMBER = {
    errno.ECONNREFUSED: "nobody listens there",
    errno.ECONNRESET: "the connection was cut",
    errno.EPIPE: "the connection was cut",
    errno.EHOSTUNREACH: "no way to that host",
    errno.ENETUNREACH: "no way to that network",
    errno.ETIMEDOUT: "no answer in time",
}
_BY_NAME = {
    "NameResolutionError": "no such host",
    "ConnectTimeout": "no answer in time", "ConnectTimeoutError": "no answer in time",
    "ReadTimeout": "no answer in time", "ReadTimeoutError": "no answer in time",
    "ProxyError": "the proxy does not answer", "ProxyConnectionError": "the proxy does not answer",
    "SSLError": "no TLS that is accepted",
    "InvalidURL": "no usable address", "MissingSchema": "no usable address",
    "InvalidSchema": "no usable address",
    "LocationParseError": "no usable address",
    "SMTPServerDisconnected": "the connection was cut", "ConnectionClosedError": "the connection was cut",
    "SMTPNotSupportedError": "it does not offer what is set (TLS or a login)",
    "RemoteDisconnected": "the connection was cut", "IncompleteRead": "the connection was cut",
    "EndpointConnectionError": "nobody answers there", "NewConnectionError": "nobody answers there",
}  # fmt: skip


def why(problem: BaseException) -> str:
    """One short phrase; the name of the error's class where none is known."""
    chain = _chain(problem)
    for one in chain:
        if isinstance(one, socket.gaierror):
            return "no such host"
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {one.verify_message}"
        if isinstance(one, ssl.SSLError):
            return "no TLS is spoken there"
        if isinstance(one, TimeoutError):
            return "no answer in time"
        if isinstance(one, OSError) and one.errno in _BY_NUMBER:
            return _BY_NUMBER[one.errno]
    return next(
        (_BY_NAME[type(one).__name__] for one in chain if type(one).__name__ in _BY_NAME),
        type(problem).__name__,
    )


@contextmanager
def unlogged() -> Iterator[None]:
    """Keeps what this thread asks out of the log of the HTTP library, which writes whole addresses."""
    here = get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != here

    logs = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "util.retry", "connection")]
    for log in logs:
        log.addFilter(others)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(others)


def _chain(problem: BaseException) -> list[BaseException]:
    """The problem and everything that it came from, however its library keeps it."""
    found: list[BaseException] = []
    todo: list[object] = [problem]
    while todo and len(found) < 30:
        one = todo.pop(0)
        if not isinstance(one, BaseException) or any(one is other for other in found):
            continue
        found.append(one)
        kept = getattr(one, "kwargs", None)
        todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        todo += [kept.get("error")] if isinstance(kept, dict) else []
    return found
