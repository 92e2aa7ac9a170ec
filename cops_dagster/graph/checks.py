"""The asset checks: each asset's verdicts, partitioned, re-read from what was published.

Belongs here: showing them, and the one seam to Dagster's preview API of partitioned checks. Does not belong
here: which there are (`operations/all_checks.py`), when one holds (the `verdicts` of its step).
"""

from collections.abc import Iterable

import dagster as dg

from cops_dagster.graph.outcome import result
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import Ledger, act
from cops_dagster.operations import consequences
from cops_dagster.operations.all_checks import of_table
from cops_dagster.verdict import Check

CHECKS: dict[str, tuple[Check, ...]] = {asset: of_table(asset) for asset in consequences.JUDGES}
"""Asset → its checks, as the steps define them."""


def period_checks(periods: dg.MonthlyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Every asset's checks; one step reads an asset once for all of them."""
    return [_checks_of(asset, periods) for asset in CHECKS]


def _checks_of(asset: str, periods: dg.MonthlyPartitionsDefinition) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            one.name, asset=asset, description=one.sentence, blocking=one.blocks, partitions_def=periods
        )
        for one in CHECKS[asset]
    ]

    @dg.multi_asset_check(specs=specs, can_subset=True, name=f"{asset}_checks")
    def checks(context: dg.AssetCheckExecutionContext, ledger: Ledger) -> Iterable[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        books, period = ledger.books(context), period_of(context)
        for verdict in act(lambda: consequences.record(books, period, asset)):
            if verdict.check in wanted:
                yield result(verdict, period)

    return checks
