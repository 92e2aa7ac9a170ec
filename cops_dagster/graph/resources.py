"""The one resource: the books, opened from this process's settings when a step first needs them.

Also the one place where a coded refusal becomes a Dagster failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import dagster as dg
from pydantic import PrivateAttr

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books, open_books

Outcome = TypeVar("Outcome")


class Ledger(dg.ConfigurableResource):
    """Opens the books of `COPS_HOME` lazily; nothing is read when definitions load."""

    _books: Books | None = PrivateAttr(default=None)

    def books(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Books:
        """The open books, acting within the context's Dagster run."""
        if self._books is None:
            self._books = open_books(settings.current())
        return self._books.during(context.run.run_id)


def act(act: Callable[[], Outcome]) -> Outcome:
    """Runs an act; a coded refusal becomes a failure that no retry layer repeats."""
    try:
        return act()
    except CopsError as refusal:
        raise dg.Failure(
            description=str(refusal),
            metadata={"error_code": refusal.code, "next_step": refusal.next_step},
            allow_retries=False,
        ) from refusal
