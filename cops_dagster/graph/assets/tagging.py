"""Lines with their tenants, and how many came with tags."""

from typing import Any

import dagster as dg

from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import about
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act
from cops_dagster.reports.close_report import coverage_chart
from cops_dagster.reports.close_tables import coverage
from cops_dagster.tagging import missing, tag

COVERAGE = (
    "tag_coverage_pct",
    "row_coverage_pct",
    "propagated_coverage_pct",
    "covered_usd",
    "coverable_usd",
    "missing_tenant_tag_usd",
    "missing_tenant_tag",
)
"""What is shown of a month's coverage."""


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """Lines with their tenants, and how many came with tags."""

    @dg.asset(**about("fact_cost_tagged", host, "tagging", ["fact_cost_raw", "tenants", "tag_aliases"]))
    def fact_cost_tagged(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """The month at the grain of allocation, each row with its tenant or none."""
        books, period = host.books(context), period_of(context)
        done = act(lambda: tag.tag(books, period))
        return outcome.published(host, books, period, "fact_cost_tagged", done.wrote)

    @dg.asset(**about("tag_coverage", host, "tagging", ["fact_cost_tagged"]))
    def tag_coverage(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """How much of the taggable cost came with tenant and plan tags, by cost and by rows."""
        books, period = host.books(context), period_of(context)
        with books.admin.read() as con:
            row = tag.coverage_row(con, period)
            chart = outcome.picture(coverage_chart(con, books.policy.coverage, period))
            short = outcome.months(coverage(con, period))
        figures = {name: row[name] for name in COVERAGE}
        return outcome.materialized(
            host, "tag_coverage", figures, row["run_id"], by_month=short, over_months=chart
        )

    @dg.asset(**about("missing_tenant_tags", host, "tagging", ["fact_cost_raw", "fact_cost_tagged"]))
    def missing_tenant_tags(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Where a tenant tag is missing, by the money it keeps from its tenant; expected to be empty."""
        books, period = host.books(context), period_of(context)
        found = missing.missing(books, period)
        largest = [outcome.shown(row, *row) for row in found.largest]
        return outcome.materialized(
            host,
            "missing_tenant_tags",
            {"missing_usd": found.cost_usd, "places": found.places, "largest": largest},
            f"{found.places} {found.cost_usd:f}",
        )

    return [fact_cost_tagged, tag_coverage, missing_tenant_tags]
