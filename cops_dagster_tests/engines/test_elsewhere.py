"""A report and a lake in S3, read where they lie; and what the catalog then answers without COPS."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from cops_dagster.lake import iceberg, opened, registered
from cops_dagster.lake.bill import recorded
from cops_dagster.ledger.books import Books
from cops_dagster.reports import sql
from cops_dagster.stores.aws import outlines
from cops_dagster_tests.deliveries import SEPTEMBER, acts, home
from cops_dagster_tests.engines.athena_server import Athena
from cops_dagster_tests.engines.trino_server import BUCKET, Servers
from cops_dagster_tests.lake.shaped import SHAPES
from cops_dagster_tests.shown import answer

LIVE = "fact_cost_raw", "cur_quarantine", "fact_cost_tagged", "fact_cost_allocated", "period_head"
NEWEST = (
    "SELECT MAX(bill_billing_period_start_date) AS latest_period_start,"
    " MAX(line_item_usage_start_date) AS latest_usage_ts FROM cur_billing_master"
)
COUNTED = """
SELECT 'cur' AS src, COUNT(*) cnt FROM cur_billing_master
WHERE bill_billing_period_start_date = {start}
UNION ALL
SELECT 'raw' AS src, COUNT(*) cnt FROM fact_cost_raw
WHERE bill_billing_period_start_date = {start}
"""
"""The playbook's questions about freshness, as they are pasted."""


def delivered(folder: Path, shape: str, aws: str) -> str:
    """A month as AWS delivers it into S3; the report root."""
    SHAPES[shape](folder)
    root = f"report-{uuid.uuid4().hex[:8]}"
    client = boto3.client("s3", endpoint_url=aws)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            client.put_object(Bucket=BUCKET, Key=f"{root}/{file.relative_to(folder)}", Body=file.read_bytes())
    return f"s3://{BUCKET}/{root}"


def here(books: Books) -> Books:
    return replace(books, settings=books.settings.model_copy(update={"engine": "duckdb"}))


@pytest.mark.parametrize("shape", ["cur 1.0", "cur 2.0"])
def test_a_month_that_stays_in_s3_is_that_of_duckdb_and_the_catalog_says_how_fresh_it_is(
    shape: str,
    given: dict[str, Any],
    servers: Servers,
    athena: Athena,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlines, "TAIL", 256)
    root = delivered(tmp_path / "made", shape, servers.aws)
    books, found = home(tmp_path, **given), {}
    books = replace(books, settings=books.settings.model_copy(update={"cur": root}))
    acts(books, SEPTEMBER)
    fetched = [*(books.settings.home / "fetched").rglob("*.parquet")]
    kept = [*(books.settings.lake_root / "fact_cost_raw").rglob("*.parquet")]
    assert all(outlines.of(books.settings.home, file) for file in (*fetched, *kept))
    assert fetched
    assert kept

    bills = len(recorded(books.settings.home))
    newest = sql.ask(books, NEWEST, {}).rows.rows
    start = {"period_start": SEPTEMBER.start}
    counted = sql.ask(books, COUNTED.format(start=":period_start"), dict(start)).rows.rows
    assert len(recorded(books.settings.home)) == bills + 2  # they were asked there
    assert newest == sql.ask(here(books), NEWEST, {}).rows.rows
    local = sql.ask(here(books), COUNTED.format(start=":period_start"), dict(start)).rows.rows
    assert sorted(counted) == sorted(local)  # a union has no order

    monkeypatch.setattr(registered, "DATABASE", f"lines_{uuid.uuid4().hex[:8]}")
    with books.admin.read() as con, opened.kept_files(books.settings, books.admin, None) as engine:
        catalog = iceberg.open_catalog(books.settings)
        queries = opened.queries(books.settings, registered.DATABASE)
        first = registered.register(con, books.lake, engine, catalog, queries)
        again = registered.register(con, books.lake, engine, catalog, queries)
    assert first == again
    assert queries.run(NEWEST).rows == newest
    pasted = COUNTED.format(start=f"TIMESTAMP '{SEPTEMBER.start} 00:00:00'")
    assert sorted(queries.run(pasted).rows) == sorted(counted)
    sums = "SELECT COUNT(*), SUM(line_item_unblended_cost), SUM(amortized_cost) FROM fact_cost_raw"
    assert queries.run(sums).rows == answer(here(books), sums)

    for name, one in (("there", books), ("here", home(tmp_path / "here"))):
        if name == "here":
            one = replace(one, settings=one.settings.model_copy(update={"cur": root}))
            acts(one, SEPTEMBER)
        found[name] = {table: sorted(map(str, answer(here(one), f"SELECT * FROM {table}"))) for table in LIVE}
    assert found["there"] == found["here"]
