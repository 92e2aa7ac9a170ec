"""September delivered once more, and the second person who says yes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cops_dagster.adjustments import late
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.closing.ready import month
from cops_dagster_tests.deliveries import SEPTEMBER, run

OCTOBER = Period(2025, 10)


def somebody_else(books: Books) -> Books:
    return replace(books, settings=books.settings.model_copy(update={"actor": "second"}))


def late_delivery(books: Books, folder: Path, text: str, assembly: str = "late") -> str:
    """Delivers September once more and proposes what changed; the adjustment's id."""
    month(folder, text, assembly=assembly)
    run(books)
    made = late.propose(books, SEPTEMBER)
    assert made is not None
    return made
