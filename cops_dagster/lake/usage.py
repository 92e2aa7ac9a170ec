"""How many bytes the lake's files are, by table, month and state.

Belongs here: what stands, what a later run replaced, what was dropped since. Does not belong here: dropping
(`lake/retention.py`). Sizes are those recorded when a file was published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cops_dagster.lake.tables import APPEND_ONLY, EXPORT
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.volume import Volume

if TYPE_CHECKING:
    from cops_dagster.lake.iceberg import Exported


@dataclass(frozen=True)
class Usage:
    """Files of one table and month in one state: `live`, `superseded`, `dropped`, or `stale`.

    An exported month is stale when a later run replaced the one that it was exported of.
    """

    table_name: str
    period: str
    state: str
    files: int
    size_bytes: int


def bytes_of(con: sa.Connection, lake: Volume, exported: Sequence[Exported] = ()) -> list[Usage]:
    """Every published file, and every exported one, summed up; by table, month and state."""
    files, heads = t.lake_file, t.period_head
    live = set(con.execute(sa.select(heads.c.run_id)).scalars())
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in con.execute(sa.select(files)):
        state = "live" if row.run_id in live or row.table_name in APPEND_ONLY else "superseded"
        if state == "superseded" and lake.place is None and not (lake.root / row.path).exists():
            state = "dropped"
        key = (row.table_name, str(Period.of(row.period_start)), state)
        number, size = found.get(key, (0, 0))
        found[key] = number + 1, size + row.size_bytes
    standing = {run_id[:16] for run_id in live}
    for file in exported:
        key = (EXPORT, str(Period.of(file.period_start)), "live" if file.run in standing else "stale")
        number, size = found.get(key, (0, 0))
        found[key] = number + 1, size + file.size_bytes
    return [Usage(*key, *sums) for key, sums in sorted(found.items())]
