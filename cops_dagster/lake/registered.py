"""The kept files and the lens over them in the catalog, where Athena and Trino find them by name.

Belongs here: a table of each run's files, and views over them: one a run, and `fact_cost_raw`,
`cur_quarantine` and `cur_billing_master` over all. Nothing is copied and no folder is listed: a table names
exactly the published files, as a session's do (`lake/declared.py`). Does not belong here: the other tables of
the lake, which are projected (`lake/iceberg.py`), AWS's own table with its crawler (`operations/crawl.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import declared, outside
from cops_dagster.lake.declared import DataFile
from cops_dagster.lake.delivered import master_query
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.live import LiveFile, live_files
from cops_dagster.lake.namespace import LENS
from cops_dagster.lake.outside import Over
from cops_dagster.lake.tables import CUR_BILLING_MASTER, LAKE_TABLES
from cops_dagster.stores.aws.call import Call, calling
from cops_dagster.stores.queries import Queries
from cops_dagster.stores.volume import Volume

if TYPE_CHECKING:
    from cops_dagster.lake.declared import Catalog

DATABASE = "cops_lines"
"""The database of these tables and views: a view of the name of a projected table needs one of its own."""
MASTER = "cur_billing_master"
_BRANCHES = 12
"""Runs of one view: of 12 runs with 500 tags the statement has half of the bytes that Athena takes."""


@dataclass(frozen=True)
class Registered:
    """What the catalog shows now.

    Attributes:
        tables: of files, one for each live run.
        views: over them.
        forgotten: tables of runs that were replaced; no file of them is deleted.
    """

    tables: tuple[str, ...]
    views: tuple[str, ...]
    forgotten: tuple[str, ...]


def register(
    con: sa.Connection, lake: Volume, beside: DuckDB, catalog: Catalog, queries: Queries
) -> Registered:
    """Shows every live kept file and the lens over it; what is there already stays.

    Args:
        beside: an engine in a process of its own, which reads what the footers say.
        queries: the engine that is to make the views, in `DATABASE`.

    Raises:
        CopsError: `E-DIALECT` for what has no exact form there, or a lake that lies in a folder; `E-AWS-…`,
            `E-ENGINE-…` as the catalog and the engine answer. What was shown before stays until its
            successor is.
    """
    if lake.place is None:
        raise CopsError(
            "E-DIALECT",
            f"tables for {queries.dialect}",
            expected="a lake in S3, where engines elsewhere read",
            found=f"a folder, {lake.root}",
            next_step="set COPS_LAKE",
        )
    with _glue():
        catalog.create_namespace_if_not_exists(DATABASE)
        there = {one[-1] for one in catalog.list_tables(DATABASE)}
    tables: list[str] = []
    views: list[str] = []
    master: list[Over] = []
    for name in LENS:
        over = [Over(con, lake, beside, queries.dialect, files) for files in _runs(con, lake, name)]
        for one in over:
            tables.append(one.table)
            if one.table not in there:
                _declare(catalog, lake, one)
            views += _made(queries, one.name, one.lines)
        by_run = [(one.name, one.columns) for one in over]
        views += _made_of(queries, name, by_run, outside.columns_in(LAKE_TABLES[name], by_run))
        master += [one for one in over if name == "fact_cost_raw"]
    shown = []
    for one in master:
        if one.kept is None:  # a copy of before: what AWS sent is not here
            continue
        query = one.over_table(master_query(one.kept))
        shown.append((f"{MASTER}_{one.run}", query.named_selects))
        views += _made(queries, shown[-1][0], query)
    views += _made_of(queries, MASTER, shown, outside.columns_in(CUR_BILLING_MASTER, shown))
    forgotten = sorted(there - set(tables))
    with _glue():
        for table in forgotten:
            catalog.drop_table(f"{DATABASE}.{table}")
    return Registered(tuple(tables), tuple(views), tuple(forgotten))


def _runs(con: sa.Connection, lake: Volume, name: str) -> list[list[LiveFile]]:
    runs: dict[str, list[LiveFile]] = {}
    for file in live_files(con, lake, name):
        runs.setdefault(file.run_id, []).append(file)
    return list(runs.values())


def _declare(catalog: Catalog, lake: Volume, one: Over) -> None:
    files = [
        DataFile(lake.uri(file.path.relative_to(lake.root).as_posix()), rows, file.size_bytes)
        for file, rows in zip(one.files, one.rows, strict=True)
    ]
    with _glue():
        location = lake.uri(f"iceberg/{DATABASE}/{one.table}")
        declared.declare(catalog, f"{DATABASE}.{one.table}", location, one.kinds, files)


def _made_of(
    queries: Queries, name: str, over: Sequence[tuple[str, Sequence[str]]], columns: dict[str, str]
) -> list[str]:
    """A view over the views of runs; of many by way of further ones, since statements have a length."""
    made: list[str] = []
    while len(over) > _BRANCHES:
        parts = [over[first : first + _BRANCHES] for first in range(0, len(over), _BRANCHES)]
        level = len(made)
        names = [f"{name}_part_{level + number}" for number in range(len(parts))]
        for part, part_name in zip(parts, names, strict=True):
            made += _made(queries, part_name, outside.union(part, columns))
        over = [(part_name, list(columns)) for part_name in names]
    return made + _made(queries, name, outside.union(over, columns))


def _made(queries: Queries, name: str, query: exp.Query) -> list[str]:
    queries.run(outside.created(name, query, queries.dialect).rstrip(";\n"))
    return [name]


def _glue() -> AbstractContextManager[Call]:
    return calling(Call("glue", "the Glue catalog", "glue:CreateTable, glue:DeleteTable and glue:GetTables"))
