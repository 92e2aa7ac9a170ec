"""What people read in Dagster: columns in words, groups in order, checks that say what to do."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import dagster as dg
import pytest

from cops_dagster import shipped
from cops_dagster.graph import columns
from cops_dagster.graph.assets import about
from cops_dagster.graph.build import build_defs
from cops_dagster.graph.outcome import in_words, result
from cops_dagster.period import Period
from cops_dagster.tagging.verdicts import TAG_COVERAGE_AT_TARGET
from cops_dagster.verdict import Verdict

AUGUST = Period(2025, 8)


@pytest.fixture(scope="module")
def specs() -> list[dg.AssetSpec]:
    return list(build_defs(first=Period(2025, 7)).resolve_all_asset_specs())


def test_every_column_says_in_words_what_it_is(specs: list[dg.AssetSpec]) -> None:
    silent = [
        f"{spec.key.to_user_string()}.{column.name}"
        for spec in specs
        if "dagster/column_schema" in spec.metadata
        for column in spec.metadata["dagster/column_schema"].columns
        if not columns.words(spec.key.to_user_string(), column.name)
    ]
    assert silent == []


def test_every_table_shows_columns_and_names_its_document(specs: list[dg.AssetSpec]) -> None:
    without = {"cur_delivery", "close_report"}  # files, no tables
    for spec in specs:
        name = spec.key.to_user_string()
        assert ("dagster/column_schema" in spec.metadata) is (name not in without), name
        topic = spec.metadata["document"].value.removeprefix("cops docs ")
        assert topic in shipped.topics(), name


def test_a_column_says_its_unit_before_what_it_is_made_of() -> None:
    said = columns.described("fact_cost_allocated", "allocated_cost_usd")
    assert said is not None
    assert said.startswith("USD that the tenant bears")
    assert said.endswith("allocation_key_snapshot.measure)")


def test_a_tables_own_words_go_before_those_for_all() -> None:
    assert columns.words("fact_cost_allocated", "period_start") == "the billing month, as its first day"
    assert "the correction is booked" in str(columns.words("fact_cost_adjustment", "period_start"))
    assert columns.words("fact_cost_allocated", "no_such_column") is None


def test_every_amount_in_usd_says_so() -> None:
    mute = [
        f"{table}.{name}"
        for table, found in columns._page().items()
        for name, text in found.items()
        if name.endswith("_usd") and "USD" not in text
    ]
    assert mute == []


def test_groups_stand_in_the_order_of_the_month(specs: list[dg.AssetSpec]) -> None:
    found = sorted({str(spec.group_name) for spec in specs})
    assert [name.partition("_")[2] for name in found] == list(about.FLOW)


def verdict(passed: bool | None) -> Verdict:
    return Verdict(TAG_COVERAGE_AT_TARGET, passed, "ERROR", {"tag_coverage_pct": Decimal("96.920868")})


def test_a_check_that_does_not_hold_says_month_sight_and_step() -> None:
    said = in_words(verdict(False), "2025-08")
    assert said.startswith("2025-08: does not hold, wrong.")
    assert "tag_coverage_pct 96.920868" in said
    assert "Look: cops sql @untagged_by_service --param start=2025-08" in said
    assert "Do: correct tags at the source, then: cops materialize 2025-08" in said


def test_a_check_that_holds_or_has_nothing_to_judge_names_its_month_too() -> None:
    assert result(verdict(True), AUGUST).description == f"2025-08: holds. {TAG_COVERAGE_AT_TARGET.sentence}"
    assert result(verdict(None), AUGUST).description == "2025-08: nothing to judge"


def test_loading_the_definitions_warns_of_nothing() -> None:
    """In a process of its own, as Dagster starts one: filters of warnings are a matter of the process."""
    load = "from cops_dagster.graph.build import build_defs; from cops_dagster.period import Period"
    done = subprocess.run(
        [sys.executable, "-c", f"{load}; build_defs(first=Period(2025, 7))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
