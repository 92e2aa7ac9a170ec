"""Small deliveries in odd shapes, and what the lines say once they are read as any other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cops_dagster.cur.formats import Format
from cops_dagster.cur.schema import BY_NAME, Sent, require
from cops_dagster.lake import shapes
from cops_dagster.lake.convert import convert
from cops_dagster.lake.delivered import DeliveredFiles, master_query
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.footers import inspect, survey
from cops_dagster.lake.judged import lines_query
from cops_dagster_tests.deliveries import TYPES

Rows = list[dict[str, Any]]


def table(rows: int = 1, **columns: pa.Array | list[Any]) -> pa.Table:
    """A delivery of so many lines with every required column; what is named replaces or adds."""
    start = datetime(2025, 9, 1)
    filled: dict[str, list[Any]] = {
        "identity_line_item_id": [str(number) for number in range(rows)],
        "bill_billing_period_start_date": [start] * rows,
        "line_item_usage_start_date": [start] * rows,
        "line_item_usage_end_date": [datetime(2025, 9, 2)] * rows,
        "line_item_usage_account_id": ["000000000042"] * rows,
        "line_item_currency_code": ["USD"] * rows,
        "line_item_line_item_type": ["Usage"] * rows,
        "line_item_product_code": ["AmazonEC2"] * rows,
        "line_item_unblended_cost": [1.5] * rows,
        "bill_invoice_id": ["I-1"] * rows,
    }
    made = {
        name: pa.array(values, TYPES[BY_NAME[name].data_type])
        for name, values in filled.items()
        if name not in columns
    }
    return pa.table(made | columns)


class Odd:
    """A folder, an engine, and deliveries read the way first sight reads them."""

    def __init__(self, engine: DuckDB, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.columns: dict[str, Sent] = {}
        self.files = DeliveredFiles("d", "s", {}, (), (), ())

    def new(self, ending: str = ".parquet") -> Path:
        """The path of a file that is not there yet."""
        return self.folder / f"{uuid4().hex}{ending}"

    def take(self, *tables: pa.Table) -> Odd:
        """Takes files of Parquet as one delivery."""
        paths = [self.new() for _ in tables]
        for path, one in zip(paths, tables, strict=True):
            pq.write_table(one, path)
        return self.take_files(paths)

    def take_files(self, paths: Sequence[Path]) -> Odd:
        """Takes Parquet files that lie there."""
        surveyed = survey(self.engine, paths, "d")
        agreed = shapes.agree(self.engine, surveyed, "d")
        reading = shapes.plain(self.engine, surveyed, agreed, [self.new() for odd in agreed.odd if odd])
        self.columns, _ = inspect(self.engine, reading, subject="d")
        require(self.columns, subject="d")
        self.files = DeliveredFiles("d", "s", self.columns, tuple(reading), (), ())
        return self

    def take_csv(self, text: str | bytes, kind: Format = "csv") -> Odd:
        """Takes one file of CSV, packed or not."""
        path, target = self.new(f".{kind}"), self.new()
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        convert(self.engine, path, kind, target, subject="d")
        return self.take_files([target])

    def lines(self) -> Rows:
        """The lines as they are judged and booked, in order."""
        return self._sorted(self.engine.fetch(lines_query(self.files)).dicts())

    def master(self) -> Rows:
        """The lines as AWS sent them, in order."""
        return self._sorted(self.engine.fetch(master_query(self.files)).dicts())

    def column(self, name: str) -> list[Any]:
        """One column of the lines."""
        return [line[name] for line in self.lines()]

    def _sorted(self, rows: Rows) -> Rows:
        return sorted(rows, key=lambda row: str(row["identity_line_item_id"]))
