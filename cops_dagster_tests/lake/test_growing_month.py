"""Ninety deliveries of one growing month: the lake holds what is live and what was replaced lately."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import ingest
from cops_dagster.lake import usage
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.files import sha256
from cops_dagster_tests.deliveries import SEPTEMBER
from cops_dagster_tests.lake import growing_month
from cops_dagster_tests.lake.growing_month import A_DAY, DELIVERIES, OCTOBER, After
from cops_dagster_tests.shown import answer

DAYS = 14
"""`keep_superseded_days` as it comes."""
SUMS = (
    "SELECT COUNT(*), SUM(line_item_unblended_cost) FROM fact_cost_raw WHERE period_start = DATE '2025-10-01'"
)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Books, list[After], dict[Path, str]]]:
    """Open books after ninety deliveries, what lay there after each, and the closed month's files before."""
    folder = tmp_path_factory.mktemp("growing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPS_HOME", str(folder / "home"))
        books = growing_month.closed_september(folder)
        sealed = {path: sha256(path) for path in kept_of(books, str(SEPTEMBER))}
        after = list(growing_month.deliveries(folder, books, patch))
    yield books, after, sealed
    books.admin.close()


def kept_of(books: Books, month: str) -> list[Path]:
    return sorted((books.settings.lake_root / ingest.TABLE / month).rglob("*.parquet"))


Lived = tuple[Books, list[After], dict[Path, str]]


def test_on_disk_is_the_live_delivery_and_what_was_replaced_within_the_days_of_the_setting(
    lived: Lived,
) -> None:
    _, after, _ = lived
    assert len(after) == DELIVERIES
    for one in after:
        live = list(one.delivered)[-1]
        lately = {run for run, at in one.replaced_at.items() if at >= one.at - timedelta(days=DAYS)}
        assert one.on_disk == {run: one.delivered[run] for run in (*lately, live)}
        assert len(one.on_disk) <= DAYS * A_DAY + 2
    assert sum(after[-1].on_disk.values()) * 4 < sum(after[-1].delivered.values()) * 3


def test_nothing_of_a_closed_month_goes_however_long_ago_it_was_replaced(lived: Lived) -> None:
    books, _, sealed = lived
    assert len(sealed) == 2
    assert {path: sha256(path) for path in kept_of(books, str(SEPTEMBER))} == sealed


def test_a_live_read_is_right_to_the_last_digit(lived: Lived) -> None:
    books, after, _ = lived
    assert answer(books, SUMS, verify=True) == [(after[-1].rows, after[-1].cost)]


def test_a_question_as_of_a_dropped_delivery_says_so_and_of_a_kept_one_is_answered(lived: Lived) -> None:
    books, after, _ = lived
    kept = after[-1].on_disk
    for one in after[::9]:
        run_id = list(one.delivered)[-1]
        if run_id in kept:
            assert answer(books, SUMS, as_of=run_id) == [(one.rows, one.cost)]
            continue
        with pytest.raises(CopsError) as refusal:
            answer(books, SUMS, as_of=run_id)
        assert refusal.value.code == "E-RETIRED"
    first_kept = next(one for one in after if list(one.delivered)[-1] in kept)
    assert 0 < first_kept.number < DELIVERIES
    assert answer(books, SUMS, as_of=list(first_kept.delivered)[-1]) == [(first_kept.rows, first_kept.cost)]


def test_the_usage_names_what_is_live_what_was_replaced_and_what_was_dropped(lived: Lived) -> None:
    books, after, _ = lived
    with books.admin.read() as con:
        found = {
            one.state: (one.files, one.size_bytes)
            for one in usage.bytes_of(con, books.lake)
            if (one.table_name, one.period) == (ingest.TABLE, str(OCTOBER))
        }
        rows = con.execute(
            sa.select(sa.func.count()).where(t.lake_file.c.period_start == OCTOBER.start)
        ).scalar_one()
    last = after[-1]
    kept, whole = sum(last.on_disk.values()), sum(last.delivered.values())
    live = last.delivered[list(last.delivered)[-1]]
    assert found == {
        "live": (1, live),
        "superseded": (len(last.on_disk) - 1, kept - live),
        "dropped": (DELIVERIES - len(last.on_disk), whole - kept),
    }
    assert rows == DELIVERIES  # what was dropped is still on record
    assert last.cost > Decimal(0)
