"""Reading the statement and the bridge of a period, as its newest reconciliation recorded them.

Belongs here: refusing a statement that nobody should invoice from. Computing it is `reconciliation/cents.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError, unknown_month
from cops_dagster.ledger.books import Books
from cops_dagster.money import currency
from cops_dagster.period import Period
from cops_dagster.reconciliation import record
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Statement:
    """What every tenant owes. `status` is that of the reconciliation it comes from."""

    rows: list[dict[str, Any]]
    status: str
    basis: str


def statement(books: Books, period: Period) -> Statement:
    """The tenant statement of a period.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when it was never reconciled; `E-FX` when a tenant's currency has no
            rate for the month, `E-CCY-UNKNOWN` when its code is none, `E-PLAN-UNKNOWN` when a plan has no
            markup: nothing is shown in part.
    """
    with books.admin.read() as con:
        return stated(con, period)


def stated(con: sa.Connection, period: Period) -> Statement:
    """The same of a connection that reads more beside it. Raises as `statement`."""
    newest = _reconciled(con, period)
    statements = t.recon_run_statement
    rows = con.execute(
        sa.select(statements)
        .where(statements.c.recon_seq == newest.recon_seq)
        .order_by(statements.c.tenant_id)
    ).mappings()
    found = [{name: row[name] for name in row if name != "recon_seq"} for row in rows]
    missing = sorted({row["currency"] for row in found if row["fx_rate"] is None})
    unknown = [row for row in found if not row["fx_rate"] and not currency.is_known(row["currency"])]
    if unknown:  # no rate will help
        names = ", ".join(row["tenant_id"] for row in unknown)
        raise CopsError(
            "E-CCY-UNKNOWN",
            f"statement of {period}",
            expected="an ISO 4217 code for every tenant",
            found=f"{unknown[0]['currency']!r} for {names}",
            next_step="correct it in tenants.csv, `cops admin load tenants.csv --replace`, then run"
            f" `cops materialize {period}`",
        )
    if missing:
        raise CopsError(
            "E-FX",
            f"statement of {period}",
            expected="a rate to USD for every tenant's currency",
            found=f"none for {', '.join(missing)}",
            next_step=f"load fx_rates.csv with it, then run `cops materialize {period}`",
        )
    unpriced = sorted(row["tenant_id"] for row in found if row["total"] is None)
    if unpriced:
        raise CopsError(
            "E-PLAN-UNKNOWN",
            f"statement of {period}",
            expected=f"a markup in force on {period.start} for every plan that cost is billed by",
            found=f"none for a plan of {', '.join(unpriced)}",
            next_step=f"load plans.csv with the plan from {period.start} or earlier, then run"
            f" `cops materialize {period}`; `cops doctor {period}` names plan and cost",
        )
    return Statement([_to_its_unit(row) for row in found], newest.status, newest.charge_basis)


AMOUNTS = ("direct", "shared", "adjustments", "markup", "total")
"""Columns of a statement in the tenant's currency, each in whole minor units of it."""


def _to_its_unit(row: dict[str, Any]) -> dict[str, Any]:
    """The row with as many decimals as its currency has: 1460 JPY, 3.080 KWD."""
    if not currency.is_known(row["currency"]):  # stated by an older version: as it stands
        return row
    unit = Decimal(1).scaleb(-currency.places(row["currency"]))
    return row | {name: row[name].quantize(unit) for name in AMOUNTS if row[name] % unit == 0}


def bridge(books: Books, period: Period, tenant_id: str = "") -> list[dict[str, Any]]:
    """The steps from AWS's bill to our invoices, of the whole month or of one tenant.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN`; `E-TENANT-UNKNOWN` for a tenant that the month does not know.
    """
    recon_run_bridge = t.recon_run_bridge
    with books.admin.read() as con:
        newest = _reconciled(con, period)
        rows = (
            con.execute(
                sa.select(recon_run_bridge)
                .where(
                    recon_run_bridge.c.recon_seq == newest.recon_seq,
                    recon_run_bridge.c.tenant_id == tenant_id,
                )
                .order_by(recon_run_bridge.c.position)
            )
            .mappings()
            .all()
        )
    if not rows:
        raise CopsError(
            "E-TENANT-UNKNOWN",
            f"bridge of {period}",
            expected="a tenant of the month",
            found=repr(tenant_id),
            next_step=f"take one of `cops statement {period}`",
        )
    return [{name: row[name] for name in row if name != "recon_seq"} for row in rows]


def _reconciled(con: sa.Connection, period: Period) -> Any:
    newest = record.newest(con, period)
    if newest is None:
        raise unknown_month(period, expected="a reconciled month", found="none")
    return newest
