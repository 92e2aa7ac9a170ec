"""The lines of one run as rows under the contract's columns, written as one Parquet file.

Belongs here: writing them, and that they are as many and cost as much as was published. Does not belong here:
why somebody wants them (`evidence/exports.py`), the lens that they are read through (`lake/lens.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.live import LiveFile
from cops_dagster.lake.namespace import Namespace

TABLE = "fact_cost_raw"
_COST = "line_item_unblended_cost"


def write(namespace: Namespace, files: Sequence[LiveFile], target: Path, rows: int, cost: Decimal) -> None:
    """Writes the lines that the files of one run hold.

    Args:
        namespace: over an engine for lines (`Books.lines`).
        rows, cost: what was published of the run.

    Raises:
        CopsError: `E-DIGEST` for files that are not the published ones, `E-PROJECTION` when what was written
            is not what was published, and whatever reading them raises.
    """
    namespace.lake_view(TABLE, files)
    engine = namespace.engine
    wrote = engine.stage(exp.select("*").from_(exp.to_table(TABLE)), target)
    summed = exp.func("COALESCE", exp.func("SUM", exp.column(_COST)), exp.Literal.number(0))
    ((costs,),) = engine.fetch(exp.select(summed).from_(parquet([target]))).rows
    if (wrote, costs) != (rows, cost):
        raise CopsError(
            "E-PROJECTION",
            f"typed copy of {files[0].table_name} of {files[0].period_start:%Y-%m}",
            expected=f"{rows} lines that cost {cost:f}",
            found=f"{wrote} lines that cost {costs:f}",
            next_step="nothing was exported; this is a fault in COPS: please report it",
        )
