"""The log of allocation attempts: what each was made from, how it ended, and what proves it.

Belongs here: rows of `allocation_run_log`. A row is written when an attempt begins and completed once; a
published one is completed in the transaction that publishes. Does not belong here: the runs themselves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.attempts import complete, logged_in
from cops_dagster.lake import statements
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Attempt, Run, Superseded
from cops_dagster.stores import tables as t


@dataclass(frozen=True)
class Recipe:
    """What a run is made from, as its log row tells it."""

    run: Run
    delivery_ids: Sequence[str]
    rules: Sequence[tuple[str, int]]
    params: dict[str, Any]
    algorithm: str
    statement: str
    note: str | None = None
    evidence_links: str | None = None


def logged(books: Books, trying: Attempt, recipe: Recipe) -> AbstractContextManager[None]:
    """Logs the attempt; an exception completes its row as refused or failed and goes on."""
    return logged_in(
        books,
        trying,
        recipe.run,
        t.allocation_run_log,
        _ending,
        inputs_id=recipe.run.inputs_id,
        predecessor_run_id=recipe.run.predecessor,
        delivery_ids=json.dumps(recipe.delivery_ids),
        rules_json=json.dumps(recipe.rules),
        params_json=json.dumps(recipe.params),
        algorithm_version=recipe.algorithm,
        sql_sha256=statements.sha256(recipe.statement),
        note=recipe.note,
        evidence_links=recipe.evidence_links,
    )


def published(con: sa.Connection, trying: Attempt, figures: dict[str, Any], evidence_id: int) -> None:
    """Completes the row in the transaction that publishes the run."""
    complete(
        con,
        trying,
        t.allocation_run_log,
        "published",
        pool_total_usd=figures["allocated_usd"],
        allocated_total_usd=figures["allocated_usd"],
        unallocated_total_usd=figures["unallocated_usd"],
        entry_count=figures["entry_count"],
        evidence_id=str(evidence_id),
    )


def _ending(problem: BaseException) -> tuple[str, str]:
    status = "refused" if isinstance(problem, (CopsError, Superseded)) else "failed"
    if not isinstance(problem, Exception):
        return status, "E-INTERRUPTED"
    return status, problem.code if isinstance(problem, CopsError) else type(problem).__name__
