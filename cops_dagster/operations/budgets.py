"""Budgets: targets against what the ledger holds, one row per active budget for the current period.

Belongs here: the refresh of `budget_master` and its history, AWS Budgets beside it, the alerts of levels.
Does not belong here: the arithmetic of a forecast (`operations/forecast.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts import board, escalation
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.operations.forecast import Profile, forecast
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_SCOPES = ("tenant", "plan", "service", "component")
"""Kinds of scope that have values in the ledger."""


@dataclass(frozen=True)
class Refreshed:
    """Outcome: budgets measured, their period, what AWS Budgets answered (`None`: not asked).

    `critical` are the budgets at or above their critical level.
    """

    budgets: int
    period: Period | None
    aws_budgets: int | None = None
    aws_refusal: str | None = None
    critical: tuple[str, ...] = ()


def refresh(books: Books) -> Refreshed:
    """Measures every active budget in the newest allocated period.

    The forecast of an ended month is its actual; of a running one its run rate (`operations/forecast.py`).
    What AWS Budgets says is read beside, where an account is set; when it cannot be had, what was read
    before stands with its time, and the refresh goes on: our own figures need no AWS.
    """
    require_policy(books)
    asked, refusal = _ask_aws(books)
    with books.admin.read() as con:
        heads = t.period_head
        newest = con.execute(
            sa.select(sa.func.max(heads.c.period_start)).where(heads.c.table_name == "fact_cost_allocated")
        ).scalar_one()
        period = Period.of(newest) if newest else None
        budgets = _active(con, period) if period else []
        rows = _measured(books, con, period, budgets, now()) if period else []
        known = {row.budget_id: _judged(row._mapping) for row in con.execute(sa.select(t.budget_master))}
    at = now()
    with books.admin.write() as con:
        if period:
            _store(con, rows, known, at)
            board.observe(con, [_observation(row, period, at) for row in rows], actor=books.actor, at=at)
            board.end_other_periods(con, escalation.BUDGET, period, because=f"the month is {period} now")
        if asked is not None:
            con.execute(sa.delete(t.aws_budget))
            if asked:
                con.execute(sa.insert(t.aws_budget), [one | {"fetched_at": at} for one in asked])
    critical = tuple(str(row["budget_id"]) for row in rows if row["level"] == "critical")
    return Refreshed(len(rows), period, None if asked is None else len(asked), refusal, critical)


def _ask_aws(books: Books) -> tuple[list[dict[str, Any]] | None, str | None]:
    account = books.settings.budgets.aws_account_id
    if not account:
        return None, None
    from cops_dagster.stores.aws.budgets import describe_budgets

    try:
        return describe_budgets(account), None
    except CopsError as problem:
        return None, str(problem)


_JUDGED = ("target_usd", "actual_usd", "forecast_usd", "level", "period_start")


def _judged(row: Any) -> tuple[Any, ...]:
    return tuple(row[name] for name in _JUDGED)


def _store(con: sa.Connection, rows: list[dict[str, Any]], known: dict[str, Any], at: datetime) -> None:
    con.execute(sa.delete(t.budget_master))
    if rows:
        con.execute(sa.insert(t.budget_master), [row | {"last_refreshed_at": at} for row in rows])
    changed = [row for row in rows if known.get(str(row["budget_id"])) != _judged(row)]
    if changed:
        kept = ("budget_id", "period_start", "target_usd", "actual_usd", "forecast_usd", "level")
        con.execute(
            sa.insert(t.budget_history),
            [{name: row[name] for name in kept} | {"refreshed_at": at} for row in changed],
        )


def _observation(row: dict[str, Any], period: Period, at: datetime) -> Any:
    target, actual = row["target_usd"], row["actual_usd"]
    over = amount.percent(amount.from_decimal(actual - target), amount.from_decimal(target))
    measured = f"actual {amount.shown(actual)} of {amount.shown(target)} USD"
    if row["forecast_usd"] is not None:
        measured += f", forecast {amount.shown(row['forecast_usd'])}"
    return escalation.of_budget(
        row["budget_id"],
        period,
        row["level"],
        at,
        measured=measured,
        step=escalation.steps_passed(max(Decimal(0), over or Decimal(0))),
    )


def level(actual: Decimal, target: Decimal, warning_pct: Decimal, critical_pct: Decimal) -> str:
    """ok, warning or critical: at the threshold it is reached. Compared without division."""
    if 100 * actual >= critical_pct * target:
        return "critical"
    return "warning" if 100 * actual >= warning_pct * target else "ok"


def _active(con: sa.Connection, period: Period) -> list[Any]:
    budgets = t.budgets
    rows = con.execute(
        sa.select(budgets)
        .where(
            budgets.c.effective_from <= period.start,
            sa.or_(budgets.c.effective_to.is_(None), budgets.c.effective_to > period.start),
        )
        .order_by(budgets.c.budget_id, budgets.c.version)
    )
    newest = {row.budget_id: row for row in rows}  # the highest version in force wins
    return list(newest.values())


def _measured(
    books: Books, con: sa.Connection, period: Period, budgets: Sequence[Any], at: datetime
) -> list[dict[str, Any]]:
    if not budgets:
        return []
    by_account = any(budget.scope_type == "account" for budget in budgets)
    is_over = at.date() >= period.end
    start = {"period_start": period.start}
    with books.lines(period) as engine:
        names = books.namespace(engine, con, period)
        names.provide(["fact_cost_allocated"])
        if by_account or not is_over:
            names.lines_by("line_item_usage_account_id", "line_item_usage_start_date")
        actuals = engine.fetch("fetch_allocated_by_scope", start).dicts()
        if by_account:
            actuals += engine.fetch("fetch_cost_by_account", start).dicts()
        bounds = {**start, "period_end": period.end}
        days = [] if is_over else engine.fetch("fetch_usage_by_day", bounds).dicts()
    return [_row(books, budget, period, actuals, None if is_over else days) for budget in budgets]


def _row(
    books: Books,
    budget: Any,
    period: Period,
    actuals: list[dict[str, Any]],
    days: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    column = f"{budget.basis}_usd"
    is_total = budget.scope_type == "total"
    chosen = [
        row
        for row in actuals
        if row["scope_type"] == budget.scope_type and (is_total or row["scope_value"] == budget.scope_value)
    ]
    actual = sum((row[column] for row in chosen), Decimal(0))
    usage = sum((row[f"usage_{column}"] for row in chosen), Decimal(0))
    limits = books.policy.budgets
    return {
        "budget_id": budget.budget_id,
        "scope_type": budget.scope_type,
        "scope_value": budget.scope_value,
        "period_start": period.start,
        "basis": budget.basis,
        "target_usd": budget.target_usd,
        "actual_usd": actual,
        "level": level(actual, budget.target_usd, limits.warning_pct, limits.critical_pct),
        **_forecast(actual, usage, column, period, days),
    }


def _forecast(
    actual: Decimal, usage: Decimal, column: str, period: Period, days: list[dict[str, Any]] | None
) -> dict[str, Any]:
    if days is None:
        return {
            "forecast_usd": actual,
            "forecast_error_usd": Decimal(0),
            "forecast_method": "the month is over",
        }
    profile = _profile(days, column, period)
    made = forecast(amount.from_decimal(actual), amount.from_decimal(usage), profile)
    if made is None:
        return {
            "forecast_usd": None,
            "forecast_error_usd": None,
            "forecast_method": f"too early: {len(profile.days)} complete day(s)",
        }
    return {
        "forecast_usd": amount.to_decimal(made.amount),
        "forecast_error_usd": amount.to_decimal(made.error),
        "forecast_method": f"run rate of {len(profile.days)} complete days",
    }


def _profile(days: list[dict[str, Any]], column: str, period: Period) -> Profile:
    """Usage of every complete day; a day without a line cost nothing, and is a day all the same."""
    costs: dict[date, int] = {row["usage_day"]: amount.from_decimal(row[column]) for row in days}
    newest = max(costs, default=period.start)
    complete = [period.start + timedelta(days=at) for at in range((newest - period.start).days)]
    return Profile(
        [costs.get(day, 0) for day in complete], sum(costs.values()), (period.end - period.start).days
    )


def known_scopes(books: Books, con: sa.Connection, period: Period) -> dict[str, set[str]]:
    """By scope type, what a budget may be about: registered tenants and plans, and what has cost."""
    with books.engine() as engine:
        books.namespace(engine, con, period).provide(["fact_cost_allocated"])
        rows = engine.fetch("fetch_allocated_by_scope", {"period_start": period.start}).dicts()
    known: dict[str, set[str]] = {kind: set() for kind in _SCOPES}
    for row in rows:
        if row["scope_value"] is not None:
            known[row["scope_type"]].add(row["scope_value"])
    known["tenant"] |= set(con.execute(sa.select(t.tenants.c.tenant_id)).scalars())
    known["plan"] |= set(con.execute(sa.select(t.plans.c.plan_id)).scalars())
    breakdown, shown = t.cur_delivery_breakdown, t.cur_billing_head
    known["account"] = set(
        con.execute(
            sa.select(breakdown.c.value)
            .join(shown, shown.c.delivery_id == breakdown.c.delivery_id)
            .where(shown.c.period_start == period.start, breakdown.c.dimension == "account")
        ).scalars()
    )
    return known


def standing(con: sa.Connection) -> list[dict[str, Any]]:
    """Every budget as last refreshed, by its id."""
    master = t.budget_master
    return [dict(row) for row in con.execute(sa.select(master).order_by(master.c.budget_id)).mappings()]


def of_aws(con: sa.Connection) -> list[dict[str, Any]]:
    """AWS Budgets as last read, by name."""
    theirs = t.aws_budget
    return [dict(row) for row in con.execute(sa.select(theirs).order_by(theirs.c.budget_name)).mappings()]


def without_budget(con: sa.Connection) -> list[str]:
    """Tenants of the registry that no active budget of scope tenant watches."""
    master = t.budget_master
    watched = (
        con.execute(sa.select(master.c.scope_value).where(master.c.scope_type == "tenant")).scalars().all()
    )
    known = con.execute(sa.select(t.tenants.c.tenant_id).order_by(t.tenants.c.tenant_id)).scalars()
    return [tenant for tenant in known if tenant not in watched]
