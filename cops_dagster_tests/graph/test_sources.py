"""A run over several sources: a refused one keeps it red and stops no other, nothing is booked twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cops_dagster.closing import status
from cops_dagster.errors import CopsError
from cops_dagster.graph.launch import launch
from cops_dagster.ingestion import places
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, write
from cops_dagster_tests.graph.homes import month

__all__ = ["month"]  # the fixture


@pytest.mark.long
def test_a_refused_source_leaves_the_run_red_and_the_others_booked(month: Path) -> None:
    folder = write(month / "cur" / "second", [lines(MONTH.replace("111111111111", "222222222222"))])
    (folder / "report-00001.snappy.parquet").unlink()
    books = home(month)
    failed = {check["check"]: check["severity"] for check in launch(books, SEPTEMBER, None)}
    assert failed["every_source_is_taken"] == "ERROR"
    assert failed["delivery_is_complete"] == "WARN"
    (here,) = status.statuses(books)
    assert (here.lines, here.gap_usd, here.state) == (6, 0, "delayed")


def test_a_fresh_month_that_two_sources_bill_is_refused_with_its_way_out(month: Path) -> None:
    write(month / "cur" / "second", [lines(MONTH)], manifest={"reportName": "second"})
    books = home(month)
    with pytest.raises(CopsError) as refusal:
        launch(books, SEPTEMBER, None)
    assert refusal.value.code == "E-SOURCE-TWICE"
    assert "cops source retire second/report" in refusal.value.next_step
    assert [one.allocated_usd for one in status.statuses(books)] == [None]


def test_a_root_out_of_reach_is_as_it_was_seen_last_and_the_others_are_watched(month: Path) -> None:
    write(month / "us", [lines(MONTH.replace("111111111111", "222222222222"))])
    books = home(month)
    both = books.settings.model_copy(update={"cur": f"{month / 'cur'},us={month / 'us'}"})
    books = replace(books, settings=both)
    known = {str(period): mark for period, mark in places.fingerprints(books.settings).items()}
    shutil.move(month / "us", month / "away")
    assert {str(period): mark for period, mark in places.fingerprints(books.settings, known).items()} == known
    write(month / "cur", [lines(MONTH)], assembly="a2")
    assert {str(period): mark for period, mark in places.fingerprints(books.settings, known).items()} != known
