"""Ingestion: one delivery of one source becomes `fact_cost_raw`, every line once, money exact.

Belongs here: staging, the verdicts that hold it against the delivery, the log row of the attempt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.cur import schema as cur_schema
from cops_dagster.errors import CopsError
from cops_dagster.lake import live, statements
from cops_dagster.lake.delivered import DeliveredFiles, delivered_query
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.namespace import over_files, view
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.ledger.attempt import Attempt, attempt
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import Publication, Staged, Superseded, head, publish, settle
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.rules import verdicts
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

TABLE = "fact_cost_raw"
VIEWS = ("unblended", "amortized", "net_unblended", "net_amortized", "true_up", "upfront")
"""The cost views of a line (FinOps formulas, see docs/cur-ingestion.md)."""
ALGORITHM = "raw-1"
"""Raised when the same delivery would give other rows; it is part of every id made here."""


@dataclass(frozen=True)
class Ingested:
    """Outcome for one source: the run that readers see now, and whether this call made it."""

    source_id: str
    run_id: str
    delivery_id: str
    wrote: bool


def ingest(books: Books, period: Period) -> list[Ingested]:
    """Ingests the newest complete delivery of every source of a period; unchanged ones are left alone.

    Raises:
        CopsError: whatever a delivery is refused for; the source's previous month stays.
    """
    with books.admin.read() as con:
        heads = con.execute(
            sa.select(t.cur_billing_head.c.location_json, t.cur_delivery)
            .join(t.cur_delivery, t.cur_delivery.c.delivery_id == t.cur_billing_head.c.delivery_id)
            .where(t.cur_billing_head.c.period_start == period.start)
            .order_by(t.cur_billing_head.c.source_id)
        ).all()
    return [_source(books, period, row) for row in heads]


def inputs_of(delivery_id: str, source_id: str, period: Period) -> str:
    """The id of an ingestion's inputs: equal inputs, nothing to write."""
    return digest(TABLE, ALGORITHM, cur_schema.REVISION, str(period), source_id, delivery_id)


def _source(books: Books, period: Period, delivery: Any) -> Ingested:
    inputs_id = inputs_of(delivery.delivery_id, delivery.source_id, period)

    def once() -> Ingested:
        with books.admin.read() as con:
            before = head(con, TABLE, period, delivery.source_id)
            root = books.settings.lake_root
            current = (
                before is not None
                and before.inputs_id == inputs_id
                and live.intact(con, root, TABLE, period.start, before.run_id)
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
    files = DeliveredFiles.recorded(delivery, books.settings.home)
    log_seq = _started(books, trying, run_id, delivery, period.start)
    try:
        _check_bytes(books, files)
        target = trying.target(TABLE, period, run_id)
        with books.engine() as engine:
            staged, judged = stage(engine, files, period, target, delivery.row_count, delivery.cost_usd)
        publish(
            books,
            Publication(TABLE, period, delivery.source_id, run_id, inputs_id, predecessor, [staged], judged),
            also=lambda con: _finished(con, log_seq, "succeeded", staged=staged),
        )
    except BaseException as problem:
        if isinstance(problem, Exception):
            status = "skipped" if isinstance(problem, Superseded) else "failed"
            with books.admin.write() as con:
                _finished(con, log_seq, status, problem=problem)
        raise


def stage(
    engine: Engine, files: DeliveredFiles, period: Period, target: Path, rows: int, cost: Decimal
) -> tuple[Staged, list[verdicts.Verdict]]:
    """Stages a delivery's lines and holds them against the delivery's own figures."""
    view(engine, "delivered_lines", delivered_query(files))
    columns = _written_columns(files.columns)
    lines = _with_added_columns(files.columns).subquery("lines")
    statement = exp.select(*[exp.column(name, quoted=True) for name in columns]).from_(lines)
    engine.stage(statement, target, {"period_start": period.start})
    view(engine, TABLE, over_files(FACT_COST_RAW, [target]))
    figures = engine.fetch("measure_fact_cost_raw", {"period_start": period.start}).one()
    staged = Staged(
        target, files.source_id, files.delivery_id, figures["row_count"], figures["cost_usd"], columns
    )
    return staged, raw_verdicts(figures, rows, cost)


def raw_verdicts(figures: dict[str, Any], rows: int, cost: Decimal) -> list[verdicts.Verdict]:
    """The checks of `fact_cost_raw` over measured figures and what was delivered."""
    return [
        verdicts.rows_match_delivery(rows, figures["row_count"], 0),
        verdicts.cost_matches_delivery(cost, figures["cost_usd"], Decimal(0)),
        verdicts.cost_views_bridge(
            {name: figures["cost_usd" if name == "unblended" else f"{name}_usd"] for name in VIEWS},
            figures["absolute_usd"],
        ),
    ]  # fmt: skip


def published_views(con: sa.Connection, period: Period) -> dict[str, Decimal]:
    """Total of each cost view over a period's published lines, as measured when they were published.

    The files are the published ones (their digests are verified), so their sums are too: a second scan
    of 10 M lines would take 1.5 s to find the same digits.
    """
    h, j = t.period_head, t.publish_journal
    totals = dict.fromkeys(VIEWS, Decimal(0))
    rows = con.execute(
        sa.select(j.c.verdicts_json)
        .join(h, h.c.run_id == j.c.run_id)
        .where(h.c.table_name == TABLE, h.c.period_start == period.start)
    ).scalars()
    for text in rows:
        (bridge,) = [one for one in json.loads(text) if one["check"] == "cost_views_bridge"]
        for name in VIEWS:
            totals[name] += Decimal(bridge["figures"][f"{name}_usd"])
    return totals


def _written_columns(delivered: dict[str, str]) -> tuple[str, ...]:
    """Expected columns that AWS sent, COPS' own, then what AWS added.

    An expected column that was not sent is not written: every view supplies it as NULL, and 15 columns
    of nothing took 13 % of the copy's time (measured).
    """
    sent = {name.lower() for name in delivered}
    made = sent | {"product_servicecode"}  # a service is never empty, even where AWS sent no such column
    expected = [name for name, _ in FACT_COST_RAW if name not in cur_schema.BY_NAME or name in made]
    return (*expected, *map(cur_schema.kept_as, cur_schema.unexpected(delivered)))


def _with_added_columns(delivered: dict[str, str]) -> exp.Select:
    """The statement, with the columns AWS added appended behind the expected ones; blank tags NULL."""
    tree = statements.parsed("stage_fact_cost_raw")
    lines = next(cte.this for cte in tree.find_all(exp.CTE) if cte.alias == "lines")
    for name in map(cur_schema.kept_as, cur_schema.unexpected(delivered)):
        column = exp.column(name, quoted=True)
        value: exp.Expr = column
        if name.lower().startswith("resource_tags_"):
            given = exp.NEQ(this=exp.func("TRIM", column.copy()), expression=exp.Literal.string(""))
            value = exp.Case().when(given, column)
        lines.select(exp.alias_(value, name, quoted=True), copy=False)
    return tree


def _check_bytes(books: Books, files: DeliveredFiles) -> None:
    """The bytes about to be read are the ones that were digested at first sight."""
    files.verify_unchanged()
    with books.admin.read() as con:
        f = t.cur_delivery_file
        recorded = con.execute(
            sa.select(f).where(f.c.delivery_id == files.delivery_id).order_by(f.c.position)
        ).all()
    live.verify(
        [
            live.LiveFile(
                "cur_billing_master", date.min, files.source_id, files.delivery_id,
                path, row.sha256, size, version,
            )
            for path, size, version, row in zip(
                files.paths, files.sizes, files.versions, recorded, strict=True
            )
        ],
        digests=True,
    )  # fmt: skip


def _started(books: Books, trying: Attempt, run_id: str, delivery: Any, period_start: date) -> int:
    with books.admin.write() as con:
        f = t.cur_delivery_file
        digests = con.execute(
            sa.select(f.c.name, f.c.sha256)
            .where(f.c.delivery_id == delivery.delivery_id)
            .order_by(f.c.position)
        ).all()
        inserted = con.execute(
            sa.insert(t.cur_ingestion_log)
            .values(
                run_id=run_id, attempt_id=trying.attempt_id, source_id=delivery.source_id,
                delivery_id=delivery.delivery_id, period_start=period_start, status="running",
                rows_in=delivery.row_count, cost_in_usd=delivery.cost_usd,
                digest_list=json.dumps([[row.name, row.sha256] for row in digests]),
                actor=books.actor, dagster_run_id=books.dagster_run_id, started_at=now(),
            )
            .returning(t.cur_ingestion_log.c.log_seq)
        )  # fmt: skip
        return int(inserted.scalar_one())


def _finished(
    con: sa.Connection,
    log_seq: int,
    status: str,
    *,
    staged: Staged | None = None,
    problem: Exception | None = None,
) -> None:
    values: dict[str, object] = {"status": status, "finished_at": now()}
    if staged:
        values |= {
            "rows_accepted": staged.rows, "rows_quarantined": 0,
            "cost_accepted_usd": staged.cost, "cost_quarantined_usd": Decimal(0),
        }  # fmt: skip
    if problem:
        values |= {
            "error_code": problem.code if isinstance(problem, CopsError) else "E-INTERNAL",
            "error_detail": str(problem),
        }
    con.execute(
        sa.update(t.cur_ingestion_log).where(t.cur_ingestion_log.c.log_seq == log_seq).values(**values)
    )
