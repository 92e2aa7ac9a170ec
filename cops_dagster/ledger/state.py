"""Reading the books: where each period stands and which runs there were.

Belongs here: reads for `cops status` and `cops runs`. Everything comes from the admin database: no engine
is started, no lake file is read, and neither DuckDB nor sqlglot is imported (0.7 s of the start-up).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import head
from cops_dagster.period import Period
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class PeriodStatus:
    """One period in one line. Amounts in USD; `gap_usd` = allocated − newest complete delivery."""

    period: str
    state: str
    is_final: bool
    sources: int
    lines: int
    aws_usd: Decimal
    allocated_usd: Decimal | None
    gap_usd: Decimal | None
    invoiced_usd: Decimal | None
    variance_usd: Decimal | None
    coverage_pct: Decimal | None
    recon_status: str | None
    run_id: str | None
    last_ingestion: str | None
    delivered_at: datetime | None


def statuses(books: Books, period: Period | None = None) -> list[PeriodStatus]:
    """Every period with a delivery, oldest first; or the one asked for.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a period without a delivery.
    """
    with books.admin.read() as con:
        starts = con.execute(
            sa.select(t.cur_billing_head.c.period_start)
            .distinct()
            .order_by(t.cur_billing_head.c.period_start)
        ).scalars()
        wanted = [start for start in starts if period is None or start == period.start]
        if period and not wanted:
            raise CopsError(
                "E-PERIOD-UNKNOWN", f"period {period}", expected="a period with a delivery",
                found="none seen", next_step=f"check COPS_CUR, then run `cops materialize {period}`",
            )  # fmt: skip
        return [_status(con, start) for start in wanted]


def _status(con: sa.Connection, start: date) -> PeriodStatus:
    period = Period.of(start)
    h, d, recon = t.cur_billing_head, t.cur_delivery, t.recon_run
    deliveries = con.execute(
        sa.select(d).join(h, h.c.delivery_id == d.c.delivery_id).where(h.c.period_start == start)
    ).all()
    newest = con.execute(
        sa.select(recon).where(recon.c.period_start == start).order_by(recon.c.recon_seq.desc()).limit(1)
    ).one_or_none()
    coverage = con.execute(
        sa.select(t.tag_coverage.c.tag_coverage_pct).where(t.tag_coverage.c.period_start == start)
    ).scalar_one_or_none()
    log = t.cur_ingestion_log
    last = con.execute(
        sa.select(log.c.status, log.c.error_code)
        .where(log.c.period_start == start)
        .order_by(log.c.log_seq.desc())
        .limit(1)
    ).one_or_none()
    state = con.execute(
        sa.select(t.period_lock.c.state).where(t.period_lock.c.period_start == start)
    ).scalar_one_or_none()
    run = head(con, "fact_cost_allocated", period)
    aws = sum((row.cost_usd for row in deliveries), Decimal(0))
    allocated = _allocated(con, period) if run else None
    return PeriodStatus(
        period=str(period),
        state=state or "open",
        is_final=all(row.invoice_state == "final" for row in deliveries),
        sources=len(deliveries),
        lines=sum(row.row_count for row in deliveries),
        aws_usd=aws,
        allocated_usd=allocated,
        gap_usd=None if allocated is None else allocated - aws,
        invoiced_usd=newest.invoiced_total_usd if newest else None,
        variance_usd=newest.variance_usd if newest else None,
        coverage_pct=coverage,
        recon_status=newest.status if newest else None,
        run_id=run.run_id if run else None,
        last_ingestion=(last.error_code or last.status) if last else None,
        delivered_at=max((row.delivered_at for row in deliveries), default=None),
    )


def _allocated(con: sa.Connection, period: Period) -> Decimal:
    j = t.publish_journal
    costs = con.execute(
        sa.select(j.c.cost_usd).where(
            j.c.table_name == "fact_cost_allocated", j.c.period_start == period.start
        )
    ).scalars()
    return sum(costs, Decimal(0))  # each journal row holds its run's net, reversal included


def runs(books: Books, period: Period) -> list[dict[str, Any]]:
    """Every published run of a period in journal order, then attempts that published nothing."""
    with books.admin.read() as con:
        j, log, ing = t.publish_journal, t.allocation_run_log, t.cur_ingestion_log
        published = [
            {
                "journal_seq": row.journal_seq, "table_name": row.table_name, "source_id": row.source_id,
                "run_id": row.run_id, "replaces": row.predecessor_run_id, "row_count": row.row_count,
                "cost_usd": row.cost_usd, "status": "published", "actor": row.actor,
                "at": row.published_at, "detail": "",
            }
            for row in con.execute(
                sa.select(j).where(j.c.period_start == period.start).order_by(j.c.journal_seq)
            )
        ]  # fmt: skip
        unpublished = [
            {
                "journal_seq": None, "table_name": name, "source_id": source, "run_id": row.run_id,
                "replaces": None, "row_count": None, "cost_usd": None, "status": row.status,
                "actor": row.actor, "at": row.started_at, "detail": row.error_detail or row.error_code or "",
            }
            for table, name in ((ing, "fact_cost_raw"), (log, "fact_cost_allocated"))
            for row in con.execute(
                sa.select(table).where(
                    table.c.period_start == period.start, table.c.status.not_in(("published", "succeeded"))
                ).order_by(table.c.started_at)
            )
            for source in [row._mapping.get("source_id", "")]
        ]  # fmt: skip
    return published + unpublished


def journal_seq_of(books: Books, run_prefix: str) -> int:
    """The journal number of a run, named by its id or an unambiguous beginning of it.

    Raises:
        CopsError: `E-RUN-UNKNOWN`.
    """
    j = t.publish_journal
    with books.admin.read() as con:
        found = con.execute(
            sa.select(j.c.journal_seq).where(j.c.run_id.startswith(run_prefix, autoescape=True))
        ).scalars().all()  # fmt: skip
    if len(found) != 1:
        raise CopsError(
            "E-RUN-UNKNOWN", f"run {run_prefix!r}", expected="one published run",
            found=f"{len(found)} runs", next_step="take a run id from `cops runs PERIOD`",
        )  # fmt: skip
    return int(found[0])
