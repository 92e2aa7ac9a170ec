"""Where a tenant tag is missing in a month, as it was published. Belongs here: what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cops_dagster.ledger.books import Books
from cops_dagster.period import Period


@dataclass(frozen=True)
class Missing:
    """The cost that a tag keeps from its tenant, in how many places, and the largest of them."""

    cost_usd: Decimal
    places: int
    largest: list[dict[str, Any]]


def missing(books: Books, period: Period) -> Missing:
    """What no tag names a tenant for."""
    with books.admin.read() as con, books.lines(period) as engine:
        books.namespace(engine, con, period).provide(["missing_tenant_tags"])
        rows = engine.fetch("fetch_missing_tenant_tags", {"period_start": period.start}).dicts()
    if not rows:
        return Missing(Decimal(0), 0, [])
    of_all = ("total_usd", "places")  # the same in every row
    largest = [{name: value for name, value in row.items() if name not in of_all} for row in rows]
    return Missing(rows[0]["total_usd"], rows[0]["places"], largest)
