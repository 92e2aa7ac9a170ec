"""Small months in every shape of delivery, questions about them, and what is printed for other engines."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlglot
from sqlglot import exp

from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import outside, trino
from cops_dagster.lake.trino import Dialect
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores.volume import Volume
from cops_dagster_tests.deliveries import SEPTEMBER, home, lines, write
from cops_dagster_tests.layouts import LAYOUTS

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


def delivered(period: Period) -> pa.Table:
    """The lines of a month: one has no time, one no account."""
    table = lines(LINES, period)
    ids = table["identity_line_item_id"].to_pylist()
    times = table["line_item_usage_start_date"].to_pylist()
    begin = [None if name == "a9" else at for name, at in zip(ids, times, strict=True)]
    where = table.schema.get_field_index("line_item_usage_start_date")
    return table.set_column(where, table.schema.field(where), pa.array(begin, pa.timestamp("us")))


PRINTED = Path(__file__).parent / "outside"
REVIEWED = ["cur 1.0", "cur 2.0", "csv", "a tag in two spellings"]
"""Shapes whose printed lines a person has read."""
SHAPES: dict[str, Callable[[Path], Any]] = {
    "cur 1.0": lambda root: LAYOUTS["legacy parquet, overwrite"](
        root, [delivered(SEPTEMBER)], SEPTEMBER, "a1"
    ),
    "cur 2.0": lambda root: LAYOUTS["data exports parquet, overwrite"](
        root, [delivered(SEPTEMBER)], SEPTEMBER, "a1"
    ),
    "csv": lambda root: LAYOUTS["legacy csv gzip, overwrite"](root, [delivered(SEPTEMBER)], SEPTEMBER, "a1"),
    "times and numbers as text": lambda root: write(root, [as_text(delivered(SEPTEMBER))]),
    "a tag in two spellings": lambda root: LAYOUTS["data exports parquet, overwrite"](
        root, [twice(delivered(SEPTEMBER))], SEPTEMBER, "a1"
    ),
    "two files": lambda root: write(root, [delivered(SEPTEMBER).slice(0, 4), delivered(SEPTEMBER).slice(4)]),
}


def as_text(table: pa.Table) -> pa.Table:
    """Costs as decimals and times with a zone, as other tools write them."""
    where = table.schema.get_field_index("line_item_usage_start_date")
    zoned = table.column(where).cast(pa.timestamp("us", "UTC"))
    table = table.set_column(where, "line_item_usage_start_date", zoned)
    cost = table.schema.get_field_index("line_item_unblended_cost")
    exact = [Decimal(repr(value)).quantize(Decimal("1e-13")) for value in table.column(cost).to_pylist()]
    return table.set_column(cost, "line_item_unblended_cost", pa.array(exact, pa.decimal128(38, 18)))


def twice(table: pa.Table) -> pa.Table:
    other = ["acme", None, " globex ", *[None] * (table.num_rows - 3)]
    return table.append_column("resource_tags_user_Tenant_id", pa.array(other, pa.string()))


def ingested(folder: Path, shape: str) -> Books:
    SHAPES[shape](folder / "cur")
    books = home(folder, inputs=None)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    return books


def said(books: Books, dialect: Dialect = "trino", lake: Volume | None = None) -> str:
    with books.admin.read() as con, books.lines() as engine:
        return outside.views(con, lake or books.lake, engine, dialect)


def statements(text: str, dialect: str = "trino") -> list[exp.Expr]:
    return [one for one in sqlglot.parse(text, read=dialect) if one]


def reviewed(books: Books) -> str:
    """What stands between the table and sql/lens.sql, without the names of runs."""
    table, view, *_ = statements(said(books))
    (lines,) = [one for one in view.find_all(exp.Subquery) if one.alias == "l"]
    text = ";\n\n".join(one.sql(dialect="trino", pretty=True) for one in (table, lines)) + ";\n"
    text = re.sub(r"'file://.*/'", "'FOLDER'", text)
    return re.sub(
        r"'[0-9a-f]{64}'", "'DELIVERY'", re.sub(r"fact_cost_raw_[0-9a-f]{16}", "fact_cost_raw_RUN", text)
    )


def functions() -> str:
    """The functions of this package in the words of Trino."""
    return "".join(
        f"{name}\n{trino.meaning(name).sql(dialect='trino', pretty=True)}\n\n" for name in trino.FUNCTIONS
    )
