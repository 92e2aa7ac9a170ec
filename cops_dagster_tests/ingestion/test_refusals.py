"""What a refusal leaves behind: the log row, and otherwise every table and file as it was (I15)."""

from __future__ import annotations

import contextlib
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cops_dagster.allocation import allocate
from cops_dagster.errors import CopsError
from cops_dagster.evidence import sweep
from cops_dagster.ingestion import ingest, look
from cops_dagster.ingestion.verdicts import ROWS_MATCH_DELIVERY
from cops_dagster.ledger import publish
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.run import Run
from cops_dagster.operations import budgets
from cops_dagster.reconciliation import reconcile
from cops_dagster.tagging import tag
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, force_state, give, home, lines, run, write
from cops_dagster_tests.ingestion.bad_inputs import CASES, refused
from cops_dagster_tests.shown import answer, by_tenant, dump, lake

LOGS = {
    "cur_ingestion_log", "allocation_run_log",
    # what was seen lying, and what is held of it: kept as evidence, followed by no reader
    "cur_delivery", "cur_delivery_file", "cur_delivery_profile", "cur_delivery_breakdown",
    "cur_delivery_place", "cur_delivery_hold",
}  # fmt: skip


def books_but_logs(books: Books) -> dict[str, Any]:
    """What a reader may rely on: all but the logs, and where and when a delivery was last seen lying."""
    found = {name: rows for name, rows in dump(books).items() if name not in LOGS}
    return found | {"cur_billing_head": [row[:3] for row in found["cur_billing_head"]]}


def insist(books: Books) -> list[str]:
    """Every act of the month, each of them though the one before refused; the codes of the refusals."""
    codes = []
    for act in (ingest.ingest, tag.tag, allocate.snapshot_keys, allocate.allocate, reconcile.reconcile):
        try:
            act(books, SEPTEMBER)
        except CopsError as refusal:
            codes.append(refusal.code)
    budgets.refresh(books)
    sweep.sweep(books)
    return codes


def zero(inputs: dict[str, str]) -> str:
    return inputs["tenant_network_usage"].replace(",1,", ",0,").replace(",2,", ",0,")


@pytest.mark.long
def test_no_bad_delivery_changes_a_table_or_a_file_even_when_the_later_acts_are_run(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    before, files, sums = books_but_logs(books), lake(books), by_tenant(books)
    for number, (case, (code, break_it)) in enumerate(CASES.items(), start=1):
        for old in (tmp_path / "cur" / "report").glob("*/a2/*"):
            old.unlink()
        break_it(tmp_path / "cur")
        (seen,) = look.look(books, SEPTEMBER)
        assert [refusal.code for refusal in seen.refusals] == [code], case
        assert insist(books) == [], case
        assert books_but_logs(books) == before, case
        assert refused(books)[number - 1 :] == [code], case
    assert lake(books) == files
    assert by_tenant(books) == sums
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a3")
    run(books)
    assert sum(by_tenant(books).values()) == sum(sums.values()) + 1


@pytest.mark.long
def test_an_empty_key_leaves_a_refused_row_and_the_frozen_zero_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    give(books, tmp_path, replace=True, tenant_network_usage=zero(INPUTS))
    before, files = books_but_logs(books), lake(books)
    assert insist(books) == ["E-KEY-ZERO"]
    after = books_but_logs(books)
    frozen = set(after.pop("allocation_key_snapshot")) - set(before.pop("allocation_key_snapshot"))
    assert after == before
    assert {(row[1], row[6]) for row in frozen if row[1] == "network"} == {("network", Decimal(0))}
    assert lake(books) == files
    give(books, tmp_path, replace=True, tenant_network_usage=INPUTS["tenant_network_usage"])
    assert insist(books) == []
    assert books_but_logs(books)["period_head"] == before["period_head"]  # the inputs of the head are back


def test_a_refused_publication_leaves_its_file_to_the_sweep_and_a_good_one_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    files = lake(books)
    bad = Verdict(ROWS_MATCH_DELIVERY, False, "ERROR", {"delivered_rows": 7})
    orphan = books.settings.lake_root / "fact_cost_raw" / "2025-09" / "feed" / "x.parquet"
    orphan.parent.mkdir()
    orphan.write_bytes(b"PAR1")
    staged = publish.Staged(orphan, None, 1, Decimal(1), ())
    with pytest.raises(CopsError, match="E-VERDICT") as refusal:
        publish.publish(
            books, publish.Publication(Run("fact_cost_raw", SEPTEMBER, "report", "i", None), [staged], [bad])
        )
    assert "delivered_rows 7" in refusal.value.found
    assert sweep.sweep(books).folders_removed == 1
    assert lake(books) == files


@pytest.mark.sampled(3)
@pytest.mark.parametrize("state", ["final", "closing", "closed"])
def test_a_period_that_is_being_closed_takes_nothing_and_an_open_one_does(tmp_path: Path, state: str) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    give(
        books, tmp_path, replace=True,
        tenant_network_usage=INPUTS["tenant_network_usage"].replace(",2,", ",8,"),
    )  # fmt: skip
    with books.admin.write() as con:
        force_state(con, state)
    before, files = books_but_logs(books), lake(books)
    if state == "final":  # a person must say first that it is not
        with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
            allocate.allocate(books, SEPTEMBER)
    else:  # what stands is the answer to any inputs
        assert not allocate.allocate(books, SEPTEMBER).wrote
    sweep.sweep(books)
    after = books_but_logs(books)
    assert {name for name in after if after[name] != before[name]} <= {"allocation_key_snapshot"}
    assert lake(books) == files
    with books.admin.write() as con:
        force_state(con, "delayed")
    assert allocate.allocate(books, SEPTEMBER).wrote


@pytest.mark.long
def test_a_new_delivery_for_a_closed_period_is_kept_aside_and_changes_no_entry(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    sums = by_tenant(books)
    with books.admin.write() as con:
        force_state(con, "closed")
    write(tmp_path / "cur", [lines(MONTH + "Usage AmazonS3 111111111111 acme team api 1\n")], assembly="a2")
    look.look(books, SEPTEMBER)
    assert insist(books) == []
    assert by_tenant(books) == sums
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(6,)]


@pytest.mark.long
def test_a_file_that_vanishes_between_the_look_and_the_ingestion_is_refused_and_found_again(
    tmp_path: Path,
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    folder = write(tmp_path / "cur", [lines(MONTH)], assembly="a2")
    look.look(books, SEPTEMBER)
    (path,) = folder.glob("*.parquet")
    body = path.read_bytes()
    path.unlink()
    with pytest.raises(CopsError, match="E-DIGEST"):
        ingest.ingest(books, SEPTEMBER)
    assert refused(books) == ["E-DIGEST"]
    path.write_bytes(body)
    run(books)
    assert answer(books, "SELECT COUNT(*) FROM fact_cost_raw") == [(6,)]


@pytest.mark.long
def test_an_added_column_that_changes_its_type_reaches_the_ledger_and_the_projection(tmp_path: Path) -> None:
    """AWS retyped a column that COPS does not know: recorded and warned about, never a dead end."""
    write(tmp_path / "cur", [lines(MONTH).append_column("product_x", pa.array(["a"] * 6))])
    books = home(tmp_path)
    run(books)
    write(tmp_path / "cur", [lines(MONTH).append_column("product_x", pa.array([1.5] * 6))], assembly="a2")
    with contextlib.suppress(CopsError):
        run(books)
    sweep.rebuild(books)
    run(books)
    with books.admin.read() as con:
        assert sweep.pending(con) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "values", [pa.array([datetime(2025, 9, 1)] * 6, pa.timestamp("ns")), pa.nulls(6)], ids=["ns", "null"]
)
def test_an_added_column_of_an_odd_type_reaches_the_projection_too(tmp_path: Path, values: pa.Array) -> None:
    write(tmp_path / "cur", [lines(MONTH).append_column("product_x", values)])
    books = home(tmp_path)
    run(books)
    with books.admin.read() as con:
        assert sweep.pending(con) == []
