"""The checks of `cur_billing_master`: is the newest delivery whole, readable, plausible?

Belongs here: bringing recorded figures of shown deliveries and of those they replaced to the verdicts of
`ingestion/verdicts.py`. No delivered file is read again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.cur import schema as cur_schema
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import claims, ingest, look, mapped_tags, net_unused, refusals, sources
from cops_dagster.ingestion import verdicts as deliveries
from cops_dagster.ingestion.verdicts import Profile, no_unexpected_columns
from cops_dagster.lake.delivered import added_columns
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.clocks import is_within
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Figure, Severity, Verdict

_SCHEMA_CODES = ("E-SCHEMA-MISSING", "E-SCHEMA-TYPE", "E-SCHEMA-MIXED", "E-TAG-CLASH")
_CURRENCY_CODES = ("E-CCY", "E-CCY-MIX")


def delivery(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `cur_billing_master`."""
    seen = look.look(books, period, log=False)
    lying = {one.source_id for one in seen}, {one.root for one in seen if one.root}
    refused = [refusal for source in seen for refusal in source.refusals]
    # a source that is refused stops itself: the month only where no other can go on
    severity: Severity = "WARN" if any(one.goes_on for one in seen) else "ERROR"
    groups = {
        "schema_has_required_columns": _SCHEMA_CODES,
        "one_currency": _CURRENCY_CODES,
        "no_delivery_waits_for_approval": refusals.WAITING,
    }
    named = {code for codes in groups.values() for code in codes} | {claims.CODE}
    held = [one for one in seen if any(refusal.code == claims.CODE for refusal in one.refusals)]
    with books.admin.read() as con:
        cur_billing_head, cur_delivery = t.cur_billing_head, t.cur_delivery
        rows = con.execute(
            sa.select(cur_delivery)
            .join(cur_billing_head, cur_billing_head.c.delivery_id == cur_delivery.c.delivery_id)
            .where(cur_billing_head.c.period_start == period.start)
        ).all()
        shown = [profile(con, row) for row in rows]
        before = [_before(con, row) for row in rows]
        twice, sealed = claims.booked_twice(con, period), lock.is_sealed(con, period)
    one_source = deliveries.each_payer_has_one_source(twice, [one.source_id for one in held], sealed=sealed)
    if held and severity == "ERROR":
        why = next(one for one in refused if one.code == claims.CODE)
        one_source = replace(one_source, severity="ERROR", figures={**one_source.figures, **why.as_figures()})
    unexpected = sorted(
        {name for row in rows for name in added_columns(cur_schema.from_json(row.columns_json))}
    )
    # a file may name any time, but what was seen was there
    delivered_at = max((min(row.delivered_at, row.first_seen_at) for row in rows), default=None)
    return [
        _refused("delivery_is_complete", [one for one in refused if one.code not in named], severity),
        *(
            _refused(check, [one for one in refused if one.code in codes], severity)
            for check, codes in groups.items()
        ),
        one_source,
        deliveries.every_source_is_taken(
            [
                {
                    "source_id": one.source_id,
                    "code": refusal.code,
                    "found": refusal.found,
                    "next_step": refusal.next_step,
                }
                for one in seen
                for refusal in one.refusals
            ]
        ),
        deliveries.every_source_has_its_place(
            [(one.source_id, one.booked_from) for one in sources.placeless(books, period, lying)]
        ),
        deliveries.no_foreign_exports(
            [(one.source_id, one.foreign.found) for one in seen if one.foreign is not None]
        ),
        _delivered_within_48h(period, delivered_at),
        *deliveries.warnings(shown, before, cur_schema.LINE_TYPES),
        no_unexpected_columns(unexpected, cur_schema.REVISION),
    ]


def profile(con: sa.Connection, row: Any) -> Profile:
    """A row of `cur_delivery` with what was measured of it at first sight."""
    profiles, breakdown = t.cur_delivery_profile, t.cur_delivery_breakdown
    text = con.execute(
        sa.select(profiles.c.figures_json).where(profiles.c.delivery_id == row.delivery_id)
    ).scalar_one_or_none()
    figures = json.loads(text or "{}")  # a delivery of a time before profiles has none
    by: dict[str, dict[str, tuple[int, Decimal]]] = {}
    for one in con.execute(sa.select(breakdown).where(breakdown.c.delivery_id == row.delivery_id)):
        by.setdefault(one.dimension, {})[one.value] = (one.row_count, one.cost_usd)
    return Profile(
        source_id=row.source_id,
        rows=row.row_count,
        cost_usd=row.cost_usd,
        strays=figures.get("strays", ()),
        same_bytes=figures.get("same_bytes", 0),
        outside_rows=figures.get("outside_rows", 0),
        negative_usage_rows=figures.get("negative_usage_rows", 0),
        negative_usage_usd=Decimal(figures.get("negative_usage_usd", 0)),
        lost_rows=figures.get("lost_rows", 0),
        repeated_rows=figures.get("repeated_rows", 0),
        repeated_usd=Decimal(figures.get("repeated_usd", 0)),
        line_types=by.get("line_type", {}),
        days=by.get("usage_day", {}),
        columns=frozenset(cur_schema.from_json(row.columns_json)),
    )


def _before(con: sa.Connection, row: Any) -> Profile | None:
    deliveries = t.cur_delivery
    older = con.execute(
        sa.select(deliveries)
        .where(
            deliveries.c.source_id == row.source_id,
            deliveries.c.period_start == row.period_start,
            deliveries.c.first_seen_at < row.first_seen_at,
        )
        .order_by(deliveries.c.first_seen_at.desc())
        .limit(1)
    ).one_or_none()
    return profile(con, older) if older else None


def _refused(check: str, refused: Sequence[CopsError], severity: Severity) -> Verdict:
    if not refused:
        return Verdict(check, True, "ERROR", {"refused_deliveries": 0}, blocking=True)
    figures: dict[str, Figure] = {"refused_deliveries": len(refused), **refused[0].as_figures()}
    return Verdict(check, False, severity, figures, blocking=True)


def _delivered_within_48h(period: Period, delivered_at: datetime | None) -> Verdict:
    # an ended month is no longer delivered every day, so only an open one can be late
    ended = now().date() >= period.end
    return Verdict(
        "delivery_within_48h",
        ended or is_within(delivered_at, timedelta(hours=48), now()),
        "WARN",
        {"delivered_at_utc": f"{delivered_at:%Y-%m-%d %H:%M}" if delivered_at else "never"},
    )


def raw(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_raw`: the published lines against what was delivered, and the tags to come."""
    with books.admin.read() as con, books.lines(period) as engine:
        heads, files, cur_delivery = t.period_head, t.lake_file, t.cur_delivery
        delivered = con.execute(  # what was ingested: a source whose newest files are broken stands as it was
            sa.select(cur_delivery.c.row_count, cur_delivery.c.cost_usd)
            .join(files, files.c.delivery_id == cur_delivery.c.delivery_id)
            .join(heads, heads.c.run_id == files.c.run_id)
            .where(heads.c.table_name == ingest.TABLE, heads.c.period_start == period.start)
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
    with books.admin.read() as con, books.lines(period) as engine:
        books.namespace(engine, con, period).provide(["cur_quarantine"])
        rows = engine.fetch("fetch_quarantined_by_code", {"period_start": period.start}).rows
    return [deliveries.no_lines_quarantined({code: (count, cost) for code, count, cost in rows})]
