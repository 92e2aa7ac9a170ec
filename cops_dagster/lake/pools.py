"""What a month's lines cost by service and charge class, as it was measured when they were published.

Belongs here: the sums that `lake_file` holds of delivered bytes, and the scan of typed lines of old months.
Their digests are verified, so their sums are: nobody reads a line again to find the same digits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from cops_dagster.lake import statements
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.live import LiveFile
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.lake.views import over_files, view

COLUMNS = (
    ("service", "VARCHAR"), ("charge_class", "VARCHAR"), ("unblended_usd", "DECIMAL(38,18)"),
    ("amortized_usd", "DECIMAL(38,18)"), ("net_amortized_usd", "DECIMAL(38,18)"),
)  # fmt: skip


def as_json(pool: Mapping[tuple[str, str], Sequence[Decimal]]) -> list[list[str]]:
    """What is recorded of a delivery's pool."""
    return [[*key, *(format(cost, "f") for cost in costs)] for key, costs in sorted(pool.items())]


def provide(engine: Engine, files: Sequence[LiveFile]) -> None:
    """`line_pool`: the cost of the lines in these files of `fact_cost_raw`; no delivered byte is read."""
    rows: list[tuple[Any, ...]] = [
        tuple(row) for file in files if file.lens for row in json.loads(file.lens).get("pool", [])
    ]
    engine.table("kept_pool", COLUMNS, rows)
    view(engine, "typed_lines", over_files(FACT_COST_RAW, [file.path for file in files if not file.lens]))
    view(engine, "line_pool", statements.parsed("line_pool"))
