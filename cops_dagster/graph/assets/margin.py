"""What is left of a month."""

from typing import Any

import dagster as dg

from cops_dagster.exports import margin
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import FINANCE, about
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act

SHOWN = ("name", "charged_usd", "invoiced_usd", "cost_usd", "margin_usd", "margin_pct")
"""What is shown of a line."""
MONTH = (*SHOWN[1:], "own_cost_usd", "unallocated_usd", "unused_commitments_usd")
"""What is shown of the month."""


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """The margin, made of what was reconciled."""

    @dg.asset(**about("margin", host, "reconciliation", ["recon_summary"], FINANCE))
    def margin_(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """What tenants are charged less what their cost and ours come to, by tenant."""
        books, period = host.books(context), period_of(context)
        made = act(lambda: margin.margins(books, period))
        (total,) = margin.totals(made)
        tenants = [outcome.shown(row, *SHOWN) for row in margin.rows(made, "tenant")]
        figures = {name: total[name] for name in MONTH} | {"tenants": tenants}
        return outcome.materialized(host, "margin", figures, made.months[0].recon_id)

    return [margin_]
