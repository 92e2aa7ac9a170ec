"""Reading the books: where each period stands and which runs there were.

Belongs here: reads for `cops status` and `cops runs`. Everything comes from the admin database: no engine
is started, no lake file is read, and neither DuckDB nor sqlglot is imported (0.7 s of the start-up).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts.escalation import PROOF
from cops_dagster.closing import close_request
from cops_dagster.errors import CopsError
from cops_dagster.evidence import signatures
from cops_dagster.ingestion import claims, holds, refusals
from cops_dagster.ingestion.log import newest_ingestion
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.states import phase
from cops_dagster.period import Period
from cops_dagster.reconciliation import invoicing, record
from cops_dagster.settings_places import is_s3
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class DeliveryStatus:
    """One source's delivery that readers see, or one that waits behind it. Amounts in USD.

    Attributes:
        layout, file_format: how AWS delivered it, as detected.
        is_shown: `cur_billing_master` shows it.
        waits_for: why it is not shown yet, as a code and what was found; of a shown one, that its report root
            is no longer in `COPS_CUR`.
        usd_without_invoice: by invoice id '', Anniversary and other rows alike.
        invoicing: issued, open, or pro forma (no line of the source ever named an invoice).
    """

    source_id: str
    delivery_id: str
    layout: str
    file_format: str
    delivered_at: datetime
    lines: int
    cost_usd: Decimal
    invoices: int
    usd_without_invoice: Decimal
    quarantined_lines: int
    is_shown: bool
    waits_for: str | None
    invoicing: str


@dataclass(frozen=True)
class PeriodStatus:
    """One period in one line. Amounts in USD; `gap_usd` = allocated − newest complete delivery.

    Attributes:
        state: open, delayed, provisional, final candidate, final, closing or closed.
        is_final: every Anniversary row of every source carries an invoice id, or a person said that none
            will come.
        expected_usd: what the tenants' invoices should add up to.
        layouts: the layouts of its deliveries, with their format.
        closed_by, identity: who closed it, and what proves that: `claimed`, or the key that signed the seal.
        close_asked_by: who wants it closed, while a second person must agree (`cops approve close-PERIOD`).
    """

    period: str
    state: str
    is_final: bool
    sources: int
    lines: int
    aws_usd: Decimal
    allocated_usd: Decimal | None
    gap_usd: Decimal | None
    expected_usd: Decimal | None
    invoiced_usd: Decimal | None
    variance_usd: Decimal | None
    coverage_pct: Decimal | None
    recon_status: str | None
    run_id: str | None
    last_ingestion: str | None
    delivered_at: datetime | None
    quarantined_lines: int
    layouts: str
    closed_by: str | None
    identity: str | None
    close_asked_by: str | None = None


def unproven(books: Books) -> list[Any]:
    """Controls of the proof that did not hold when they were last judged."""
    controls = t.control_status
    with books.admin.read() as con:
        last = sa.select(sa.func.max(controls.c.evaluated_at)).scalar_subquery()
        return list(
            con.execute(
                sa.select(controls)
                .where(
                    controls.c.evaluated_at == last,
                    controls.c.control.in_(PROOF),
                    controls.c.status == "failed",
                )
                .order_by(controls.c.control)
            )
        )


def statuses(books: Books, period: Period | None = None) -> list[PeriodStatus]:
    """Every period with a delivery, oldest first; or the one asked for.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` for a period without a delivery.
    """
    with books.admin.read() as con:
        known = (
            t.cur_billing_head.c.period_start,
            t.cur_delivery_hold.c.period_start,
            t.cur_ingestion_log.c.period_start,
        )
        starts = sorted(
            {start for column in known for start in con.execute(sa.select(column).distinct()).scalars()}
        )
        wanted = [start for start in starts if period is None or start == period.start]
        if period and not wanted:
            raise CopsError(
                "E-PERIOD-UNKNOWN",
                f"period {period}",
                expected="a period with a delivery",
                found="none seen",
                next_step=f"check COPS_CUR, then run `cops materialize {period}`",
            )
        return [_status(con, start) for start in wanted]


def deliveries(books: Books, period: Period) -> list[DeliveryStatus]:
    """Every delivery of a period that readers see or that waits, by source, the newest first."""
    cur_delivery, profiles, breakdown = t.cur_delivery, t.cur_delivery_profile, t.cur_delivery_breakdown
    with books.admin.read() as con:
        waiting = {one.subject_id: one for one in holds.held(con, period) if not one.approved_by}
        refused = refusals.newest(con, period)
        rows = con.execute(
            sa.select(
                cur_delivery,
                profiles.c.file_format,
                profiles.c.quarantined_rows,
            )
            .outerjoin(profiles, profiles.c.delivery_id == cur_delivery.c.delivery_id)
            .where(cur_delivery.c.period_start == period.start)
            .order_by(cur_delivery.c.source_id, cur_delivery.c.first_seen_at.desc())
        ).all()
        invoicing_of = {one.source_id: one for one in invoicing.sources(con, period)}
        places = {row.delivery_id: row.location_json for row in month.shown(con, period)}
        found = []
        listed: set[str] = set()
        for row in rows:
            held = waiting.get(row.delivery_id)
            waits = f"{held.code}: {held.found}" if held else None
            twice, place = refused.get(row.source_id), places.get(row.delivery_id)
            if row.source_id not in listed and place is None and twice and twice.error_code == claims.CODE:
                waits = f"{twice.error_code}: {twice.error_detail}"
            if place and not lock.is_sealed(con, period) and not _below_a_root(books, place):
                waits = f"its report root is not in COPS_CUR: name it again, or retire {row.source_id}"
            listed.add(row.source_id)  # the newest of each source comes first
            if place is None and waits is None:
                continue
            invoices = {
                one.value: one.cost_usd
                for one in con.execute(
                    sa.select(breakdown.c.value, breakdown.c.cost_usd).where(
                        breakdown.c.delivery_id == row.delivery_id, breakdown.c.dimension == "invoice"
                    )
                )
            }
            found.append(
                DeliveryStatus(
                    row.source_id,
                    row.delivery_id,
                    row.layout,
                    row.file_format or "parquet",
                    row.delivered_at,
                    row.row_count,
                    row.cost_usd,
                    sum(1 for name in invoices if name),
                    invoices.get("", Decimal(0)),
                    row.quarantined_rows or 0,
                    place is not None,
                    waits,
                    _invoicing(invoicing_of.get(row.source_id) if place else None, row),
                )
            )
    return found


def _invoicing(source: invoicing.Invoicing | None, row: Any) -> str:
    if row.invoice_state == "final":
        return "issued"
    pro_forma = source and (source.is_pro_forma or source.looks_pro_forma)
    return "pro forma" if pro_forma else "open"


def _below_a_root(books: Books, location_json: str) -> bool:
    """Whether a delivery was read from a report root that is still one; nothing is listed."""
    chosen = books.settings
    folders = [chosen.fetched_place(root) if is_s3(root) else Path(root) for root in chosen.report_roots]
    manifest = (chosen.home / json.loads(location_json)[0][0]).resolve()
    return any(manifest.is_relative_to(folder.resolve()) for folder in (*folders, chosen.deliveries_root))


def _status(con: sa.Connection, start: date) -> PeriodStatus:
    period = Period.of(start)
    stands, newest = month.read(con, period), record.newest(con, period)
    coverage = con.execute(
        sa.select(t.tag_coverage.c.tag_coverage_pct).where(t.tag_coverage.c.period_start == start)
    ).scalar_one_or_none()
    last, refused = newest_ingestion(con, period), refusals.newest(con, period)
    run = month.head(con, month.ALLOCATED, period)
    aws, allocated = stands.delivered_usd, stands.posted_usd
    invoiced = invoicing.is_invoiced(con, period)
    closed_by = _closed_by(con, start) if stands.state == "closed" else None
    return PeriodStatus(
        period=str(period),
        state=phase(
            period,
            now().date(),
            stands.state,
            waiting=bool(refused),
            invoiced=invoiced,
        ),
        is_final=invoiced,
        sources=len(stands.shown),
        lines=sum(row.row_count for row in stands.shown),
        aws_usd=aws,
        allocated_usd=allocated,
        gap_usd=None if allocated is None else allocated - aws,
        expected_usd=newest.expected_usd if newest else None,
        invoiced_usd=newest.invoiced_total_usd if newest else None,
        variance_usd=newest.variance_usd if newest else None,
        coverage_pct=coverage,
        recon_status=newest.status if newest else None,
        run_id=run.run_id if run else None,
        last_ingestion=next((row.error_code for row in refused.values()), last.status) if last else None,
        delivered_at=max((row.delivered_at for row in stands.shown), default=None),
        quarantined_lines=stands.quarantined[0],
        layouts=", ".join(sorted({f"{row.layout} {row.file_format or 'parquet'}" for row in stands.shown})),
        closed_by=closed_by,
        identity=signatures.told(con, "seal", ("period", str(period))) if closed_by else None,
        close_asked_by=asked.requested_by if (asked := close_request.waiting(con, period)) else None,
    )


def _closed_by(con: sa.Connection, start: date) -> str | None:
    moves = t.period_lock_event
    return con.execute(
        sa.select(moves.c.actor).where(moves.c.period_start == start, moves.c.to_state == "closed")
    ).scalar_one_or_none()


def runs(books: Books, period: Period) -> list[dict[str, Any]]:
    """Every published run of a period in journal order, then attempts that published nothing."""
    with books.admin.read() as con:
        journal, log, ing = t.publish_journal, t.allocation_run_log, t.cur_ingestion_log
        published = [
            {
                "journal_seq": row.journal_seq,
                "table_name": row.table_name,
                "source_id": row.source_id,
                "run_id": row.run_id,
                "replaces": row.predecessor_run_id,
                "row_count": row.row_count,
                "cost_usd": row.cost_usd,
                "status": "published",
                "actor": row.actor,
                "at": row.published_at,
                "policy_version": row.policy_version,
                "detail": "",
            }
            for row in con.execute(
                sa.select(journal)
                .where(journal.c.period_start == period.start)
                .order_by(journal.c.journal_seq)
            )
        ]
        unpublished = [
            {
                "journal_seq": None,
                "table_name": name,
                "source_id": source,
                "run_id": row.run_id,
                "replaces": None,
                "row_count": None,
                "cost_usd": None,
                "status": row.status,
                "actor": row.actor,
                "at": row.started_at,
                "policy_version": None,
                "detail": row.error_detail or row.error_code or "",
            }
            for table, name in ((ing, "fact_cost_raw"), (log, "fact_cost_allocated"))
            for row in con.execute(
                sa.select(table)
                .where(
                    table.c.period_start == period.start, table.c.status.not_in(("published", "succeeded"))
                )
                .order_by(table.c.started_at)
            )
            for source in [row._mapping.get("source_id", "")]
        ]
    return published + unpublished
