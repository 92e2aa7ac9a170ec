"""The close report as Markdown: text from data is text, tables end somewhere and foot as on the page."""

from __future__ import annotations

from decimal import Decimal

from cops_dagster.reports import close_brief
from cops_dagster.reports.sheet import Table


def tenants(rows: list[tuple[object, ...]]) -> Table:
    total = ("total", sum((Decimal(str(usd)) for _, usd in rows), Decimal(0)))
    return Table("tenants", "Tenants", ("tenant", "expected_usd"), rows, total=total)


def test_text_from_data_is_no_markup_no_row_and_no_column() -> None:
    text = close_brief.brief(
        "2025-09", [("Issuer", "a | <b>[x](http://y)*\n| c")], [], [tenants([("acme_1 `rm`", Decimal(1))])]
    )
    assert r"| Issuer | a \| \<b\>\[x\](http://y)\* \| c |" in text
    assert r"| acme\_1 \`rm\` | 1.00 |" in text


def test_a_long_table_says_how_much_is_left_and_keeps_its_total() -> None:
    rows: list[tuple[object, ...]] = [
        (f"t{at:03}", Decimal("0.10")) for at in range(close_brief.ROWS_MAX + 7)
    ]
    text = close_brief.brief("2025-09", [], [], [tenants(rows)])
    assert "| t049 | 0.10 |" in text
    assert "t050" not in text
    assert "| total | 5.70 |" in text
    assert "7 more on the page" in text


def test_of_exceptions_those_are_shown_that_wait_for_somebody() -> None:
    columns = ("id", "status")
    found = Table(
        "exceptions", "Exceptions", columns, [("a1", "resolved"), ("b2", "open"), ("c3", "decided")]
    )
    text = close_brief.brief("2025-09", [], [], [found])
    assert [line for line in text.splitlines() if line.startswith(("| b2", "| c3"))] == [
        "| b2 | open |", "| c3 | decided |",
    ]  # fmt: skip
    assert "a1" not in text
    assert "1 resolved, on the page" in text
    all_done = Table("exceptions", "Exceptions", columns, [("a1", "resolved")])
    assert close_brief.brief("2025-09", [], [], [all_done]).endswith("none; 1 resolved, on the page\n")


def test_a_table_without_rows_says_none_and_other_tables_stay_on_the_page() -> None:
    other = Table("proof", "Proof", ("what",), [("digest",)])
    text = close_brief.brief("2025-09", [], [("billed by AWS", "1.00")], [tenants([]), other])
    assert text.endswith("#### Tenants\n\nnone\n")
    assert "| billed by AWS | 1.00 |" in text
