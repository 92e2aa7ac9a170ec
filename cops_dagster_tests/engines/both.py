"""An engine that asks two: every answer of DuckDB is held against the other's, row by row.

So whatever a step of the month asks is part of the conformance list, with the relations that it really has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from cops_dagster.lake import opened
from cops_dagster.lake.bill import Bill
from cops_dagster.lake.cluster import Cluster
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Asked, Row, Rows, Value
from cops_dagster.lake.functions import READ_WHOLE
from cops_dagster.lake.statements import Written
from cops_dagster.settings import Settings
from cops_dagster.stores.queries import Ran

DIFFERENT_WORDS = {"measure_repeated_lines"}
"""Statements that sample by a hash, which is each engine's own; of a small month the sample is all of it."""


def plain(value: Any) -> str:
    """A value as every engine shows it; money with its 18 places."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def in_order(rows: Iterable[Row]) -> list[list[str]]:
    return sorted([plain(value) for value in row] for row in rows)


class Both:
    """See the module. `asked` is what was compared: a statement's name, or its text for a tree."""

    def __init__(self, duck: DuckDB, other: Any, asked: list[str]) -> None:
        self._duck, self._other, self._asked = duck, other, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._duck, name)  # what only DuckDB has

    @property
    def is_apart(self) -> bool:
        return self._duck.is_apart

    def relies_on(self, still: Any) -> None:
        self._duck.relies_on(still)

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        found = self._duck.fetch(again(statement), params)
        other = self._other.fetch(again(statement), params)
        self._hold(statement, found.rows, other.rows)
        return found

    def each(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Iterator[Row]:
        yield from self.fetch(statement, params).rows

    def keep(self, name: str, statement: Asked, params: Mapping[str, Value] | None = None) -> None:
        self._duck.keep(name, again(statement), params)
        self._other.keep(name, again(statement), params)
        everything = exp.select("*").from_(exp.to_table(name))
        rows = [self._duck.fetch(everything.copy()).rows, self._other.fetch(everything.copy()).rows]
        self._hold(statement, *rows)

    def stage(self, statement: Asked, target: Path, params: Mapping[str, Value] | None = None) -> int:
        other = self._other.fetch(again(statement), params)
        count = self._duck.stage(again(statement), target, params)
        written = exp.select("*").from_(exp.Table(this=exp.Anonymous(
            this="read_parquet", expressions=[exp.Literal.string(str(target))]
        )))  # fmt: skip
        self._hold(statement, self._duck.fetch(written).rows, other.rows)
        return count

    def table(self, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> None:
        given = list(rows)
        self._duck.table(name, columns, given)
        self._other.table(name, columns, given)

    def view(self, name: str, query: exp.Query | Written) -> None:
        self._duck.view(name, again(query))  # type: ignore[arg-type]
        self._other.view(name, again(query))

    def columns(self, name: str) -> list[str]:
        found = self._duck.columns(name)
        assert self._other.columns(name) == found, name
        return found

    def _hold(self, statement: Asked, ours: list[Row], theirs: list[Row]) -> None:
        name = statement if isinstance(statement, str) else "tree"
        self._asked.append(name)
        if isinstance(statement, exp.Expr) and READ_WHOLE in statement.sql():
            return  # only that it answers means anything
        mine, other = in_order(ours), in_order(theirs)
        wrong = [pair for pair in zip(mine, other, strict=False) if pair[0] != pair[1]][:3]
        assert mine == other, f"{name}: {len(mine)} and {len(other)} rows, {wrong}"


def again(statement: Asked) -> Asked:
    return statement.copy() if isinstance(statement, exp.Expr) else statement


class Heard:
    """A transport that runs nothing and keeps the text: what would be sent."""

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect
        self.texts: list[str] = []

    def run(self, sql: str) -> Ran:
        self.texts.append(sql)
        return Ran("1", (), [], 0)

    def kept_as(self, location: str) -> str:
        return f"location = '{location}'"


class Nowhere:
    """A session that declares nothing anywhere."""

    id = "0" * 32

    def __init__(self) -> None:
        self.made = 0

    def prepare(self) -> None: ...

    def close(self) -> None: ...

    def require_same(self) -> None: ...

    def new_table(self) -> tuple[str, str]:
        self.made += 1
        return f"made_{self.made}", f"s3://bucket/{self.made}"

    def declare(self, paths: Sequence[Path], rows: Sequence[int], types: Mapping[str, str]) -> str:
        return self.new_table()[0]

    def uri_of(self, path: Path) -> str:
        return f"s3://bucket/{path.name}"


class Listening(Both):
    """DuckDB answers, and what a cluster would be sent is written down."""

    reads_elsewhere = True

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        self._other.fetch(again(statement), params)
        self._asked.append(statement if isinstance(statement, str) else "tree")
        return self._duck.fetch(again(statement), params)

    def keep(self, name: str, statement: Asked, params: Mapping[str, Value] | None = None) -> None:
        self._other.keep(name, again(statement), params)
        self._duck.keep(name, again(statement), params)

    def stage(self, statement: Asked, target: Path, params: Mapping[str, Value] | None = None) -> int:
        self._other.fetch(again(statement), params)
        return self._duck.stage(again(statement), target, params)


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch, heard: Heard, asked: list[str]) -> Iterator[None]:
    """Every scan of lines is heard in the dialect of the transport."""

    @contextmanager
    def scanning(settings: Settings, beside: DuckDB, subject: str, **_: Any) -> Iterator[Any]:
        bill = Bill("heard", subject, Decimal(0), 1 << 60)
        cluster = Cluster(heard, Nowhere(), beside, bill, work=settings.home / "work")  # type: ignore[arg-type]
        cluster._is_probed = True
        yield Listening(beside, cluster, asked)

    with monkeypatch.context() as patched:
        patched.setattr(opened, "scanning", scanning)
        yield


@contextmanager
def comparing(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Iterator[None]:
    """Every scan of lines is held against the engine of the settings."""
    real = opened.scanning

    @contextmanager
    def scanning(settings: Settings, beside: DuckDB, subject: str, **more: Any) -> Iterator[Any]:
        with real(settings, beside, subject, **more) as cluster:
            yield Both(beside, cluster, asked)

    with monkeypatch.context() as patched:
        patched.setattr(opened, "scanning", scanning)
        yield
