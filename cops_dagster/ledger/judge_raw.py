"""TODO."""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa

from cops_dagster.ledger import ingest, mapped_tags, net_unused, refusals
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.rules import deliveries
from cops_dagster.stores import tables as t
from cops_dagster.verdict import Verdict


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
