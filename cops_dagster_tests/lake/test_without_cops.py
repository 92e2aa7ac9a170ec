"""The printed views over the kept files, asked by DuckDB alone, give the digits of `cops sql`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from cops_dagster.demo import cur
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import printed
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import home, lines
from cops_dagster_tests.layouts import LAYOUTS
from cops_dagster_tests.shown import answer

DEMO, MAPS, CSV = Period(2025, 7), Period(2025, 8), Period(2025, 9)
LINES = """
type                    service   account      tenant plan component cost              product region     id ri    sp
Usage                   AmazonEC2 111111111111 acme   team api       10.10             Elastic us-east-1  a1 .     .
Usage                   AmazonEC2 111111111111 .      .    .         0.0000000001      Elastic eu-south-1 a2 .     .
Usage                   AmazonS3  111111111111 globex team .         123456789.1234567 .       .          a3 .     .
DiscountedUsage         AmazonEC2 111111111111 globex team .         0                 .       .          a4 0.013 .
SavingsPlanCoveredUsage AmazonEC2 222222222222 acme   .    .         5.5               .       .          a5 .     3.25
SavingsPlanNegation     AmazonEC2 222222222222 acme   .    .         -5.5              .       .          a6 .     .
Tax                     .         111111111111 .      .    .         1.91              .       .          a7 .     .
Credit                  AmazonEC2 111111111111 .      .    .         -2.000000000001   .       .          a8 .     .
Usage                   AmazonEC2 111111111111 .      .    .         3.5               .       .          a9 .     .
Usage                   AmazonEC2 nobody       .      .    .         0.25              .       .          b1 .     .
"""  # noqa: E501
VIEWS = "SUM(amortized_cost), SUM(net_amortized_cost), SUM(true_up_cost), SUM(upfront_cost)"
RAW, ASIDE = "FROM fact_cost_raw", "FROM cur_quarantine"
COST = "SUM(line_item_unblended_cost)"
QUESTIONS = {
    "how many lines": f"SELECT COUNT(*) {RAW}",
    "how many by source": f"SELECT period_start, source_id, delivery_id, COUNT(*) {RAW} GROUP BY ALL",
    "what a month costs": f"SELECT period_start, {COST} {RAW} GROUP BY ALL",
    "by service": f"SELECT period_start, product_servicecode, {COST} {RAW} GROUP BY ALL",
    "by tenant tag": f"SELECT resource_tags_user_tenant_id, {COST} {RAW} GROUP BY ALL",
    "without a tenant tag": f"SELECT COUNT(*), {COST} {RAW} WHERE resource_tags_user_tenant_id IS NULL",
    "with an empty tag": f"SELECT COUNT(*) {RAW} WHERE resource_tags_user_plan_id = ''",
    "by account": f"SELECT line_item_usage_account_id, COUNT(*), {COST} {RAW} GROUP BY ALL",
    "by day": f"SELECT CAST(line_item_usage_start_date AS DATE) AS day, {COST} {RAW} GROUP BY ALL",
    "by charge class": f"SELECT charge_class, COUNT(*), {COST} {RAW} GROUP BY ALL",
    "every cost view": f"SELECT period_start, {VIEWS} {RAW} GROUP BY ALL",
    "net views": f"SELECT SUM(net_unblended_cost), SUM(net_true_up_cost), SUM(net_upfront_cost) {RAW}",
    "the bridge of cost views": f"SELECT {COST} - SUM(amortized_cost + true_up_cost + upfront_cost) {RAW}",
    "by line type": f"SELECT line_item_line_item_type, commitment_line, COUNT(*), {VIEWS} {RAW} GROUP BY ALL",
    "reservations": f"SELECT SUM(reservation_effective_cost), COUNT(reservation_effective_cost) {RAW}",
    "what was set aside, and why": f"SELECT period_start, quarantine_code, quarantine_reason {ASIDE}",
    "its accounts and lines": (
        f"SELECT line_item_usage_account_id, identity_line_item_id, line_item_unblended_cost {ASIDE}"
    ),
    "the smallest and the largest amount": (
        f"SELECT MIN(line_item_unblended_cost), MAX(line_item_unblended_cost) {RAW}"
    ),
    "ids that stand twice": (
        f"SELECT identity_line_item_id, period_start, COUNT(*) {RAW} GROUP BY ALL HAVING COUNT(*) > 1"
    ),
    "per line, to the last digit": (
        f"SELECT identity_line_item_id, line_item_unblended_cost, amortized_cost, product_region {RAW}"
        " WHERE period_start > DATE '2025-07-01'"
    ),
    "the largest resources": (
        f"SELECT line_item_resource_id, {COST} AS usd {RAW} GROUP BY ALL HAVING {COST} > 0.5"
    ),
    "tag against service": (
        f"SELECT resource_tags_user_service_component, product_servicecode, {COST} {RAW}"
        " WHERE charge_class = 'usage' GROUP BY ALL"
    ),
    "columns and types": (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'fact_cost_raw'"
    ),
}
ALONE = """
import json, sys
import duckdb
given = json.load(sys.stdin)
con = duckdb.connect()
con.execute(given["views"])
found = {name: [[str(value) for value in row] for row in con.execute(sql).fetchall()]
         for name, sql in given["questions"].items()}
assert not any(name.startswith("cops") for name in sys.modules)
json.dump(found, sys.stdout)
"""


def delivered(period: Period) -> pa.Table:
    """The lines of a month: one has no time, one no account."""
    table = lines(LINES, period)
    ids = table["identity_line_item_id"].to_pylist()
    times = table["line_item_usage_start_date"].to_pylist()
    begin = [None if name == "a9" else at for name, at in zip(ids, times, strict=True)]
    where = table.schema.get_field_index("line_item_usage_start_date")
    return table.set_column(where, table.schema.field(where), pa.array(begin, pa.timestamp("us")))


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """A month of the demo, one of CUR 2.0 with its maps, one of CSV; in the latter two lines stand aside."""
    folder = tmp_path_factory.mktemp("three")
    cur.write_month(folder / "cur", DEMO, lines=1000)
    LAYOUTS["data exports parquet, overwrite"](folder / "cur", [delivered(MAPS)], MAPS, "a1")
    LAYOUTS["legacy csv gzip, overwrite"](folder / "cur", [delivered(CSV)], CSV, "a1")
    opened = home(folder, inputs=None)
    for period in (DEMO, MAPS, CSV):
        look.look(opened, period)
        ingest.ingest(opened, period)
    yield opened
    opened.admin.close()


@pytest.fixture(scope="module")
def alone(books: Books, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with books.admin.read() as con:
        given = {"views": printed.views(con, books.lake), "questions": QUESTIONS}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE], input=json.dumps(given), cwd=tmp_path_factory.mktemp("alone"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("question", QUESTIONS)
def test_duckdb_alone_gives_the_digits_of_cops_sql(
    question: str, books: Books, alone: dict[str, Any]
) -> None:
    here = [[str(value) for value in row] for row in answer(books, QUESTIONS[question])]
    assert sorted(alone[question]) == sorted(here)
    assert here


def test_there_are_lines_and_some_that_stand_aside_in_every_kind_of_month(alone: dict[str, Any]) -> None:
    months = {row[0]: int(row[3]) for row in alone["how many by source"]}
    assert months == {"2025-07-01": 1000, "2025-08-01": 8, "2025-09-01": 8}
    codes = sorted((row[0], row[1]) for row in alone["what was set aside, and why"])
    assert codes == [
        ("2025-08-01", "E-ACCOUNT"), ("2025-08-01", "E-TIME"),
        ("2025-09-01", "E-ACCOUNT"), ("2025-09-01", "E-TIME"),
    ]  # fmt: skip
