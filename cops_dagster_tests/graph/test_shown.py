"""What Dagster shows of a run: figures to the cent, plots of what moves, charts at once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import dagster as dg

from cops_dagster.graph import bars, columns, outcome
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.period import Period
from cops_dagster.tagging.verdicts import TAG_COVERAGE_AT_TARGET
from cops_dagster.verdict import Verdict

HOST = Host(billing_periods(Period(2025, 7)))
FIGURES: dict[str, Any] = {
    "aws_total_usd": Decimal("54205.6095167047"),
    "markup_usd": Decimal("-0.001"),
    "variance_pct": Decimal("0.011062"),
    "rules": 11,
    "status": "ok",
}


def test_figures_are_to_the_cent_and_the_exact_ones_stand_in_one_table() -> None:
    shown = outcome.materialized(HOST, "recon_summary", FIGURES, "v").metadata or {}
    assert {name: one.value for name, one in shown.items() if name in FIGURES} == {
        "aws_total_usd": 54205.61, "markup_usd": "0.00", "variance_pct": "0.0111", "rules": "11",
        "status": "ok",
    }  # fmt: skip
    exact: Any = shown["exact"]
    assert [tuple(row.data.values()) for row in exact.value.records] == [
        ("aws_total_usd", "54205.6095167047"), ("markup_usd", "-0.001"), ("variance_pct", "0.011062"),
    ]  # fmt: skip


def test_only_what_moves_from_month_to_month_is_a_number_that_dagster_draws() -> None:
    shown = outcome.materialized(HOST, "recon_summary", FIGURES, "v").metadata or {}
    numbers = dg.IntMetadataValue | dg.FloatMetadataValue
    assert [name for name, one in shown.items() if isinstance(one, numbers)] == ["aws_total_usd"]


def test_a_check_has_no_number_since_dagster_draws_them_by_the_time_of_the_run() -> None:
    verdict = Verdict(
        TAG_COVERAGE_AT_TARGET,
        True,
        "WARN",
        {"floor_pct": Decimal(98), "variance_pct": Decimal("0.000014"), "rows": 3},
    )
    shown = outcome.result(verdict, Period(2025, 8)).metadata
    assert {name: one.value for name, one in shown.items()} == {
        "floor_pct": "98.0", "variance_pct": "0.000014", "rows": "3",
    }  # fmt: skip


def test_the_bridge_is_in_finances_words_without_steps_that_cancel_out() -> None:
    """It said `aws billed`, `operator` and `variance`, and went to accrual basis and back for nothing."""
    steps: list[tuple[str, Any, Decimal, Decimal]] = [
        ("aws_billed", "level", Decimal("100.004"), Decimal("100.004")),
        ("amortisation", "change", Decimal("-7.5"), Decimal("92.504")),
        ("amortised", "level", Decimal("92.504"), Decimal("92.504")),
        ("back_to_charge_basis", "change", Decimal("7.5"), Decimal("100.004")),
        ("operator", "change", Decimal("-0.004"), Decimal("100")),
        ("expected", "level", Decimal(100), Decimal(100)),
        ("variance", "change", Decimal(-2), Decimal(98)),
        ("invoiced", "level", Decimal(98), Decimal(98)),
    ]
    lines = str(outcome.steps(steps).value).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == [
        "billed by AWS", "own cost", "billable", "under-billed", "invoiced",
    ]  # fmt: skip


def test_names_with_underscores_are_read_as_they_are_written() -> None:
    """Dagster's Markdown showed `__operator__` as the word operator in bold."""
    assert "`__operator__` for us" in str(columns.described("fact_cost_allocated", "tenant_id"))
    verdict = Verdict(TAG_COVERAGE_AT_TARGET, False, "WARN", {"tag_coverage_pct": "of __unallocated__ none"})
    assert " of `__unallocated__` none" in outcome.in_words(verdict, "2025-08")


def test_a_chart_of_text_is_small_enough_to_be_shown_without_a_click() -> None:
    years = [(f"20{year}-{at:02d}", f"{at}.00", Decimal(at)) for year in (24, 25) for at in range(1, 13)]
    drawn = str(bars.bars("%", years).value)
    assert len(drawn) <= bars.SHOWN_AT_ONCE
    assert drawn.endswith("| 2025-12 | 12.00 | ▇▇▇▇▇▇▇▇▇▇▇▇ |\n")  # the newest stay
    assert "| 2025-03 | 3.00 | ▇▇▇ |" in drawn
    assert bars.bars("USD", [("none", "0.00", Decimal(0))]).value.endswith("| none | 0.00 |  |\n")
