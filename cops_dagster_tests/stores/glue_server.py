"""A small Glue over HTTP: databases, tables with versions, a crawler; what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Glue:
    """What the catalog holds."""

    url: str = ""
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    partitions: list[list[str]] = field(default_factory=list)
    crawler: dict[str, Any] | None = None
    asked: list[str] = field(default_factory=list)
    refuse: str | None = None
    """The code that every call is refused with."""

    def answer(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """Does what is asked. Raises `LookupError` naming AWS's code."""
        self.asked.append(verb)
        if self.refuse:
            raise LookupError(self.refuse)
        found: dict[str, Any] = getattr(self, f"_{verb}")(body)
        return found

    def _CreateDatabase(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["DatabaseInput"]["Name"]
        if name in self.databases:
            raise LookupError("AlreadyExistsException")
        self.databases[name] = body["DatabaseInput"]
        return {}

    def _GetDatabase(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Database": _one(self.databases, body["Name"])}

    def _GetTable(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Table": _one(self.tables, body["Name"])}

    def _CreateTable(self, body: dict[str, Any]) -> dict[str, Any]:
        table = body["TableInput"]
        if table["Name"] in self.tables:
            raise LookupError("AlreadyExistsException")
        self.tables[table["Name"]] = {**table, "DatabaseName": body["DatabaseName"], "VersionId": "1"}
        return {}

    def _UpdateTable(self, body: dict[str, Any]) -> dict[str, Any]:
        before = _one(self.tables, body["TableInput"]["Name"])
        if body.get("VersionId") not in (None, before["VersionId"]):
            raise LookupError("ConcurrentModificationException")
        version = str(int(before["VersionId"]) + 1)
        self.tables[before["Name"]] = {**before, **body["TableInput"], "VersionId": version}
        return {}

    def _GetTables(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "TableList": [one for one in self.tables.values() if one["DatabaseName"] == body["DatabaseName"]]
        }

    def _DeleteTable(self, body: dict[str, Any]) -> dict[str, Any]:
        _one(self.tables, body["Name"])
        del self.tables[body["Name"]]
        return {}

    def _GetPartitions(self, body: dict[str, Any]) -> dict[str, Any]:
        _one(self.tables, body["TableName"])
        return {"Partitions": [{"Values": values} for values in self.partitions]}

    def _GetCrawler(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.crawler is None:
            raise LookupError("EntityNotFoundException")
        return {"Crawler": {"Name": body["Name"], **self.crawler}}

    def _StartCrawler(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.crawler is None:
            raise LookupError("EntityNotFoundException")
        if self.crawler["State"] != "READY":
            raise LookupError("CrawlerRunningException")
        self.crawler["State"] = "RUNNING"
        return {}


def _one(held: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in held:
        raise LookupError("EntityNotFoundException")
    return held[name]


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Glue]:
    """A server that boto3 finds by its environment."""
    glue = Glue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            verb = self.headers["X-Amz-Target"].partition(".")[2]
            try:
                status, answer = 200, glue.answer(verb, body)
            except LookupError as problem:
                status, answer = 400, {"__type": str(problem.args[0]), "message": "secret words of AWS"}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    glue.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL_GLUE": glue.url, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        yield glue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
