"""Athena's API over HTTP in front of a real Trino: pyathena speaks its own protocol, the SQL is really run.

What stays unproved by it is said in docs/scale.md. It can be told to throttle, fail, cancel and never end.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST = 262_144
PAGE = 1000


@dataclass
class Athena:
    """What it was asked, and how the next statements end.

    Attributes:
        ends: how the next statements end, one each: a state (`FAILED`, `CANCELLED`, `QUEUED` for one that
            stays so) with its reason; a code of AWS for a refusal of the start; `GONE` for one whose result
            cannot be had; `""` for one that is really run.
    """

    trino_port: int
    catalog: str = "glue"
    url: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    ends: list[tuple[str, str]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def start(self, ask: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """StartQueryExecution."""
        if len(ask["QueryString"].encode()) > LONGEST:
            return 400, {"__type": "InvalidRequestException", "message": "too long"}
        token = ask.get("ClientRequestToken")
        for run in self.runs.values():
            if token and run["token"] == token:
                return 200, {"QueryExecutionId": run["id"]}
        end = self.ends.pop(0) if self.ends else ("", "")
        if end[0].endswith("Exception"):
            return 400, {"__type": end[0], "message": end[1]}
        context = ask.get("QueryExecutionContext") or {}
        run = {
            "id": str(uuid.uuid4()), "sql": ask["QueryString"], "token": token, "state": "QUEUED", "why": "",
            "schema": context.get("Database", ""), "rows": [], "columns": [], "scanned": 0,
            "output": (ask.get("ResultConfiguration") or {}).get("OutputLocation", ""), "end": end,
            "group": ask.get("WorkGroup", "primary"),
        }  # fmt: skip
        self.runs[run["id"]] = run
        threading.Thread(target=self._execute, args=(run,), daemon=True).start()
        return 200, {"QueryExecutionId": run["id"]}

    def _execute(self, run: dict[str, Any]) -> None:
        from trino.dbapi import connect

        run["state"] = "RUNNING"
        if run["end"][0] not in ("", "GONE"):
            run["state"], run["why"] = run["end"]
            return
        try:
            # what Athena's CREATE TABLE AS says beyond Trino's
            sql = re.sub(r"table_type = 'ICEBERG', is_external = false, ", "", run["sql"].strip().rstrip(";"))
            connection = connect(
                host="127.0.0.1",
                port=self.trino_port,
                user="athena",
                catalog=self.catalog,
                schema=run["schema"],
            )
            cursor = connection.cursor()
            cursor.execute(sql)
            rows = cursor.fetchall()
            run["columns"] = [(column[0], str(column[1])) for column in cursor.description or ()]
            run["rows"] = [] if cursor.update_type else rows
            run["is_update"] = bool(cursor.update_type)
            run["scanned"] = (cursor.stats or {}).get("physicalInputBytes", 0)
            run["state"] = "SUCCEEDED"
        except Exception as problem:  # noqa: BLE001 - whatever it is becomes Athena's answer
            name = getattr(problem, "error_name", type(problem).__name__)
            run["state"], run["why"] = "FAILED", f"{name}: {getattr(problem, 'message', problem)}"

    def get(self, ask: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """GetQueryExecution."""
        run = self.runs[ask["QueryExecutionId"]]
        status = {"State": run["state"], "SubmissionDateTime": 1.7e9, "CompletionDateTime": 1.7e9}
        if run["why"]:
            status["StateChangeReason"] = run["why"]
            status["AthenaError"] = {
                "ErrorCategory": 2, "ErrorType": 1006, "Retryable": False, "ErrorMessage": run["why"],
            }  # fmt: skip
        kind = "DDL" if run.get("is_update") else "DML"
        return 200, {
            "QueryExecution": {
                "QueryExecutionId": run["id"], "Query": run["sql"], "StatementType": kind, "Status": status,
                "ResultConfiguration": {"OutputLocation": f"{run['output']}{run['id']}.csv"},
                "QueryExecutionContext": {"Database": run["schema"]}, "WorkGroup": run["group"],
                "Statistics": {"DataScannedInBytes": run["scanned"], "EngineExecutionTimeInMillis": 1},
                "EngineVersion": {"EffectiveEngineVersion": "Athena engine version 3"},
            }
        }  # fmt: skip

    def results(self, ask: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """GetQueryResults: the first row has the columns' names; a thousand rows a page."""
        run = self.runs[ask["QueryExecutionId"]]
        if run["end"][0] == "GONE":
            return 400, {"__type": "InvalidRequestException", "message": run["end"][1]}
        names = [[name for name, _ in run["columns"]]] if run["rows"] or not run.get("is_update") else []
        every = names + [[_text(value) for value in row] for row in run["rows"]]
        first = int(ask.get("NextToken") or 0)
        page = every[first : first + PAGE]
        rows = [{"Data": [{} if v is None else {"VarCharValue": v} for v in row]} for row in page]
        columns = [_column(name, kind) for name, kind in ([] if run.get("is_update") else run["columns"])]
        answer: dict[str, Any] = {"ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": columns}}}
        if first + PAGE < len(every):
            answer["NextToken"] = str(first + PAGE)
        return 200, answer

    def stop(self, ask: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """StopQueryExecution."""
        run = self.runs[ask["QueryExecutionId"]]
        self.stopped.append(run["id"])
        run["state"], run["why"] = "CANCELLED", "Query was cancelled"
        return 200, {}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _column(name: str, kind: str) -> dict[str, Any]:
    base, _, inside = kind.partition("(")
    found: dict[str, Any] = {
        "CatalogName": "hive", "SchemaName": "", "TableName": "", "Name": name, "Label": name,
        "Type": base, "Precision": 0, "Scale": 0, "Nullable": "UNKNOWN", "CaseSensitive": False,
    }  # fmt: skip
    if base == "decimal":
        precision, scale = inside.rstrip(")").split(",")
        found |= {"Precision": int(precision), "Scale": int(scale)}
    return found


@contextmanager
def serving(trino_port: int, catalog: str = "glue") -> Iterator[Athena]:
    """The endpoint, for `AWS_ENDPOINT_URL_ATHENA`."""
    held = Athena(trino_port, catalog)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            verb = {
                "StartQueryExecution": held.start, "GetQueryExecution": held.get,
                "GetQueryResults": held.results, "StopQueryExecution": held.stop,
            }[self.headers["X-Amz-Target"].rpartition(".")[2]]  # fmt: skip
            status, answer = verb(body)
            said = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
