"""The month: the assets of every step, in the order of the steps."""

import dagster as dg

from cops_dagster.graph.assets import allocation, ingestion, margin, operations, reconciliation, tagging
from cops_dagster.graph.host import Host


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """The assets of the month, from delivery to reconciled, and what is watched beside it."""
    return [
        *ingestion.assets(host),
        *tagging.assets(host),
        *allocation.assets(host),
        *reconciliation.assets(host),
        *operations.assets(host),
        *margin.assets(host),
    ]
