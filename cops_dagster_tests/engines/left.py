"""What sessions left behind, for tests that say nothing is."""

from __future__ import annotations

from typing import Any

from cops_dagster.evidence import sweep
from cops_dagster.lake import iceberg, session
from cops_dagster.ledger.books import Books


def orphans(books: Books) -> list[Any]:
    """What sessions left when the sweep is through."""
    sweep.sweep(books)
    place = session.place_of(books.settings)
    tables = iceberg.open_catalog(books.settings).list_tables(books.settings.cluster.database)
    locks = (books.settings.home / "sessions").glob("*")
    work = (books.settings.lake_root / ".work").glob("*")
    return [*place.listed(""), *tables, *locks, *work]
