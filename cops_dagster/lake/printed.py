"""The lake's tables as view statements for an engine that knows nothing of COPS.

Belongs here: the same queries as COPS asks, over exactly the live files, as text. Does not belong here: what
they say (`lake/lens.py`, `lake/namespace.py`). Who runs them reads delivered bytes in a process of its own.
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.lake.functions import expanded
from cops_dagster.lake.live import live_files
from cops_dagster.lake.namespace import lake_query
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.stores.volume import Volume


def views(con: sa.Connection, lake: Volume, period_start: date | None = None) -> str:
    """One `CREATE OR REPLACE VIEW` for each lake table, in DuckDB's dialect; files are on this machine."""
    made = []
    for name in LAKE_TABLES:
        query = lake_query(con, name, live_files(con, lake, name, period_start=period_start, whole=True))
        created = exp.Create(
            this=exp.to_table(name, dialect="duckdb"), kind="VIEW", replace=True, expression=query
        )
        made.append(expanded(created).sql(dialect="duckdb", pretty=True, comments=False) + ";\n")
    return "\n".join(made)
