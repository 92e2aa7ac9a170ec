"""A delivery's lines as they are staged: those that can be booked, those set aside, both measured.

Belongs here: which columns are written, and the verdicts that hold the lines against the delivery. Does not
belong here: who reads the files, and publishing (`ingestion/ingest.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster import revision
from cops_dagster.cur import schema
from cops_dagster.cur.schema import Sent
from cops_dagster.ingestion import commitments, net_unused
from cops_dagster.ingestion.verdicts import cost_matches_delivery, cost_views_bridge, rows_match_delivery
from cops_dagster.lake import statements
from cops_dagster.lake.delivered import DeliveredFiles, added_columns, lines_query
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.tables import CUR_QUARANTINE, FACT_COST_RAW
from cops_dagster.lake.views import over_files, view
from cops_dagster.ledger.publish import Staged
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict

TABLE = "fact_cost_raw"
QUARANTINE = "cur_quarantine"
VIEWS = (
    "unblended", "amortized", "net_unblended", "net_amortized", "true_up", "upfront", "net_true_up",
    "net_upfront",
)  # fmt: skip
"""The cost views of a line (FinOps formulas, see docs/cur-ingestion.md)."""


@dataclass(frozen=True)
class Staging:
    """A delivery's lines as staged: those that can be booked, those set aside, and what was judged."""

    raw: Staged
    quarantined: Staged | None
    verdicts: list[Verdict]


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
        of: revision of the rules (`revision.py`).
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
    raw = Staged(target, files.delivery_id, figures["row_count"], figures["cost_usd"], columns)
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
    return Staged(target, files.delivery_id, figures["row_count"], figures["cost_usd"], columns)


NO_LINES: dict[str, Any] = {"row_count": 0} | dict.fromkeys(
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
) -> list[Verdict]:
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


def _written_columns(delivered: dict[str, Sent]) -> tuple[str, ...]:
    """Expected columns that AWS sent, COPS' own, then what AWS added.

    An expected column that was not sent is not written: every view supplies it as NULL, and 15 columns
    of nothing took 13 % of the copy's time (measured).
    """
    sent = {name.lower() for name in delivered}
    made = sent | {"product_servicecode"}  # a service is never empty, even where AWS sent no such column
    expected = [name for name, _ in FACT_COST_RAW if name not in schema.BY_NAME or name in made]
    return (*expected, *map(schema.kept_as, added_columns(delivered)))


def _written(name: str) -> exp.Expr:
    if name == "product_servicecode":
        return exp.alias_(exp.column("service"), name, quoted=True)
    return exp.column(name, quoted=True)
