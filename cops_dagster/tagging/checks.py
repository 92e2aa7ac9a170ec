"""What is asked of tagged lines that were published: coverage, known tenants and plans, followed negations.

Does not belong here: when a check holds (`tagging/verdicts.py`, `tagging/lookups.py`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.ingestion import ingest
from cops_dagster.lake.engine import Engine
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.tagging import active, containers, lookups, plans, tag, unknown_tags, verdicts
from cops_dagster.verdict import Verdict


def tagged(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_tagged`: cost preserved, coverage, tenants."""
    start = {"period_start": period.start}
    with books.admin.read() as con, books.lines(period) as engine:
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        totals = engine.fetch("measure_fact_cost_tagged", start).one()
        preserved = tag.preserved(ingest.published_views(con, period), totals)
        alone = engine.fetch("find_unfollowed", start).dicts()
        coverage = tag.measure_coverage(engine, books.policy, period)
        named = _names(books, engine, con, period)
        direct = _by_tenant(engine.fetch("fetch_direct_cost", start).dicts())
        usage = t.tenant_usage
        using = con.execute(
            sa.select(usage.c.tenant_id, usage.c.value).where(
                usage.c.period_start == period.start,
                usage.c.tenant_id.in_(sa.select(t.tenants.c.tenant_id)),  # no services
            )
        ).all()
        before = _direct_before(books, con, period)
        unsplit = _unsplit(books, engine, con, period)
        variants = tag.spelling_variants(books, engine, con, period)
        listed = active.recorded(con)
        accounts = _mapped_accounts(con, period)
    idle = sorted({row.tenant_id for row in using if row.value > 0} - set(direct))
    return [
        preserved,
        _negations(books, alone, totals),
        verdicts.refunds_follow_what_they_name([row for row in alone if row["takes_back"] == "resource"]),
        verdicts.containers_are_split(unsplit),
        tag.covered(books.policy, coverage),
        *named,
        verdicts.tenants_with_usage_have_direct_cost(idle),
        verdicts.no_tenant_spikes(direct, before),
        verdicts.tags_are_spelled_alike(variants),
        active.verdict(listed, books.policy.tags),
        accounts,
    ]


def named(books: Books, period: Period) -> list[Verdict]:
    """Of the verdicts on `fact_cost_tagged` those that a close asks again: who is billed for what."""
    start = {"period_start": period.start}
    with books.admin.read() as con, books.engine() as engine:
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        alone = engine.fetch("find_unfollowed", start).dicts()
        totals = engine.fetch("measure_fact_cost_tagged", start).one()
        return [*_names(books, engine, con, period), _negations(books, alone, totals)]


def _unsplit(books: Books, engine: Engine, con: sa.Connection, period: Period) -> list[dict[str, Any]] | None:
    if books.policy.containers.use == "parent":
        return None
    return containers.unsplit(books.namespace(engine, con, period), books.policy, period)


def _negations(books: Books, alone: list[dict[str, Any]], totals: dict[str, Any]) -> Verdict:
    return verdicts.negations_follow_usage(
        [row for row in alone if row["takes_back"] == "usage"],
        totals["unblended_usd"],
        decides=books.policy.charge.basis == "unblended",
    )


def _names(books: Books, engine: Engine, con: sa.Connection, period: Period) -> list[Verdict]:
    start, basis = {"period_start": period.start}, books.policy.charge.basis
    tenants = set(con.execute(sa.select(t.tenants.c.tenant_id)).scalars())
    unknown = [
        {name: row[name] for name in ("tenant_tag", "line_count", "unblended_usd")}
        for row in engine.fetch("find_unknown_tenants", start).dicts()
    ]
    pooled, month = unknown_tags.measured(engine, basis, period)
    costs = [
        (row["tenant_id"], row["plan_id"], row["plan_tag"], row[f"{basis}_usd"])
        for row in engine.fetch("fetch_cost_by_plan", start).dicts()
    ]
    return [
        lookups.tenants_are_known(unknown if tenants else [], tenants, pooled, month),
        lookups.plans_are_known(costs, plans.plans_begin(con), period),
    ]


def _mapped_accounts(con: sa.Connection, period: Period) -> Verdict:
    accounts, breakdown = t.account_tenants, t.cur_delivery_breakdown
    mapped = con.execute(
        sa.select(accounts.c.usage_account_id, accounts.c.tenant_id).where(
            accounts.c.effective_from < period.end,
            sa.or_(accounts.c.effective_to.is_(None), accounts.c.effective_to > period.start),
        )
    )
    delivered = con.execute(
        sa.select(breakdown.c.value).where(breakdown.c.dimension == "account").distinct()
    ).scalars()
    return lookups.mapped_accounts_are_delivered(
        {row.usage_account_id: row.tenant_id for row in mapped}, set(delivered)
    )


def _by_tenant(rows: list[dict[str, Any]]) -> dict[str, Decimal]:
    costs: dict[str, Decimal] = {}
    for row in rows:
        costs[row["tenant_id"]] = costs.get(row["tenant_id"], Decimal(0)) + row["unblended_usd"]
    return costs


def _direct_before(books: Books, con: sa.Connection, period: Period) -> dict[str, Decimal]:
    previous = period.previous()
    with books.engine() as engine:
        books.namespace(engine, con, previous).provide(["fact_cost_tagged"])
        return _by_tenant(engine.fetch("fetch_direct_cost", {"period_start": previous.start}).dicts())
