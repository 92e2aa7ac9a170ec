"""The lake tables: their columns and types in order. Names and meanings are a public contract.

Belongs here: column lists, from which empty views and column schemas are made. Columns that AWS adds
stand behind these in the files that have them.
"""

from __future__ import annotations

from cops_dagster.cur import schema

USD = "DECIMAL(38,18)"
Columns = tuple[tuple[str, str], ...]

TYPED, KEPT = 1, 2
"""`lake_file.schema_version`: rows that COPS wrote under the contract's columns, or delivered bytes."""

_DUCKDB = {"varchar": "VARCHAR", "double": "DOUBLE", "timestamp": "TIMESTAMP"}


def _typed(kind: str, names: str) -> Columns:
    return tuple((name, kind) for name in names.split())


CUR_BILLING_MASTER: Columns = tuple(
    (column.name, _DUCKDB[column.data_type]) for column in schema.EXPECTED
) + _typed("VARCHAR", "source_id delivery_id")

FACT_COST_RAW: Columns = (
    *((column.name, USD if column.exact else _DUCKDB[column.data_type]) for column in schema.EXPECTED),
    *_typed("VARCHAR", "source_id delivery_id"),
    ("period_start", "DATE"),
    ("charge_class", "VARCHAR"),
    *_typed(
        USD,
        "net_unblended_cost amortized_cost net_amortized_cost true_up_cost upfront_cost"
        " net_true_up_cost net_upfront_cost",
    ),
    ("commitment_line", "VARCHAR"),
)

CUR_QUARANTINE: Columns = (
    *FACT_COST_RAW[: len(schema.EXPECTED) + 3],
    *_typed("VARCHAR", "quarantine_code quarantine_reason"),
)

FACT_COST_TAGGED: Columns = (
    ("period_start", "DATE"),
    *_typed(
        "VARCHAR",
        "source_id delivery_id service service_component usage_account_id charge_class tenant_id plan_id"
        " tag_source tenant_tag plan_tag",
    ),
    ("is_tag_complete", "BOOLEAN"),
    *_typed("BIGINT", "line_count positive_line_count"),
    *_typed(
        USD,
        "unblended_cost amortized_cost net_unblended_cost net_amortized_cost true_up_cost upfront_cost"
        " net_true_up_cost net_upfront_cost positive_unblended_cost positive_amortized_cost"
        " positive_net_amortized_cost",
    ),
    ("takes_back", "VARCHAR"),
)

FACT_COST_ALLOCATED: Columns = (
    *_typed("VARCHAR", "entry_id run_id entry_type reverses_run_id reverses_entry_id"),
    ("period_start", "DATE"),
    *_typed(
        "VARCHAR",
        "service service_component charge_class tenant_id plan_id allocation_method rule_id",
    ),
    ("rule_version", "BIGINT"),
    ("key_name", "VARCHAR"),
    *_typed(
        USD,
        "key_value key_total pool_cost_usd allocated_cost_usd allocated_amortized_cost_usd"
        " allocated_net_amortized_cost_usd",
    ),
    ("delivery_id", "VARCHAR"),
)

FACT_COST_ADJUSTMENT: Columns = (
    *FACT_COST_ALLOCATED,
    ("usage_period_start", "DATE"),
    *_typed("VARCHAR", "reason evidence_id"),
)

MISSING_TENANT_TAGS: Columns = (
    ("period_start", "DATE"),
    *_typed("VARCHAR", "service service_component usage_account_id resource_id tenant_tag"),
    ("line_count", "BIGINT"),
    ("missing_usd", USD),
    ("fix_rank", "BIGINT"),
)
"""A question over live lines (sql/missing_tenant_tags.sql), asked like a table."""

LAKE_TABLES: dict[str, Columns] = {
    "fact_cost_raw": FACT_COST_RAW,
    "fact_cost_tagged": FACT_COST_TAGGED,
    "fact_cost_allocated": FACT_COST_ALLOCATED,
    "fact_cost_adjustment": FACT_COST_ADJUSTMENT,
    "cur_quarantine": CUR_QUARANTINE,
}

EXPORT = "fact_cost_raw_export"
"""The Iceberg table of exported lines: columns and rows of `fact_cost_raw`, as of when each month was asked
for. The tables above follow every run; who reads this one must see from its name that it does not."""

APPEND_ONLY = frozenset({"fact_cost_allocated", "fact_cost_adjustment"})
"""Tables whose files all stay live; of the others only the head run's files are."""
