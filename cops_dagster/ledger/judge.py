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

from cops_dagster.ledger import active_tags, allocate, exceptions, ingest, refusals, rule_date, tag
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import head
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.rules import deliveries, verdicts
from cops_dagster.rules.allocation import OPERATOR
from cops_dagster.rules.verdicts import Verdict
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def raw(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_raw`: the published lines against what was delivered."""
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
    why = [(source, str(refused[source].error_code) if source in refused else "") for source in missing]
    return [
        *ingest.raw_verdicts(
            figures,
            sum(row.row_count for row in delivered),
            sum((row.cost_usd for row in delivered), Decimal(0)),
            aside=(aside["row_count"], aside["cost_usd"]),
        ),
        deliveries.every_delivery_is_ingested(why),
    ]


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
        preserved = tag.preserved(
            ingest.published_views(con, period), engine.fetch("measure_fact_cost_tagged", start).one()
        )
        coverage = tag.measure_coverage(engine, books.settings, period)
        unknown = engine.fetch("find_unknown_tenants", start).dicts()
        direct = _by_tenant(engine.fetch("fetch_direct_cost", start).dicts())
        registered = int(con.execute(sa.select(sa.func.count()).select_from(t.tenants)).scalar_one())
        u = t.tenant_usage
        using = con.execute(sa.select(u.c.tenant_id, u.c.value).where(u.c.period_start == period.start)).all()
        before = _direct_before(books, con, period)
        variants = tag.spelling_variants(books, engine, con, period)
        active = active_tags.recorded(con)
    idle = sorted({row.tenant_id for row in using if row.value > 0} - set(direct))
    limits = books.settings.coverage
    return [
        preserved,
        verdicts.tag_coverage_at_target(coverage, limits.target_pct, limits.floor_pct),
        verdicts.tenants_are_known(unknown if registered else [], registered),
        Verdict(
            "tenants_with_usage_have_direct_cost", not idle, "WARN", {"tenants_without_cost": ", ".join(idle)}
        ),
        _no_spikes(direct, before),
        deliveries.tags_are_spelled_alike(variants),
        active_tags.verdict(active, books.settings.tags),
    ]


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
        inputs = allocate.gather(con, books.settings, period)
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
    return [
        *allocate.plan_verdicts(made, inputs),
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
        keys_fresh(period, {name: key.refreshed_at for name, key in made.keys.items()}, ages),
    ]


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
            refreshed >= end if ended else now() - refreshed <= timedelta(hours=max_age_hours[name])
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
        unclaimed = engine.fetch("fetch_unclaimed_by_service", start).dicts()
        pools = engine.fetch("fetch_pool_by_service", start).dicts()
        share = _operator_share(engine, period)
        newest = con.execute(
            sa.select(t.cur_delivery.c.cost_usd)
            .join(t.cur_billing_head, t.cur_billing_head.c.delivery_id == t.cur_delivery.c.delivery_id)
            .where(t.cur_billing_head.c.period_start == period.start)
        ).scalars()
        gap = abs(totals["allocated_usd"] - sum(newest, Decimal(0)))
        with books.engine() as other:
            previous = period.previous()
            books.namespace(other, con, previous).provide([allocate.TABLE])
            before = _operator_share(other, previous)
    return [
        verdicts.allocated_equals_pool(differing, totals["allocated_usd"]),
        verdicts.unallocated_within_2_pct(
            sum((abs(row["unclaimed_usd"]) for row in unclaimed), Decimal(0)),
            gap,
            sum((abs(row["pool_usd"]) for row in pools), Decimal(0)),
        ),
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
    """Verdicts on `recon_summary`: variance, exceptions, AWS's own invoices."""
    with books.admin.read() as con:
        r, a = t.recon_run, t.aws_invoices
        newest = con.execute(
            sa.select(r).where(r.c.period_start == period.start).order_by(r.c.recon_seq.desc()).limit(1)
        ).one()
        found = exceptions.current(con, period)
        issued = con.execute(
            sa.select(sa.func.count()).select_from(a).where(a.c.period_start == period.start)
        ).scalar_one()
    waiting = [one for one in found if one.status in ("open", "decided")]
    return [
        verdicts.variance_within_tolerance(
            newest.worst_tenant_status if newest.status == "provisional" else newest.status,
            newest.variance_usd,
            newest.variance_pct,
            newest.worst_tenant_id,
        ),
        verdicts.exceptions_explained(
            len(found), [(one.kind, one.subject_id, one.amount_usd, one.status) for one in waiting]
        ),
        verdicts.aws_invoice_matches_cur(
            int(issued),
            [
                (one.subject_id, one.amount_usd, one.status == "resolved")
                for one in found
                if one.stage == "aws_invoice" and one.kind != "rounding"
            ],
        ),
    ]


def budgets(books: Books) -> list[Verdict]:
    """Verdict on `budget_master`: every budget was refreshed since 04:00 UTC today."""
    with books.admin.read() as con:
        b = t.budget_master
        oldest = con.execute(sa.select(sa.func.min(b.c.last_refreshed_at))).scalar_one_or_none()
        count = con.execute(sa.select(sa.func.count()).select_from(b)).scalar_one()
    today = datetime.now(UTC).replace(tzinfo=None, hour=4, minute=0, second=0, microsecond=0)
    due = today if now() >= today else today - timedelta(days=1)
    return [
        Verdict(
            "budgets_refreshed_today",
            None if not count else oldest is not None and oldest >= due,
            "WARN",
            {"budgets": int(count), "oldest_refresh_utc": f"{oldest:%Y-%m-%d %H:%M}" if oldest else "never"},
        )
    ]
