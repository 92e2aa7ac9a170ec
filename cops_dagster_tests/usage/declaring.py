"""Homes that declare usage keys: their `keys.toml`, files of days, moments, and a server of samples.

Belongs here: what the tests of `usage/` share. Does not belong here: any test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from cops_dagster.ledger.books import Books
from cops_dagster.usage import declared, refresh
from cops_dagster.usage.declared import Measure
from cops_dagster.usage.refresh import Refreshed
from cops_dagster_tests.deliveries import INPUTS, home

FILES = """
[measures.network]
unit = "bytes"
[measures.network.source]
kind = "files"
paths = ["flow/{year}-{month}-{day}.csv"]
query = "SELECT tenant, SUM(bytes) FROM files GROUP BY tenant"
"""
"""Files of bytes per tenant, a line each; a test adds to it what it is about."""

WITHOUT_USAGE = {name: text for name, text in INPUTS.items() if name != "tenant_network_usage"}


def declaring(
    folder: Path, text: str = FILES, *, sources: Mapping[str, str] | None = None, **overrides: object
) -> Books:
    """Books over `folder` that declare what the text says, without any usage loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "keys.toml").write_text(text, encoding="utf-8")
    secrets = {name: SecretStr(url) for name, url in (sources or {}).items()}
    return home(folder, inputs=WITHOUT_USAGE, keys=str(folder / "keys.toml"), sources=secrets, **overrides)


def network(books: Books) -> Measure:
    """The measure that most tests declare."""
    return declared.measure(books.settings, "network")


def day_of(number: int) -> date:
    """A day of September 2025."""
    return date(2025, 9, number)


def morning_after(day: date) -> datetime:
    """Half past two of the next day: the day is complete, and in time."""
    return datetime(day.year, day.month, day.day, 2, 30) + timedelta(days=1)


def flow(folder: Path, day: date, **figures: object) -> Path:
    """A file of a day: a line for each tenant."""
    file = folder / "flow" / f"{day}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{tenant.replace('__', '-')},{value}" for tenant, value in figures.items()]
    file.write_text("\n".join(["tenant,bytes", *lines]) + "\n", encoding="utf-8")
    return file


def take(books: Books, day: date, *, measure: str = "network", at: datetime | None = None) -> Refreshed:
    """Refreshes a day on the morning after."""
    return refresh.refresh(books, declared.measure(books.settings, measure), day, at=at or morning_after(day))


Said = Mapping[str, Any] | str | int
"""What the server answers: JSON, text that is none, or a status without a body."""


@contextmanager
def prometheus(
    answer: Callable[[str, Mapping[str, str]], Said],
    header: tuple[str, str] | None = None,
    *,
    wait: float = 0,
) -> Iterator[str]:
    """A server that speaks the two calls of Prometheus' HTTP API that are asked; its address.

    Args:
        header: one that says something else than what is sent.
        wait: seconds for which the connection then stays open.
    """

    gone = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            given = {name: values[0] for name, values in parse_qs(asked.query).items()}
            said = answer(asked.path.removeprefix("/api/v1/"), given)
            status = (
                said if isinstance(said, int) else 200 if isinstance(said, str) else said.get("http", 200)
            )
            body = (
                "" if isinstance(said, int) else said if isinstance(said, str) else json.dumps(said)
            ).encode()
            self.send_response(status)
            said_of_it = dict([("Content-Length", str(len(body))), *([header] if header else [])])
            for name, value in said_of_it.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            gone.wait(wait)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        gone.set()
        server.shutdown()
        server.server_close()
        thread.join()


def matrix(series: Mapping[str, list[tuple[int, str]]], label: str = "tenant_id") -> dict[str, Any]:
    """An answer of a range query: samples by the label's value."""
    return {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [
                {"metric": {label: name}, "values": [[moment, text] for moment, text in samples]}
                for name, samples in series.items()
            ],
        },
    }
