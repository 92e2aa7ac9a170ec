"""A delivery's lines through the lens, in sum, and the verdicts that hold them against the delivery.

Belongs here: the one scan that reads every column, and what is judged by it. Does not belong here: who reads
the files and where they lie (`ingestion/kept_bytes.py`), publishing (`ingestion/ingest.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from operator import add
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.ingestion import commitments, net_unused
from cops_dagster.ingestion.verdicts import cost_matches_delivery, cost_views_bridge, rows_match_delivery
from cops_dagster.lake import pools, statements
from cops_dagster.lake.alike import alike, by
from cops_dagster.lake.delivered import FILE, DeliveredFiles
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.functions import READ_WHOLE
from cops_dagster.lake.inlined import inlined
from cops_dagster.lake.judged import lines_query, quarantine_code
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.live import LiveFile
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.lake.views import empty, union_by_name
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict

TABLE = "fact_cost_raw"
QUARANTINE = "cur_quarantine"
VIEWS = (
    "unblended", "amortized", "net_unblended", "net_amortized", "true_up", "upfront", "net_true_up",
    "net_upfront",
)  # fmt: skip
"""The cost views of a line (FinOps formulas, see docs/cur-ingestion.md)."""
NO_LINES: dict[str, Any] = {"row_count": 0} | dict.fromkeys(
    ("cost_usd", "absolute_usd", *(f"{name}_usd" for name in VIEWS if name != "unblended")), Decimal(0)
)
"""What `sql/measure_lines.sql` measures where there are no lines."""
_ASKED = by(
    "bill_payer_account_id", "line_item_usage_account_id", "savings_plan_savings_plan_a_r_n",
    "reservation_reservation_a_r_n",
)  # fmt: skip
"""What is measured by: who is billed, and the commitment that a line names."""
Costs = tuple[Decimal, ...]
"""Unblended, amortized and net amortized cost in USD."""


@dataclass(frozen=True)
class Part:
    """Rows and their unblended cost in USD."""

    rows: int = 0
    cost: Decimal = Decimal(0)

    def plus(self, rows: int, cost: Decimal) -> Part:
        """Both in sum."""
        return Part(self.rows + rows, self.cost + cost)


@dataclass(frozen=True)
class Measured:
    """A delivery's lines in sum.

    Attributes:
        lens: how they are read.
        figures: of the lines that are booked, as `NO_LINES` names them.
        by_file: of each file the lines that are booked (False) and those that stand aside (True).
        pool: cost of the lines that are booked, by service and charge class.
        halves: commitments of which another report holds the other half.
    """

    lens: Lens
    figures: dict[str, Any]
    by_file: Mapping[tuple[Path, bool], Part]
    pool: dict[tuple[str, str], Costs]
    halves: list[commitments.Half]

    def as_json(self) -> dict[str, Any]:
        """What `lake_file` says of the whole delivery, in the row of its first file; see `recorded`."""
        return {
            "pool": pools.as_json(self.pool),
            "figures": {name: str(value) for name, value in self.figures.items()},
            "halves": [
                [half.arn, half.missing, str(half.residual), str(half.net_residual)] for half in self.halves
            ],
        }

    @property
    def booked(self) -> Part:
        """The lines that are booked."""
        return Part(self.figures["row_count"], self.figures["cost_usd"])

    @property
    def aside(self) -> Part:
        """The lines that stand aside."""
        found = Part()
        for (_, is_aside), part in self.by_file.items():
            found = found.plus(part.rows, part.cost) if is_aside else found
        return found


def measure(engine: Engine, files: DeliveredFiles, given: Lens, period: Period) -> Measured:
    """Reads a delivery whole, once for every column and once in sum; the engine keeps `measured_lines`."""
    through = replace(given, net_unused=net_unused.found(engine, files, given, period))
    engine.fetch(_whole(files, _unread(engine, files, given)))
    # the bytes are those of first sight: where it found every line sound, none is judged again
    code = quarantine_code(files, through.accounts) if given.has_faults else exp.cast(exp.null(), "varchar")
    beside = {"file_name": exp.column(FILE), "quarantine_code": code}
    every = replace(through, has_faults=False)
    in_one = engine.reads_elsewhere
    lines = alike(files, every, period.start, _ASKED, ("plain", "single"), beside, in_one=in_one)
    counted = exp.select("*", "0 AS line_count", "'' AS file_name", "'' AS quarantine_code")
    none = counted.from_(empty(FACT_COST_RAW).subquery("none"))
    wanted = [exp.column(name, quoted=True) for name in _asked_of_measured()]
    every_line = union_by_name([none, lines]).subquery("lines", copy=False)
    engine.keep("measured_lines", exp.Select().select(*wanted, copy=False).from_(every_line, copy=False))
    figures = dict(NO_LINES)
    by_file: defaultdict[tuple[Path, bool], Part] = defaultdict(Part)
    pool: defaultdict[tuple[str, str], Costs] = defaultdict(lambda: (Decimal(0),) * 3)
    for row in engine.fetch("measure_lines").dicts():
        place = Path(row["file_name"]), row["is_aside"]
        by_file[place] = by_file[place].plus(row["row_count"], row["cost_usd"])
        if not row["is_aside"]:
            figures = {name: figures[name] + row[name] for name in figures}
            service = row["service"], row["charge_class"]
            more = row["cost_usd"], row["amortized_usd"], row["net_amortized_usd"]
            pool[service] = tuple(map(add, pool[service], more))
    through = replace(through, has_faults=any(is_aside for _, is_aside in by_file))
    return Measured(through, figures, by_file, dict(pool), net_unused.halves(engine))


@cache
def _asked_of_measured() -> tuple[str, ...]:
    """The columns of `measured_lines` that its questions name: it has no other."""
    asked = {
        column.name
        for name in ("measure_lines", "measure_commitments", "fetch_billed_accounts")
        for column in statements.parsed(name).find_all(exp.Column)
    }
    there = ("line_count", "file_name", "quarantine_code", *(name for name, _ in FACT_COST_RAW))
    return tuple(name for name in there if name in asked)


def _unread(engine: Engine, files: DeliveredFiles, given: Lens) -> list[str]:
    """Every column; of one that is paid by the byte those that first sight did not read of the same bytes."""
    every = list(dict.fromkeys(column for sent in files.columns.values() for column, _ in sent.origins))
    if not engine.reads_elsewhere or given.is_mended or files.is_converted:
        return every
    asked = inlined(statements.parsed("measure_delivery"), {"delivered_lines": lines_query(files)}, {})
    read = {
        column.name
        for table in asked.find_all(exp.Table)
        if isinstance(table.this, exp.Anonymous)
        for column in table.parent_select.find_all(exp.Column)  # type: ignore[union-attr]
    }
    return [name for name in every if name not in read] or every[:1]


def _whole(files: DeliveredFiles, columns: Sequence[str]) -> exp.Query:
    """Reads columns of every line: a page that cannot be read refuses the delivery now, not who asks."""
    read = exp.Anonymous(this=READ_WHOLE, expressions=[exp.column(name, quoted=True) for name in columns])
    source = parquet(files.reading, by_name=len(files.reading) > 1)
    return exp.select(read).from_(source)


def recorded(files: Sequence[LiveFile]) -> tuple[dict[str, Any], list[commitments.Half]]:
    """Figures and halves of deliveries as they were measured when these kept files were published."""
    figures, halves = dict(NO_LINES), []
    for file in files:
        said = json.loads(file.lens)
        if "figures" in said:
            given = {name: Decimal(value) for name, value in said["figures"].items()}
            figures = {name: figures[name] + given[name] for name in figures}
            halves += [
                commitments.Half(arn, missing, Decimal(left), Decimal(net_left))
                for arn, missing, left, net_left in said["halves"]
            ]
    return figures | {"row_count": int(figures["row_count"])}, halves


def raw_verdicts(
    figures: dict[str, Any],
    delivered: Part,
    aside: Part,
    *,
    halves: Sequence[commitments.Half] = (),
) -> list[Verdict]:
    """The checks of `fact_cost_raw` over measured figures, what was delivered and what stands aside."""
    return [
        rows_match_delivery(delivered.rows, figures["row_count"], aside.rows),
        cost_matches_delivery(delivered.cost, figures["cost_usd"], aside.cost),
        cost_views_bridge(
            {name: figures["cost_usd" if name == "unblended" else f"{name}_usd"] for name in VIEWS},
            figures["absolute_usd"],
            sum((half.residual for half in halves), Decimal(0)),
            sum((half.net_residual for half in halves), Decimal(0)),
        ),
        commitments.commitments_are_delivered_whole(halves),
    ]
