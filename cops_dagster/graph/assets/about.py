"""What Dagster is told of an asset beside its name: group, owners, columns, kinds."""

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg

from cops_dagster import shipped
from cops_dagster.exports import commitment_use, journal_text, margin
from cops_dagster.graph.columns import described
from cops_dagster.graph.host import Host
from cops_dagster.lake.tables import CUR_BILLING_MASTER, LAKE_TABLES, MISSING_TENANT_TAGS, USD
from cops_dagster.lake.views import admin_columns
from cops_dagster.stores import tables as t

OWNERS = ["team:data-engineering"]
FINANCE = ["team:finance"]
FLOW = ("delivery", "ingestion", "inputs", "tagging", "allocation", "reconciliation", "operations", "exports")
"""The groups in the order of the month."""
READ_ON: Mapping[str, tuple[str, str]] = {
    "cur_delivery": ("", "cur-ingestion"),
    "cur_billing_master": ("measure_delivery", "cur-ingestion"),
    "fact_cost_raw": ("lens", "cur-ingestion"),
    "cur_quarantine": ("lens", "cur-ingestion"),
    "fact_cost_tagged": ("stage_fact_cost_tagged", "tag-strategy"),
    "tag_coverage": ("measure_tag_coverage", "tag-strategy"),
    "missing_tenant_tags": ("missing_tenant_tags", "tag-strategy"),
    "allocation_key_snapshot": ("", "allocation-rules"),
    "fact_cost_allocated": ("stage_fact_cost_allocated", "allocation-rules"),
    "fact_cost_adjustment": ("stage_fact_cost_adjustment", "closing"),
    "unallocated_cost": ("fetch_unclaimed_by_service", "allocation-rules"),
    "recon_summary": ("", "reconciliation"),
    "close_report": ("", "reconciliation"),
    **dict.fromkeys(("margin", "journal", "focus_export", "margin_export", "tenant_pack"), ("", "exports")),
    "commitment_account": ("fetch_commitment_use", "exports"),
    "budget_master": ("", "budgets-alerts"),
    "control_status": ("", "budgets-alerts"),
    "allocation_rules": ("", "allocation-rules"),
    **dict.fromkeys(("tenants", "tag_aliases", "invoice_detail", "budgets"), ("", "admin-data")),
    **{f"tenant_{one}_usage": ("", "admin-data") for one in ("network", "compute", "storage")},
}
"""Of an asset the SQL that makes it, if one statement does, and the document that explains it."""
_USAGE = re.compile(r"tenant_[a-z][a-z0-9_]*_usage")


def about(
    name: str,
    host: Host,
    group: str,
    deps: list[str],
    owners: list[str] | None = None,
) -> dict[str, Any]:
    """What every asset of a month tells: its table's columns, who owns it, what it is made from."""
    return {
        **placed(name, host, group, owners or OWNERS),
        "deps": host.keys(deps),
        "partitions_def": host.periods,
        "required_resource_keys": {host.resource},
        "kinds": {"duckdb", "parquet"} if name.startswith(("fact_", "cur_")) else {"sql"},
        "pool": host.name("ledger"),
        "metadata": schema(name),
    }


def placed(name: str, host: Host, group: str, owners: list[str]) -> dict[str, Any]:
    """Key, group and owners of an asset, as its host has them."""
    return {
        "key": host.key(name),
        "group_name": host.group or in_flow(group),
        "owners": list(host.owners) or owners,
    }


def schema(name: str) -> dict[str, Any]:
    """A table's columns as Dagster shows them: in words, with what each is made of; and where to read on."""
    return {
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(column, kind.lower(), description=described(name, column))
                for column, kind in columns_of(name)
            ]
        ),
        **references(name),
    }


def references(name: str) -> dict[str, Any]:
    """Where to read on about an asset: the SQL that makes it, and the command that prints its document."""
    if name not in READ_ON:
        return {}
    statement, topic = READ_ON[name]
    found: dict[str, Any] = {"document": dg.MetadataValue.text(f"cops docs {topic}")}
    if statement:
        text = shipped.find(f"sql/{statement}.sql").read_text(encoding="utf-8")
        found["sql"] = dg.MetadataValue.md(f"```sql\n{text}```")
    return found


def in_flow(group: str) -> str:
    """A group's name with its place in the flow: Dagster sorts groups by name."""
    return f"{FLOW.index(group) + 1}_{group}"


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
    if name in ("focus_export", "margin_export", "tenant_pack"):
        name = "export_record"
    if _USAGE.fullmatch(name):
        name = "tenant_usage"
    return admin_columns(t.metadata.tables[t.VIEW_OF.get(name, name)])


_EXPORTED = {
    "margin": margin.COLUMNS,
    "journal": journal_text.COLUMNS,
    "commitment_account": commitment_use.COLUMNS,
}
"""Assets that are no table: their CSV has these columns."""


def _kind(column: str) -> str:
    """The type of a column of an export, by its name."""
    if column.endswith(("_usd", "_pct")) or column in ("amount", "debit", "credit"):
        return USD
    return "DATE" if column.endswith(("_start", "_date")) else "BIGINT" if column == "line_no" else "VARCHAR"
