"""What others say of FOCUS exports, where `make focus-judges` has installed them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cops_dagster_tests import real_month
from cops_dagster_tests.exports import judges

pytestmark = pytest.mark.long


def test_the_judges_find_in_both_sides_of_a_real_month_what_is_documented_and_nothing_else(
    tmp_path: Path,
) -> None:
    file = real_month.place()
    if file is None:
        pytest.skip("COPS_TEST_REAL_MONTH names no file")
    if not judges.are_there():
        pytest.skip("no judges: make focus-judges")
    books = real_month.closed(tmp_path, file, {})
    assert judges.month(books, real_month.OCTOBER, "real") == []
