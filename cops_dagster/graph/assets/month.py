"""The month: the assets of every step, in the order of the steps."""

from collections.abc import Sequence

import dagster as dg

from cops_dagster.graph.assets import allocation, ingestion, margin, operations, reconciliation, tagging
from cops_dagster.graph.host import Host


def assets(host: Host, usage: Sequence[str] = ()) -> list[dg.AssetsDefinition]:
    """The assets of the month, from delivery to reconciled, and what is watched beside it.

    Args:
        usage: assets of the declared usage keys.
    """
    return [
        *ingestion.assets(host),
        *tagging.assets(host),
        *allocation.assets(host, usage),
        *reconciliation.assets(host),
        *operations.assets(host),
        *margin.assets(host),
    ]
