"""The conformance list: statements and trees as a life of two months asks them, with the rows they ask.

What DuckDB is asked in this process is written down: the statement, its parameters, and every relation that
it names as a file of exactly the rows that the relation had. So each case can be asked again of any engine.
Belongs here: recording. Does not belong here: comparing (`test_conformance.py`), what is lived (`told.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import inlined, statements
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Asked, Value

SQL = Path(__file__).parents[2] / "sql"
OF = "statement"
MOST = 2
"""Cases of one statement; of one tree it is one."""


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        name: a statement's, or `tree` and the beginning of its digest.
        relations: by name, a file with its rows.
    """

    name: str
    tree: exp.Query
    params: Mapping[str, Value]
    relations: Mapping[str, Path]


@dataclass
class Recorder:
    """What was asked, by name."""

    folder: Path
    cases: dict[str, list[Case]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    is_busy: bool = False

    def hear(self, engine: DuckDB, statement: Asked, params: Mapping[str, Value] | None) -> None:
        """Writes a question down, unless it was heard with rows often enough."""
        if isinstance(statement, str):
            name, tree = statement, statements.parsed(statement)
        else:
            tree = statement.tree() if isinstance(statement, statements.Written) else statement.copy()
            of = (node.meta.get(OF) for node in tree.walk())
            shape = re.sub(r"'[^']*'|\d+", "?", tree.sql("duckdb"))
            made = f"tree {hashlib.sha256(shape.encode()).hexdigest()[:8]}"
            name = next((one for one in of if one), made)
        known = self.cases.setdefault(name, [])
        if len(known) >= (1 if name.startswith("tree") else MOST):
            return
        relations = {}
        for one in inlined.asked_names(tree):
            kept = self._rows(engine, exp.to_table(exp.to_identifier(one, quoted=True).sql("duckdb")))
            if kept is None:
                self.left.append(f"{name}: {one}")
                return
            relations[one] = kept
        for table in list(tree.find_all(exp.Table)):
            if isinstance(table.this, exp.Anonymous):
                bare = table.copy()
                bare.set("alias", None)
                kept = self._rows(engine, bare)
                if kept is None:
                    self.left.append(f"{name}: files")
                    return
                made = f"files_{kept.stem[:12]}"
                relations[made] = kept
                alias = table.args.get("alias")
                new = exp.to_table(made)
                if alias is not None:
                    new.set("alias", alias)
                table.replace(new)
        wanted = {one.name for one in tree.find_all(exp.Placeholder)}
        known.append(Case(name, tree, {one: (params or {})[one] for one in wanted}, relations))

    def _rows(self, engine: DuckDB, source: exp.Table) -> Path | None:
        everything = exp.select("*").from_(source).sql("duckdb")
        try:
            described = engine.run(f"DESCRIBE {everything}").rows
            cast = ", ".join(
                f"CAST({exp.to_identifier(row[0], quoted=True).sql('duckdb')} AS VARCHAR)"
                for row in described
            )
            rows = engine.run(f"SELECT {cast} FROM ({everything}) LIMIT 5000").rows
        except CopsError:
            return None
        columns = [(row[0], row[1]) for row in described]
        digest = hashlib.sha256(repr((columns, sorted(map(repr, rows)))).encode()).hexdigest()[:24]
        target = self.folder / f"{digest}.parquet"
        if not target.exists():
            kinds = [(name, "VARCHAR" if kind.strip('"') == "NULL" else kind) for name, kind in columns]
            with DuckDB() as own:
                own.table("rows", kinds, rows)
                own.stage(exp.select("*").from_("rows"), target)
        return target


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Every question that a DuckDB of this process, or a reader of its, is asked is heard."""
    parsed = statements.parsed

    def marked(name: str) -> exp.Select:
        found = parsed(name)
        found.meta[OF] = name
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            statements, "parsed", marked
        )  # a tree that is made of a statement is that statement's
        for verb, at in (("fetch", 0), ("each", 0), ("stage", 0), ("keep", 1), ("view", 1)):
            patched.setattr(DuckDB, verb, _heard(getattr(DuckDB, verb), recorder, at))
        yield


def _heard(real: Callable[..., Any], recorder: Recorder, at: int) -> Callable[..., Any]:
    def verb(self: DuckDB, *given: Any, **more: Any) -> Any:
        if not recorder.is_busy:
            recorder.is_busy = True  # what it asks itself is not heard
            try:
                after = (one for one in given[at + 1 :] if isinstance(one, Mapping))
                recorder.hear(self, given[at], more.get("params") or next(after, None))
            finally:
                recorder.is_busy = False
        return real(self, *given, **more)

    return verb
