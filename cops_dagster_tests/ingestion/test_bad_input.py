"""Bad deliveries: each refused with its code, the month before intact, nothing lost, and then repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import deliver, look
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.ledger.test_month import answer, by_tenant

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


@pytest.mark.parametrize("case", CASES)
def test_a_bad_delivery_is_refused_and_the_month_stays(case: str, tmp_path: Path) -> None:
    refused_month(case, tmp_path)


OF_EACH_KIND = (
    "a file the manifest names is missing", "Parquet cut in half", "a cost that is NaN", "another currency",
)  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in OF_EACH_KIND else pytest.mark.long) for case in CASES],
)
def test_a_refused_month_takes_the_next_good_delivery(case: str, tmp_path: Path) -> None:
    books = refused_month(case, tmp_path)
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a3")
    run(books)
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(7,)]


def refused_month(case: str, tmp_path: Path) -> Books:
    """A good month whose next delivery was refused, which changed nothing."""
    code, break_it = CASES[case]
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    before = by_tenant(books), answer(books, "SELECT COUNT(*) FROM fact_cost_raw")
    break_it(tmp_path / "cur")
    with pytest.raises(CopsError) as refusal:
        run(books)
    assert refusal.value.code == code
    assert all((refusal.value.subject, refusal.value.expected, refusal.value.found, refusal.value.next_step))
    assert (by_tenant(books), answer(books, "SELECT COUNT(*) FROM fact_cost_raw")) == before
    assert refused(books)[-1] == code
    return books


def test_lines_of_another_billing_period_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH, Period(2025, 8))])
    with pytest.raises(CopsError, match="E-MANIFEST-SCOPE"):
        run(home(tmp_path))


def test_a_first_month_with_a_torn_newest_delivery_falls_back_to_the_older_whole_one(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    missing_file(tmp_path / "cur")
    (seen,) = look.look(home(tmp_path), SEPTEMBER)
    assert [refusal.code for refusal in seen.refusals] == ["E-CHUNK-MISSING"]
    assert seen.delivery_id


def test_overwritten_deliveries_are_taken_too(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)], overwrite=True)
    books = home(tmp_path)
    run(books)
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], overwrite=True)
    run(books)
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(7,)]


def test_a_file_the_manifest_does_not_name_is_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path / "cur", [lines(MONTH)])
    pq.write_table(lines(MONTH), folder / "extra.parquet")
    books = home(tmp_path)
    run(books)
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(6,)]


def test_a_manifest_nested_too_deep_or_too_large_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "cur", [lines(MONTH)])
    for body in ("[" * 100_000, "{" + " " * (17 * 1024 * 1024) + "}", "", "[]", '"text"'):
        for place in (folder, folder.parent):
            (place / "report-Manifest.json").write_text(body, encoding="utf-8")
        (seen,) = look.look(home(tmp_path, inputs=None), SEPTEMBER)
        assert {refusal.code for refusal in seen.refusals} == {"E-MANIFEST"}
        assert seen.delivery_id is None


@pytest.mark.parametrize(
    "period", ["2025-13", "../2025-09", "2025-9", "25-09", "2025-09-01", "", "1999-12", "２０２５-09"]
)
def test_what_is_no_period_is_refused(period: str) -> None:
    with pytest.raises(CopsError, match="E-PERIOD"):
        Period.parse(period)


def test_a_period_nobody_delivered_is_refused_with_where_it_looked(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN") as refusal:
        look.look(home(tmp_path), Period(2031, 1))
    assert str(tmp_path / "cur") in refusal.value.found


def test_files_without_a_manifest_become_the_same_delivery_every_time(tmp_path: Path) -> None:
    path = tmp_path / "month.parquet"
    pq.write_table(lines(MONTH), path)
    (tmp_path / "cur").mkdir()
    books = home(tmp_path)
    manifest = deliver.deliver(books, [path], SEPTEMBER)
    run(books)
    said = json.loads(manifest.read_text())
    deliver.deliver(books, [path], SEPTEMBER)
    assert json.loads(manifest.read_text()) == said
    run(books)
    assert answer(books, "SELECT COUNT(DISTINCT delivery_id), COUNT(*) FROM fact_cost_raw") == [(1, 6)]
    with pytest.raises(CopsError, match="E-CHUNK-DUP"):
        deliver.deliver(books, [path, path], SEPTEMBER)
    with pytest.raises(CopsError, match="E-FILE"):
        deliver.deliver(books, [tmp_path / "nothing.parquet"], SEPTEMBER)
