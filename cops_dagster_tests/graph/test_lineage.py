"""Column lineage: what is named exists, and every amount of the ledger leads back to what AWS delivered."""

from __future__ import annotations

import pytest

from cops_dagster.graph.assets.about import columns_of
from cops_dagster.graph.lineage import column_lineage, parents

TABLES = ("fact_cost_raw", "cur_quarantine", "fact_cost_tagged", "fact_cost_allocated", "tag_coverage",
          "recon_summary")  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_every_column_that_lineage_names_exists(table: str) -> None:
    named = [(table, column) for column in parents(table)]
    named += [tuple(one.split(".")) for made_of in parents(table).values() for one in made_of]  # type: ignore[misc]
    assert [(name, column) for name, column in named if column not in dict(columns_of(name))] == []


def test_every_cost_view_is_read_off_the_sql_that_computes_it() -> None:
    found = parents("fact_cost_raw")
    assert set(found) == {name for name, _ in columns_of("fact_cost_raw")}
    assert "cur_billing_master.savings_plan_savings_plan_effective_cost" in found["amortized_cost"]
    assert "cur_billing_master.reservation_net_effective_cost" in found["net_amortized_cost"]
    assert "cur_billing_master.reservation_net_effective_cost" not in found["amortized_cost"]


@pytest.mark.parametrize("column", ["allocated_cost_usd", "allocated_amortized_cost_usd", "pool_cost_usd"])
def test_an_amount_of_the_ledger_leads_back_to_the_delivery(column: str) -> None:
    seen, wanted = set(), {f"fact_cost_allocated.{column}"}
    while wanted:
        seen |= wanted
        wanted = {
            one for name in wanted for one in parents(name.split(".")[0]).get(name.split(".")[1], ())
        } - seen
    assert "cur_billing_master.line_item_unblended_cost" in seen


def test_a_table_without_lineage_shows_none() -> None:
    assert column_lineage("budget_master") == {}
    assert set(column_lineage("fact_cost_raw")) == {"dagster/column_lineage"}
