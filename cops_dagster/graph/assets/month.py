"""The month: the assets of every step, in the order of the steps."""

import dagster as dg

from cops_dagster.graph.assets import allocation, ingestion, margin, operations, reconciliation, tagging


def assets(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of the month, from delivery to reconciled, and what is watched beside it."""
    return [
        *ingestion.assets(periods),
        *tagging.assets(periods),
        *allocation.assets(periods),
        *reconciliation.assets(periods),
        *operations.assets(periods),
        *margin.assets(periods),
    ]
