"""The log of allocation attempts: what each was made from, how it ended, and what proves it.

Belongs here: rows of `allocation_run_log`. A row is written when an attempt begins and completed once; a
published one is completed in the transaction that publishes. Does not belong here: the runs themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.lake import statements
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt, Superseded
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


@dataclass(frozen=True)
class Run:
    """What a run is made from, as its log row tells it."""

    run_id: str
    inputs_id: str
    predecessor_run_id: str | None
    delivery_ids: Sequence[str]
    rules: Sequence[tuple[str, int]]
    params: dict[str, Any]
    algorithm: str
    statement: str
    note: str | None = None
    evidence_links: str | None = None


@contextmanager
def logged(books: Books, trying: Attempt, period: Period, run: Run) -> Iterator[None]:
    """Logs the attempt; an exception completes its row as refused or failed and goes on."""
    _started(books, trying, period, run)
    try:
        yield
    except BaseException as problem:
        status = "refused" if isinstance(problem, (CopsError, Superseded)) else "failed"
        code = problem.code if isinstance(problem, CopsError) else type(problem).__name__
        if not isinstance(problem, Exception):
            code = "E-INTERRUPTED"
        with books.admin.write() as con:
            _finish(con, trying, {"status": status, "error_code": code, "error_detail": str(problem)})
        raise


def published(con: sa.Connection, trying: Attempt, figures: dict[str, Any], evidence_id: int) -> None:
    """Completes the row in the transaction that publishes the run."""
    _finish(
        con,
        trying,
        {
            "status": "published",
            "pool_total_usd": figures["allocated_usd"],
            "allocated_total_usd": figures["allocated_usd"],
            "unallocated_total_usd": figures["unallocated_usd"],
            "entry_count": figures["entry_count"],
            "evidence_id": str(evidence_id),
        },
    )


def _started(books: Books, trying: Attempt, period: Period, run: Run) -> None:
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.allocation_run_log).values(
                attempt_id=trying.attempt_id,
                run_id=run.run_id,
                inputs_id=run.inputs_id,
                predecessor_run_id=run.predecessor_run_id,
                period_start=period.start,
                status="running",
                delivery_ids=json.dumps(run.delivery_ids),
                rules_json=json.dumps(run.rules),
                params_json=json.dumps(run.params),
                algorithm_version=run.algorithm,
                sql_sha256=statements.sha256(run.statement),
                note=run.note,
                evidence_links=run.evidence_links,
                actor=books.actor,
                dagster_run_id=books.dagster_run_id,
                started_at=now(),
            )
        )


def _finish(con: sa.Connection, trying: Attempt, values: dict[str, Any]) -> None:
    log = t.allocation_run_log
    con.execute(
        sa.update(log)
        .where(log.c.attempt_id == trying.attempt_id, log.c.status == "running")
        .values(finished_at=now(), **values)
    )
