"""Input for closed months at the door: refused, or taken and made an exception that somebody must decide on.

Belongs here: holding the new rows of a load against the months that are closed, within its transaction. Does
not belong here: what is decided for which table (`inputs/closed_months.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import date
from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs import closed_months, references
from cops_dagster.inputs.files import Row
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_TOLD = ("document_type", "invoice_type", "amount", "currency", "amount_before_tax", "tax", "base_currency",
         "corrects_invoice_id")  # fmt: skip


def judge(con: sa.Connection, rows: Iterable[Row], closed: Collection[date], actor: str) -> None:
    """Refuses new rows that speak of closed months; corrections among them open their exceptions.

    Raises:
        CopsError: `E-PERIOD-CLOSED` naming the month, and where the row goes instead.
    """
    taken = False
    for row in rows:
        month = closed_months.closed_month(row.table, row.values, closed)
        if month is None:
            continue
        if not closed_months.corrects(row.table, row.values):
            raise CopsError(
                "E-PERIOD-CLOSED",
                f"{row.where()} ({references.shown(row.table, row.values)})",
                expected="input for open months",
                found=f"a row about {Period.of(month)}, which is closed",
                next_step=f"{closed_months.instead(row.table, closed)}; nothing was loaded",
            )
        _keep(con, row, closed_months.oldest_open(closed), actor)
        taken = True
    if taken:
        exceptions.open_documents(con, closed_months.oldest_open(closed))


def _keep(con: sa.Connection, row: Row, bears: Period, actor: str) -> None:
    """Beside the documents that came twice: no other version is stored, which is how one tells them apart."""
    values = row.values
    told = {name: references.plain(values[name]) for name in _TOLD if values.get(name) is not None}
    given = json.dumps({"period": str(Period.of(values["period_start"]))} | told, sort_keys=True)
    document, tenant = str(values["invoice_id"]), values.get("tenant_id")
    con.execute(
        sa.insert(t.document_conflict).values(
            conflict_id=digest("closed-correction-1", row.table, document, tenant, values["period_start"]),
            table_name=row.table,
            document_id=document,
            period_start=bears.start,
            tenant_id=tenant,
            stored_json=exceptions.NO_OTHER,
            given_json=given,
            difference_usd=_usd(row),
            actor=actor,
            seen_at=now(),
        )
    )


def _usd(row: Row) -> Decimal:
    if row.table == "invoice_detail":
        return Decimal(row.values["amount_usd"])
    return Decimal(row.values["amount_before_tax"] + row.values["tax"])
