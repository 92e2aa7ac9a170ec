"""The one guard of every CSV that leaves: what a spreadsheet would run as a formula is text."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cops_dagster.stores import csv_cells

FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "|calc", "%0A", "\t=1", "\r=1", "\n=1", " =1+1", "\t plain", '"=1',
    "'=1", "`=1", "\u00a0=1", "\u3000=1", "\u200b=1", "\ufeff=1", "\u2028=1", "\x00=1", "\x0b=1", "\x1c=1",
    "\u00ad=1", "\u202e=1", "\ufe0f=1", "＝1+1", "＋1", "－1", "＠SUM(A1)", "｜calc", "\u3000＝1", "⁼1",
    "\u22121+1", "﹣1", "=", "+49 30 1", "- item", "-0x1", "--1",
]  # fmt: skip
PLAIN = [
    "", " ", "acme", "a=b", "a-b", "1-2", "AmazonEC2", "2025-09", "EU (Frankfurt)", "ä=1", "日本", "_x",
    "#N/A", "a; b", "a;b=1", "line\nline", "a\n\nb",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_run_is_marked_and_otherwise_as_it_was(text: str) -> None:
    assert csv_cells.cell(text) == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_text_that_is_no_formula_stays_as_it_is(text: str) -> None:
    assert csv_cells.cell(text) == text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a;=1", "a;'=1"), ("a\n=1", "a\n'=1"), ("a\t +1;b", "a\t' +1;b"), ("a\r\n＝1", "a\r\n'＝1"),
        ("=1;=2", "'=1;'=2"),
    ],
)  # fmt: skip
def test_a_formula_behind_what_another_locale_splits_at_is_marked_there(text: str, cell: str) -> None:
    assert csv_cells.cell(text) == cell


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (Decimal("-12.50"), "-12.50"), (Decimal("-0.00"), "0.00"), (Decimal("1E-9"), "0.000000001"),
        (-3, "-3"),
        (-1.5, "-1.5"), (True, "True"), (None, ""),
        (datetime(2025, 9, 1, tzinfo=UTC), "2025-09-01 00:00:00+00:00"),
    ],
)  # fmt: skip
def test_what_is_a_number_by_its_type_stays_one(value: object, cell: str) -> None:
    assert csv_cells.cell(value) == cell


def test_names_of_columns_are_text_of_somebody_too() -> None:
    made = io.StringIO()
    csv_cells.write(made, ["=1+1", "usd"], [("-x", Decimal(-1))])
    assert made.getvalue() == "'=1+1,usd\n'-x,-1\n"


def test_a_table_without_rows_has_its_header() -> None:
    made = io.StringIO()
    csv_cells.write(made, ["a", "b"], [])
    assert list(csv.reader(io.StringIO(made.getvalue()))) == [["a", "b"]]
