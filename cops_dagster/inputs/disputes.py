"""What a tenant disputes of a month: taken at the door, and made an exception that somebody must decide on.

Belongs here: what a dispute must be about, and its way into the month whose people decide. Does not belong
here: cells (`inputs/files.py`), the exception itself (`reconciliation/exceptions.py`), the form that a tenant
fills in (`exports`).

A dispute changes no amount. It is kept beside the documents that came again with other content, as one that
has no other version, which is how a correction of a closed month comes as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import date
from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs import closed_months, documents, references
from cops_dagster.inputs.files import Row
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def take(con: sa.Connection, rows: Iterable[Row], closed: Collection[date], actor: str) -> None:
    """Opens an exception for each new dispute: in its month, or in the oldest open one when it is closed.

    Raises:
        CopsError: `E-LOAD-VALUE` for an amount of 0 or less, or in a currency that the tenant was sent
            nothing in; `E-CCY-SCALE`; `E-PERIOD-UNKNOWN` for a month of which it was sent nothing at all.
    """
    for row in rows:
        _check(con, row)
        month = Period.of(row.values["period_start"])
        bears = closed_months.oldest_open(closed) if month.start in closed else month
        _keep(con, row, bears, actor)
        exceptions.open_documents(con, bears)


def _check(con: sa.Connection, row: Row) -> None:
    values = row.values
    if values["amount"] <= 0:
        raise CopsError(
            "E-LOAD-VALUE",
            row.where("amount"),
            expected="the amount above 0 that the tenant will not pay",
            found=references.plain(values["amount"]),
            next_step="write how much of the amount is disputed",
        )
    documents.check(row)
    sent = _currencies(con, values["tenant_id"], values["period_start"])
    if not sent:
        raise CopsError(
            "E-PERIOD-UNKNOWN",
            row.where("period_start"),
            expected=f"a month that {values['tenant_id']} has a statement or a document of",
            found=str(Period.of(values["period_start"])),
            next_step="correct the month; a document that COPS does not know is loaded first",
        )
    if values["currency"] not in sent:
        raise CopsError(
            "E-LOAD-VALUE",
            row.where("currency"),
            expected=f"{' or '.join(sorted(sent))}, as the tenant's statement and documents have it",
            found=repr(values["currency"]),
            next_step="write the amount as it stands on the statement",
        )


def _currencies(con: sa.Connection, tenant_id: str, start: date) -> set[str]:
    """What the tenant's statements and documents of a month are written in."""
    found: set[str] = set()
    for table in (t.recon_run_statement, t.invoice_detail):
        query = sa.select(table.c.currency).where(table.c.tenant_id == tenant_id)
        found.update(con.execute(query.where(table.c.period_start == start).distinct()).scalars())
    return found


def _keep(con: sa.Connection, row: Row, bears: Period, actor: str) -> None:
    told = ("about", "amount", "currency", "reason")
    given = {name: references.plain(row.values[name]) for name in told}
    period = str(Period.of(row.values["period_start"]))
    conflicts, conflict_id = t.document_conflict, digest("dispute-1", row.values["dispute_id"])
    if con.execute(sa.select(sa.exists().where(conflicts.c.conflict_id == conflict_id))).scalar_one():
        return  # its row was deleted past the guards, and comes back
    con.execute(
        sa.insert(conflicts).values(
            conflict_id=conflict_id,
            table_name=row.table,
            document_id=row.values["dispute_id"],
            period_start=bears.start,
            tenant_id=row.values["tenant_id"],
            stored_json=exceptions.NO_OTHER,
            given_json=json.dumps({"period": period} | given, sort_keys=True),
            difference_usd=Decimal(0),
            actor=actor,
            seen_at=now(),
        )
    )
