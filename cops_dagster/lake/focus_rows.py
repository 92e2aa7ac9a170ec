"""FOCUS rows on the engine: lines of the bill by who bears them, entries beside them, one sorted file.

Belongs here: the relations that `sql/focus_lines.sql` asks, and the file made of lines and entries. Does not
belong here: which columns a version has (`exports/focus_columns.py`), entries (`exports/focus_entries.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.lake import statements
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.functions import call, joined
from cops_dagster.lake.tables import USD, Columns
from cops_dagster.lake.views import union_by_name, view

LINES, ENTRIES = "focus_direct", "focus_entries"
KINDS = {"money": USD, "text": "VARCHAR", "time": "TIMESTAMP"}
"""The kinds of FOCUS columns as the engine's types."""
_TAG = "resource_tags_"


def provide_tagged_lines(engine: Engine, of: str, name: str) -> None:
    """Lines with their tags as one JSON object, `tags`; NULL where a line has none."""
    present = engine.columns(of)
    pairs = [_pair(column) for column in sorted(present) if column.startswith(_TAG)]
    inner = joined(",", pairs) if pairs else exp.Literal.string("")
    text = exp.DPipe(
        this=exp.DPipe(this=exp.Literal.string("{"), expression=inner), expression=exp.Literal.string("}")
    )
    tags = exp.func("NULLIF", text, exp.Literal.string("{}"))
    view(engine, name, exp.select("*", exp.alias_(tags, "tags")).from_(exp.to_table(of)))


def _pair(column: str) -> exp.Expr:
    """`"key":"value"`, or NULL for a tag that a line does not have; `user_` is no part of a person's key."""
    key = column.removeprefix(_TAG).removeprefix("user_")
    value = exp.column(column, quoted=True)
    quoted = exp.DPipe(this=exp.Literal.string(f'"{key}":'), expression=call("JSON_TEXT", value))
    has_one = exp.NEQ(this=exp.func("TRIM", value.copy()), expression=exp.Literal.string(""))
    return exp.Case().when(has_one, quoted)


def provide_lines(engine: Engine, period_start: date) -> None:
    """`focus_direct` over `single_cost_lines`, and `owned_lines` behind it."""
    owned = statements.parsed("owned_lines")
    for parameter in list(owned.find_all(exp.Placeholder)):
        parameter.replace(exp.cast(exp.Literal.string(period_start.isoformat()), "DATE"))
    view(engine, "owned_lines", owned)
    view(engine, LINES, statements.parsed("focus_lines"))


def provide_entries(engine: Engine, columns: Columns, rows: Iterable[Sequence[Any]]) -> None:
    """`focus_entries`: rows that are no single line."""
    engine.table(ENTRIES, columns, (tuple(row) for row in rows))


def stage(
    engine: Engine,
    tables: Sequence[str],
    columns: Sequence[tuple[str, str, str]],
    given: Mapping[str, str],
    target: Path,
) -> int:
    """Writes rows of these tables as one Parquet file, in one order down to the last tie.

    Args:
        columns: name in the file, name in the tables, kind; a column that a table has not is NULL.
        given: by the name in the tables, what stands where a row has nothing.
    """
    queries: list[exp.Query] = []
    for table in tables:
        present = set(engine.columns(table))
        selected = []
        for name, source, kind in columns:
            found = [exp.column(source)] if source in present else []
            more = [exp.Literal.string(given[source])] if source in given else []
            values = [exp.cast(one, KINDS[kind]) for one in (*found, *more)] or [
                exp.cast(exp.null(), KINDS[kind])
            ]
            selected.append(exp.alias_(exp.func("COALESCE", *values), name, quoted=True))
        queries.append(exp.Select().select(*selected).from_(exp.to_table(table)))
    rows = exp.select("*").from_(union_by_name(queries).subquery("charges"))
    ordered = rows.order_by(*[exp.Ordered(this=exp.column(name, quoted=True)) for name, _, _ in columns])
    return engine.stage(ordered, target)
