"""The one resource: the books, opened from this process's settings when a step first needs them."""

from __future__ import annotations

import dagster as dg
from pydantic import PrivateAttr

from cops_dagster import settings
from cops_dagster.ledger.books import Books, open_books


class Ledger(dg.ConfigurableResource):
    """Opens the books of `COPS_HOME` lazily; nothing is read when definitions load."""

    _books: Books | None = PrivateAttr(default=None)

    def books(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Books:
        """The open books, acting within the context's Dagster run."""
        if self._books is None:
            self._books = open_books(settings.current())
        return self._books.during(context.run.run_id)
