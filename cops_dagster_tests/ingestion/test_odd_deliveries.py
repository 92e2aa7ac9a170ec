"""Odd but real deliveries from the report root to the ledger: taken, shown, and with a way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import deliver
from cops_dagster.ledger.books import Books
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

NO_RULES = {name: text for name, text in INPUTS.items() if name in ("plans", "tenants")}
TEXT = """
type   service   account       cost
Usage  AmazonEC2 111111111111  10
Usage  AmazonEC2 111111111111  5
Usage  AmazonEC2 111111111111  3
Refund AmazonEC2 111111111111  -2
"""
TAGS = [
    {"user:tenant_id": "acme"},
    {"user:TenantId": "globex"},
    {"user:tenant_id": "acme", "user:TenantId": "globex"},
    {},
]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """A month in two chunks: tags as JSON in one and of the null type in the other, no invoice id yet."""
    folder = tmp_path_factory.mktemp("odd")
    first = lines(TEXT).set_column(0, "bill_invoice_id", pa.nulls(4))
    tagged = first.append_column("resource_tags", pa.array([json.dumps(tags) for tags in TAGS]))
    plain = first.append_column("resource_tags", pa.nulls(4))
    write(folder / "cur", [plain, tagged])
    opened = home(folder, inputs=NO_RULES)
    run(opened)
    yield opened
    opened.admin.close()


@pytest.mark.long
def test_an_odd_month_is_whole_and_tagged(books: Books) -> None:
    assert by_tenant(books) == {"acme": 10, "globex": 5, "__unallocated__": 17}
    assert answer(books, "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM fact_cost_raw") == [(8, 32)]
    assert answer(books, "SELECT COUNT(*) FROM cur_quarantine") == [(0,)]


def test_what_was_written_anew_is_kept_below_the_home_and_a_second_look_writes_nothing(books: Books) -> None:
    assert len(list((books.settings.home / "converted").iterdir())) == 1
    assert current.is_current(books, SEPTEMBER)


def test_a_tag_with_two_values_names_nobody_and_an_alias_says_whose_it_is(
    books: Books, tmp_path: Path
) -> None:
    shown = (
        "SELECT tenant_tag, SUM(unblended_cost) FROM fact_cost_tagged WHERE tenant_tag IS NOT NULL GROUP BY 1"
    )
    assert answer(books, shown) == [("E-TAG-CLASH acme | globex", 3)]
    give(books, tmp_path, tag_aliases="tag_name,alias,canonical\ntenant_id,E-TAG-CLASH acme | globex,acme\n")
    run(books)
    assert by_tenant(books) == {"acme": 13, "globex": 5, "__unallocated__": 14}


@pytest.mark.long
def test_without_a_registry_a_tag_with_two_values_is_no_tenant_either(tmp_path: Path) -> None:
    tagged = lines(TEXT).append_column("resource_tags", pa.array([json.dumps(tags) for tags in TAGS]))
    write(tmp_path / "cur", [tagged])
    books = home(tmp_path, inputs=None)
    run(books)
    assert by_tenant(books) == {"acme": 10, "globex": 5, "__unallocated__": 1}


@pytest.mark.long
def test_a_line_with_unreadable_tags_stands_aside_and_its_money_is_shown(tmp_path: Path) -> None:
    tags = [json.dumps(one) for one in TAGS]
    table = lines(TEXT).append_column("resource_tags", pa.array([*tags[:2], "{broken", tags[3]]))
    path = tmp_path / "month.parquet"
    pq.write_table(table, path)
    (tmp_path / "cur").mkdir()
    books = home(tmp_path, inputs=NO_RULES)
    deliver.deliver(books, [path], SEPTEMBER)
    run(books)
    aside = "SELECT quarantine_code, quarantine_reason, line_item_unblended_cost FROM cur_quarantine"
    assert answer(books, aside) == [("E-MAP-PARSE", "resource_tags = {broken", 3)]
    assert sum(by_tenant(books).values()) == Decimal(13)


def test_a_month_of_which_no_tag_can_be_read_is_refused(tmp_path: Path) -> None:
    table = lines(TEXT).append_column("resource_tags", pa.array(["tenant_id=acme"] * 4))
    write(tmp_path / "cur", [table])
    with pytest.raises(CopsError, match="E-SCHEMA-TYPE"):
        run(home(tmp_path, inputs=NO_RULES))
    assert list(tmp_path.rglob("converted/*")) == []


@pytest.mark.long
def test_a_map_that_holds_a_key_twice_is_read_as_one_that_does_not(tmp_path: Path) -> None:
    """The engine reads no such map; a tool that joined two lists of tags wrote it."""
    twice = [
        [("user_tenant_id", "acme"), ("user_tenant_id", "acme")],
        [("user_tenant_id", "globex")],
        [("user_tenant_id", "acme"), ("user_tenant_id", "globex")],
        None,
    ]
    tags = pa.array(twice, pa.map_(pa.string(), pa.string()))
    write(tmp_path / "cur", [lines(TEXT).append_column("resource_tags", tags)])
    books = home(tmp_path, inputs=NO_RULES)
    run(books)
    assert by_tenant(books) == {"acme": 10, "globex": 5, "__unallocated__": 1}
    assert len(list((tmp_path / "home" / "converted").iterdir())) == 1
