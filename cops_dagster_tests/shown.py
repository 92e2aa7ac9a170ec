"""What books show to a test: answers, the sums of tenants, every admin table, the files of the lake."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.reports import sql as ask
from cops_dagster.stores import tables as t


def answer(books: Books, sql: str, **how: Any) -> list[tuple[Any, ...]]:
    return ask.ask(books, sql, {}, **how).rows.rows


def by_tenant(books: Books, **how: Any) -> dict[str, Decimal]:
    rows = answer(
        books, "SELECT tenant_id, SUM(allocated_cost_usd) FROM fact_cost_allocated GROUP BY 1", **how
    )
    return {tenant: usd for tenant, usd in rows if usd}


def dump(books: Books) -> dict[str, list[tuple[Any, ...]]]:
    """Every admin table but the budgets' refresh time."""
    with books.admin.read() as con:
        return {
            name: [tuple(row) for row in con.execute(sa.select(table).order_by(*table.primary_key))]
            for name, table in t.metadata.tables.items()
            if name != "budget_master"
        }


def lake(books: Books) -> list[str]:
    return sorted(str(path) for path in books.settings.lake_root.rglob("*.parquet"))
