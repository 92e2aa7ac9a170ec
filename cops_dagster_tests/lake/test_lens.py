"""Delivered bytes as the raw lines: what the lake keeps, what is read of it, how long, and without COPS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from cops_dagster.closing import current
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest, kept_bytes
from cops_dagster.lake import keeping, printed, retention, usage
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.files import sha256
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

TWO = [lines(MONTH), lines(MONTH.replace("10.10", "7"))]
LATER = [TWO[0], lines(MONTH.replace("10.10", "8"))]


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """A month in two files, one account of which is no account."""
    bad = MONTH.replace("111111111111  .       .     network", "x             .       .     network")
    write(tmp_path / "cur", [lines(bad), TWO[1]])
    opened = home(tmp_path)
    run(opened)
    yield opened
    opened.admin.close()


def files(books: Books, table: str = ingest.TABLE) -> list[Any]:
    with books.admin.read() as con:
        rows = con.execute(sa.select(t.lake_file).where(t.lake_file.c.table_name == table))
        return sorted(rows, key=lambda row: row.path)


def test_the_lake_holds_what_was_delivered_and_no_line_a_second_time(books: Books, tmp_path: Path) -> None:
    delivered = sorted((tmp_path / "cur").rglob("*.parquet"))
    kept = files(books)
    assert [row.sha256 for row in kept] == [sha256(path) for path in delivered]
    assert [(row.row_count, row.cost_usd) for row in kept] == [
        (5, Decimal("31.88")), (6, Decimal("37.780000001"))
    ]  # fmt: skip
    (aside,) = files(books, ingest.QUARANTINE)
    assert (aside.sha256, aside.row_count, aside.cost_usd) == (kept[0].sha256, 1, Decimal("9.000000001"))
    root = books.settings.lake_root
    assert (root / aside.path).samefile(root / kept[0].path)


def test_what_aws_takes_away_or_overwrites_later_changes_nothing(books: Books, tmp_path: Path) -> None:
    asked = "SELECT COUNT(*), ROUND(SUM(line_item_unblended_cost), 9), COUNT(DISTINCT delivery_id) FROM {}"
    tables = ("fact_cost_raw", "cur_quarantine", "cur_billing_master")
    before = [answer(books, asked.format(table)) for table in tables]
    gone, other = sorted((tmp_path / "cur").rglob("*.parquet"))
    gone.unlink()
    other.write_bytes(b"PAR1 another PAR1")
    assert [answer(books, asked.format(table), verify=True) for table in tables] == before
    assert before[0][0][:2] == (11, Decimal("69.660000001"))


def test_a_value_is_as_aws_sent_it_in_the_master_and_absent_in_the_lines(tmp_path: Path) -> None:
    table = lines(MONTH.replace("component  cost", "resource_tags_user_team  cost").replace("api ", "'' "))
    blank = table.set_column(
        table.schema.get_field_index("resource_tags_user_team"),
        "resource_tags_user_team",
        [["" if cell == "''" else cell for cell in table["resource_tags_user_team"].to_pylist()]],
    )
    write(tmp_path / "cur", [blank])
    books = home(tmp_path)
    run(books)
    count = "SELECT COUNT(*) FROM {} WHERE resource_tags_user_team = ''"
    assert answer(books, count.format("cur_billing_master")) == [(2,)]
    assert answer(books, count.format("fact_cost_raw")) == [(0,)]


def test_no_engine_of_this_process_reads_a_delivered_byte(books: Books) -> None:
    with books.admin.read() as con, books.engine() as engine:
        for table in ("fact_cost_raw", "cur_quarantine", "cur_billing_master"):
            with pytest.raises(AssertionError, match=r"Books\.lines"):
                books.namespace(engine, con, SEPTEMBER).provide([table])


def test_the_printed_views_give_the_same_digits_without_cops(books: Books) -> None:
    with books.admin.read() as con:
        text = printed.views(con, books.lake)
    bare = duckdb.connect()
    bare.execute(text)
    for table in ("fact_cost_raw", "cur_quarantine", "fact_cost_tagged", "fact_cost_allocated"):
        columns = {row[0] for row in bare.execute(f"DESCRIBE {table}").fetchall()}
        money = sorted(column for column in columns if column.endswith(("_cost", "_cost_usd")))
        asked = f"SELECT COUNT(*), {', '.join(f'SUM({name})' for name in money)} FROM {table}"
        assert bare.execute(asked).fetchall() == answer(books, asked), table


def exchanged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [exchanged, gone])
def test_a_file_that_changes_while_it_is_kept_is_refused_and_the_month_stays(
    harm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", TWO[:1])
    books = home(tmp_path)
    run(books)
    before = by_tenant(books), [row.path for row in files(books)]
    write(tmp_path / "cur", TWO[1:], assembly="a2")
    kept = keeping.keep

    def late(source: Path, target: Path, *, is_ours: bool) -> None:
        harm(source)
        kept(source, target, is_ours=is_ours)

    monkeypatch.setattr(kept_bytes.keeping, "keep", late)
    with pytest.raises(CopsError, match="E-DIGEST"):
        run(books)
    assert (by_tenant(books), [row.path for row in files(books)]) == before


@pytest.mark.parametrize("fault", [28, 30])  # no space left, read-only
def test_a_full_disk_while_keeping_leaves_no_file(
    fault: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "given", tmp_path / "lake" / "kept.parquet"
    source.write_bytes(b"x" * 10_000)

    def refuses(*_: Any) -> int:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(keeping, "_cloned", lambda *_: False)
    monkeypatch.setattr(os, "copy_file_range", refuses)
    with pytest.raises(CopsError, match="E-DISK"):
        keeping.keep(source, target, is_ours=False)
    assert not target.exists()


@pytest.mark.parametrize("without", [(), ("link",), ("link", "clone"), ("link", "clone", "copy")])
def test_bytes_are_kept_whatever_the_file_system_can(
    without: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: Any) -> int:
        raise OSError(38, "Function not implemented")

    source, target = tmp_path / "given", tmp_path / "lake" / "kept.parquet"
    source.write_bytes(os.urandom(3_000_000))
    if "link" in without:
        monkeypatch.setattr(keeping, "_linked", lambda *_: False)
    if "clone" in without:
        monkeypatch.setattr(keeping, "_cloned", lambda *_: False)
    if "copy" in without:
        monkeypatch.setattr(os, "copy_file_range", cannot)
    keeping.keep(source, target, is_ours=True)
    assert target.read_bytes() == source.read_bytes()


def test_a_page_that_nobody_asks_for_is_read_before_the_delivery_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "cur", TWO[:1])
    books = home(tmp_path)
    run(books)
    before = by_tenant(books)
    folder = write(tmp_path / "cur", TWO[1:], assembly="a2")
    path = folder / "report-00001.snappy.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0)
    at = next(
        column.column(number)
        for number in range(column.num_columns)
        if column.column(number).path_in_schema == "resource_tags_user_plan_id"
    )
    broken = bytearray(path.read_bytes())
    start = at.dictionary_page_offset or at.data_page_offset
    for place in range(start, start + at.total_compressed_size):
        broken[place] ^= 0xFF
    path.write_bytes(broken)
    with pytest.raises(CopsError, match=r"E-FILE-TRUNC|E-READER-CRASH"):
        run(books)
    assert by_tenant(books) == before


def test_a_replaced_delivery_is_kept_for_a_time(books: Books, tmp_path: Path) -> None:
    (first,) = {row.run_id for row in files(books)}
    asked = "SELECT COUNT(*) FROM fact_cost_raw"
    write(tmp_path / "cur", LATER, assembly="a2")
    run(books)
    assert answer(books, asked, as_of=first) == [(11,)]
    with books.admin.read() as con:
        assert retention.drop(con, books.lake, now() - timedelta(days=14)) == 0
    assert answer(books, asked, as_of=first) == [(11,)]
    with books.admin.read() as con:
        assert retention.drop(con, books.lake, now() + timedelta(seconds=1)) == 3  # two, one of them twice
        assert retention.drop(con, books.lake, now() + timedelta(seconds=1)) == 0
        counted = {(one.table_name, one.state): one.files for one in usage.bytes_of(con, books.lake)}
    assert (counted["fact_cost_raw", "dropped"], counted["fact_cost_raw", "live"]) == (2, 2)
    with pytest.raises(CopsError, match=r"E-RETIRED.*keep_superseded_days"):
        answer(books, asked, as_of=first)
    assert answer(books, asked) == [(12,)]
    assert current.is_current(books, SEPTEMBER)


def test_the_sweep_drops_what_the_setting_says(books: Books, tmp_path: Path) -> None:
    from cops_dagster.evidence import sweep

    write(tmp_path / "cur", LATER, assembly="a2")
    run(books)
    settings = books.settings.model_copy(
        update={"lake": books.settings.lake.model_copy(update={"keep_superseded_days": 0})}
    )
    assert sweep.sweep(books).files_dropped == 0
    assert sweep.sweep(replace(books, settings=settings)).files_dropped == 3
