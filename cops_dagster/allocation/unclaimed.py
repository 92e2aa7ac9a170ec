"""Cost of a month that nobody bears, as it was published. Belongs here: what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cops_dagster.ledger.books import Books
from cops_dagster.period import Period


@dataclass(frozen=True)
class Unclaimed:
    """The cost in all, by service with the largest first, and the tags that name nobody."""

    cost_usd: Decimal
    by_service: list[dict[str, Any]]
    held_tags: list[dict[str, Any]]


def unclaimed(books: Books, period: Period) -> Unclaimed:
    """What no rule claimed, whose key failed or whose tag names nobody."""
    start = {"period_start": period.start}
    with books.admin.read() as con, books.engine() as engine:
        books.namespace(engine, con, period).provide(["fact_cost_allocated"])
        rows = engine.fetch("fetch_unclaimed_by_service", start).dicts()
        held = engine.fetch("fetch_held_tags", start).dicts()
    rows = sorted((row for row in rows if row["unclaimed_usd"]), key=lambda row: -abs(row["unclaimed_usd"]))
    return Unclaimed(sum((row["unclaimed_usd"] for row in rows), Decimal(0)), rows, held)
