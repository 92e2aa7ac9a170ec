"""Files that a usage key is asked of: shown as the table `files`, read by one SELECT and nothing else.

Belongs here: the relation over exactly these files, Parquet or delimited text. Does not belong here: which
files those are (`usage/files.py`), the lock around the engine (`ledger/books.py`, `Books.reader`).

Of text only whole numbers, days and times get a type: a decimal stays text until the query says which decimal
it is. A float would add up otherwise each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlglot import exp

from cops_dagster.lake.duck import DuckDB, exact_name
from cops_dagster.lake.engine import Rows, Value
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.question import question

TABLE = "files"
_TYPES = ("BIGINT", "DATE", "TIMESTAMP", "VARCHAR")


def answer(
    engine: DuckDB,
    paths: Sequence[Path],
    sql: str,
    params: Mapping[str, Value],
    *,
    separator: str | None = None,
) -> Rows:
    """The rows of one SELECT over the files.

    Args:
        separator: between the values of a line of text, where the engine shall not guess it.

    Raises:
        CopsError: `E-SQL` for anything but one SELECT, for a parameter that there is not, and for what the
            engine refuses: a file that is none of these above all.
    """
    is_parquet = all(path.name.endswith(".parquet") for path in paths)
    source = parquet(paths, by_name=len(paths) > 1) if is_parquet else _text(paths, separator)
    engine.view(TABLE, exp.select("*").from_(source))
    asked = question(engine, sql)
    return engine.run(asked.text, {name: params[name] for name in asked.parameters & set(params)})


def _text(paths: Sequence[Path], separator: str | None) -> exp.Table:
    options: dict[str, exp.Expr] = {
        "union_by_name": exp.true(),
        "auto_type_candidates": exp.Array(expressions=[exp.Literal.string(kind) for kind in _TYPES]),
        "hive_partitioning": exp.false(),
        "header": exp.true(),
    }
    if separator is not None:
        options["delim"] = exp.Literal.string(separator)
    return exp.Table(
        this=exp.Anonymous(
            this="read_csv",
            expressions=[
                exp.Array(expressions=[exp.Literal.string(exact_name(path)) for path in paths]),
                *[exp.EQ(this=exp.column(name), expression=value) for name, value in options.items()],
            ],
        )
    )
