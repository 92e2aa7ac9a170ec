"""The month: the assets of every step, in the order of the steps."""

import dagster as dg

from cops_dagster.graph.assets import allocation, ingestion, operations, reconciliation, tagging


def assets(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of the month, from delivery to reconciled, and what is watched beside it."""
    steps = (ingestion, tagging, allocation, reconciliation, operations)
    return [asset for step in steps for asset in step.assets(periods)]
