"""Ingestion: one delivery of one source becomes `fact_cost_raw`, every line once, money exact.

Belongs here: staging, the verdicts that hold it against the delivery, the log row of the attempt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster import verdict
from cops_dagster.alerts.publish import publish
from cops_dagster.cur import schema as cur_schema
from cops_dagster.cur.schema import Sent
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion import commitments, log, net_unused, record, verdicts
from cops_dagster.ingestion.first_sight import new_read_file
from cops_dagster.lake import live, statements
from cops_dagster.lake.delivered import BAD_ACCOUNTS, DeliveredFiles, added_columns, lines_query
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.footers import truncated
from cops_dagster.lake.mend import mend, needs_mending
from cops_dagster.lake.tables import CUR_QUARANTINE, FACT_COST_RAW
from cops_dagster.lake.views import over_files, view
from cops_dagster.ledger import lock, revision
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
            raw_verdicts(_NO_LINES, 0, Decimal(0)),
        )
        publish(books, raw, *_aside(books, period, source_id, raw, None))
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
        files, targets = _files(books, delivery), _targets(trying, period, run_id)
        held = _check_bytes(books, files)
        staging = _read_and_stage(books, files, period, targets, delivery)
        live.require_same(held)
        raw = Publication(
            TABLE,
            period,
            delivery.source_id,
            run_id,
            inputs_id,
            predecessor,
            [staging.raw],
            staging.verdicts,
        )
        aside = _aside(books, period, delivery.source_id, raw, staging.quarantined)
        publish(
            books,
            raw,
            *aside,
            also=lambda con: log.finished(
                con, log_seq, "succeeded", accepted=staging.raw, aside=staging.quarantined
            ),
        )
    except BaseException as problem:
        status = "skipped" if isinstance(problem, Superseded) else "failed"
        with books.admin.write() as con:
            log.finished(con, log_seq, status, problem=problem)
        raise


@dataclass(frozen=True)
class Staging:
    """A delivery's lines as staged: those that can be booked, those set aside, and what was judged."""

    raw: Staged
    quarantined: Staged | None
    verdicts: list[verdict.Verdict]


def _files(books: Books, delivery: Any) -> DeliveredFiles:
    with books.admin.read() as con:
        converted = record.read_files(con, delivery.delivery_id)
    return DeliveredFiles.recorded(delivery, books.settings.home, converted)


def _targets(trying: Attempt, period: Period, run_id: str) -> tuple[Path, Path]:
    return trying.target(TABLE, period, run_id), trying.target(QUARANTINE, period, run_id)


def _read_and_stage(
    books: Books, files: DeliveredFiles, period: Period, targets: tuple[Path, Path], delivery: Any
) -> Staging:
    """Stages in a reader of its own: these bytes are known, but nobody has vouched for them."""
    subject = f"delivery {delivery.source_id} {period}"
    breakdown, profiles = t.cur_delivery_breakdown, t.cur_delivery_profile
    with books.admin.read() as con:
        accounts = con.execute(
            sa.select(breakdown.c.value).where(
                breakdown.c.delivery_id == delivery.delivery_id, breakdown.c.dimension == "account"
            )
        ).scalars()
        bad = cur_schema.untrusted_accounts(accounts)
        faulty = con.execute(
            sa.select(profiles.c.quarantined_rows).where(profiles.c.delivery_id == delivery.delivery_id)
        ).scalar_one_or_none()
    with books.reader(subject, files.reading, books.settings.lake_root) as engine:
        engine.table(BAD_ACCOUNTS, [("account", "VARCHAR")], [(account,) for account in bad])
        try:
            return stage(
                engine,
                files,
                period,
                targets,
                delivery.row_count,
                delivery.cost_usd,
                faulty=bool(faulty),
                judge_accounts=bool(bad),
                of=books.revision,
            )
        except CopsError as problem:
            if not needs_mending(problem) or files.is_converted:
                raise _explained(books, files, problem, subject) from None
    mended = _mended(books, files, subject)
    with books.reader(subject, mended.reading, books.settings.lake_root) as engine:
        engine.table(BAD_ACCOUNTS, [("account", "VARCHAR")], [(account,) for account in bad])
        return stage(
            engine,
            mended,
            period,
            targets,
            delivery.row_count,
            delivery.cost_usd,
            faulty=True,
            judge_accounts=bool(bad),
            of=books.revision,
        )


def _explained(books: Books, files: DeliveredFiles, problem: CopsError, subject: str) -> CopsError:
    """What it means when staging stumbles over a file: other bytes than at first sight, or a broken file."""
    if problem.code != "E-SQL":
        return problem
    live.forget(files.reading)
    try:
        _check_bytes(books, files)
    except CopsError as changed:
        return changed
    return truncated(files.reading[0], subject, problem.found)


def _mended(books: Books, files: DeliveredFiles, subject: str) -> DeliveredFiles:
    """The same files with bytes that are no UTF-8 marked: first sight had no need of their column."""
    made = [mend(path, new_read_file(books), subject=subject) for path in files.reading]
    own = {
        name: Sent("varchar", ((name, None),))
        for name in (cur_schema.FAULT, cur_schema.FAULT_TEXT, cur_schema.LOST)
    }
    record.record_mended(books, files.delivery_id, made)
    return replace(files, columns=files.columns | own, read_paths=tuple(made))


def stage(
    engine: Engine,
    files: DeliveredFiles,
    period: Period,
    targets: tuple[Path, Path],
    rows: int,
    cost: Decimal,
    *,
    faulty: bool = False,
    judge_accounts: bool = False,
    of: int = revision.CURRENT,
) -> Staging:
    """Stages a delivery's lines and holds them against the delivery's own figures.

    Args:
        targets: the files of booked lines and of lines set aside.
        faulty: some lines must be set aside.
        of: revision of the rules (`ledger/revision.py`).
    """
    view(engine, "delivered_lines", lines_query(files, judge_accounts=judge_accounts))
    target, aside = targets
    start: dict[str, Any] = {"period_start": period.start}
    columns = _written_columns(files.columns)
    net_unused.provide(engine, files, start, of)
    lines = statements.parsed("stage_fact_cost_raw").subquery("lines")
    statement = exp.select(*map(_written, columns)).from_(lines)
    if faulty:
        statement = statement.where(exp.column("quarantine_code").is_(exp.null()))
    engine.stage(statement, target, start | {"first_revision": of == revision.FIRST})
    view(engine, TABLE, over_files(FACT_COST_RAW, [target]))
    figures = engine.fetch("measure_fact_cost_raw", start).one()
    raw = Staged(
        target, files.source_id, files.delivery_id, figures["row_count"], figures["cost_usd"], columns
    )
    quarantined = _stage_aside(engine, files, aside, start) if faulty else None
    set_aside = (quarantined.rows, quarantined.cost) if quarantined else (0, Decimal(0))
    judged = raw_verdicts(figures, rows, cost, set_aside, halves=net_unused.halves(engine, period))
    return Staging(raw, quarantined, judged)


def _stage_aside(engine: Engine, files: DeliveredFiles, target: Path, start: dict[str, Any]) -> Staged:
    wanted = {name for name, _ in CUR_QUARANTINE}
    columns = tuple(name for name in _written_columns(files.columns) if name in wanted)
    columns = (*columns, "quarantine_code", "quarantine_reason")
    lines = statements.parsed("stage_cur_quarantine").subquery("lines")
    engine.stage(exp.select(*[exp.column(name, quoted=True) for name in columns]).from_(lines), target, start)
    view(engine, QUARANTINE, over_files(CUR_QUARANTINE, [target]))
    figures = engine.fetch("measure_cur_quarantine", start).one()
    return Staged(
        target, files.source_id, files.delivery_id, figures["row_count"], figures["cost_usd"], columns
    )


def _aside(
    books: Books, period: Period, source_id: str, raw: Publication, quarantined: Staged | None
) -> list[Publication]:
    """The publication of lines set aside: with `raw` or not at all, and empty when a re-run has none."""
    with books.admin.read() as con:
        before = head(con, QUARANTINE, period, source_id)
    staged = [quarantined] if quarantined and quarantined.rows else []
    if not staged and before is None:
        return []
    return [
        Publication(
            QUARANTINE,
            period,
            source_id,
            digest(QUARANTINE, raw.run_id),
            digest(QUARANTINE, raw.inputs_id),
            before.run_id if before else None,
            staged,
            [],
        )
    ]


_NO_LINES: dict[str, Any] = {"row_count": 0} | dict.fromkeys(
    ("cost_usd", "absolute_usd", *(f"{name}_usd" for name in VIEWS if name != "unblended")), Decimal(0)
)
"""What `sql/measure_fact_cost_raw.sql` measures where there are no lines."""


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
        verdicts.rows_match_delivery(rows, figures["row_count"], aside[0]),
        verdicts.cost_matches_delivery(cost, figures["cost_usd"], aside[1]),
        verdicts.cost_views_bridge(
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
        (bridge,) = [one for one in json.loads(text) if one["check"] == verdicts.COST_VIEWS_BRIDGE.name]
        for name in VIEWS:
            if f"{name}_usd" not in bridge["figures"]:
                totals.pop(name, None)
            elif name in totals:
                totals[name] += Decimal(bridge["figures"][f"{name}_usd"])
    return totals


def _written_columns(delivered: dict[str, Sent]) -> tuple[str, ...]:
    """Expected columns that AWS sent, COPS' own, then what AWS added.

    An expected column that was not sent is not written: every view supplies it as NULL, and 15 columns
    of nothing took 13 % of the copy's time (measured).
    """
    sent = {name.lower() for name in delivered}
    made = sent | {"product_servicecode"}  # a service is never empty, even where AWS sent no such column
    expected = [name for name, _ in FACT_COST_RAW if name not in cur_schema.BY_NAME or name in made]
    return (*expected, *map(cur_schema.kept_as, added_columns(delivered)))


def _written(name: str) -> exp.Expr:
    if name == "product_servicecode":
        return exp.alias_(exp.column("service"), name, quoted=True)
    return exp.column(name, quoted=True)


def _check_bytes(books: Books, files: DeliveredFiles) -> live.Held:
    """The bytes about to be read are the ones that were digested at first sight; which files they are."""
    files.verify_unchanged()
    with books.admin.read() as con:
        checked = live.delivered_files(con, books.settings.home, files)
    try:
        return live.verify(checked, digests=True)
    except CopsError:
        record.drop_conversion(books, files.delivery_id)  # where it was that, the next look makes it anew
        raise
