"""The asset checks: each asset's verdicts, partitioned, re-read from what was published.

Belongs here: showing them, and the one seam to Dagster's preview API of partitioned checks. Does not belong
here: which there are (`operations/all_checks.py`), when one holds (the `verdicts` of its step), which of the
months' verdicts a list shows (`graph/standing.py`).
"""

import logging
import re
from collections.abc import Iterable

import dagster as dg

from cops_dagster.graph.host import Host
from cops_dagster.graph.outcome import result
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act
from cops_dagster.operations import consequences
from cops_dagster.operations.all_checks import of_table
from cops_dagster.verdict import Check

CHECKS: dict[str, tuple[Check, ...]] = {asset: of_table(asset) for asset in consequences.JUDGES}
"""Asset → its checks, as the steps define them."""


def period_checks(host: Host) -> list[dg.AssetChecksDefinition]:
    """Every asset's checks; one step reads an asset once for all of them."""
    _UNGATED.of.update(host.name(f"{asset}_checks") for asset in CHECKS)
    return [_checks_of(asset, host) for asset in CHECKS]


def _checks_of(asset: str, host: Host) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            one.name,
            asset=host.key(asset),
            description=one.sentence,
            blocking=one.blocks,
            partitions_def=host.periods,
        )
        for one in CHECKS[asset]
    ]

    @dg.multi_asset_check(
        specs=specs,
        can_subset=True,
        name=host.name(f"{asset}_checks"),
        required_resource_keys={host.resource},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterable[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        books, period = host.books(context), period_of(context)
        for verdict in act(lambda: consequences.record(books, period, asset)):
            if verdict.check in wanted:
                wanted.remove(verdict.check)
                yield result(verdict, period)
        unsaid = sorted(one.name for one in CHECKS[asset] if one.blocks and one.name in wanted)
        assert not unsaid, (
            f"the judge of {asset} said nothing of {', '.join(unsaid)}, which would gate nothing"
        )

    return checks


class _Ungated(logging.Filter):
    """Drops Dagster's warning that a blocking check said nothing, of our own steps that were skipped.

    Of a month that nobody delivered every step is skipped, and Dagster (1.13) warns twenty times that steps
    will go on without their check, just before it skips them. A step of ours that is not skipped says
    something of each of its blocking checks, or fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        found = re.match(r"Blocking asset check .* emitted no result in step '(\w+)'", record.getMessage())
        return found is None or found[1] not in self.of


_UNGATED = _Ungated()
logging.getLogger("dagster._core.execution.plan.active").addFilter(_UNGATED)
