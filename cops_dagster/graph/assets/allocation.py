"""Keys, entries, and what nobody bears."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from cops_dagster.allocation import allocate, unclaimed
from cops_dagster.allocation.chained import has_chains
from cops_dagster.closing import repair
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import about
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act
from cops_dagster.ingestion import claims
from cops_dagster.inputs import rule_graph
from cops_dagster.money import amount
from cops_dagster.reports import charts

USAGE = ("tenant_network_usage", "tenant_compute_usage", "tenant_storage_usage")
"""The usual usage keys, which are loaded where nothing declares them."""


def assets(host: Host, usage: Sequence[str] = ()) -> list[dg.AssetsDefinition]:
    """Keys, entries, and what nobody bears.

    Args:
        usage: assets of the declared usage keys, besides the usual ones.
    """

    @dg.asset(
        **about(
            "allocation_key_snapshot",
            host,
            "allocation",
            ["fact_cost_tagged", "allocation_rules", *dict.fromkeys((*USAGE, *usage))],
        )
    )
    def allocation_key_snapshot(
        context: dg.AssetExecutionContext,
    ) -> dg.MaterializeResult[Any]:
        """The keys that today's rules split the month by, frozen, also for a run that is refused."""
        books, period = host.books(context), period_of(context)
        inputs, made = act(lambda: allocate.snapshot_keys(books, period))
        rows = [
            {
                "key_name": key.key_name,
                "measure": key.measure,
                "tenants": len(key.weights),
                "key_total": amount.to_text(key.total),
            }
            for key in made.keys.values()
        ]
        arrows = rule_graph.graph(books, period).arrows if has_chains(made) else []
        return outcome.materialized(
            host,
            "allocation_key_snapshot",
            {"rules": len(inputs.rules), "keys": rows},
            inputs.inputs_id,
            **({"pools": outcome.picture(charts.flows(arrows))} if arrows else {}),
        )

    @dg.asset(**about("fact_cost_allocated", host, "allocation", ["allocation_key_snapshot"]))
    def fact_cost_allocated(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """The append-only ledger: what every tenant bears, why, and the reversals of what was replaced."""
        books, period = host.books(context), period_of(context)
        act(lambda: claims.require_one(books, period))
        act(lambda: repair.mend(books, period))
        done = act(lambda: allocate.allocate(books, period))
        return outcome.published(
            host, books, period, "fact_cost_allocated", done.wrote, reversed_run_id=done.reversed_run_id
        )

    @dg.asset(**about("unallocated_cost", host, "allocation", ["fact_cost_allocated"]))
    def unallocated_cost(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Cost that no rule claimed, whose key failed or whose tag names nobody; expected to be empty."""
        books, period = host.books(context), period_of(context)
        found = unclaimed.unclaimed(books, period)
        return outcome.materialized(
            host,
            "unallocated_cost",
            {
                "unclaimed_usd": found.cost_usd,
                "by_service": found.by_service,
                "held_tags": found.held_tags,
            },
            f"{found.cost_usd:f}",
        )

    return [allocation_key_snapshot, fact_cost_allocated, unallocated_cost]
