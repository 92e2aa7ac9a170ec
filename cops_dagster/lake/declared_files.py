"""Files of this machine as tables that an engine elsewhere reads: which, and the rows of them all.

Belongs here: what the columns of several files come to, and those that have the null type. Such a column is
written as whole numbers of which none is given: an engine elsewhere reads it as no other type, so the table
of its file is made without it. Does not belong here: making the tables (`lake/session.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake.declared import is_known
from cops_dagster.lake.shapes import Seen, is_nothing


@dataclass(frozen=True)
class Part:
    """Files that have the same columns of the null type.

    Attributes:
        types: of the columns of its table, as they are named in the files.
    """

    files: tuple[Seen, ...]
    types: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """The columns of its table."""
        return [name.lower() for name in self.types]


@dataclass(frozen=True)
class Files:
    """What is declared of several files.

    Attributes:
        types: of every column of any of them.
    """

    types: dict[str, str]
    parts: tuple[Part, ...]

    @property
    def columns(self) -> list[str]:
        """Every column of any of them."""
        return [name.lower() for name in self.types]


def agreed(surveyed: Sequence[Seen]) -> Files:
    """What is to be declared of these files.

    Raises:
        CopsError: `E-DIALECT` for what not every engine reads alike.
    """
    types: dict[str, str] = {}
    for one in [one for one in surveyed if one.rows] or surveyed:
        for column, kind in one.types.items():
            before = types.setdefault(column, kind)
            if is_nothing(before):
                types[column] = kind
            elif before != kind and not is_nothing(kind):
                raise _inexact(f"{column}: {before} and {kind}", "one type of a column in every file")
    for column, kind in types.items():
        if not is_known(kind) and not is_nothing(kind):
            raise _inexact(f"{column}: {kind}", "types that every engine reads alike")
    if len({column.lower() for column in types}) < len(types):
        raise _inexact("two that differ in case alone", "columns of names that differ")
    alike: dict[tuple[str, ...], list[Seen]] = {}
    for one in surveyed:
        absent = {column for column, kind in one.types.items() if is_nothing(kind)}
        has = tuple(c for c, kind in types.items() if c not in absent and not is_nothing(kind))
        alike.setdefault(has, []).append(one)
    parts = [Part(tuple(files), {name: types[name] for name in has}) for has, files in alike.items()]
    return Files(types, tuple(parts))


def rows(
    files: Files, tables: Sequence[str], named: Mapping[Path, tuple[str, str]], file_column: str | None
) -> exp.Query | None:
    """The rows of all their tables under every column; `None` where the one table has just these.

    Args:
        tables: of each part.
        named: what the engine calls each file, and what `file_column` is to say.
        file_column: where a line came from, if it is asked.
    """
    if file_column is None and len(files.parts) == 1 and files.parts[0].columns == files.columns:
        return None
    somewhere = {name for part in files.parts for name in part.columns}
    union: exp.Query | None = None
    for part, table in zip(files.parts, tables, strict=True):
        selected: list[exp.Expr] = []
        for name in files.columns:
            value: exp.Expr = exp.column(name, quoted=True)
            if name not in part.columns:  # another part says the type, else nobody does
                value = exp.null() if name in somewhere else exp.cast(exp.null(), "VARCHAR")
                value = exp.alias_(value, name, quoted=True)
            selected.append(value)
        if file_column is not None:
            case = exp.Case()
            for one in part.files:
                uri, said = (exp.Literal.string(text) for text in named[one.path])
                case = case.when(exp.column("$path", quoted=True).eq(uri), said)
            selected.append(exp.alias_(case, file_column, quoted=True))
        query = exp.Select().select(*selected, copy=False).from_(exp.to_table(table))
        union = query if union is None else exp.union(union, query, distinct=False)
    return union


def _inexact(found: str, expected: str) -> CopsError:
    return CopsError(
        "E-DIALECT",
        "delivered files for an engine on other machines",
        expected=expected,
        found=found,
        next_step="make this month with COPS_ENGINE=duckdb",
    )
