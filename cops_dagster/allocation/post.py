"""Posting a plan: its entries with the reversal of the run they replace, measured, proved and published.

Belongs here: the way from the engine's `posted_entries` to the journal, for a run of any kind. Does not
belong here: what is posted (`allocation/allocate.py`, `allocation/reverse.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts.publish import publish
from cops_dagster.allocation import mismatch, run_log
from cops_dagster.allocation.run_log import Recipe
from cops_dagster.allocation.verdicts import allocated_equals_pool
from cops_dagster.evidence import certificate, chain
from cops_dagster.lake.engine import Engine, Value
from cops_dagster.lake.tables import FACT_COST_ALLOCATED
from cops_dagster.lake.views import over_files, view
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import ALLOCATED
from cops_dagster.ledger.publish import Publication, Staged
from cops_dagster.ledger.run import Attempt
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict

STATEMENT = "stage_fact_cost_allocated"


@dataclass(frozen=True)
class Posted:
    """A staged run: its file, what was measured of it (`faults` as in `mismatch`), the verdicts on it."""

    staged: Staged
    figures: dict[str, Any]
    conservation: list[dict[str, Any]]
    judged: list[Verdict]
    faults: tuple[Decimal, Decimal]


def stage(engine: Engine, target: Path, published: list[Path], recipe: Recipe) -> Posted:
    """Stages the engine's `posted_entries` with the reversal of the run that they replace, and measures."""
    run, period = recipe.run, recipe.run.period
    params = write(engine, target, period, run.id, run.predecessor)
    before = engine.fetch("measure_fact_cost_allocated", params | {"run_id": run.predecessor or ""}).one()
    # from here on the table is what readers would see: everything published plus this file
    view(engine, ALLOCATED, over_files(FACT_COST_ALLOCATED, [*published, target]))
    figures = engine.fetch("measure_fact_cost_allocated", params).one()
    conservation = engine.fetch("fetch_conservation", {"period_start": period.start}).dicts()
    tagged = engine.fetch("measure_fact_cost_tagged", {"period_start": period.start}).one()
    own = (
        ("this run", figures["allocated_usd"] - tagged["unblended_usd"]),
        ("its reversal", figures["reversed_usd"] + before["allocated_usd"]),
    )
    differing = [
        *unequal(conservation),
        *({"service": part, "unblended_difference_usd": left} for part, left in own if left),
    ]
    staged = Staged(
        target,
        ",".join(recipe.delivery_ids),
        figures["entry_count"],
        figures["net_usd"],
        tuple(name for name, _ in FACT_COST_ALLOCATED),
    )
    judged = [allocated_equals_pool(differing, figures["allocated_usd"])]
    return Posted(staged, figures, conservation, judged, mismatch.measured(engine, period))


def write(
    engine: Engine, target: Path, period: Period, run_id: str, predecessor_run_id: str | None
) -> dict[str, Value]:
    """Writes a run's entries: the engine's `posted_entries`, and the reversal of the run they replace."""
    params: dict[str, Value] = {
        "period_start": period.start,
        "run_id": run_id,
        "predecessor_run_id": predecessor_run_id or "",
    }
    engine.stage(STATEMENT, target, params)
    return params


def unequal(conservation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The services and classes of which not every delivered cent was posted."""
    return [row for row in conservation if any(row[name] for name in row if name.endswith("_difference_usd"))]


def publish_run(
    books: Books,
    con: sa.Connection,
    trying: Attempt,
    recipe: Recipe,
    posted: Posted,
    judged: list[Verdict],
    *,
    sql: tuple[str, ...],
    also: Callable[[sa.Connection], None] = lambda _: None,
) -> None:
    """Stores what proves a staged run, then publishes it with its log row and its evidence index."""
    run = recipe.run
    about = {
        "run_id": run.id, "inputs_id": run.inputs_id, "predecessor_run_id": run.predecessor,
        "algorithm": recipe.algorithm, "params": recipe.params,
        "rules": [list(rule) for rule in recipe.rules], "note": recipe.note,
    }  # fmt: skip
    pieces = certificate.of_run(
        books,
        con,
        run.period,
        about,
        sql=sql,
        delivery_ids=recipe.delivery_ids,
        conservation=posted.conservation,
        figures=posted.figures,
        staged=posted.staged,
        judged=judged,
    )
    kept = chain.store(books, pieces)

    def with_it(writing: sa.Connection) -> None:
        numbers = chain.index(writing, books, kept, run_id=run.id)
        run_log.published(writing, trying, posted.figures, numbers[-1])
        also(writing)

    mismatched = mismatch.verdict(con, run.period, posted.figures["allocated_usd"], *posted.faults)
    publication = Publication(run, [posted.staged], [*judged, mismatched], reverses_run_id=run.predecessor)
    publish(books, publication, also=with_it)
