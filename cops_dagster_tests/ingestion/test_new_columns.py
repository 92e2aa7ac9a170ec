"""Columns beyond the schema: AWS's own and a first month's tags are counted, what is news is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cops_dagster.cur import dictionary
from cops_dagster.ingestion import checks, verdicts
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import MONTH, home, lines, write

OCTOBER = Period(2025, 10)


def delivered(folder: Path, period: Period, *columns: str, assembly: str = "a1") -> None:
    table = lines(MONTH, period)
    for name in columns:
        table = table.append_column(name, pa.array(["x"] * table.num_rows))
    write(folder / "cur", [table], period=period, assembly=assembly)


def judged(books: Books, period: Period) -> Verdict:
    (found,) = [one for one in checks.delivery(books, period) if one.check == "no_unexpected_columns"]
    return found


def test_a_first_delivery_counts_what_awss_dictionary_knows(tmp_path: Path) -> None:
    delivered(tmp_path, Period(2025, 9), "product_vcpu", "product_tenancy", "resource_tags_user_department")
    found = judged(home(tmp_path), Period(2025, 9))
    assert found.passed
    assert found.figures["unexpected_columns"] == ""
    assert found.figures["beyond_the_schema"] == "3 columns, all known to AWS's dictionary"


def test_what_no_dictionary_knows_is_named_also_in_a_first_delivery(tmp_path: Path) -> None:
    delivered(tmp_path, Period(2025, 9), "product_vcpu", "product_brand_new")
    found = judged(home(tmp_path), Period(2025, 9))
    assert (found.passed, found.figures["unexpected_columns"]) == (False, "product_brand_new")


def test_a_tag_that_comes_later_is_news_once_and_one_that_was_there_is_none(tmp_path: Path) -> None:
    books = home(tmp_path)
    delivered(tmp_path, Period(2025, 9), "resource_tags_user_department")
    assert judged(books, Period(2025, 9)).passed
    delivered(tmp_path, OCTOBER, "resource_tags_user_department", "resource_tags_user_cost_center")
    found = judged(books, OCTOBER)
    assert (found.passed, found.figures["unexpected_columns"]) == (False, "resource_tags_user_cost_center")
    delivered(tmp_path, Period(2025, 11), "resource_tags_user_cost_center")
    assert judged(books, Period(2025, 11)).passed


def test_of_many_new_columns_three_are_named() -> None:
    found = verdicts.no_unexpected_columns([f"c{number}" for number in range(94)], 2)
    assert found.figures["unexpected_columns"] == "c0, c1, c2 and 91 more"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("product_vcpu", True),
        ("Product_VCPU", True),
        ("product_brand_new", False),
        ("reservation_start_time", True),
    ],
)
def test_the_dictionary_knows_columns_by_their_whole_name(name: str, known: bool) -> None:
    assert dictionary.is_known(name) is known


def test_a_customers_own_columns_are_known_by_their_beginning() -> None:
    assert dictionary.is_of_customer("resource_tags_user_whatever")
    assert dictionary.is_of_customer("cost_category_team")
    assert not dictionary.is_of_customer("product_vcpu")
