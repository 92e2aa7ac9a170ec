"""What left COPS stands in the books: once for the same books, and never with two digests."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.evidence.home import open_books
from cops_dagster.exports import record
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

JUNE, JULY = Period(2025, 6), Period(2025, 7)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return open_books(settings.load(home=tmp_path / "home", actor="ann"))


def count(books: Books) -> int:
    with books.admin.read() as con:
        return int(con.execute(sa.select(sa.func.count()).select_from(t.export_record)).scalar_one())


def test_an_export_made_again_from_the_same_books_is_no_news(books: Books) -> None:
    assert record.record(books, "journal", JUNE, "books", "bytes")
    assert not record.record(books, "journal", JUNE, "books", "bytes")
    assert count(books) == 1


def test_an_export_of_changed_books_is_a_row_of_its_own_and_the_newest_counts(books: Books) -> None:
    record.record(books, "journal", JUNE, "books", "bytes")
    assert record.record(books, "journal", JUNE, "corrected books", "other bytes")
    assert record.record(books, "journal", JUNE, "books", "bytes")  # a run that was taken back
    record.record(books, "journal", JULY, "books", "july")
    with books.admin.read() as con:
        newest = record.made(con, "journal", JUNE)
        assert (newest.made_from, newest.sha256, newest.actor) == ("books", "bytes", "ann")
        assert record.made(con, "margin", JUNE) is None
    assert count(books) == 4


def test_other_bytes_from_the_same_books_are_refused_and_not_recorded(books: Books) -> None:
    record.record(books, "journal", JUNE, "books", "bytes")
    with pytest.raises(CopsError) as refused:
        record.record(books, "journal", JUNE, "books", "other bytes")
    assert refused.value.code == "E-EXPORT-DIFFERS"
    assert count(books) == 1
