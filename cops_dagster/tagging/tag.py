"""Tagging: the ingested lines of a period at the grain of allocation, and the coverage of their tags.

Belongs here: `fact_cost_tagged` and the `tag_coverage` row published with it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster import revision, verdict
from cops_dagster.alerts.publish import publish
from cops_dagster.errors import unknown_month
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import ingest, mapped_tags
from cops_dagster.lake import alike, live, tag_columns
from cops_dagster.lake.engine import Engine, Value
from cops_dagster.lake.namespace import Namespace
from cops_dagster.lake.tables import FACT_COST_TAGGED
from cops_dagster.lake.views import over_files, view
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import Publication, Staged
from cops_dagster.ledger.run import Attempt, Run, attempt, settle
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.policy import Policy
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.tagging import containers, negations
from cops_dagster.tagging.verdicts import Coverage, tag_coverage_at_target, tagging_preserves_cost

TABLE = "fact_cost_tagged"
ALGORITHM = "tagged-3"


@dataclass(frozen=True)
class Tagged:
    """Outcome: the run that readers see now, and whether this call made it."""

    run_id: str
    wrote: bool


def tag(books: Books, period: Period) -> Tagged:
    """Tags the ingested month; with unchanged lines, mapping and registry nothing is written.

    Of a closed month nothing is either, whatever came since.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when nothing is ingested; `E-TAG-MAP` when tags were delivered and none
            of those that name the tenant.
    """
    require_policy(books, is_run=True)
    return settle(f"tagging of {period}", _planned, books, period)


def _planned(books: Books, period: Period) -> Tagged:
    # one snapshot from the plan to the last line read, as in allocation
    with attempt(books) as trying, books.admin.read() as con:
        before = head(con, TABLE, period)
        if before is not None and lock.is_sealed(con, period):
            return Tagged(before.run_id, wrote=False)
        inputs_id = inputs_of(con, books.policy, period)
        if (
            before is not None
            and before.inputs_id == inputs_id
            and live.intact(con, books.lake, TABLE, period.start, before.run_id)
        ):
            return Tagged(before.run_id, wrote=False)
        if books.revision > revision.FIRST:
            mapped_tags.require(con, books.policy.tags, period)
        run = Run(TABLE, period, "", inputs_id, before.run_id if before else None)
        _publish(books, con, trying, run)
    return Tagged(run.id, wrote=True)


def inputs_of(con: sa.Connection, policy: Policy, period: Period) -> str:
    """The id of tagging's inputs: ingested runs, tag mapping, aliases, accounts, tenant registry."""
    heads = t.period_head
    raw = con.execute(
        sa.select(heads.c.source_id, heads.c.inputs_id)
        .where(heads.c.table_name == "fact_cost_raw", heads.c.period_start == period.start)
        .order_by(heads.c.source_id)
    ).all()
    if not raw:
        raise unknown_month(period, expected="an ingested delivery", found="nothing ingested")
    tags = policy.tags
    return digest(
        TABLE,
        ALGORITHM,
        str(period),
        [tuple(row) for row in raw],
        [tags.tenant_id, tags.plan_id, tags.service_component],
        [tags.fold_case, tags.unicode_form, tags.inherit],
        [policy.charge.basis, policy.coverage.untaggable],  # the coverage published with the month
        _content(con, *t.tag_aliases.c),
        _content(con, *t.account_tenants.c),
        _content(con, *(t.tenants.c[name] for name in ("tenant_id", "plan_id", "active_from", "active_to"))),
        _plans_in_force(con, period),
        *([policy.containers.as_input] if policy.containers.use == "split" else []),
    )


def _plans_in_force(con: sa.Connection, period: Period) -> tuple[bool, list[str]]:
    """Whether any plan is registered, and those that a tag of the month may name."""
    plans = t.plans
    begins = con.execute(
        sa.select(plans.c.plan_id, sa.func.min(plans.c.effective_from)).group_by(plans.c.plan_id)
    ).all()
    return bool(begins), sorted(plan for plan, since in begins if since <= period.start)


def boundaries(con: sa.Connection, period: Period) -> list[date]:
    """Days within the month on which a tenant, alias or account mapping begins or ends."""
    days: set[date] = set()
    for begin, end in (
        (t.tenants.c.active_from, t.tenants.c.active_to),
        (t.tag_aliases.c.effective_from, t.tag_aliases.c.effective_to),
        (t.account_tenants.c.effective_from, t.account_tenants.c.effective_to),
    ):
        for row in con.execute(sa.select(begin, end).distinct()):
            days |= {day for day in row if day is not None and period.start < day < period.end}
    return sorted(days)


def _content(con: sa.Connection, *columns: sa.Column[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in con.execute(sa.select(*columns).order_by(*columns))]


def _publish(books: Books, con: sa.Connection, trying: Attempt, run: Run) -> None:
    period = run.period
    start = {"period_start": period.start}
    with books.lines(period) as engine:
        names = books.namespace(engine, con, period)
        group(books, con, names, period)
        target = trying.target(TABLE, period, run.id)
        engine.stage(TABLE_STATEMENT, target, parameters(books, con, period))
        raw = ingest.published_views(con, period)
        view(engine, TABLE, over_files(FACT_COST_TAGGED, [target]))
        figures = engine.fetch("measure_fact_cost_tagged", start).one()
        coverage = measure_coverage(engine, books.policy, period)
        staged = Staged(
            target,
            None,
            figures["group_count"],
            figures["unblended_usd"],
            tuple(name for name, _ in FACT_COST_TAGGED),
        )
    publish(
        books,
        Publication(run, [staged], [preserved(raw, figures), covered(books.policy, coverage)]),
        also=lambda con: _record_coverage(con, books.policy, run, coverage),
    )


def _aliases(con: sa.Connection) -> set[str]:
    """Names that stand for a tenant at some time."""
    names = t.tag_aliases
    found = sa.select(names.c.alias).where(names.c.tag_name == "tenant_id")
    return set(con.execute(found).scalars())


TABLE_STATEMENT = "stage_fact_cost_tagged"


def group(books: Books, con: sa.Connection, names: Namespace, period: Period) -> None:
    """What `TABLE_STATEMENT` asks: `spelled_groups` over the kept `tag_groups`, and the registry.

    Kept or shown on the way, for who asks about single lines: `resource_tenants` and `negations`.

    Args:
        names: over an engine for lines (`Books.lines`).
    """
    engine, tags = names.engine, books.policy.tags
    names.provide(tag_columns.REGISTRY)
    names.bare_lines(tag_columns.spoken_columns(tags))
    tag_columns.provide_named_lines(engine, tags, inherit=tags.inherit)
    engine.keep("untagged_resources", "find_untagged_resources")
    engine.keep("resource_tenants", "find_resource_tenants")
    days = boundaries(con, period)
    asked, joined = tag_columns.asked(tags, days, inherit=tags.inherit), None
    if splits := books.policy.containers.use == "split":
        containers.provide_spans(names, books.policy, days, period.start)
        joined = containers.SPANNED
    for name, parts in (("alike", alike.EVERY), ("hourly", alike.HOURLY_ALONE)):
        names.alike_lines(f"{name}_lines", asked, parts, joined=joined)
        tag_columns.provide_cost_lines(
            engine, tags, days, inherit=tags.inherit, name=f"{name}_cost_lines", of=f"{name}_lines"
        )
    if engine.reads_elsewhere:
        negations.keep_lines(engine)
    negations.provide(engine, period, follow=books.revision > revision.FIRST)
    start: dict[str, Value] = {"period_start": period.start}
    engine.keep(containers.GROUPS if splits else "tag_groups", "group_lines_by_tags", start)
    if splits:
        containers.provide_groups(engine, books.policy.containers, _aliases(con))
    tag_columns.provide_registry(engine, tags, period.start)
    tag_columns.provide_spelled_groups(engine, tags)


def parameters(books: Books, con: sa.Connection, period: Period) -> dict[str, Value]:
    """The parameters of `TABLE_STATEMENT`: which names count where no registry says so."""
    registered = con.execute(sa.select(sa.func.count()).select_from(t.tenants)).scalar_one()
    is_first = books.revision == revision.FIRST
    return {
        "any_tenant": registered == 0,
        "any_mapping": registered == 0 or is_first,
        "any_plan": is_first or not _plans_in_force(con, period)[0],
        "plan_required": bool(books.policy.tags.plan_id),
    }


def preserved(raw: dict[str, Decimal], tagged: dict[str, Any]) -> verdict.Verdict:
    """`tagging_preserves_cost` over the published lines' views and the measured tagged month."""
    return tagging_preserves_cost(raw, {name: tagged[f"{name}_usd"] for name in raw})


def covered(policy: Policy, coverage: Coverage) -> verdict.Verdict:
    """`tag_coverage_at_target` under a policy."""
    return tag_coverage_at_target(coverage, policy.coverage.target_pct, policy.coverage.floor_pct)


def measure_coverage(engine: Engine, policy: Policy, period: Period) -> Coverage:
    """Coverage of the tagged month that the engine's `fact_cost_tagged` shows."""
    rows = engine.fetch(
        "measure_tag_coverage", {"period_start": period.start, "basis": policy.charge.basis}
    ).dicts()
    taggable = [row for row in rows if row["service"] not in policy.coverage.untaggable]

    def total(name: str) -> Decimal:
        return sum((row[name] for row in taggable), Decimal(0))

    return Coverage(
        covered=total("covered_usd"),
        coverable=total("coverable_usd"),
        propagated=total("propagated_usd"),
        covered_rows=int(total("covered_rows")),
        coverable_rows=int(total("coverable_rows")),
        missing_rows=int(total("missing_rows")),
        missing_cost=total("missing_usd"),
    )


def coverage_row(con: sa.Connection, period: Period) -> dict[str, Any]:
    """The coverage published with the tagged month, as it is recorded."""
    row = con.execute(sa.select(t.tag_coverage).where(t.tag_coverage.c.period_start == period.start)).one()
    return {**row._mapping}


def coverage_of(row: Any) -> Coverage:
    """The coverage that a row of `tag_coverage` records: what was published with the tagged month."""
    propagated = (row.propagated_coverage_pct or Decimal(0)) * row.coverable_usd / 100
    return Coverage(
        row.covered_usd,
        row.coverable_usd,
        propagated,
        row.covered_rows,
        row.coverable_rows,
        row.missing_tenant_tag,
        row.missing_tenant_tag_usd,
    )


def _record_coverage(con: sa.Connection, policy: Policy, run: Run, coverage: Coverage) -> None:
    start = run.period.start
    con.execute(sa.delete(t.tag_coverage).where(t.tag_coverage.c.period_start == start))
    con.execute(
        sa.insert(t.tag_coverage).values(
            period_start=start,
            run_id=run.id,
            tag_coverage_pct=coverage.percent,
            covered_usd=coverage.covered,
            coverable_usd=coverage.coverable,
            row_coverage_pct=coverage.row_percent,
            covered_rows=coverage.covered_rows,
            coverable_rows=coverage.coverable_rows,
            propagated_coverage_pct=coverage.propagated_percent,
            missing_tenant_tag=coverage.missing_rows,
            missing_tenant_tag_usd=coverage.missing_cost,
            basis=policy.charge.basis,
            measured_at=now(),
        )
    )


def spelling_variants(
    books: Books, engine: Engine, con: sa.Connection, period: Period
) -> dict[str, set[str]]:
    """Delivered tenant tags by their spelling without case, blanks and unicode form."""
    columns = [
        column
        for kind in tag_columns.KINDS
        for column in tag_columns.columns_of(books.policy.tags.tenant_id, kind)
    ]
    books.namespace(engine, con, period).bare_lines(columns)
    present = set(engine.columns("bare_lines"))
    variants: dict[str, set[str]] = {}
    for column in columns:
        if column in present:
            rows = engine.fetch(exp.select(column).distinct().from_("bare_lines").limit(100_000)).rows
            for value in (row[0] for row in rows if row[0] is not None and row[0].strip(" ")):
                spelled = unicodedata.normalize("NFC", value).strip().casefold()
                variants.setdefault(spelled, set()).add(value)
    return variants
