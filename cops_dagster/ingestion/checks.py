"""The checks of `cur_billing_master`: is the newest delivery whole, readable, plausible?

Belongs here: bringing recorded figures of shown deliveries and of those they replaced to the verdicts of
`ingestion/verdicts.py`. No delivered file is read again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.clocks import is_within
from cops_dagster.cur import dictionary, schema
from cops_dagster.ingestion import (
    claims,
    commitments,
    ingest,
    look,
    mapped_tags,
    measures,
    net_unused,
    quarantine,
    refusals,
    sources,
    verdicts,
)
from cops_dagster.ingestion.measures import Part
from cops_dagster.ingestion.profile import Profile
from cops_dagster.lake import live
from cops_dagster.lake.delivered import added_columns
from cops_dagster.lake.views import view
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Severity, Verdict

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
        verdicts.SCHEMA_HAS_REQUIRED_COLUMNS: _SCHEMA_CODES,
        verdicts.ONE_CURRENCY: _CURRENCY_CODES,
        verdicts.NO_DELIVERY_WAITS_FOR_APPROVAL: refusals.WAITING,
    }
    named = {code for codes in groups.values() for code in codes} | {claims.CODE}
    held = [one for one in seen if any(refusal.code == claims.CODE for refusal in one.refusals)]
    with books.admin.read() as con:
        rows = month.shown(con, period)
        shown = [profile(con, row) for row in rows]
        before = [_before(con, row) for row in rows]
        beyond, news = _columns_beyond(con, rows)
        twice, sealed = claims.booked_twice(con, period), lock.is_sealed(con, period)
    one_source = verdicts.each_payer_has_one_source(twice, [one.source_id for one in held], sealed=sealed)
    if held and severity == "ERROR":
        why = next(one for one in refused if one.code == claims.CODE)
        one_source = replace(one_source, severity="ERROR", figures={**one_source.figures, **why.as_figures()})
    # a file may name any time, but what was seen was there
    delivered_at = max((min(row.delivered_at, row.first_seen_at) for row in rows), default=None)
    return [
        verdicts.refused(
            verdicts.DELIVERY_IS_COMPLETE, [one for one in refused if one.code not in named], severity
        ),
        *(
            verdicts.refused(check, [one for one in refused if one.code in codes], severity)
            for check, codes in groups.items()
        ),
        one_source,
        verdicts.every_source_is_taken(
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
        verdicts.every_source_has_its_place(
            [(one.source_id, one.booked_from) for one in sources.placeless(books, period, lying)]
        ),
        verdicts.no_foreign_exports(
            [(one.source_id, one.foreign.found) for one in seen if one.foreign is not None]
        ),
        verdicts.delivery_within_48h(
            delivered_at,
            is_open=now().date() < period.end,
            is_recent=is_within(
                delivered_at, timedelta(hours=books.policy.controls.delivery_lag_hours), now()
            ),
        ),
        *verdicts.warnings(shown, before, schema.LINE_TYPES),
        verdicts.no_unexpected_columns(sorted(news), schema.REVISION, no_news=len(beyond - news)),
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
        columns=frozenset(schema.from_json(row.columns_json)),
    )


def _columns_beyond(con: sa.Connection, rows: Sequence[Any]) -> tuple[set[str], set[str]]:
    """Delivered columns that the schema does not know, and those of them that are news.

    No news is what AWS's dictionary knows, and a tag or category that the month before had already. A
    source's first month has nothing to compare its tags with.
    """
    beyond: set[str] = set()
    news: set[str] = set()
    for row in rows:
        here = set(added_columns(schema.from_json(row.columns_json)))
        earlier = _columns_before(con, row)
        beyond |= here
        news |= {
            name
            for name in here
            if not dictionary.is_known(name)
            and not (dictionary.is_of_customer(name) and (earlier is None or name in earlier))
        }
    return beyond, news


def _columns_before(con: sa.Connection, row: Any) -> set[str] | None:
    """The columns of the source's newest earlier month; `None` of its first."""
    deliveries = t.cur_delivery
    text = con.execute(
        sa.select(deliveries.c.columns_json)
        .where(deliveries.c.source_id == row.source_id, deliveries.c.period_start < row.period_start)
        .order_by(deliveries.c.period_start.desc(), deliveries.c.first_seen_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if text is None else set(schema.from_json(text))


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


def raw(books: Books, period: Period) -> list[Verdict]:
    """Verdicts on `fact_cost_raw`: the published lines against what was delivered, and the tags to come."""
    with books.admin.read() as con:
        published = live.live_files(con, books.lake, ingest.TABLE, period_start=period.start)
        live.verify(published, digests=True)
        ingested = {one.delivery_id for one in published}
        cur_delivery = t.cur_delivery
        delivered = con.execute(  # what was ingested: a source whose newest files are broken stands as it was
            sa.select(cur_delivery.c.row_count, cur_delivery.c.cost_usd).where(
                cur_delivery.c.delivery_id.in_(ingested)
            )
        ).all()
        missing = ingest.not_ingested(con, period)
        refused = refusals.newest(con, period)
        aside = Part(*month.read(con, period).quarantined)
        if all(one.lens for one in published):
            figures, halves = measures.recorded(published)
        else:
            figures, halves = _of_typed(books, con, period)
        mapped = mapped_tags.verdict(con, books.policy.tags, period)
    why = [(source, str(refused[source].error_code) if source in refused else "") for source in missing]
    came = Part(sum(row.row_count for row in delivered), sum((row.cost_usd for row in delivered), Decimal(0)))
    judged = measures.raw_verdicts(figures, came, aside, halves=halves)
    return [*judged, mapped, verdicts.every_delivery_is_ingested(why)]


def _of_typed(
    books: Books, con: sa.Connection, period: Period
) -> tuple[dict[str, Any], list[commitments.Half]]:
    """Figures and halves of a month of which lines were copied, as before: they are summed again."""
    with books.lines(period) as engine:
        books.namespace(engine, con, period).provide(["fact_cost_raw"])
        figures = engine.fetch("measure_fact_cost_raw", {"period_start": period.start}).one()
        booked = exp.select("*", exp.alias_(exp.null(), "quarantine_code")).from_("fact_cost_raw")
        view(engine, "measured_lines", booked)
        return figures, net_unused.halves(engine)


def quarantined(books: Books, period: Period) -> list[Verdict]:
    """Verdict on `cur_quarantine`: what is set aside, by reason."""
    found = quarantine.quarantined(books, period).by_code
    return [
        verdicts.no_lines_quarantined(
            {row["quarantine_code"]: (row["row_count"], row["cost_usd"]) for row in found}
        )
    ]
