"""The fault catalogue as a table: what is delivered, what must be observed. `test_catalogue` holds it.

    PYTHONPATH=. python -m cops_dagster_tests.ingestion.catalogue    prints the table with what was observed

Each case begins with a good month that was run. `break_it` then delivers or damages something, the month
is run again, and what is observed is one of:

    refused CODE · held CODE · quarantined CODE · accepted · accepted, CHECK (a check that turned red)
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import checks, ingest
from cops_dagster.lake import live
from cops_dagster.ledger.books import Books
from cops_dagster.reports import sql
from cops_dagster.stores import tables as t
from cops_dagster.tagging import checks as judge_tagged
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.layouts import csv_header, csv_text, packed

FILE = "report-00001.snappy.parquet"
MORE = MONTH + "Usage AmazonS3 111111111111 acme team api 1\n"
Break = Callable[["Stage"], object]


@dataclass
class Stage:
    """A folder with a good month in `cur`, run into `books`."""

    folder: Path
    books: Books

    @property
    def cur(self) -> Path:
        return self.folder / "cur"


@dataclass(frozen=True)
class Case:
    """One row of the catalogue. `checks` are those that must be red, besides what is expected of all."""

    number: str
    what: str
    expected: str
    break_it: Break


# --- ways to deliver ------------------------------------------------------------------------------------


def month(text: str = MORE) -> pa.Table:
    return lines(text)


def parquet(change: Callable[[pa.Table], pa.Table], **how: Any) -> Break:
    """A second delivery whose table was changed."""
    return lambda stage: write(stage.cur, [change(month())], assembly="a2", **how)


def in_bytes(change: Callable[[bytes], bytes]) -> Break:
    def damage(stage: Stage) -> None:
        path = write(stage.cur, [month()], assembly="a2") / FILE
        path.write_bytes(change(path.read_bytes()))

    return damage


def put(column: str, value: Any, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    """One value changed, the column's type kept."""

    def change(table: pa.Table) -> pa.Table:
        if column not in table.column_names:
            table = table.append_column(column, pa.nulls(table.num_rows, pa.string()))
        index = table.column_names.index(column)
        values = table.column(index).to_pylist()
        values[row] = value
        return table.set_column(index, table.field(index), pa.array(values, table.field(index).type))

    return change


def all_of(column: str, value: Any, kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    """One column with the same value on every line."""

    def change(table: pa.Table) -> pa.Table:
        made = pa.array([value] * table.num_rows, kind or pa.string())
        if column in table.column_names:
            return table.set_column(table.column_names.index(column), column, made)
        return table.append_column(column, made)

    return change


def times(start: str, end: str, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    """Usage times of one line; the others last an hour."""

    def change(table: pa.Table) -> pa.Table:
        begin = [datetime(2025, 9, 1)] * table.num_rows
        until = [one + timedelta(hours=1) for one in begin]
        begin[row], until[row] = datetime.fromisoformat(start), datetime.fromisoformat(end)
        for name, values in (("line_item_usage_start_date", begin), ("line_item_usage_end_date", until)):
            made = pa.array(values, pa.timestamp("us"))
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, made)
            else:
                table = table.append_column(name, made)
        return table

    return change


def as_csv(change: Callable[[bytes], bytes] = lambda body: body) -> Break:
    """A second delivery as legacy CSV gzip, its text changed."""

    def deliver(stage: Stage) -> None:
        body = change(csv_month())
        put_file(stage, gzip.compress(body, mtime=0))

    return deliver


def csv_month() -> bytes:
    """The good month as legacy CSV."""
    table = month()
    header = [csv_header(name) for name in table.column_names]
    return csv_text(header, [list(row.values()) for row in table.to_pylist()])


def flipped(body: bytes) -> bytes:
    """One bit in the middle changed, before anybody has seen it."""
    changed = bytearray(body)
    changed[len(body) // 2] ^= 4
    return bytes(changed)


def put_file(stage: Stage, body: bytes, name: str = "report-00001.csv.gz", compression: str = "GZIP") -> Path:
    """A second delivery of one file of these bytes."""
    folder = write(
        stage.cur, [], assembly="a2",
        manifest={"compression": compression, "reportKeys": [f"report/a2/{name}"]},
    )  # fmt: skip
    (folder / name).write_bytes(body)
    return folder / name


def swap(old: str, new: str | bytes) -> Callable[[bytes], bytes]:
    made = new if isinstance(new, bytes) else new.encode()
    return lambda body: body.replace(old.encode(), made, 1)


def columns(change: Callable[[list[str]], list[str]]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.rename_columns(change(table.column_names))


def with_manifest(text: bytes | Callable[[dict[str, Any]], object]) -> Break:
    def deliver(stage: Stage) -> None:
        folder = write(stage.cur, [month()], assembly="a2")
        for place in (folder, folder.parent):
            path = place / "report-Manifest.json"
            if callable(text):
                said = json.loads(path.read_text())
                text(said)
                path.write_text(json.dumps(said))
            else:
                path.write_bytes(text)

    return deliver


# --- cases that need more than one line -----------------------------------------------------------------


def missing_chunk(stage: Stage) -> None:
    folder = write(stage.cur, [month(), month()], assembly="a2")
    (folder / "report-00002.snappy.parquet").unlink()


def stray_chunk(stage: Stage) -> None:
    folder = write(stage.cur, [month()], assembly="a2")
    pq.write_table(month(), folder / "report-00099.snappy.parquet")


def same_bytes(stage: Stage) -> None:
    table = month(
        "type service account tenant cost\nUsage AmazonEC2 111111111111 acme 20\n" * 1
        + "Usage AmazonEC2 111111111111 acme 5\n" * 3
    )
    write(stage.cur, [table, table], assembly="a2")


def flipped_after_first_sight(stage: Stage) -> None:
    path = write(stage.cur, [month()], assembly="a2") / FILE
    checks.delivery(stage.books, SEPTEMBER)  # a look, no ingestion
    live.forget([path])  # as in the process that ingests
    flip(path, path.stat().st_size // 3)


def flip(path: Path, at: int, bit: int = 0) -> None:
    """One bit, the file's time kept."""
    info = path.stat()
    body = bytearray(path.read_bytes())
    body[at] ^= 1 << bit
    path.write_bytes(bytes(body))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def older_again(stage: Stage) -> None:
    write(stage.cur, [month()], assembly="a2")
    run(stage.books)
    base = stage.cur / "report" / "20250901-20251001"
    shutil.copyfile(base / "a1" / "report-Manifest.json", base / "report-Manifest.json")


def prefix_changed(stage: Stage) -> None:
    write(stage.cur, [month()], assembly="a2")
    (stage.cur / "report").rename(stage.cur / "renamed")


def odd_names(stage: Stage) -> None:
    names = ["ä ö.parquet", "%2e%2e.parquet", "a\nb.parquet"]
    folder = write(
        stage.cur, [], assembly="a2", manifest={"reportKeys": [f"../../etc/{name}" for name in names]}
    )
    for number, name in enumerate(names):
        pq.write_table(month().slice(number * 2, 2 if number < 2 else None), folder / name)


def linked(stage: Stage) -> None:
    path = write(stage.cur, [month()], assembly="a2") / FILE
    path.rename(stage.folder / "elsewhere")
    path.symlink_to(stage.folder / "elsewhere")


def pipe(stage: Stage) -> None:
    path = write(stage.cur, [month()], assembly="a2") / FILE
    path.unlink()
    os.mkfifo(path)


def gzip_bomb(stage: Stage) -> None:
    put_file(stage, gzip.compress(b"lineItem/UnblendedCost,a\n" + b"0,0\n" * 50_000_000, 6, mtime=0))


def zip_bomb(stage: Stage) -> None:
    path = stage.folder / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.csv", "w") as member:
        member.write(b"lineItem/UnblendedCost,a\n")
        for _ in range(200):
            member.write(b"0,0\n" * 250_000)
    put_file(stage, path.read_bytes(), "report-00001.csv.zip", "ZIP")


def declared_rows(stage: Stage) -> None:
    # a column of one value takes no room: 10**8 rows in a few kilobytes
    table = pa.table({"line_item_unblended_cost": pa.DictionaryArray.from_arrays(
        pa.array([0], pa.int8()).take(pa.array([0] * 1000)), pa.array(["0"]))})  # fmt: skip
    path = write(stage.cur, [month()], assembly="a2") / FILE
    with pq.ParquetWriter(path, table.schema) as writer:
        big = pa.concat_tables([table] * 10_000)
        writer.write_table(big.combine_chunks(), row_group_size=10_000_000)


def crash(stage: Stage) -> None:
    """The reader dies of SIGSEGV at the first statement about the new delivery."""
    from cops_dagster.lake import reader

    write(stage.cur, [month()], assembly="a2")
    real = reader.Reader.lock_down

    def dying(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        os.kill(self.pid, 11)
        reader.Reader.lock_down = real  # type: ignore[method-assign]

    reader.Reader.lock_down = dying  # type: ignore[method-assign]


def torn(rounds: int) -> Break:
    """The manifest is written again while the delivery is read, as often as said."""

    def deliver(stage: Stage) -> None:
        from cops_dagster.ingestion import first_sight as module

        folder = write(stage.cur, [month()], assembly="a2", overwrite=False)
        manifest = folder.parent / "report-Manifest.json"
        real, left = module.measure, [rounds]

        def measure(*arguments: Any) -> Any:
            found = real(*arguments)
            if left[0]:
                left[0] -= 1
                os.utime(manifest, ns=(0, manifest.stat().st_mtime_ns + 1000))
            else:
                module.measure = real
            return found

        module.measure = measure

    return deliver


def data_newer(stage: Stage) -> None:
    """A data file is replaced while the delivery is read; the manifest stays."""
    from cops_dagster.ingestion import first_sight as module

    path = write(stage.cur, [lines(MONTH)], assembly="a2") / FILE
    real = module.measure

    def measure(*arguments: Any) -> Any:
        module.measure = real
        found = real(*arguments)
        pq.write_table(month(), path)
        return found

    module.measure = measure


def header_only(stage: Stage) -> None:
    as_csv(lambda body: body.split(b"\n")[0] + b"\n")(stage)


def new_account(stage: Stage) -> None:
    """No earlier month: a home of its own whose first delivery has no lines."""
    shutil.rmtree(stage.cur / "report")
    stage.books.admin.close()
    shutil.rmtree(stage.folder / "home")
    write(stage.cur, [month().slice(0, 0)], assembly="a2")
    stage.books = home(stage.folder)


def long_tag(stage: Stage) -> None:
    write(stage.cur, [put("resource_tags_user_tenant_id", "x" * 65_536)(month())], assembly="a2")


def many_tags(stage: Stage) -> None:
    header = "type service account tenant cost\n"
    body = "".join(f"Usage AmazonEC2 111111111111 nobody-{number} 0.001\n" for number in range(10_000))
    write(stage.cur, [lines(MONTH), pad(lines(header + body))], assembly="a2")


def pad(table: pa.Table) -> pa.Table:
    """The columns of `month`, so that files of one delivery have one schema."""
    wanted = lines(MONTH).schema
    for field in wanted:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(wanted.names)


def backfilled(stage: Stage) -> None:
    write(stage.cur, [put("resource_tags_user_tenant_id", "acme", row=2)(month())], assembly="a2")


COST = "line_item_unblended_cost"
TENANT = "resource_tags_user_tenant_id"
NAN, INF = float("nan"), float("inf")

CASES: tuple[Case, ...] = (
    Case("F01", "Parquet cut by one byte", "refused E-FILE-TRUNC", in_bytes(lambda body: body[:-1])),
    Case("F01", "Parquet cut in half", "refused E-FILE-TRUNC", in_bytes(lambda body: body[: len(body) // 2])),
    Case("F01", "Parquet of 0 bytes", "refused E-FILE-TRUNC", in_bytes(lambda body: b"")),
    Case("F01", "CSV gzip cut in half", "refused E-FILE-TRUNC", lambda stage: put_file(
        stage, gzip.compress(b"a,b\n" + os.urandom(9000).hex().encode(), mtime=0)[:4000])),
    Case("F02", "a bit flipped after first sight", "refused E-DIGEST", flipped_after_first_sight),
    Case("F03", "a bit flipped on the way, CSV gzip", "refused E-FILE-TRUNC", lambda stage: put_file(
        stage, flipped(gzip.compress(csv_month(), mtime=0)))),
    Case("F03", "a bit flipped on the way, CSV zip", "refused E-FILE-TRUNC", lambda stage: put_file(
        stage, flipped(packed(csv_month(), "zip", "a.csv")), "report-00001.csv.zip", "ZIP")),
    Case("F03", "more after the end of gzip", "refused E-FILE-TRUNC", lambda stage: put_file(
        stage, gzip.compress(csv_month(), mtime=0) + b"more")),
    Case("F04", "a file of the manifest is missing", "refused E-CHUNK-MISSING", missing_chunk),
    Case("F05", "a file the manifest does not name", "accepted, folder_holds_only_named_files", stray_chunk),
    Case("F06", "the manifest changes in one reading", "accepted", torn(1)),
    Case("F06", "the manifest changes in five readings", "held E-DELIVERY-TORN", torn(5)),
    Case("F07", "a file is replaced while it is read", "accepted", data_newer),
    Case("F08", "a manifest that is no JSON", "refused E-MANIFEST", with_manifest(b"{nonsense")),
    Case("F08", "an empty manifest", "refused E-MANIFEST", with_manifest(b"")),
    Case("F08", "a manifest of 200 MB", "refused E-MANIFEST", with_manifest(b" " * 200_000_000)),
    Case("F08", "a manifest nested 100,000 deep", "refused E-MANIFEST", with_manifest(b"[" * 100_000)),
    Case("F09", "a manifest for another period", "refused E-MANIFEST-SCOPE", with_manifest(
        lambda said: said["billingPeriod"].update(start="20250801T000000.000Z"))),
    Case("F09", "lines of another period", "refused E-MANIFEST-SCOPE", parquet(
        all_of("bill_billing_period_start_date", datetime(2025, 8, 1), pa.timestamp("us")))),
    Case("F10", "the same delivery again", "accepted, nothing written", lambda stage: None),
    Case("F11", "an older delivery comes last", "accepted, nothing written", older_again),
    Case("F12", "a file named twice", "refused E-CHUNK-DUP", with_manifest(
        lambda said: said["reportKeys"].extend(said["reportKeys"]))),
    Case("F13", "the same bytes under two names", "accepted, files_differ", same_bytes),
    Case("F14", "cost becomes text", "refused E-SCHEMA-TYPE", parquet(all_of(COST, "1.0"))),
    Case("F15", "a new column", "accepted, no_unexpected_columns", parquet(all_of("product_brand_new", "x"))),
    Case("F16", "a required column removed", "refused E-SCHEMA-MISSING", parquet(
        lambda table: table.drop_columns([COST]))),
    Case("F16", "a required column renamed", "refused E-SCHEMA-MISSING", parquet(
        columns(lambda names: [name.replace(COST, "line_item_unblended_costs") for name in names]))),
    Case("F16", "a required column in another case", "refused E-SCHEMA-MISSING", parquet(
        columns(lambda names: [name.replace(COST, COST.title()) for name in names]))),
    Case("F17", "an optional column removed", "accepted, no_columns_removed", parquet(
        lambda table: table.drop_columns(["bill_bill_type"]))),
    Case("F18", "two files of different schemas", "refused E-SCHEMA-MIXED", lambda stage: write(
        stage.cur, [month(), month().drop_columns(["bill_bill_type"])], assembly="a2")),
    Case("F19", "CSV gzip where Parquet is promised", "refused E-FORMAT", lambda stage: put_file(
        stage, gzip.compress(b"a,b\n1,2\n", mtime=0), FILE, "Parquet")),
    Case("F19", "Parquet under a CSV name", "refused E-FORMAT", lambda stage: put_file(
        stage, (write(stage.cur, [month()], assembly="a3") / FILE).read_bytes())),
    Case("F20", "a gzip bomb", "refused E-RESOURCE", gzip_bomb),
    Case("F20", "a zip bomb", "refused E-RESOURCE", zip_bomb),
    Case("F20", "Parquet that declares 10^7 rows in 1 KB", "refused E-RESOURCE", declared_rows),
    Case("F21", "the reader dies of SIGSEGV", "refused E-READER-CRASH", crash),
    Case("F22", "no lines after a month with cost", "held E-EMPTY", header_only),
    Case("F23", "no lines in a new account", "accepted", new_account),
    Case("F24", "the month shrinks by half", "held E-SHRINK", parquet(lambda table: table.slice(0, 2))),
    Case("F24", "an ended month doubles", "held E-GROWTH", parquet(
        lambda table: pa.concat_tables([table, table]))),
    Case("F25", "the report's prefix is changed", "refused E-SOURCE-UNKNOWN", prefix_changed),
    Case("F26", "names of unicode, %2e%2e and newlines", "accepted", odd_names),
    Case("F27", "a link in place of a file", "refused E-CHUNK-MISSING", linked),
    Case("F27", "a pipe in place of a file", "refused E-CHUNK-MISSING", pipe),
    Case("V01", "cost NaN", "held E-COST-NAN", parquet(put(COST, NAN))),
    Case("V01", "cost -inf", "held E-COST-NAN", parquet(put(COST, -INF))),
    Case("V01", "cost NaN in CSV", "held E-COST-NAN", as_csv(swap(",10.1", ",NaN"))),
    Case("V02", "cost NULL", "quarantined E-COST-NULL", parquet(put(COST, None, row=2))),
    Case("V02", "cost NULL on a split row", "accepted", parquet(lambda table: put(COST, None, row=2)(
        put("line_item_operation", "EKSPod-EC2", row=2)(table)))),
    Case("V03", "19 decimals as a double", "held E-COST-SCALE", parquet(put(COST, 1e-19))),
    Case("V03", "19 decimals as text", "held E-COST-SCALE", as_csv(swap(",10.1", ",0.1234567890123456789"))),
    Case("V03", "1E+30", "held E-COST-RANGE", as_csv(swap(",10.1", ",1E+30"))),
    Case("V03", "0x1", "held E-COST-PARSE", as_csv(swap(",10.1", ",0x1"))),
    Case("V03", "1,234.5", "held E-COST-PARSE", as_csv(swap(",10.1", ',"1,234.5"'))),
    Case("V03", "full-width digits", "held E-COST-PARSE", as_csv(swap(",10.1", ",１２"))),
    Case("V03", "text in a column no view needs", "accepted, every_value_is_carried", parquet(
        all_of("line_item_normalization_factor", "convertible"))),
    Case("V04", "cost -0.0", "accepted", parquet(put(COST, -0.0, row=4))),
    Case("V05", "10^20", "held E-COST-RANGE", parquet(put(COST, 1e20))),
    Case("V06", "a line without a currency", "refused E-CCY-MIX", parquet(
        put("line_item_currency_code", None))),
    Case("V06", "one line in EUR", "refused E-CCY", parquet(put("line_item_currency_code", "EUR"))),
    Case("V07", "currency 'usd '", "refused E-CCY", parquet(all_of("line_item_currency_code", "usd "))),
    Case("V08", "usage outside the month", "accepted, usage_lies_in_period", parquet(
        times("2025-08-31T23:00:00", "2025-09-01T00:00:00"))),
    Case("V09", "usage ends before it begins", "quarantined E-TIME", parquet(
        times("2025-09-02T00:00:00", "2025-09-01T00:00:00", row=2))),
    Case("V09", "usage of no time", "quarantined E-TIME", parquet(
        times("2025-09-02T00:00:00", "2025-09-02T00:00:00", row=2))),
    Case("V10", "negative usage", "accepted, usage_is_not_negative", parquet(put(COST, -1.0, row=2))),
    Case("V11", "one line id on every line", "accepted, lines_are_distinct", parquet(
        lambda table: all_of("identity_time_interval", "i")(
            all_of("identity_line_item_id", "one")(pa.concat_tables([table, table.slice(5)]))))),
    Case("V12", "a whole line twice", "accepted, lines_are_distinct", parquet(
        lambda table: (lambda named: pa.concat_tables([named, named.slice(6)]))(
            put("identity_line_item_id", "last", row=6)(table)))),
    Case("V13", "an account of 11 digits", "quarantined E-ACCOUNT", parquet(
        put("line_item_usage_account_id", "11111111111", row=2))),
    Case("V13", "an account of letters", "quarantined E-ACCOUNT", parquet(
        put("line_item_usage_account_id", "abcdefghijkl", row=2))),
    Case("V14", "no invoice id on a cost", "accepted, provisional", parquet(put("bill_invoice_id", ""))),
    Case("V15", "bytes that are no UTF-8, CSV", "quarantined E-UTF8", as_csv(
        lambda body: body.replace(b"AmazonS3", b"Amazon\xff3", 1))),
    Case("V15", "bytes that are no UTF-8, Parquet", "quarantined E-UTF8", lambda stage: bad_text(stage)),
    Case("V16", "NUL, CR LF, bidi, emoji in a tag", "accepted, tenants_are_known", parquet(
        put(TENANT, "a\0b\r\n\u202e\u200b😀"))),
    Case("T01", "a tag of SQL", "accepted, tenants_are_known", parquet(put(TENANT, "'); DROP TABLE x;--"))),
    Case("T02", "a tag of 64 KB", "accepted, tenants_are_known", long_tag),
    Case("T02", "10,000 tags", "accepted, tenants_are_known", many_tags),
    Case("T03", "a tag like a path", "accepted, tenants_are_known", parquet(put(TENANT, "../../x"))),
    Case("T03", "a tag like a formula", "accepted, tenants_are_known", parquet(put(TENANT, "=cmd|'/c'!A0"))),
    Case("T04", "a tenant nobody knows", "accepted, tenants_are_known", parquet(put(TENANT, "nobody"))),
    Case("T07", "a tag in another unicode form", "accepted, tags_are_spelled_alike", parquet(
        put(TENANT, " acme ", row=2))),
    Case("T08", "a tag backfilled by AWS", "accepted", backfilled),
    Case("T10", "a reserved name", "accepted, tenants_are_known", parquet(put(TENANT, "__operator__"))),
    Case("M01", "lines at both ends of the month", "accepted", parquet(
        times("2025-09-30T23:59:59", "2025-10-01T00:00:00"))),
    Case("M08", "a time with an offset", "accepted", as_csv(
        lambda body: body.replace(b"2025-09-01T00:00:00Z", b"2025-09-01T02:00:00+02:00"))),
    Case("M08", "times without a zone", "refused E-TIME", as_csv(
        lambda body: body.replace(b"00:00:00Z", b"00:00:00"))),
)  # fmt: skip


def bad_text(stage: Stage) -> None:
    table = month()
    index = table.column_names.index("product_servicecode")
    values = [value.encode() if value else None for value in table.column(index).to_pylist()]
    values[6] = b"Amazon\xff3"
    buffers = pa.array(values, pa.binary()).buffers()
    text = pa.StringArray.from_buffers(len(values), buffers[1], buffers[2], buffers[0])
    write(stage.cur, [table.set_column(index, "product_servicecode", text)], assembly="a2")


# --- observing ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Observation:
    """What happened, and whether every delivered row and cent is where it must be."""

    seen: str
    balance: str

    @property
    def balances(self) -> bool:
        return self.balance.endswith("= 0")


def prepared(folder: Path) -> Stage:
    """A good month, run."""
    (folder / "cur").mkdir(parents=True)
    write(folder / "cur", [lines(MONTH)])
    stage = Stage(folder, home(folder))
    run(stage.books)
    return stage


def observe(case: Case, stage: Stage) -> Observation:
    """Breaks, runs, and says what is seen."""
    case.break_it(stage)
    before = journal(stage.books)
    try:
        run(stage.books)
    except CopsError as refusal:
        held = logged(stage.books) == "delayed"
        return Observation(f"{'held' if held else 'refused'} {refusal.code}", balance(stage.books))
    books, seen = stage.books, "accepted"
    (aside,) = sql.ask(books, "SELECT MIN(quarantine_code) FROM cur_quarantine", {}).rows.rows
    wanted = case.expected.partition(", ")[2]
    red = {verdict.check for verdict in verdicts(books) if verdict.passed is False}
    if aside[0]:
        seen = f"quarantined {aside[0]}"
    elif wanted == "nothing written" and journal(books) == before:
        seen = "accepted, nothing written"
    elif wanted == "provisional" and status(books) == "incomplete":
        seen = "accepted, provisional"
    elif wanted in red:
        seen = f"accepted, {wanted}"
    return Observation(seen, balance(books))


def verdicts(books: Books) -> list[Any]:
    found = [*checks.delivery(books, SEPTEMBER), *checks.raw(books, SEPTEMBER)]
    return [*found, *checks.quarantined(books, SEPTEMBER), *judge_tagged.tagged(books, SEPTEMBER)]


def status(books: Books) -> str:
    with books.admin.read() as con:
        newest = sa.select(t.recon_run.c.status).order_by(t.recon_run.c.recon_seq.desc()).limit(1)
        return str(con.execute(newest).scalar_one())


def journal(books: Books) -> int:
    with books.admin.read() as con:
        return int(con.execute(sa.select(sa.func.count()).select_from(t.publish_journal)).scalar_one())


def logged(books: Books) -> str:
    with books.admin.read() as con:
        log = t.cur_ingestion_log
        newest = sa.select(log.c.status).order_by(log.c.log_seq.desc()).limit(1)
        return str(con.execute(newest).scalar_one())


def balance(books: Books) -> str:
    """Ingested delivery − raw − quarantine, in rows and USD; and raw − allocated in USD."""
    with books.admin.read() as con:
        heads, log = t.period_head, t.cur_ingestion_log
        run_id = con.execute(
            sa.select(heads.c.run_id).where(
                heads.c.table_name == ingest.TABLE, heads.c.period_start == SEPTEMBER.start
            )
        ).scalar_one()
        row = con.execute(sa.select(log).where(log.c.run_id == run_id, log.c.status == "succeeded")).first()
    assert row is not None
    (found,) = sql.ask(
        books,
        """SELECT (SELECT COUNT(*) FROM fact_cost_raw) + (SELECT COUNT(*) FROM cur_quarantine),
                  (SELECT COALESCE(SUM(line_item_unblended_cost), 0) FROM fact_cost_raw),
                  (SELECT COALESCE(SUM(line_item_unblended_cost), 0) FROM cur_quarantine),
                  (SELECT COALESCE(SUM(allocated_cost_usd), 0) FROM fact_cost_allocated)""",
        {},
    ).rows.rows
    rows, raw, aside, allocated = found
    off = abs(row.rows_in - rows) + abs(row.cost_in_usd - raw - aside) + abs(raw - allocated)
    return f"{row.rows_in} rows, {row.cost_in_usd.normalize():f} USD, difference = {off.normalize():f}"


def main() -> None:
    """Prints the catalogue with what was observed, as Markdown."""
    sys.stdout.write("| # | case | expected | observed | rows and cost |\n|---|---|---|---|---|\n")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            seen = observe(case, prepared(Path(folder) / "c"))
        row = (case.number, case.what, case.expected, seen.seen, seen.balance)
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
