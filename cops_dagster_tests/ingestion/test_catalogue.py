"""Every case of the fault catalogue has its outcome, and every row and cent is accounted for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cops_dagster_tests.deliveries import home
from cops_dagster_tests.ingestion.catalogue import CASES, Case, Stage, observe, prepared


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "stage"
    prepared(folder).books.admin.close()
    return folder


@pytest.mark.sampled(69)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.what}")
def test_a_case_has_its_outcome_and_no_row_or_cent_is_lost(case: Case, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    shutil.copytree(good, folder)  # times are kept, so the copy is the same month
    seen = observe(case, Stage(folder, home(folder, inputs=None)))
    assert seen.seen == case.expected
    assert seen.balances, seen.balance
