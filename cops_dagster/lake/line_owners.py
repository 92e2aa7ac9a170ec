"""Who bears a single line: the answer that `fact_cost_tagged` gives for lines that are alike, line by line.

Belongs here: `line_owners`, cut out of the statement that tags a month, so that there is one text which says
who wins, and `owned_lines`. Does not belong here: grouping the lines (`tagging/tag.py`), any amount.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from cops_dagster.lake import statements
from cops_dagster.lake.engine import Engine, Value

STATEMENT = "stage_fact_cost_tagged"
_AGREE = (
    "usage_slice", "account_id", "component_tag", "resource_tenant", "account_tenant", "category_tenant",
    "inherited_tenant", "resource_plan", "account_plan", "category_plan",
)  # fmt: skip
"""In what lines agree that one tenant, plan and component is found for."""


def provide(engine: Engine, parameters: Mapping[str, Value]) -> None:
    """Keeps `line_owners`: tenant, plan and component by `_AGREE`; the caller provides `spelled_groups`."""
    tree = statements.parsed(STATEMENT)
    found = (
        exp.select(*(f"d.{name}" for name in _AGREE), "d.tenant_id", "d.service_component")
        .select("COALESCE(d.tagged_plan, p.plan_id) AS plan_id")
        .distinct()
        .from_("decided AS d")
        .join("tenants AS p", on="p.tenant_id = d.tenant_id", join_type="left")
        .where("d.borne_by IS NULL")
    )
    for expression in tree.ctes:
        found = found.with_(expression.alias, as_=expression.this, copy=False)
    engine.keep("line_owners", found, parameters)
