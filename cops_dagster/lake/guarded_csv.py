"""A Parquet file of COPS as CSV, with the guard of `stores/csv_cells.py`, for files of millions of lines.

Belongs here: writing it with the engine, in the file's own order. Text that a spreadsheet could take for a
formula is rare, so each such value is guarded once, by the one guard, and looked up. Rows are put in order a
piece at a time, so what is held does not grow with the file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlglot import exp

from cops_dagster.lake.duck import DuckDB
from cops_dagster.stores import csv_cells

_PLAIN = r"[A-Za-z0-9{\[(/$_.#:*<>?!~^&][ -:<-~]*"
"""Text that the guard leaves as it is, which a test holds: printable ASCII without a semicolon, and it begins
with nothing that begins a formula, nor with what a spreadsheet skips."""
PIECE = 122_880
"""Rows that are written at once: a row group of `DuckDB.stage`, so a piece reads nothing beside itself."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def write(engine: DuckDB, source: Path, columns: Sequence[tuple[str, str]], target: Path) -> None:
    """Writes every row of the source.

    Args:
        columns: name and kind (`text`, `money`, `time`) of each.
    """
    read = f"read_parquet({_text(str(source))}, file_row_number = true)"
    texts = [name for name, kind in columns if kind == "text"]
    guarded = set()
    for name in texts:
        one = _name(name)
        found = engine.run(
            f"SELECT DISTINCT {one} FROM {read} WHERE {one} IS NOT NULL"
            f" AND NOT regexp_full_match({one}, {_text(_PLAIN)})"
        ).rows
        cells = [(value, csv_cells.cell(value)) for (value,) in found]
        if changed := [(value, cell) for value, cell in cells if value != cell]:
            guarded.add(name)
            engine.table(f"guarded {name}", [("value", "VARCHAR"), ("cell", "VARCHAR")], changed)
    selected, joins = [], ""
    for name, kind in columns:
        one = f"f.{_name(name)}"
        if name in guarded:
            table = _name(f"guarded {name}")
            joins += f" LEFT JOIN {table} ON {table}.value = {one}"
            one = f"COALESCE({table}.cell, {one})"
        elif kind == "time":
            one = f"strftime({one}, {_text(_TIME)})"
        selected.append(f"{one} AS {_name(name)}")
    rows = f"SELECT {', '.join(selected)} FROM {read} AS f{joins}"
    [(count,)] = engine.run(f"SELECT COUNT(*) FROM {read}").rows
    piece = target.with_name(f".{target.name}.piece")
    with target.open("wb") as written:
        for first in range(0, max(count, 1), PIECE):
            within = f"f.file_row_number >= {first} AND f.file_row_number < {first + PIECE}"
            header = "true" if first == 0 else "false"
            engine.run(
                f"COPY ({rows} WHERE {within} ORDER BY f.file_row_number) TO {_text(str(piece))}"
                f" (FORMAT csv, HEADER {header})"
            )
            with piece.open("rb") as made:
                shutil.copyfileobj(made, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())
    piece.unlink()


def _text(value: str) -> str:
    return exp.Literal.string(value).sql(dialect="duckdb")


def _name(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")
