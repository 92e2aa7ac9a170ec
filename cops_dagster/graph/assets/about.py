"""What Dagster is told of an asset beside its name: group, owners, columns, kinds."""

from typing import Any

import dagster as dg

from cops_dagster.exports import journal_text, margin
from cops_dagster.graph.lineage import made_of
from cops_dagster.lake.tables import CUR_BILLING_MASTER, LAKE_TABLES, MISSING_TENANT_TAGS, USD
from cops_dagster.lake.views import admin_columns
from cops_dagster.stores import tables as t

OWNERS = ["team:data-engineering"]
FINANCE = ["team:finance"]


def about(
    name: str,
    periods: dg.MonthlyPartitionsDefinition,
    group: str,
    deps: list[str],
    owners: list[str] | None = None,
) -> dict[str, Any]:
    """What every asset of a month tells: its table's columns, who owns it, what it is made from."""
    return {
        "name": name,
        "group_name": group,
        "deps": deps,
        "partitions_def": periods,
        "owners": owners or OWNERS,
        "kinds": {"duckdb", "parquet"} if name.startswith(("fact_", "cur_")) else {"sql"},
        "pool": "ledger",
        "metadata": schema(name),
    }


def schema(name: str) -> dict[str, Any]:
    """A table's columns as Dagster shows them, each with what it is made of."""
    return {
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(column, kind.lower(), description=made_of(name, column))
                for column, kind in columns_of(name)
            ]
        ),
    }


def columns_of(name: str) -> tuple[tuple[str, str], ...]:
    """Names and types of the columns of an asset."""
    if name == "cur_billing_master":
        return CUR_BILLING_MASTER
    if name in LAKE_TABLES:
        return LAKE_TABLES[name]
    if name == "missing_tenant_tags":
        return MISSING_TENANT_TAGS
    if name == "unallocated_cost":
        return (("service", "VARCHAR"), ("charge_class", "VARCHAR"), ("unclaimed_usd", "DECIMAL(38,18)"))
    if name in _EXPORTED:
        return tuple((column, _kind(column)) for column in _EXPORTED[name])
    if name == "focus_export":
        name = "export_record"
    return admin_columns(t.metadata.tables[t.VIEW_OF.get(name, name)])


_EXPORTED = {"margin": margin.COLUMNS, "journal": journal_text.COLUMNS}
"""Assets that are no table: their CSV has these columns."""


def _kind(column: str) -> str:
    """The type of a column of an export, by its name."""
    if column.endswith(("_usd", "_pct")) or column in ("amount", "debit", "credit"):
        return USD
    return "DATE" if column.endswith(("_start", "_date")) else "BIGINT" if column == "line_no" else "VARCHAR"
