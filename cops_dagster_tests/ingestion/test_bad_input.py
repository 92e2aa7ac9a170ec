"""Bad deliveries: each refused with its code, the month before intact, nothing lost, and then repaired."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cops_dagster.errors import CopsError
from cops_dagster.ingestion import deliver, look
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.ingestion.bad_inputs import (
    CASES,
    missing_file,
    refused,
)
from cops_dagster_tests.shown import answer, by_tenant


@pytest.mark.sampled(21)
@pytest.mark.parametrize("case", CASES)
def test_a_bad_delivery_is_refused_and_the_month_stays(case: str, tmp_path: Path) -> None:
    refused_month(case, tmp_path)


OF_EACH_KIND = (
    "a file the manifest names is missing", "Parquet cut in half", "a cost that is NaN", "another currency",
)  # fmt: skip


@pytest.mark.sampled(4)
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


@pytest.mark.long
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


@pytest.mark.long
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
