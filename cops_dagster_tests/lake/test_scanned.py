"""What a month on a cluster reads of the delivered bytes: at most three times all of them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp

from cops_dagster.demo import cur
from cops_dagster.ingestion import ingest, look
from cops_dagster.lake import opened
from cops_dagster.lake.bill import Bill
from cops_dagster.lake.cluster import Cluster
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.engine import Asked, Rows, Value
from cops_dagster.period import Period
from cops_dagster.reconciliation import sides
from cops_dagster.settings import Settings
from cops_dagster.tagging import checks, missing, tag
from cops_dagster_tests.deliveries import home
from cops_dagster_tests.engines.both import Heard, Listening, Nowhere, again
from cops_dagster_tests.lake.scanned import Sizes, scanned, sizes

JULY = Period(2025, 7)


class Declaring(Nowhere):
    """A session that remembers what each column of its tables takes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, Sizes] = {}

    def declare(self, paths: Sequence[Path], rows: Sequence[int], types: Mapping[str, str]) -> str:
        name = super().declare(paths, rows, types)
        self.sizes[name] = sizes(paths)
        return name


class Counting(Listening):
    """DuckDB answers; of what a cluster would be sent the bytes are counted, of kept tables too."""

    def __init__(
        self, duck: DuckDB, other: Cluster, session: Declaring, heard: Heard, found: list[Any]
    ) -> None:
        super().__init__(duck, other, [])
        self._session, self._heard, self._found = session, heard, found

    def fetch(self, statement: Asked, params: Mapping[str, Value] | None = None) -> Rows:
        rows = super().fetch(again(statement), params)
        self._count(statement)
        return rows

    def stage(self, statement: Asked, target: Path, params: Mapping[str, Value] | None = None) -> int:
        rows = super().stage(again(statement), target, params)
        self._count(statement)
        return rows

    def keep(self, name: str, statement: Asked, params: Mapping[str, Value] | None = None) -> None:
        super().keep(name, again(statement), params)
        self._count(statement if isinstance(statement, str) else f"lines kept as {name}")
        there = self._duck.fetch(exp.select("*").from_(exp.to_table(name)))
        columns = {column: [row[at] for row in there.rows] for at, column in enumerate(there.columns)}
        written = io.BytesIO()
        pq.write_table(pa.table(columns), written, compression="zstd")
        made, _ = self._other._tables[name]
        self._session.sizes[made] = sizes([written])

    def _count(self, statement: Asked) -> None:
        text = re.sub(r"^CREATE TABLE \w+ WITH \([^)]*\) AS ", "", self._heard.texts[-1])
        name = statement if isinstance(statement, str) else "tree"
        self._found.append((name, scanned(text, self._session.sizes)))


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, int]]) -> Iterator[None]:
    @contextmanager
    def scanning(settings: Settings, beside: DuckDB, subject: str, **_: Any) -> Iterator[Counting]:
        heard, session = Heard("athena"), Declaring()
        bill = Bill("heard", subject, Decimal(0), 1 << 60)
        cluster = Cluster(heard, session, beside, bill, work=settings.home / "work")  # type: ignore[arg-type]
        cluster._is_probed = True
        yield Counting(beside, cluster, session, heard, found)

    with monkeypatch.context() as patched:
        patched.setattr(opened, "scanning", scanning)
        yield


@pytest.mark.parametrize(
    ("lines", "bound"), [(30_000, "3.9"), pytest.param(200_000, "3.0", marks=pytest.mark.long)]
)
def test_a_month_reads_what_was_delivered_three_times_at_most(
    lines: int, bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small month what is made of it weighs as much as its lines do; of a large one next to nothing."""
    cur.write_month(tmp_path / "cur", JULY, lines=lines)
    books, found = home(tmp_path), []
    with counting(monkeypatch, found):
        look.look(books, JULY)
        ingest.ingest(books, JULY)
        tag.tag(books, JULY)
        checks.tagged(books, JULY)
        missing.missing(books, JULY)
        with books.admin.read() as con:
            sides.read(books, con, JULY)
    size = sum(file.stat().st_size for file in (tmp_path / "cur").rglob("*.parquet"))
    by_name: dict[str, Fraction] = {}
    for name, scan in found:
        by_name[name] = by_name.get(name, Fraction(0)) + Fraction(scan, size)
    table = "\n".join(f"{name:40} {float(share):.3f}" for name, share in by_name.items())
    assert sum(by_name.values()) <= Fraction(bound), table
    of_lines = [share for name, share in by_name.items() if "lines" in name or name == "tree"]
    assert sum(of_lines) > 1, table  # every column of every line, once at least
    print(table)  # noqa: T201 - the figures of docs/scale.md
