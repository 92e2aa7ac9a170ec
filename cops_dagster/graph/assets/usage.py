"""Usage keys that come by themselves: an asset per declared measure, partitioned by days, with its checks.

Belongs here: the assets of a home that declares measures; else there are none. Does not belong here: when
they are asked (`graph/usage_days.py`), what a measure is (`usage/declared.py`), asking (`usage/refresh.py`).
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg

from cops_dagster.allocation import verdicts
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import OWNERS, placed, schema
from cops_dagster.graph.host import Host
from cops_dagster.graph.resources import act
from cops_dagster.usage import checks, refresh
from cops_dagster.usage.declared import Measure

CHECKS = (
    verdicts.USAGE_DAYS_COME_IN_TIME,
    verdicts.USAGE_DAYS_NAME_TENANTS,
    verdicts.USAGE_DAY_SHARES_STEADY,
    verdicts.USAGE_DAYS_BEFORE_CLOSE,
)
"""Freshness, completeness, share jumps, and that nothing came too late."""


def assets(
    host: Host, days: dg.DailyPartitionsDefinition, measures: Sequence[Measure]
) -> list[dg.AssetsDefinition]:
    """An asset for each measure that is asked."""
    return [_asset(host, days, measure) for measure in measures if measure.asks]


def _asset(host: Host, days: dg.DailyPartitionsDefinition, measure: Measure) -> dg.AssetsDefinition:
    @dg.asset(
        **placed(measure.asset, host, "inputs", OWNERS),
        partitions_def=days,
        required_resource_keys={host.resource},
        kinds={measure.source.kind, "table"},
        pool=host.name("ledger"),
        description=f"Usage of {measure.name} in {measure.unit}, asked of its source day by day: a usage key."
        f" Days become the month ({measure.month}), which is loaded as a CSV is.",
        metadata={
            **schema(measure.asset),
            "source": measure.source.kind,
            "unit": measure.unit,
            "query": dg.MetadataValue.md(f"```\n{measure.query}\n```"),
            "document": dg.MetadataValue.text("cops docs usage-keys"),
        },
        check_specs=[
            dg.AssetCheckSpec(one.name, asset=host.key(measure.asset), description=one.sentence)
            for one in CHECKS
        ],
    )
    def usage_of_a_day(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        books, day = host.books(context), date.fromisoformat(context.partition_key)
        done = act(lambda: refresh.refresh(books, measure, day))
        judged = checks.now(books, measure, day)
        figures: dict[str, Any] = {
            "measure": done.measure,
            "day": f"{done.day}",
            "version": done.version.version,
            "outcome": "a new version" if done.wrote else "unchanged: the answer was as before",
            "tenants": done.version.tenants,
            "held": done.version.held,
            "evidence": done.version.evidence_id,
            "month": done.month.state,
            "month_version": done.month.usage_id,
        }
        return dg.MaterializeResult(
            metadata=outcome.metadata(figures),
            data_version=dg.DataVersion(done.version.figures_digest[:60]),
            check_results=[outcome.result(one, judged.period) for one in judged.verdicts],
        )

    return usage_of_a_day
