"""The admin data that decides a period's runs, as one canonical document, and back into a database.

Belongs here: which tables decide, and their encoding: sorted JSON, amounts as 18-place text, dates in ISO.
The same rows always give the same bytes, so the same inputs are one object in the evidence store.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

WHOLE = (
    "plans", "tenants", "tag_aliases", "account_tenants", "allocation_keys", "allocation_rules", "fx_rates",
)  # fmt: skip
"""Tables whose every row may decide."""
OF_THE_PERIOD = ("tenant_usage", "allocation_rule_date", "invoice_detail", "aws_invoices")
"""Tables of which the period's own rows decide."""


def tables_of(con: sa.Connection, period: Period) -> dict[str, list[dict[str, Any]]]:
    """Rows of the deciding tables in the order of their keys, ready for JSON."""
    found = {}
    for name in (*WHOLE, *OF_THE_PERIOD):
        table = t.metadata.tables[name]
        query = sa.select(table).order_by(*table.primary_key.columns)
        if name in OF_THE_PERIOD:
            query = query.where(table.c.period_start == period.start)
        found[name] = rows_of(con, query)
    return found


def rows_of(con: sa.Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    """The rows of a query, ready for JSON."""
    return [{name: plain(value) for name, value in row.items()} for row in con.execute(query).mappings()]


def plain(value: object) -> object:
    """A value of a table as JSON holds it without loss."""
    match value:
        case Decimal():
            return amount.to_text(amount.from_decimal(value))
        case datetime():
            return value.isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
    return value


def document(content: dict[str, Any]) -> bytes:
    """Canonical JSON: keys sorted, no blanks, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def restore(con: sa.Connection, given: dict[str, list[dict[str, Any]]]) -> None:
    """Inserts rows of a document into empty tables, in an order that any database takes."""
    for name, rows in given.items():
        table = t.metadata.tables[name]
        typed = [{key: _typed(table.c[key], value) for key, value in row.items()} for row in rows]
        if typed:
            con.execute(sa.insert(table), typed)


def _typed(column: sa.Column[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, t.Money):
        return Decimal(value)
    if isinstance(column.type, sa.DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, sa.Date):
        return date.fromisoformat(value)
    return value
