"""Bytes that a statement reads of the files behind it, by the columns it names and how often it names them.

An upper bound: an engine reads a column of a relation as often as the statement asks that relation, since a
WITH name is computed each time it is named; within one reading no condition leaves a row group out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq
import sqlglot
from sqlglot import exp

Sizes = Mapping[str, int]
"""Compressed bytes by column, in lower case."""


def sizes(paths: Sequence[Path | IO[bytes]]) -> dict[str, int]:
    """What each column of these files takes; what lies within a map counts as the map."""
    found: dict[str, int] = {}
    for path in paths:
        footer = pq.ParquetFile(path).metadata
        for group in range(footer.num_row_groups):
            for number in range(footer.num_columns):
                column = footer.row_group(group).column(number)
                name = column.path_in_schema.split(".")[0].lower()
                found[name] = found.get(name, 0) + column.total_compressed_size
    return found


def scanned(text: str, tables: Mapping[str, Sizes], dialect: str = "athena") -> int:
    """Bytes that a statement reads of `tables`."""
    return _of(sqlglot.parse_one(text, read=dialect), tables, {})


def _of(node: exp.Expr, tables: Mapping[str, Sizes], known: Mapping[str, int]) -> int:
    scope = dict(known)
    with_ = node.args.get("with_")
    for cte in with_.expressions if with_ else ():
        scope[cte.alias.lower()] = _of(cte.this, tables, scope)
    if isinstance(node, exp.Select):
        return _of_select(node, tables, scope)
    return sum(_of(part, tables, scope) for part in _below(node))


def _of_select(select: exp.Select, tables: Mapping[str, Sizes], scope: Mapping[str, int]) -> int:
    inner = _below(select)
    within = {id(column) for part in inner for column in part.find_all(exp.Column)}
    named = {column.name.lower() for column in select.find_all(exp.Column) if id(column) not in within}
    shows_all = any(one.is_star for one in select.expressions)
    found = sum(_of(part, tables, scope) for part in inner)
    for source in (select.args.get("from_"), *(select.args.get("joins") or ())):
        table = source.this if source is not None else None
        if not isinstance(table, exp.Table):
            continue
        name = table.name.lower()
        if name in scope:
            found += scope[name]
        elif name in tables:
            found += sum(size for column, size in tables[name].items() if shows_all or column in named)
    return found


def _below(node: exp.Expr) -> list[exp.Query]:
    """The queries just below one, its WITH names aside."""
    found: list[exp.Query] = []
    waiting = [value for key, value in node.args.items() if key != "with_"]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, (exp.Select, exp.SetOperation)):
            found.append(one)
        elif isinstance(one, exp.Expr):
            waiting += [value for value in one.args.values() if value is not None]
    return found
