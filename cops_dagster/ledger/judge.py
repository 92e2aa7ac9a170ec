"""The checks' questions, asked of what was published: figures re-read, verdicts by `rules/verdicts`.

Belongs here: one function per asset, giving that asset's verdicts for a period. Does not belong here:
deliveries (`ledger/judge_delivery.py`), when a check holds (`rules/verdicts.py`) or how Dagster shows it
(`graph/checks.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.lake.engine import Engine
from cops_dagster.ledger import (
    active_tags,
    allocate,
    counterparts,
    ingest,
    judge_recon,
    mapped_tags,
    mismatch,
    net_unused,
    refusals,
    rule_date,
    tag,
    tenant_usage,
    unknown_tags,
)
from cops_dagster.ledger import budgets as budgets_
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.clocks import APART, is_within
from cops_dagster.ledger.month import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.rules import commitments, deliveries, lookups, verdicts
from cops_dagster.rules.allocation import MATCHED, Plan
from cops_dagster.rules.key_shares import KeyMonths, key_shares_steady
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Verdict
from cops_dagster.words import CHARGE_CLASSES, OPERATOR


def raw(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_raw`: the published lines against what was delivered, and the tags to come."""
    with books.admin.read() as con, books.engine() as engine:
        h, f, d = t.period_head, t.lake_file, t.cur_delivery
        delivered = con.execute(  # what was ingested: a source whose newest files are broken stands as it was
            sa.select(d.c.row_count, d.c.cost_usd)
            .join(f, f.c.delivery_id == d.c.delivery_id)
            .join(h, h.c.run_id == f.c.run_id)
            .where(h.c.table_name == ingest.TABLE, h.c.period_start == period.start)
        ).all()
        missing = ingest.not_ingested(con, period)
        refused = refusals.newest(con, period)
        books.namespace(engine, con, period).provide(["fact_cost_raw", "cur_quarantine"])
        figures = engine.fetch("measure_fact_cost_raw", {"period_start": period.start}).one()
        aside = engine.fetch("measure_cur_quarantine", {"period_start": period.start}).one()
        halves = net_unused.halves(engine, period)
        mapped = mapped_tags.verdict(con, books.policy.tags, period)
    why = [(source, str(refused[source].error_code) if source in refused else "") for source in missing]
    judged = ingest.raw_verdicts(
        figures,
        sum(row.row_count for row in delivered),
        sum((row.cost_usd for row in delivered), Decimal(0)),
        aside=(aside["row_count"], aside["cost_usd"]),
        halves=halves,
    )
    return [*judged, mapped, deliveries.every_delivery_is_ingested(why)]


def quarantined(books: Books, period: Period) -> list[Verdict]:
    """Verdict on `cur_quarantine`: what is set aside, by reason."""
    with books.admin.read() as con, books.engine() as engine:
        books.namespace(engine, con, period).provide(["cur_quarantine"])
        rows = engine.fetch("fetch_quarantined_by_code", {"period_start": period.start}).rows
    return [deliveries.no_lines_quarantined({code: (count, cost) for code, count, cost in rows})]


def tagged(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_tagged`: cost preserved, coverage, tenants."""
    start = {"period_start": period.start}
    with books.admin.read() as con, books.engine() as engine:
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        totals = engine.fetch("measure_fact_cost_tagged", start).one()
        preserved = tag.preserved(ingest.published_views(con, period), totals)
        alone = engine.fetch("find_unfollowed", start).dicts()
        coverage = tag.measure_coverage(engine, books.policy, period)
        named = _names(books, engine, con, period)
        direct = _by_tenant(engine.fetch("fetch_direct_cost", start).dicts())
        u = t.tenant_usage
        using = con.execute(sa.select(u.c.tenant_id, u.c.value).where(u.c.period_start == period.start)).all()
        before = _direct_before(books, con, period)
        variants = tag.spelling_variants(books, engine, con, period)
        active = active_tags.recorded(con)
        accounts = _mapped_accounts(con, period)
    idle = sorted({row.tenant_id for row in using if row.value > 0} - set(direct))
    return [
        preserved,
        _negations(books, alone, totals),
        commitments.refunds_follow_what_they_name([row for row in alone if row["takes_back"] == "resource"]),
        tag.covered(books.policy, coverage),
        *named,
        Verdict(
            "tenants_with_usage_have_direct_cost", not idle, "WARN", {"tenants_without_cost": ", ".join(idle)}
        ),
        _no_spikes(direct, before),
        deliveries.tags_are_spelled_alike(variants),
        active_tags.verdict(active, books.policy.tags),
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


def _negations(books: Books, alone: list[dict[str, Any]], totals: dict[str, Any]) -> Verdict:
    return commitments.negations_follow_usage(
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
        lookups.plans_are_known(costs, counterparts.plans_begin(con), period),
    ]


def _mapped_accounts(con: sa.Connection, period: Period) -> Verdict:
    a, b = t.account_tenants, t.cur_delivery_breakdown
    mapped = con.execute(
        sa.select(a.c.usage_account_id, a.c.tenant_id).where(
            a.c.effective_from < period.end,
            sa.or_(a.c.effective_to.is_(None), a.c.effective_to > period.start),
        )
    )
    delivered = con.execute(sa.select(b.c.value).where(b.c.dimension == "account").distinct()).scalars()
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


def _no_spikes(direct: dict[str, Decimal], before: dict[str, Decimal]) -> Verdict:
    """A spike is more than twice last month's direct cost and at least 100 USD more."""
    spikes: list[dict[str, object]] = [
        {"tenant_id": tenant, "usd": cost, "previous_usd": before[tenant]}
        for tenant, cost in sorted(direct.items())
        if tenant in before and cost > 2 * before[tenant] and cost - before[tenant] >= 100
    ]
    return Verdict("no_tenant_spikes", not spikes, "WARN", {"spikes": spikes})


def keys(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `allocation_key_snapshot`: are rules and keys fit to run with?"""
    with books.engine() as engine, books.admin.read() as con:
        inputs = allocate.gather(con, books.policy, period)
        books.namespace(engine, con, period).provide(["fact_cost_tagged"])
        made = allocate.compute(engine, inputs, period)
        r = t.allocation_rules
        changed = con.execute(
            sa.select(r.c.rule_id, r.c.version)
            .where(r.c.effective_from > period.start, r.c.effective_from < period.end)
            .order_by(r.c.rule_id)
        ).all()
        decided = rule_date.newest(con, period)
        k = t.allocation_keys
        ages = {row.key_name: row.max_age_hours for row in con.execute(sa.select(k))}
        steady = _steady(con, period, inputs, made)
        matched = _matched(books, engine, con, period, inputs)
    return [
        *allocate.plan_verdicts(made, inputs),
        matched,
        Verdict(
            "rules_unchanged_in_period",
            not changed or decided is not None,
            "WARN",
            {
                "changed_rules": ", ".join(f"{row.rule_id} v{row.version}" for row in changed),
                "rules_as_of": str(inputs.rules_as_of),
                "run_note": decided.note if decided else "none",
            },
            blocking=True,
        ),
        _keys_name_everybody(inputs),
        steady,
        keys_fresh(period, {name: key.refreshed_at for name, key in made.keys.items()}, ages),
    ]


def _steady(con: sa.Connection, period: Period, inputs: allocate.Inputs, made: Plan) -> Verdict:
    """Usage keys beside those that last month's run was frozen with."""
    before = period.previous()
    run = head(con, allocate.TABLE, before)
    s = t.allocation_key_snapshot
    frozen: dict[str, dict[str, int]] = {}
    for row in con.execute(sa.select(s).where(s.c.inputs_id == (run.inputs_id if run else ""))):
        frozen.setdefault(row.key_name, {})[row.tenant_id] = amount.from_decimal(row.key_value)
    pools: dict[str, int] = {}
    for split in made.splits:
        if split.key_name is not None and split.key_name in inputs.usage:
            pools[split.key_name] = pools.get(split.key_name, 0) + getattr(split.costs, inputs.basis)
    then, today = set(tenant_usage.active_tenants(con, before)), set(inputs.tenants)
    return key_shares_steady(
        [
            KeyMonths(name, frozen[name], key.weights, pools.get(name, 0))
            for name, key in inputs.usage.items()
            if name in frozen
        ],
        come=today - then,
        gone=then - today,
    )


def _matched(
    books: Books, engine: Engine, con: sa.Connection, period: Period, inputs: allocate.Inputs
) -> Verdict:
    """What rules match on, against the values that have cost in the month or had some the month before."""
    wanted = [(rule.rule_id, *match) for rule in inputs.rules for match in rule.matches]
    known: dict[str, set[str]] = {column: set() for column in MATCHED}
    if wanted:
        known["charge_class"] |= set(CHARGE_CLASSES)  # a month without refunds is no misspelt rule
        _learn(engine, period, known)
        if any(value not in known[column] for _, column, value in wanted):
            with books.engine() as other:
                before = period.previous()
                books.namespace(other, con, before).provide(["fact_cost_tagged"])
                _learn(other, before, known)
    idle = [(rule, column, value) for rule, column, value in wanted if value not in known[column]]
    return lookups.rules_match_something(idle, known, len(inputs.rules))


def _learn(engine: Engine, period: Period, known: dict[str, set[str]]) -> None:
    for row in engine.fetch("find_matched_values", {"period_start": period.start}).dicts():
        known[row["matched_column"]].add(row["matched_value"])


def _keys_name_everybody(inputs: allocate.Inputs) -> Verdict:
    """A tenant that a usage file forgot pays nothing of the pool, and the others pay its share."""
    wrong: list[dict[str, object]] = [
        {"key_name": name, "tenant_id": tenant, "what": what}
        for name, key in sorted(inputs.usage.items())
        for what, tenants in (
            ("no figure", set(inputs.tenants) - set(key.weights)),
            ("not active in the month", set(key.weights) - set(inputs.tenants) if inputs.tenants else set()),
        )
        for tenant in sorted(tenants)
    ]
    return Verdict(
        "keys_name_every_tenant", not wrong, "WARN", {"keys": len(inputs.usage), "tenants": wrong[:50]}
    )


def keys_fresh(period: Period, used: dict[str, datetime | None], max_age_hours: dict[str, int]) -> Verdict:
    """Keys were refreshed within their age, in an ended month after its end (design rule 5.15).

    Args:
        used: key → when its usage was refreshed, UTC; max_age_hours: of the keys that have an age.
    """
    stale: list[dict[str, object]] = []
    ended = now().date() >= period.end
    end = datetime.combine(period.end, datetime.min.time())
    for name, refreshed in used.items():
        if name not in max_age_hours:
            continue  # computed from the month itself, so as fresh as the month
        fresh = refreshed is not None and (
            end <= refreshed <= now() + APART
            if ended
            else is_within(refreshed, timedelta(hours=max_age_hours[name]), now())
        )
        if not fresh:
            stale.append({"key_name": name, "refreshed_at_utc": f"{refreshed or 'never'}"})
    return Verdict("keys_fresh_24h", not stale, "WARN", {"keys": len(used), "stale": stale})


def allocated(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_allocated`: conservation, faults, the operator's share."""
    start = {"period_start": period.start}
    with books.admin.read() as con, books.engine() as engine:
        run = head(con, allocate.TABLE, period)
        books.namespace(engine, con, period).provide(["fact_cost_raw", "fact_cost_tagged", allocate.TABLE])
        differing = allocate.unequal(engine.fetch("fetch_conservation", start).dicts())
        totals = engine.fetch(
            "measure_fact_cost_allocated", {**start, "run_id": run.run_id if run else ""}
        ).one()
        faulty = mismatch.verdict(con, period, totals["allocated_usd"], *mismatch.measured(engine, period))
        share = _operator_share(engine, period)
        with books.engine() as other:
            previous = period.previous()
            books.namespace(other, con, previous).provide([allocate.TABLE])
            before = _operator_share(other, previous)
    return [
        verdicts.allocated_equals_pool(differing, totals["allocated_usd"]),
        faulty,
        Verdict(
            "operator_share_steady",
            None if share is None or before is None else abs(share - before) <= 5,
            "WARN",
            {"operator_share_pct": share, "previous_operator_share_pct": before},
        ),
    ]


def _operator_share(engine: Any, period: Period) -> Decimal | None:
    rows = engine.fetch("fetch_allocated_by_tenant", {"period_start": period.start}).dicts()
    total = sum((row["unblended_usd"] for row in rows), Decimal(0))
    operator = sum((row["unblended_usd"] for row in rows if row["tenant_id"] == OPERATOR), Decimal(0))
    return amount.percent(amount.from_decimal(operator), amount.from_decimal(total))


def reconciled(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `recon_summary`: markups, variance, exceptions, AWS's own invoices."""
    with books.admin.read() as con:
        unpriced, begins = counterparts.unpriced(books, con, period), counterparts.plans_begin(con)
        return [lookups.plans_have_a_markup(unpriced, begins, period), *judge_recon.of(con, period)]


def budgets(books: Books) -> list[Verdict]:
    """Verdicts on `budget_master`: refreshed since 04:00 UTC today, and each about something."""
    with books.admin.read() as con:
        b = t.budget_master
        rows = con.execute(sa.select(b).order_by(b.c.budget_id)).all()
        # what has cost is about something; only of the others is it asked whether they name anything
        silent = [row for row in rows if row.actual_usd == 0 and row.scope_type != "total"]
        known = budgets_.known_scopes(books, con, Period.of(rows[0].period_start)) if silent else {}
    oldest = min((row.last_refreshed_at for row in rows), default=None)
    today = datetime.now(UTC).replace(tzinfo=None, hour=4, minute=0, second=0, microsecond=0)
    due = today if now() >= today else today - timedelta(days=1)
    ahead = [row.last_refreshed_at for row in rows if row.last_refreshed_at > now() + APART]
    return [
        Verdict(
            "budgets_refreshed_today",
            oldest >= due and not ahead if oldest else None,
            "WARN",
            {"budgets": len(rows), "oldest_refresh_utc": f"{oldest:%Y-%m-%d %H:%M}" if oldest else "never"},
        ),
        lookups.budget_scopes_are_known(
            [(row.budget_id, row.scope_type, row.scope_value) for row in silent], known, len(rows)
        ),
    ]
