"""Budgets: targets against what the ledger holds, one row per active budget for the current period.

Belongs here: the refresh of `budget_master` and its history. Alerts on levels are another act.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_SCOPE_COLUMN = {
    "tenant": "tenant_id",
    "plan": "plan_id",
    "service": "service",
    "component": "service_component",
}


def refresh(books: Books) -> int:
    """Measures every active budget in the newest allocated period; the number of budgets.

    The forecast of an ended month is its actual; before that there is none, since a month that is
    still being delivered is cumulative and its last days are incomplete.
    """
    with books.admin.read() as con:
        h = t.period_head
        newest = con.execute(
            sa.select(sa.func.max(h.c.period_start)).where(h.c.table_name == "fact_cost_allocated")
        ).scalar_one()
        if newest is None:
            return 0
        period = Period.of(newest)
        budgets = _active(con, period)
        by_account = any(budget.scope_type == "account" for budget in budgets)
        actuals = _actuals(books, con, period, by_account=by_account)
        known = {
            row.budget_id: (row.target_usd, row.actual_usd, row.forecast_usd, row.level, row.period_start)
            for row in con.execute(sa.select(t.budget_master))
        }
    at = now()
    rows = [_row(books, budget, period, actuals, at.date()) for budget in budgets]
    with books.admin.write() as con:
        con.execute(sa.delete(t.budget_master))
        if rows:
            con.execute(sa.insert(t.budget_master), [row | {"last_refreshed_at": at} for row in rows])
        changed = [
            row
            for row in rows
            if known.get(str(row["budget_id"]))
            != (row["target_usd"], row["actual_usd"], row["forecast_usd"], row["level"], row["period_start"])
        ]
        if changed:
            kept = ("budget_id", "period_start", "target_usd", "actual_usd", "forecast_usd", "level")
            con.execute(
                sa.insert(t.budget_history),
                [{name: row[name] for name in kept} | {"refreshed_at": at} for row in changed],
            )
    return len(rows)


def level(actual: Decimal, target: Decimal, warning_pct: Decimal, critical_pct: Decimal) -> str:
    """ok, warning or critical: at the threshold it is reached. Compared without division."""
    if 100 * actual >= critical_pct * target:
        return "critical"
    return "warning" if 100 * actual >= warning_pct * target else "ok"


def _active(con: sa.Connection, period: Period) -> list[Any]:
    b = t.budgets
    rows = con.execute(
        sa.select(b)
        .where(
            b.c.effective_from <= period.start,
            sa.or_(b.c.effective_to.is_(None), b.c.effective_to > period.start),
        )
        .order_by(b.c.budget_id, b.c.version)
    )
    newest = {row.budget_id: row for row in rows}  # the highest version in force wins
    return list(newest.values())


def _actuals(books: Books, con: sa.Connection, period: Period, *, by_account: bool) -> list[dict[str, Any]]:
    with books.engine() as engine:
        names = books.namespace(engine, con, period)
        names.provide(["fact_cost_allocated", *(["fact_cost_raw"] if by_account else [])])
        start = {"period_start": period.start}
        return [
            *engine.fetch("fetch_allocated_by_scope", start).dicts(),
            *(engine.fetch("fetch_cost_by_account", start).dicts() if by_account else []),
        ]


def _row(
    books: Books, budget: Any, period: Period, actuals: list[dict[str, Any]], today: date
) -> dict[str, Any]:
    cost = {"unblended": "unblended_usd", "amortized": "amortized_usd", "net_amortized": "net_amortized_usd"}
    column = cost[budget.basis]
    if budget.scope_type == "account":
        chosen = [row for row in actuals if row.get("usage_account_id") == budget.scope_value]
    else:
        scope = _SCOPE_COLUMN.get(budget.scope_type)
        chosen = [
            row
            for row in actuals
            if "tenant_id" in row and (scope is None or row[scope] == budget.scope_value)
        ]
    actual = sum((row[column] for row in chosen), Decimal(0))
    limits = books.settings.budgets
    return {
        "budget_id": budget.budget_id,
        "scope_type": budget.scope_type,
        "scope_value": budget.scope_value,
        "period_start": period.start,
        "basis": budget.basis,
        "target_usd": budget.target_usd,
        "actual_usd": actual,
        "forecast_usd": actual if today >= period.end else None,
        "level": level(actual, budget.target_usd, limits.warning_pct, limits.critical_pct),
    }
