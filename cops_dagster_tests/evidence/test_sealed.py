"""What may become of a sealed row: nothing. What may come beside it depends on the table."""

from __future__ import annotations

import pytest

from cops_dagster.evidence.sealed import SHOWN, Change, Later, compare

SEALED = [{"id": "a", "usd": "1", "by": "kim"}, {"id": "b", "usd": "2", "by": "lee"}]


def told(
    there: list[dict[str, str]], later: Later = "never", explained: str = ""
) -> list[tuple[str, str, str]]:
    found = compare(SEALED, there, ["id"], later, lambda row: row["id"] == explained)
    return [(one.row, one.expected, one.found) for one in found]


def test_rows_that_stand_as_they_were_sealed_are_no_news_in_any_order() -> None:
    assert told(SEALED[::-1]) == []


def test_a_changed_row_is_named_with_the_columns_that_differ() -> None:
    assert told([SEALED[0], SEALED[1] | {"usd": "3", "by": "eve"}]) == [
        ("b", "usd 2, by lee", "usd 3, by eve")
    ]


def test_a_row_that_is_gone_is_named() -> None:
    assert told(SEALED[:1]) == [("b", "the row as it was sealed", "no such row")]


def test_a_column_that_came_later_is_not_compared() -> None:
    """Migrations add columns; a seal holds to those it knew."""
    assert told([row | {"new": "x"} for row in SEALED]) == []


def test_a_column_that_is_gone_is_a_difference() -> None:
    (found,) = told([{"id": "a", "usd": "1"}, SEALED[1]])
    assert found == ("a", "by kim", "by no such column")


@pytest.mark.parametrize(
    ("later", "explained", "findings", "warnings"),
    [
        ("never", "c", 1, 0), ("explained", "", 1, 0), ("explained", "c", 0, 0), ("told", "", 0, 1),
        ("free", "", 0, 0),
    ],
)  # fmt: skip
def test_a_row_that_came_later_is_judged_as_its_table_says(
    later: Later, explained: str, findings: int, warnings: int
) -> None:
    there = [*SEALED, {"id": "c", "usd": "9", "by": "eve"}]
    found = compare(SEALED, there, ["id"], later, lambda row: row["id"] == explained)
    assert [one.is_warning for one in found] == [False] * findings + [True] * warnings


def test_a_table_that_was_rewritten_whole_is_told_in_a_few_lines() -> None:
    many = [{"id": str(number), "usd": "1"} for number in range(5_000)]
    found = compare(many, [row | {"usd": "2"} for row in many], ["id"], "never")
    assert len(found) == SHOWN + 1
    assert found[-1] == Change("4980 more rows", "as they were sealed", "not so")
