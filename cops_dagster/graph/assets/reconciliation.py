"""The month against invoices, and its report."""

from typing import Any

import dagster as dg

from cops_dagster.closing.periods import advance
from cops_dagster.graph import outcome, pages
from cops_dagster.graph.assets.about import FINANCE, about, placed, references
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act
from cops_dagster.money import amount, footing
from cops_dagster.reconciliation import reconcile, record
from cops_dagster.reports.close_report import bridge_chart, keep
from cops_dagster.reports.close_tables import steps_of


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """The month against invoices and budgets."""

    @dg.asset(
        **about(
            "recon_summary",
            host,
            "reconciliation",
            ["fact_cost_allocated", "fact_cost_adjustment", "invoice_detail"],
            FINANCE,
        )
    )
    def recon_summary(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """What AWS billed, what of it is billable and what tenants were invoiced, in USD, step by step."""
        books, period = host.books(context), period_of(context)
        done = act(lambda: reconcile.reconcile(books, period))
        moved_to = act(lambda: advance(books, period))
        with books.admin.read() as con:
            made = record.of(con, done.recon_id)
            chart = outcome.picture(bridge_chart(con, made.seq))
            steps = steps_of(con, made.seq)
        short = outcome.steps(steps)
        tenants = [_tenant(one) for one in made.tenants]
        told = {"status": done.status, "period_state": moved_to, **made.amounts, "tenants": tenants}
        return outcome.materialized(host, "recon_summary", told, done.recon_id, in_short=short, bridge=chart)

    @dg.asset(
        **placed("close_report", host, "reconciliation", FINANCE),
        deps=host.keys(["recon_summary", "tag_coverage"]),
        partitions_def=host.periods,
        required_resource_keys={host.resource},
        kinds={"html"},
        pool=host.name("ledger"),
        metadata=references("close_report"),
    )
    def close_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """One page a month for finance: totals, bridge, coverage, tenants, exceptions, proof."""
        books, period = host.books(context), period_of(context)
        kept = act(lambda: keep(books, period))
        return dg.MaterializeResult(
            metadata=pages.metadata(books, period, kept), data_version=dg.DataVersion(kept.sha256)
        )

    return [recon_summary, close_report]


def _tenant(one: Any) -> dict[str, object]:
    expected, variance, invoiced = footing.told(
        [("level", one.expected_usd), ("change", one.variance_usd), ("level", one.invoiced_usd)]
    )
    return {
        "tenant_id": one.tenant_id,
        "allocated_usd": amount.shown(one.allocated_usd),
        "expected_usd": expected,
        "invoiced_usd": invoiced,
        "variance_usd": variance,
        "status": one.status,
    }
