"""Ingestion: one delivery of one source becomes `fact_cost_raw`, every line once, money exact.

Belongs here: what is ingested already, and publishing a delivery's lines. Does not belong here: keeping the
bytes (`ingestion/kept_bytes.py`), what they come to and how that is judged (`ingestion/measures.py`), the
attempt's row (`ingestion/log.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts.publish import publish
from cops_dagster.cur import schema
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import kept_bytes, log, measures, record, verdicts
from cops_dagster.ingestion.kept_bytes import Kept
from cops_dagster.ingestion.measures import QUARANTINE, Part
from cops_dagster.lake import keeping, live
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.tables import KEPT
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.ledger.publish import Publication, Staged
from cops_dagster.ledger.run import Attempt, Run, attempt, id_beside, settle
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.aws import outlines

TABLE = measures.TABLE
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
        shown = month.shown(con, period)
        gone = [] if lock.is_sealed(con, period) else _gone(con, period, {row.source_id for row in shown})
    subject = f"ingestion of {period}"
    done: list[Ingested] = []
    broken: list[CopsError] = []
    for row in shown:
        try:
            done.append(settle(subject, _source, books, period, row))
        except CopsError as problem:
            if problem.code not in BROKEN:
                raise
            broken.append(problem)
    done += [settle(subject, _take_back, books, period, source) for source in gone]
    if broken and not done:
        raise broken[0]
    return done


def not_ingested(con: sa.Connection, period: Period) -> list[str]:
    """The sources whose shown delivery is not the ingested one; of a closed month what stands is."""
    if lock.is_sealed(con, period):
        return []
    found = []
    for row in month.shown(con, period):
        raw = head(con, TABLE, period, row.source_id)
        if raw is None or raw.inputs_id != inputs_of(row.delivery_id, row.source_id, period):
            found.append(str(row.source_id))
    return found


def is_current(con: sa.Connection, period: Period) -> bool:
    """What is ingested is what readers see of each source, and nothing of a source that no longer counts."""
    shown = {row.source_id for row in month.shown(con, period)}
    return not not_ingested(con, period) and not _gone(con, period, shown)


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
    with books.admin.read() as con:
        before = head(con, TABLE, period, source_id)
    if before is not None and before.inputs_id == inputs_id:
        return Ingested(source_id, before.run_id, None, wrote=False)
    run = Run(TABLE, period, source_id, inputs_id, before.run_id if before else None)
    judged = measures.raw_verdicts(measures.NO_LINES, Part(), Part())
    publish(books, Publication(run, [], judged), *_aside(books, run, []))
    return Ingested(source_id, run.id, None, wrote=True)


def inputs_of(delivery_id: str, source_id: str, period: Period) -> str:
    """The id of an ingestion's inputs: equal inputs, nothing to write."""
    return digest(TABLE, ALGORITHM, schema.REVISION, str(period), source_id, delivery_id)


def _source(books: Books, period: Period, delivery: Any) -> Ingested:
    source_id, delivery_id = delivery.source_id, delivery.delivery_id
    inputs_id = inputs_of(delivery_id, source_id, period)
    with books.admin.read() as con:
        before = head(con, TABLE, period, source_id)
        if before is not None and (
            lock.is_sealed(con, period)  # what stands answers any inputs
            or (before.inputs_id == inputs_id and _intact(con, books, period, before.run_id))
        ):
            return Ingested(source_id, before.run_id, delivery_id, wrote=False)
    run = Run(TABLE, period, source_id, inputs_id, before.run_id if before else None)
    with attempt(books) as trying, log.logged(books, trying, run, delivery):
        kept = _kept(books, trying, run, delivery)
        measured = kept.measured
        delivered = Part(delivery.row_count, delivery.cost_usd)
        judged = measures.raw_verdicts(measured.figures, delivered, measured.aside, halves=measured.halves)
        publish(
            books,
            Publication(run, _staged(kept, is_aside=False), judged),
            *_aside(books, run, _named_aside(trying, run, kept)),
            also=lambda con: log.succeeded(con, trying, measured.booked, measured.aside),
        )
    return Ingested(source_id, run.id, delivery_id, wrote=True)


def _intact(con: sa.Connection, books: Books, period: Period, run_id: str) -> bool:
    return all(
        live.intact(con, books.lake, table, period.start, one)
        for table, one in ((TABLE, run_id), (QUARANTINE, id_beside(QUARANTINE, run_id)))
    )


def _kept(books: Books, trying: Attempt, run: Run, delivery: Any) -> Kept:
    """The delivery's bytes in the lake, under the run's path, and what they come to."""
    breakdown = t.cur_delivery_breakdown
    with books.admin.read() as con:
        converted = record.read_files(con, delivery.delivery_id)
        accounts = con.execute(
            sa.select(breakdown.c.value).where(
                breakdown.c.delivery_id == delivery.delivery_id, breakdown.c.dimension == "account"
            )
        ).scalars()
        bad = schema.untrusted_accounts(accounts)
        profiles = t.cur_delivery_profile
        aside = con.execute(
            sa.select(profiles.c.quarantined_rows).where(profiles.c.delivery_id == delivery.delivery_id)
        ).scalar()
    files = DeliveredFiles.recorded(delivery, books.settings.home, converted)
    target = trying.target(TABLE, run.period, run.id)
    return kept_bytes.keep(books, files, run.period, target, bad, has_faults=aside != 0)


def _staged(kept: Kept, *, is_aside: bool) -> list[Staged]:
    through = {"lens": kept.measured.lens.as_json()}
    first = through if is_aside else through | kept.measured.as_json()
    return [
        Staged(
            path,
            kept.files.delivery_id,
            part.rows,
            part.cost,
            through if number else first,
            KEPT,
        )
        for number, (path, part) in enumerate(kept.parts(is_aside=is_aside))
    ]


def _named_aside(trying: Attempt, raw: Run, kept: Kept) -> list[Staged]:
    """The kept files that hold lines set aside, under a name of their own: a run names its own files."""
    named = []
    for one in _staged(kept, is_aside=True):
        if one.rows:
            target = trying.target(QUARANTINE, raw.period, raw.id).with_name(one.path.name)
            if outline := outlines.of(trying.books.settings.lake_root, one.path):
                outlines.another(one.path, target, outline)
            else:
                keeping.keep(one.path, target, is_ours=True)
            named.append(replace(one, path=target))
    return named


def _aside(books: Books, raw: Run, staged: list[Staged]) -> list[Publication]:
    """The publication of lines set aside: with `raw` or not at all, and empty when a re-run has none."""
    with books.admin.read() as con:
        before = head(con, QUARANTINE, raw.period, raw.source_id)
    if not staged and before is None:
        return []
    return [Publication(raw.beside(QUARANTINE, before.run_id if before else None), staged, [])]


def published_views(con: sa.Connection, period: Period) -> dict[str, Decimal]:
    """Total of each cost view over a period's published lines, as measured when they were published.

    The files are the published ones (their digests are verified), so their sums are too: a second scan
    of 10 M lines would take 1.5 s to find the same digits. Views that came later than the publication
    are left out.
    """
    totals = dict.fromkeys(measures.VIEWS, Decimal(0))
    for run in month.runs(con, period, TABLE):
        judged = json.loads(run.verdicts_json)
        (bridge,) = [one for one in judged if one["check"] == verdicts.COST_VIEWS_BRIDGE.name]
        for name in measures.VIEWS:
            if f"{name}_usd" not in bridge["figures"]:
                totals.pop(name, None)
            elif name in totals:
                totals[name] += Decimal(bridge["figures"][f"{name}_usd"])
    return totals
