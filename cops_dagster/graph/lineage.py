"""Which columns each column is made of, for Dagster's column lineage.

Belongs here: the lineage of the lake's tables and of what is summed from them, column by column. Columns with
the same name come from each other; what SQL computes of a line is read off that SQL; the rest is listed. Does
not belong here: the computing (`sql/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import dagster as dg
from sqlglot import exp
from sqlglot.lineage import lineage

from cops_dagster.lake import statements
from cops_dagster.lake.tables import (
    CUR_BILLING_MASTER,
    CUR_QUARANTINE,
    FACT_COST_ALLOCATED,
    FACT_COST_RAW,
    FACT_COST_TAGGED,
    Columns,
)

_POOL = ("fact_cost_tagged.tenant_id", "fact_cost_tagged.charge_class")
_KEY = ("allocation_key_snapshot.key_name", "allocation_key_snapshot.measure")
_COMPUTED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "fact_cost_tagged": {
        "service": ("fact_cost_raw.product_servicecode",),
        "service_component": ("fact_cost_raw.resource_tags_user_service_component",),
        "usage_account_id": ("fact_cost_raw.line_item_usage_account_id",),
        "tenant_id": (
            "fact_cost_raw.resource_tags_user_tenant_id",
            "fact_cost_raw.line_item_resource_id",
            "tenants.tenant_id",
            "tag_aliases.canonical",
        ),
        "tenant_tag": ("fact_cost_raw.resource_tags_user_tenant_id",),
        "plan_tag": ("fact_cost_raw.resource_tags_user_plan_id",),
        "plan_id": ("fact_cost_raw.resource_tags_user_plan_id", "tenants.plan_id", "plans.plan_id"),
        "tag_source": ("fact_cost_raw.resource_tags_user_tenant_id", "fact_cost_raw.line_item_resource_id"),
        "unblended_cost": ("fact_cost_raw.line_item_unblended_cost",),
        "positive_unblended_cost": ("fact_cost_raw.line_item_unblended_cost",),
        "positive_amortized_cost": ("fact_cost_raw.amortized_cost",),
        "positive_net_amortized_cost": ("fact_cost_raw.net_amortized_cost",),
    },
    "fact_cost_allocated": {
        "allocation_method": ("allocation_rules.method",),
        "rule_id": ("allocation_rules.rule_id",),
        "rule_version": ("allocation_rules.version",),
        "key_name": ("allocation_rules.key_name",),
        "key_value": _KEY,
        "key_total": _KEY,
        "pool_cost_usd": ("fact_cost_tagged.unblended_cost", *_POOL),
        "allocated_cost_usd": ("fact_cost_tagged.unblended_cost", *_POOL, *_KEY),
        "allocated_amortized_cost_usd": ("fact_cost_tagged.amortized_cost", *_POOL, *_KEY),
        "allocated_net_amortized_cost_usd": ("fact_cost_tagged.net_amortized_cost", *_POOL, *_KEY),
    },
    "tag_coverage": {
        "covered_usd": ("fact_cost_tagged.positive_unblended_cost", "fact_cost_tagged.is_tag_complete"),
        "coverable_usd": ("fact_cost_tagged.positive_unblended_cost", "fact_cost_tagged.charge_class"),
        "tag_coverage_pct": ("fact_cost_tagged.positive_unblended_cost", "fact_cost_tagged.is_tag_complete"),
    },
    "recon_summary": {
        "aws_total_usd": ("cur_billing_master.line_item_unblended_cost",),
        "allocated_total_usd": ("fact_cost_allocated.allocated_cost_usd",),
        "invoiced_total_usd": ("invoice_detail.amount_usd",),
        "variance_usd": ("fact_cost_allocated.allocated_cost_usd", "invoice_detail.amount_usd"),
    },
}
_CARRIED: Mapping[str, tuple[Columns, str, Columns]] = {
    "fact_cost_raw": (FACT_COST_RAW, "cur_billing_master", CUR_BILLING_MASTER),
    "cur_quarantine": (CUR_QUARANTINE, "cur_billing_master", CUR_BILLING_MASTER),
    "fact_cost_tagged": (FACT_COST_TAGGED, "fact_cost_raw", FACT_COST_RAW),
    "fact_cost_allocated": (FACT_COST_ALLOCATED, "fact_cost_tagged", FACT_COST_TAGGED),
}


@cache
def parents(name: str) -> dict[str, tuple[str, ...]]:
    """Column → the `table.column` it is made of; columns that COPS makes itself are left out."""
    computed = dict(_COMPUTED.get(name, {}))
    if name not in _CARRIED:
        return computed
    columns, table, before = _CARRIED[name]
    there = {column for column, _ in before}
    carried = {column: (f"{table}.{column}",) for column, _ in columns if column in there}
    if name == "fact_cost_raw":
        computed |= _read_off(tuple(column for column, _ in columns if column not in carried))
    return carried | computed


def _read_off(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The delivered columns that `sql/lens.sql` makes each column of, found by sqlglot."""
    query = statements.parsed("lens")
    said = {select.alias: select for select in query.expressions if select.alias}
    of_lines = {column: exp.column(column, "t") for column in columns if column not in said}
    # all at once: each column by itself would read the statement anew, a quarter of a second
    query.set("expressions", [*said.values(), *of_lines.values()])
    found: dict[str, tuple[str, ...]] = {  # bound, and checked against what each line says
        "period_start": ("cur_billing_master.bill_billing_period_start_date",)
    }
    for column, node in lineage(None, query, {}, dialect=statements.SOURCE_DIALECT).items():
        if column in columns and column not in found:
            leaves = {leaf.name.rpartition(".")[2] for leaf in node.walk() if not leaf.downstream}
            found[column] = tuple(sorted(f"cur_billing_master.{leaf}" for leaf in leaves - _ARITHMETIC))
    return found


_ARITHMETIC = {"net_unused_usd"}
"""What Python computes of columns that stand beside it."""


def made_of(name: str, column: str) -> str | None:
    """A column's lineage in words, for the column list of Dagster's pages."""
    found = parents(name).get(column)
    if found is None:
        return None
    if len(found) == 1 and found[0].endswith(f".{column}"):
        return f"as in {found[0].partition('.')[0]}"
    return f"from {', '.join(found)}"


def column_lineage(
    name: str, key: Callable[[str], dg.AssetKey] = dg.AssetKey
) -> dict[str, dg.TableColumnLineage]:
    """A table's lineage as the metadata of a materialisation; empty for a table without."""
    found = parents(name)
    if not found:
        return {}
    return {
        "dagster/column_lineage": dg.TableColumnLineage(
            {column: list(_deps(made_of, key)) for column, made_of in found.items()}
        )
    }


def _deps(made_of: Iterable[str], key: Callable[[str], dg.AssetKey]) -> Iterable[dg.TableColumnDep]:
    for name in made_of:
        table, _, column = name.partition(".")
        yield dg.TableColumnDep(asset_key=key(table), column_name=column)
