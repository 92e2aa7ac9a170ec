"""What an engine elsewhere says, as codes; what it costs; which settings it needs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.lake.bill import Bill, recorded
from cops_dagster.stores.queries import Ran, code_of

SAID = {
    "ADMINISTRATIVELY_KILLED: Query killed. Message: by an admin": "E-ENGINE-STOPPED",
    "USER_CANCELED: Query was canceled": "E-ENGINE-STOPPED",
    "EXCEEDED_TIME_LIMIT: Query exceeded maximum time limit of 60.00m": "E-ENGINE-LIMIT",
    "EXCEEDED_SCAN_LIMIT: Query has exceeded scan limit of 1GB": "E-ENGINE-LIMIT",
    "Bytes scanned limit was exceeded": "E-ENGINE-LIMIT",
    "SERVER_SHUTTING_DOWN: Server is shutting down": "E-ENGINE-BUSY",
    "NO_NODES_AVAILABLE: No nodes available to run query": "E-ENGINE-BUSY",
    "Query exhausted resources at this scale factor": "E-ENGINE-BUSY",
    "QUERY_QUEUE_FULL: Too many queued queries": "E-ENGINE-BUSY",
    "NUMERIC_VALUE_OUT_OF_RANGE: Decimal overflow": "E-COST-RANGE",
    "ICEBERG_FILESYSTEM_ERROR: Failed to read: (Service: S3, Status Code: 403)": "E-AWS-DENIED",
    "ICEBERG_FILESYSTEM_ERROR: Failed to read: (Service: S3, Status Code: 503)": "E-ENGINE-BUSY",
    "SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved": "E-ENGINE-FAILED",
}
GLUE = {"catalog": "glue", "lake": {"place": "s3://bucket/lake"}}


@pytest.mark.parametrize("text", SAID)
def test_what_an_engine_says_has_a_code(text: str) -> None:
    assert code_of(text) == SAID[text]


def a_bill(max_bytes: int = 10**15) -> Bill:
    return Bill("athena", "lines of 2025-09", Decimal(5), max_bytes)


def test_a_bill_is_what_was_scanned_and_never_less_than_the_least() -> None:
    bill = a_bill()
    bill.ran("measure_delivery", Ran("1", (), [], 10**12))
    bill.ran("small", Ran("2", (), [], 1))
    bill.failed("refused", "E-ENGINE-BUSY")
    assert bill.scanned_bytes == 10**12 + 1
    assert bill.usd == Decimal(5) + Decimal("0.00005")


def test_a_statement_beyond_the_bound_is_refused_and_one_below_it_is_allowed() -> None:
    bill = a_bill(100)
    bill.ran("one", Ran("1", (), [], 99))
    bill.require_room()
    bill.ran("two", Ran("2", (), [], 1))
    with pytest.raises(CopsError, match=r"E-ENGINE-LIMIT.*100 bytes scanned of 100"):
        bill.require_room()


def test_the_bills_of_a_month_are_kept_in_the_home(tmp_path: Path) -> None:
    a_bill().record(tmp_path)
    assert recorded(tmp_path) == []  # it asked nothing
    bill = a_bill()
    bill.ran("measure_delivery", Ran("7", (), [], 12))
    bill.record(tmp_path)
    (found,) = recorded(tmp_path, "2025-09")
    assert (found["queries"], found["scanned_bytes"], found["usd"]) == (1, 12, "0.00005")
    assert found["statements"][0]["query_id"] == "7"
    assert recorded(tmp_path, "2025-10") == []


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"engine": "athena"}, "set COPS_CATALOG to glue"),
        ({"engine": "trino", **GLUE}, "set COPS_CLUSTER__URL"),
        ({"engine": "spark"}, "engine"),
        ({"engine": "trino", **GLUE, "cluster": {"url": "http://me:secret@host"}}, "cluster"),
    ],
)
def test_an_engine_without_what_it_needs_is_refused(given: dict[str, Any], wrong: str) -> None:
    with pytest.raises(CopsError, match="E-SETTING") as refusal:
        settings.load(**given)
    assert wrong in str(refusal.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"engine": "athena", **GLUE},
        {"engine": "trino", **GLUE, "cluster": {"url": "http://trino.internal:8080"}},
    ],
)
def test_an_engine_with_what_it_needs_is_taken(given: dict[str, Any]) -> None:
    assert settings.load(**given).engine == given.get("engine", "duckdb")
