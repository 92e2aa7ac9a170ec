"""The lines of a month that are set aside, as they were published. Belongs here: what is shown of them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period


@dataclass(frozen=True)
class Quarantined:
    """How many lines are set aside and their cost, and both by the code of the reason."""

    lines: int
    cost_usd: Decimal
    by_code: list[dict[str, Any]]


def quarantined(books: Books, period: Period) -> Quarantined:
    """What is set aside of a month; where nothing is, no engine is asked."""
    with books.admin.read() as con:
        if not month.read(con, period).quarantined[0]:
            return Quarantined(0, Decimal(0), [])
    with books.admin.read() as con, books.lines(period) as engine:
        books.namespace(engine, con, period).provide(["cur_quarantine"])
        rows = engine.fetch("fetch_quarantined_by_code", {"period_start": period.start}).dicts()
    return Quarantined(
        sum(row["row_count"] for row in rows), sum((row["cost_usd"] for row in rows), Decimal(0)), rows
    )
