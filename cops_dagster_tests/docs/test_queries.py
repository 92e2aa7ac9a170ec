"""Every query in the documents and in sql/diagnostics runs as pasted, on the demo."""

from __future__ import annotations

import hashlib
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from cops_dagster import settings
from cops_dagster.allocation import allocate
from cops_dagster.evidence.home import open_books
from cops_dagster.inputs import load as loading
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reports import sql as ask
from cops_dagster_tests.docs import pages
from cops_dagster_tests.docs.pages import DIAGNOSTICS, ROOT, Block

PLAYBOOK = [block for block in pages.blocks("sql") if "<!-- playbook" in block.notes]
PLAYBOOK_SHA256 = "55c1c7f033aeeed3dda92a199c69acd278a8709f94a725e2ff8aa5a4c4c59763"
"""Of the queries of the operators' playbook, joined: the runbook has them to the letter."""

OUR_OWN = {"variance_trend"}
"""Diagnostics that answer what the playbook asks in words only."""

ANY_PARAMS = ["start=2025-07", "end=2025-09", "period_start=2025-09", "today=2025-09-30"]


def answer(books: Books, sql: str, params: list[str]) -> ask.Answer:
    return ask.ask(books, sql, ask.parameters(params))


def diagnosed(books: Books, name: str, *params: str) -> list[dict[str, Any]]:
    text = (ROOT / "sql" / "diagnostics" / f"{name}.sql").read_text(encoding="utf-8")
    return answer(books, text, [*ANY_PARAMS, *params]).rows.dicts()


@pytest.mark.parametrize("block", pages.blocks("sql"), ids=str)
def test_a_query_of_the_documents_answers(block: Block, demo: Books) -> None:
    rows = answer(demo, block.text, block.params).rows
    assert rows.columns
    may_be_empty = ": empty" in block.notes
    assert bool(rows.rows) is not may_be_empty


def test_the_playbook_s_queries_stand_in_the_runbook_to_the_letter() -> None:
    assert len(PLAYBOOK) == 11
    joined = "\0".join(block.text for block in PLAYBOOK)
    assert hashlib.sha256(joined.encode()).hexdigest() == PLAYBOOK_SHA256


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("invoice_detail i", "tenant_drill"),
        ("latest_usage_ts", "latest_partition"),
        ("HAVING SUM(key_total)", "empty_keys"),
        ("LEFT JOIN alloc", "pool_vs_allocated"),
    ],
)
def test_a_query_that_misleads_names_the_corrected_file(words: str, file: str, demo: Books) -> None:
    (block,) = [block for block in PLAYBOOK if words in block.text]
    hint = answer(demo, block.text, block.params).hint
    assert hint is not None
    assert f"cops sql @{file}" in hint
    assert (ROOT / "sql" / "diagnostics" / f"{file}.sql").is_file()


@pytest.mark.parametrize("path", DIAGNOSTICS, ids=lambda path: path.stem)
def test_a_diagnostic_answers(path: Path, demo: Books) -> None:
    rows = answer(demo, path.read_text(encoding="utf-8"), ANY_PARAMS).rows
    assert rows.columns
    assert rows.rows or path.stem == "empty_keys"


@pytest.mark.parametrize("path", DIAGNOSTICS, ids=lambda path: path.stem)
def test_a_diagnostic_says_what_it_corrects_and_never_divides_or_multiplies(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    assert "-- The pasted query" in text or path.stem in OUR_OWN
    tree = sqlglot.parse_one(text, read="duckdb")
    assert not list(tree.find_all(exp.Mul, exp.Div, exp.IntDiv, exp.Avg))


def test_every_playbook_query_has_a_diagnostic_that_the_runbook_names() -> None:
    assert len(DIAGNOSTICS) == len(PLAYBOOK) + len(OUR_OWN)
    runbook = pages.text("docs/troubleshooting.md")
    assert [path.stem for path in DIAGNOSTICS if f"`sql/diagnostics/{path.name}`" not in runbook] == []


def test_delivered_and_ingested_differ_by_nothing(demo: Books) -> None:
    (row,) = diagnosed(demo, "expected_vs_ingested")
    assert row["newest_delivery_id"] == row["ingested_delivery_id"]
    assert (row["row_difference"], row["cost_difference_usd"]) == (0, 0)


def test_pool_and_allocated_differ_by_nothing_in_every_view(demo: Books) -> None:
    rows = diagnosed(demo, "pool_vs_allocated")
    assert {row["period_start"].month for row in rows} == {7, 8, 9}
    assert not any(value for row in rows for name, value in row.items() if name.endswith("_difference_usd"))


def test_the_tenant_drill_adds_up_to_the_summary(demo: Books) -> None:
    drilled = diagnosed(demo, "tenant_drill", "start=2025-07", "end=2025-07")
    (summary,) = diagnosed(demo, "cur_vs_allocated_vs_invoiced", "start=2025-07", "end=2025-07")

    def total(name: str) -> Decimal:
        return sum((row[name] for row in drilled), Decimal(0))

    assert total("allocated_usd") == summary["allocated_total_usd"]
    assert total("invoiced_usd") == summary["invoiced_total_usd"]
    assert total("variance_usd") == summary["variance_usd"]


def test_a_schema_diff_shows_both_what_came_and_what_did_not(demo: Books) -> None:
    rows = diagnosed(demo, "schema_diff")
    unexpected = {
        (row["period_start"].month, row["column_name"]) for row in rows if "unexpected" in row["difference"]
    }
    assert unexpected == {(9, "resource_tags_user_cost_center")}
    assert any("not delivered" in row["difference"] for row in rows)


def test_a_mistyped_tag_shows_as_unknown(demo: Books) -> None:
    rows = diagnosed(demo, "untagged_cost")
    assert all(
        row["unknown_tenant_usd"] <= row["untagged_usd"] for row in rows if row["charge_class"] == "usage"
    )
    assert any(row["unknown_tenant_usd"] > 0 for row in rows)


def test_an_empty_key_is_found_in_the_frozen_keys(demo_home: Path, tmp_path: Path) -> None:
    """The pasted query cannot see it: nothing with this key was ever published."""
    home, inputs = tmp_path / "home", tmp_path / "inputs"
    shutil.copytree(demo_home, home, ignore=shutil.ignore_patterns("demo", "dagster", "spill"))
    books = open_books(settings.load(home=home))
    inputs.mkdir()
    (inputs / "allocation_keys.csv").write_text(
        "key_name,measure,max_age_hours\nidle,idle,24\n", encoding="utf-8"
    )
    (inputs / "allocation_rules.csv").write_text(
        "rule_id,version,effective_from,priority,match_service,method,key_name,on_zero_key,approved_by\n"
        "idle,1,2025-08-01,1,AWSDataTransfer,usage_key,idle,fail,test\n",
        encoding="utf-8",
    )
    loading.load(books, [inputs])
    allocate.snapshot_keys(books, Period(2025, 8))
    rows = diagnosed(books, "empty_keys", "start=2025-08", "end=2025-08")
    assert [(row["key_name"], row["key_total"]) for row in rows] == [("idle", 0)]
