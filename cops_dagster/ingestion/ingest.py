"""Ingestion: one delivery of one source becomes `fact_cost_raw`, every line once, money exact.

Belongs here: the verdicts that hold its lines against the delivery, the log row of the attempt, taking back
the lines of a source that no longer counts. Does not belong here: keeping the bytes and measuring them
(`ingestion/kept_bytes.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster import verdict
from cops_dagster.alerts.publish import publish
from cops_dagster.cur import schema as cur_schema
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import commitments, kept_bytes, log, record
from cops_dagster.ingestion.kept_bytes import Kept
from cops_dagster.ingestion.verdicts import cost_matches_delivery, cost_views_bridge, rows_match_delivery
from cops_dagster.lake import keeping, live, pools
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import Publication, Staged
from cops_dagster.ledger.run import Attempt, Superseded, attempt, settle
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

TABLE = "fact_cost_raw"
QUARANTINE = "cur_quarantine"
VIEWS = (
    "unblended", "amortized", "net_unblended", "net_amortized", "true_up", "upfront", "net_true_up",
    "net_upfront",
)  # fmt: skip
"""The cost views of a line (FinOps formulas, see docs/cur-ingestion.md)."""
ALGORITHM = "raw-3"
"""Raised when the same delivery would give other rows; it is part of every id made here."""


BROKEN = (
    "E-CHUNK-MISSING", "E-DIGEST", "E-FILE", "E-FILE-TRUNC", "E-FORMAT", "E-READER-CRASH", "E-RESOURCE",
)  # fmt: skip
"""What is wrong with one source's files alone: the other sources of the month go on."""


@dataclass(frozen=True)
class Ingested:
    """Outcome for one source: the run that readers see now, and whether this call made it.

    `delivery_id` is `None` for a source that was retired or withdrawn: its lines are taken back.
    """

    source_id: str
    run_id: str
    delivery_id: str | None
    wrote: bool


def ingest(books: Books, period: Period) -> list[Ingested]:
    """Ingests the newest complete delivery of every source of a period; unchanged ones are left alone.

    A source whose files are broken keeps what was ingested of it, if anything; the others go on, and
    `every_delivery_is_ingested` is red. The lines of a source that no longer counts are taken back.

    Raises:
        CopsError: whatever a delivery is refused for, when no source could be ingested, or for a cause
            that is not in its files; the source's previous month stays.
    """
    require_policy(books, is_run=True)
    with books.admin.read() as con:
        heads = con.execute(
            sa.select(t.cur_billing_head.c.location_json, t.cur_delivery)
            .join(t.cur_delivery, t.cur_delivery.c.delivery_id == t.cur_billing_head.c.delivery_id)
            .where(t.cur_billing_head.c.period_start == period.start)
            .order_by(t.cur_billing_head.c.source_id)
        ).all()
        shown = {row.source_id for row in heads}
        gone = [] if lock.is_sealed(con, period) else _gone(con, period, shown)
    done: list[Ingested] = []
    broken: list[CopsError] = []
    for row in heads:
        try:
            done.append(_source(books, period, row))
        except CopsError as problem:
            if problem.code not in BROKEN:
                raise
            broken.append(problem)
    done += [_take_back(books, period, source) for source in gone]
    if broken and not done:
        raise broken[0]
    return done


def not_ingested(con: sa.Connection, period: Period) -> list[str]:
    """The sources whose shown delivery is not the ingested one; of a closed month what stands is."""
    if lock.is_sealed(con, period):
        return []
    shown = t.cur_billing_head
    found = []
    for row in con.execute(
        sa.select(shown).where(shown.c.period_start == period.start).order_by(shown.c.source_id)
    ):
        raw = head(con, TABLE, period, row.source_id)
        if raw is None or raw.inputs_id != inputs_of(row.delivery_id, row.source_id, period):
            found.append(str(row.source_id))
    return found


def is_current(con: sa.Connection, period: Period) -> bool:
    """What is ingested is what readers see of each source, and nothing of a source that no longer counts."""
    cur_billing_head = t.cur_billing_head
    shown = con.execute(
        sa.select(cur_billing_head.c.source_id).where(cur_billing_head.c.period_start == period.start)
    ).scalars()
    return not not_ingested(con, period) and not _gone(con, period, set(shown))


def _gone(con: sa.Connection, period: Period, shown: set[str]) -> list[str]:
    """Sources with ingested lines that readers no longer see a delivery of."""
    period_head = t.period_head
    heads = con.execute(
        sa.select(period_head.c.source_id, period_head.c.inputs_id)
        .where(period_head.c.table_name == TABLE, period_head.c.period_start == period.start)
        .order_by(period_head.c.source_id)
    ).all()
    return [
        row.source_id
        for row in heads
        if row.source_id not in shown and row.inputs_id != nothing_of(row.source_id, period)
    ]


def nothing_of(source_id: str, period: Period) -> str:
    """The id of an ingestion's inputs where a source delivers nothing that counts."""
    return digest(TABLE, ALGORITHM, str(period), source_id, "nothing")


def _take_back(books: Books, period: Period, source_id: str) -> Ingested:
    """An empty run supersedes the source's lines; allocation then reverses what was posted of them."""
    inputs_id = nothing_of(source_id, period)

    def once() -> Ingested:
        with books.admin.read() as con:
            before = head(con, TABLE, period, source_id)
        predecessor = before.run_id if before else None
        if before is not None and before.inputs_id == inputs_id:
            return Ingested(source_id, before.run_id, None, wrote=False)
        run_id = digest(inputs_id, predecessor)
        raw = Publication(
            TABLE,
            period,
            source_id,
            run_id,
            inputs_id,
            predecessor,
            [],
            raw_verdicts(kept_bytes.NO_LINES, 0, Decimal(0)),
        )
        publish(books, raw, *_aside(books, None, raw, None))
        return Ingested(source_id, run_id, None, wrote=True)

    return settle(f"ingestion of {period}", once)


def inputs_of(delivery_id: str, source_id: str, period: Period) -> str:
    """The id of an ingestion's inputs: equal inputs, nothing to write."""
    return digest(TABLE, ALGORITHM, cur_schema.REVISION, str(period), source_id, delivery_id)


def _source(books: Books, period: Period, delivery: Any) -> Ingested:
    inputs_id = inputs_of(delivery.delivery_id, delivery.source_id, period)

    def once() -> Ingested:
        with books.admin.read() as con:
            before = head(con, TABLE, period, delivery.source_id)
            if before is not None and lock.is_sealed(con, period):  # what stands answers any inputs
                return Ingested(delivery.source_id, before.run_id, delivery.delivery_id, wrote=False)
            current = (
                before is not None
                and before.inputs_id == inputs_id
                and live.intact(con, books.lake, TABLE, period.start, before.run_id)
                and live.intact(con, books.lake, QUARANTINE, period.start, digest(QUARANTINE, before.run_id))
            )
        predecessor = before.run_id if before else None
        if predecessor and current:
            return Ingested(delivery.source_id, predecessor, delivery.delivery_id, wrote=False)
        run_id = digest(inputs_id, predecessor)
        with attempt(books) as trying:
            _run(books, trying, period, delivery, inputs_id, run_id, predecessor)
        return Ingested(delivery.source_id, run_id, delivery.delivery_id, wrote=True)

    return settle(f"ingestion of {period}", once)


def _run(
    books: Books,
    trying: Attempt,
    period: Period,
    delivery: Any,
    inputs_id: str,
    run_id: str,
    predecessor: str | None,
) -> None:
    log_seq = log.started(books, trying, run_id, delivery, period.start)
    try:
        kept = _kept(books, trying, delivery, period, run_id)
        raw = Publication(
            TABLE,
            period,
            delivery.source_id,
            run_id,
            inputs_id,
            predecessor,
            _staged(kept, is_aside=False),
            raw_verdicts(
                kept.measured.figures,
                delivery.row_count,
                delivery.cost_usd,
                kept.measured.aside(),
                halves=kept.measured.halves,
            ),
        )
        aside = _aside(books, trying, raw, kept)
        publish(
            books,
            raw,
            *aside,
            also=lambda con: log.finished(
                con, log_seq, "succeeded", accepted=kept.measured.booked(), aside=kept.measured.aside()
            ),
        )
    except BaseException as problem:
        status = "skipped" if isinstance(problem, Superseded) else "failed"
        with books.admin.write() as con:
            log.finished(con, log_seq, status, problem=problem)
        raise


def _kept(books: Books, trying: Attempt, delivery: Any, period: Period, run_id: str) -> Kept:
    """The delivery's bytes in the lake, under the run's path, and what they come to."""
    breakdown = t.cur_delivery_breakdown
    with books.admin.read() as con:
        converted = record.read_files(con, delivery.delivery_id)
        accounts = con.execute(
            sa.select(breakdown.c.value).where(
                breakdown.c.delivery_id == delivery.delivery_id, breakdown.c.dimension == "account"
            )
        ).scalars()
        bad = cur_schema.untrusted_accounts(accounts)
    files = DeliveredFiles.recorded(delivery, books.settings.home, converted)
    return kept_bytes.keep(books, files, period, trying.target(TABLE, period, run_id), bad)


def _staged(kept: Kept, *, is_aside: bool) -> list[Staged]:
    through, pool = kept.measured.lens.as_json(), [] if is_aside else pools.as_json(kept.measured.pool)
    return [
        Staged(
            path,
            kept.files.source_id,
            kept.files.delivery_id,
            part.rows,
            part.cost,
            {"lens": through, "pool": pool if number == 0 else []},  # the pool is the whole delivery's
            is_kept=True,
            sha256=sha256,
        )
        for number, (path, sha256, part) in enumerate(kept.parts(is_aside=is_aside))
    ]


def _aside(books: Books, trying: Attempt | None, raw: Publication, kept: Kept | None) -> list[Publication]:
    """The publication of lines set aside: with `raw` or not at all, and empty when a re-run has none.

    Its files are the kept ones that hold such lines, under a name of their own: the same bytes, read for what
    the lines of `raw` leave out.
    """
    with books.admin.read() as con:
        before = head(con, QUARANTINE, raw.period, raw.source_id)
    run_id = digest(QUARANTINE, raw.run_id)
    staged = []
    for one in _staged(kept, is_aside=True) if kept else ():
        if one.rows and trying:
            target = trying.target(QUARANTINE, raw.period, run_id).with_name(one.path.name)
            keeping.keep(one.path, target, is_ours=True)
            staged.append(replace(one, path=target))
    if not staged and before is None:
        return []
    return [
        Publication(
            QUARANTINE,
            raw.period,
            raw.source_id,
            run_id,
            digest(QUARANTINE, raw.inputs_id),
            before.run_id if before else None,
            staged,
            [],
        )
    ]


def raw_verdicts(
    figures: dict[str, Any],
    rows: int,
    cost: Decimal,
    aside: tuple[int, Decimal] = (0, Decimal(0)),
    *,
    halves: Sequence[commitments.Half] = (),
) -> list[verdict.Verdict]:
    """The checks of `fact_cost_raw` over measured figures, what was delivered and what was set aside."""
    return [
        rows_match_delivery(rows, figures["row_count"], aside[0]),
        cost_matches_delivery(cost, figures["cost_usd"], aside[1]),
        cost_views_bridge(
            {name: figures["cost_usd" if name == "unblended" else f"{name}_usd"] for name in VIEWS},
            figures["absolute_usd"],
            sum((half.residual for half in halves), Decimal(0)),
            sum((half.net_residual for half in halves), Decimal(0)),
        ),
        commitments.commitments_are_delivered_whole(halves),
    ]


def published_views(con: sa.Connection, period: Period) -> dict[str, Decimal]:
    """Total of each cost view over a period's published lines, as measured when they were published.

    The files are the published ones (their digests are verified), so their sums are too: a second scan
    of 10 M lines would take 1.5 s to find the same digits. Views that came later than the publication
    are left out.
    """
    heads, journal = t.period_head, t.publish_journal
    totals = dict.fromkeys(VIEWS, Decimal(0))
    rows = con.execute(
        sa.select(journal.c.verdicts_json)
        .join(heads, heads.c.run_id == journal.c.run_id)
        .where(heads.c.table_name == TABLE, heads.c.period_start == period.start)
    ).scalars()
    for text in rows:
        (bridge,) = [one for one in json.loads(text) if one["check"] == "cost_views_bridge"]
        for name in VIEWS:
            if f"{name}_usd" not in bridge["figures"]:
                totals.pop(name, None)
            elif name in totals:
                totals[name] += Decimal(bridge["figures"][f"{name}_usd"])
    return totals
