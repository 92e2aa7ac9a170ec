"""The one door to the sources: whatever a measure declares, a day of it is asked here.

Belongs here: which module asks which kind. A CSV is asked nothing: its figures are brought by people.
"""

from __future__ import annotations

from datetime import date

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.usage.answer import Answer
from cops_dagster.usage.declared import Measure


def ask(books: Books, measure: Measure, day: date) -> Answer:
    """The answer of a measure's source about one day. Raises what the source's module says."""
    kind = measure.source.kind
    if kind == "prometheus":
        from cops_dagster.usage import prometheus

        return prometheus.ask(books.settings, measure, day)
    if kind == "database":
        from cops_dagster.usage import database

        return database.ask(books.settings, measure, day)
    if kind == "files":
        from cops_dagster.usage import files

        return files.ask(books, measure, day)
    raise CopsError(
        "E-KEYS-SOURCE",
        f"measure {measure.name}",
        expected="a source that can be asked",
        found="csv: its figures are brought",
        next_step=f"cops admin load {measure.asset}.csv",
    )
