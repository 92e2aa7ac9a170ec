"""Every layout of the same month gives the same lines, to the last digit, in whatever files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from cops_dagster.closing import current, status
from cops_dagster.cur.names import athena_name
from cops_dagster.cur.schema import EXPECTED
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import look
from cops_dagster.lake import live
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import SEPTEMBER, home, lines, run
from cops_dagster_tests.ingestion.catalogue import flip
from cops_dagster_tests.layouts import LAYOUTS, athena, csv_header, legacy
from cops_dagster_tests.shown import answer

MONTH = """
type                    service   account      tenant plan component cost              product region     id ri    sp   amount
Usage                   AmazonEC2 111111111111 acme   team api       10.10             Elastic us-east-1  a1 .     .    1.5
Usage                   AmazonEC2 111111111111 .      .    .         0.0000000001      Elastic eu-south-1 a2 .     .    0.000001
Usage                   AmazonS3  111111111111 globex team .         123456789.1234567 .       .          a3 .     .    7
DiscountedUsage         AmazonEC2 111111111111 globex team .         0                 .       .          a4 0.013 .    1
SavingsPlanCoveredUsage AmazonEC2 111111111111 acme   .    .         5.5               .       .          a5 .     3.25 1
SavingsPlanNegation     AmazonEC2 111111111111 acme   .    .         -5.5              .       .          a6 .     .    1
Tax                     .         111111111111 .      .    .         1.91              .       .          a7 .     .    .
Credit                  AmazonEC2 111111111111 .      .    .         -2.000000000001   .       .          a8 .     .    .
"""  # noqa: E501
COSTS = """
SELECT identity_line_item_id, product_servicecode, product_product_name, product_region,
       resource_tags_user_tenant_id, resource_tags_user_plan_id, line_item_usage_amount,
       line_item_usage_start_date, charge_class, line_item_unblended_cost, amortized_cost,
       net_unblended_cost, net_amortized_cost, true_up_cost, upfront_cost
FROM fact_cost_raw ORDER BY 1
"""


def month() -> list[pa.Table]:
    table = lines(MONTH)
    return [table.slice(0, 3), table.slice(3)]


def ingested(folder: Path, layout: str) -> Books:
    LAYOUTS[layout](folder / "cur", month(), SEPTEMBER, "a1")
    books = home(folder)
    run(books)
    return books


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    return answer(ingested(tmp_path_factory.mktemp("first"), "legacy parquet, create new version"), COSTS)


@pytest.mark.long
def test_the_first_layout_has_the_lines_that_were_written(expected: list[tuple[object, ...]]) -> None:
    costs = [row[9] for row in expected]
    written = ("10.1", "1E-10", "123456789.1234567", "0", "5.5", "-5.5", "1.91", "-2.000000000001")
    assert costs == [Decimal(cost) for cost in written]
    assert [row[10] for row in expected][3:6] == [Decimal("0.013"), Decimal("3.25"), 0]


@pytest.mark.sampled(13)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_lines_and_costs(
    layout: str, tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    books = ingested(tmp_path, layout)
    assert answer(books, COSTS) == expected
    (shown,) = status.deliveries(books, SEPTEMBER)
    assert ("csv" in layout) == ("csv" in shown.file_format)
    assert ("data exports" in layout) == shown.layout.startswith("data_exports")
    assert shown.lines == len(expected)


def test_every_expected_column_has_a_csv_header_that_comes_back_as_its_name() -> None:
    for column in EXPECTED:
        assert athena_name(csv_header(column.name)) == column.name


@pytest.mark.long
def test_two_payers_side_by_side_are_one_ledger(tmp_path: Path) -> None:
    for payer, account in (("one", "111111111111"), ("two", "222222222222")):
        delivered = [lines(MONTH.replace("111111111111", account))]
        legacy(tmp_path / "cur" / payer, delivered, SEPTEMBER, "a1", kind="gzip", overwrite=payer == "one")
    books = home(tmp_path)
    run(books)
    found = answer(books, "SELECT source_id, COUNT(*) FROM fact_cost_raw GROUP BY 1 ORDER BY 1")
    assert found == [("one/prefix/report", 8), ("two/prefix/report", 8)]


def test_a_report_with_athena_integration_is_one_source_with_its_range_folder(tmp_path: Path) -> None:
    athena(tmp_path / "cur", month(), SEPTEMBER, "a1")
    manifest = tmp_path / "cur/prefix/report/report/year=2025/month=9/report-Manifest.json"
    other = tmp_path / "cur/prefix/report/20250901-20251001/report-Manifest.json"
    other.parent.mkdir()
    other.write_bytes(manifest.read_bytes())
    manifest.unlink()
    books = home(tmp_path)
    run(books)
    assert answer(books, "SELECT DISTINCT source_id FROM cur_billing_master") == [("prefix/report",)]
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(8,)]


@pytest.mark.long
def test_a_lost_or_damaged_conversion_is_made_anew_from_the_delivered_file(
    tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    books = ingested(tmp_path, "legacy csv gzip, overwrite")
    first = sorted((tmp_path / "home" / "converted").iterdir())
    assert current.is_current(books, SEPTEMBER)
    first[0].unlink()
    assert not current.is_current(books, SEPTEMBER)
    run(books)
    second = sorted((tmp_path / "home" / "converted").iterdir())
    assert len(second) == len(first)
    assert current.is_current(books, SEPTEMBER)
    assert answer(books, "SELECT COUNT(*) FROM cur_billing_master") == [(len(expected),)]


@pytest.mark.long
def test_a_conversion_damaged_before_it_is_ingested_is_found_and_made_anew(
    tmp_path: Path, expected: list[tuple[object, ...]]
) -> None:
    LAYOUTS["legacy csv gzip, overwrite"](tmp_path / "cur", month(), SEPTEMBER, "a1")
    books = home(tmp_path)
    look.look(books, SEPTEMBER)
    (path, *_) = sorted((tmp_path / "home" / "converted").iterdir())
    flip(path, path.stat().st_size // 2)
    live.forget([path])
    with pytest.raises(CopsError, match="E-DIGEST"):
        run(books)
    run(books)
    assert answer(books, COSTS) == expected
