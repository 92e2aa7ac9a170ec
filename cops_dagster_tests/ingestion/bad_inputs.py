"""Deliveries that are refused, each with its code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import MONTH, lines, write

Break = Callable[[Path], object]


FILE = "report-00001.snappy.parquet"


def again(**how: object) -> Break:
    return lambda cur: write(cur, [lines(MONTH)], assembly="a2", **how)  # type: ignore[arg-type]


def changed(change: Callable[[pa.Table], pa.Table]) -> Break:
    return lambda cur: write(cur, [change(lines(MONTH))], assembly="a2")


def in_file(change: Callable[[bytes], bytes]) -> Break:
    def damage(cur: Path) -> None:
        path = write(cur, [lines(MONTH)], assembly="a2") / FILE
        path.write_bytes(change(path.read_bytes()))

    return damage


def cost(value: float | None) -> Break:
    def put(table: pa.Table) -> pa.Table:
        index = table.column_names.index("line_item_unblended_cost")
        costs = [value, *table.column(index).to_pylist()[1:]]
        return table.set_column(index, table.field(index), pa.array(costs, pa.float64()))

    return changed(put)


def text(column: str, value: str) -> Break:
    def put(table: pa.Table) -> pa.Table:
        return table.set_column(
            table.column_names.index(column), column, pa.array([value] * table.num_rows, pa.string())
        )

    return changed(put)


def missing_file(cur: Path) -> None:
    (write(cur, [lines(MONTH), lines(MONTH)], assembly="a2") / "report-00002.snappy.parquet").unlink()


def linked_file(cur: Path) -> None:
    path = write(cur, [lines(MONTH)], assembly="a2") / FILE
    elsewhere = path.rename(cur / "elsewhere.parquet")
    path.symlink_to(elsewhere)


def mixed(cur: Path) -> None:
    write(cur, [lines(MONTH), lines(MONTH).drop_columns(["bill_bill_type"])], assembly="a2")


def retyped(table: pa.Table) -> pa.Table:
    index = table.column_names.index("line_item_unblended_cost")
    return table.set_column(index, "line_item_unblended_cost", table.column(index).cast(pa.string()))


CASES: dict[str, tuple[str, Break]] = {
    "a file the manifest names is missing": ("E-CHUNK-MISSING", missing_file),
    "a file is a link to elsewhere": ("E-CHUNK-MISSING", linked_file),
    "a file is named twice": ("E-CHUNK-DUP", again(manifest={"reportKeys": [f"a/{FILE}", f"a/{FILE}"]})),
    "no file is named": ("E-MANIFEST", again(manifest={"reportKeys": []})),
    "another period is named": (
        "E-MANIFEST-SCOPE", again(manifest={"billingPeriod": {"start": "20250801T0"}}),
    ),
    "Parquet cut by one byte": ("E-FILE-TRUNC", in_file(lambda body: body[:-1])),
    "Parquet cut in half": ("E-FILE-TRUNC", in_file(lambda body: body[: len(body) // 2])),
    "an empty file": ("E-FILE-TRUNC", in_file(lambda _: b"")),
    "a footer of nonsense": ("E-FILE-TRUNC", in_file(lambda body: body[:-20] + b"x" * 16 + b"PAR1")),
    "no Parquet": ("E-FORMAT", in_file(lambda _: b"identity/LineItemId,bill/InvoiceId\n" * 9)),
    "a cost that is NaN": ("E-COST-NAN", cost(float("nan"))),
    "an infinite cost": ("E-COST-NAN", cost(float("-inf"))),
    "a cost of 19 decimals": ("E-COST-SCALE", cost(1e-19)),
    "a cost of 22 digits": ("E-COST-RANGE", cost(1e22)),
    "another currency": ("E-CCY", text("line_item_currency_code", "EUR")),
    "a currency in lower case": ("E-CCY", text("line_item_currency_code", "usd")),
    "a required column missing": (
        "E-SCHEMA-MISSING", changed(lambda table: table.drop_columns(["line_item_unblended_cost"])),
    ),
    "a required column renamed": (
        "E-SCHEMA-MISSING",
        changed(lambda table: table.rename_columns(["bill_invoiceid", *table.column_names[1:]])),
    ),
    "a required column retyped": ("E-SCHEMA-TYPE", changed(retyped)),
    "files of two schemas": ("E-SCHEMA-MIXED", mixed),
    "a month of no lines": ("E-EMPTY", changed(lambda table: table.slice(0, 0))),
}  # fmt: skip


def refused(books: Books) -> list[str]:
    with books.admin.read() as con:
        log = t.cur_ingestion_log
        query = (
            sa.select(log.c.error_code).where(log.c.status.in_(("failed", "delayed"))).order_by(log.c.log_seq)
        )
        return list(con.execute(query).scalars())
