"""An engine that reads the objects of a bucket where they lie, as Trino does, and nothing over HTTP.

It is DuckDB over copies that the test takes out of the server's memory: what COPS itself fetches is counted
by the server, and a statement that read an outline as a file would find a hole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from cops_dagster.lake import opened
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Asked
from cops_dagster.lake.statements import Written
from cops_dagster.settings import Settings
from cops_dagster.stores.aws import outlines
from cops_dagster_tests.stores.s3_server import Bucket


class Elsewhere(DuckDB):
    """Reads the object that a file is an outline of; a whole file is read as it is."""

    is_apart = True
    reads_elsewhere = True

    def __init__(self, bucket: Bucket, home: Path, origins: Mapping[Path, Path], copies: Path) -> None:
        super().__init__()
        self._bucket, self._home, self._origins, self._copies = bucket, home, origins, copies

    def view(self, name: str, query: exp.Query | Written) -> None:
        super().view(name, self._there(query))  # type: ignore[arg-type]

    def _translated(self, statement: Asked) -> str:
        return super()._translated(self._there(statement))

    def _there(self, statement: Asked) -> Asked:
        if isinstance(statement, str):
            return statement
        tree = statement.tree() if isinstance(statement, Written) else statement
        for table in list(tree.find_all(exp.Table)):
            if isinstance(table.this, exp.Anonymous) and table.this.name.lower() == "read_parquet":
                self._moved(table)
        return tree

    def _moved(self, table: exp.Table) -> None:
        listed, *options = table.this.expressions
        for one in listed.expressions:
            one.set("this", str(self._object(Path(one.name))))
        for option in options:
            if option.this.name == "filename":
                name = option.expression.name
                plain = exp.func(
                    "REPLACE", exp.column(name), exp.Literal.string(str(self._copies)), exp.Literal.string("")
                )
                star = exp.Star(replace=[exp.alias_(plain, name)])
                inner = exp.Select().select(star).from_(table.copy())
                table.replace(exp.Subquery(this=inner, alias=table.args.get("alias")))

    def _object(self, file: Path) -> Path:
        outline = outlines.of(self._home, file)
        if outline is None:
            return file
        data = self._bucket.current(outline.source.key)
        assert data is not None
        copy = Path(f"{self._copies}{file}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
        return copy


@contextmanager
def scanning_elsewhere(monkeypatch: pytest.MonkeyPatch, bucket: Bucket, copies: Path) -> Iterator[None]:
    """Every scan of lines is done by such an engine."""

    @contextmanager
    def scanning(
        settings: Settings,
        beside: DuckDB,
        subject: str,
        *,
        origins: Mapping[Path, Path] | None = None,
        **_: Any,
    ) -> Iterator[DuckDB]:
        with Elsewhere(bucket, settings.home, origins or {}, copies) as made:
            yield made

    with monkeypatch.context() as patched:
        patched.setattr(opened, "scanning", scanning)
        yield
