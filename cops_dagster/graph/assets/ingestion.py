"""What was delivered, what was ingested of it, and what is set aside."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from cops_dagster.adjustments import late
from cops_dagster.closing import repair
from cops_dagster.closing.status import PeriodStatus, statuses
from cops_dagster.errors import CopsError
from cops_dagster.graph import outcome
from cops_dagster.graph.assets.about import about
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import period_of
from cops_dagster.graph.resources import act, is_waited_for
from cops_dagster.ingestion import claims, ingest, look, quarantine
from cops_dagster.lake import iceberg
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period


def assets(host: Host) -> list[dg.AssetsDefinition]:
    """What was delivered and what was ingested of it."""

    @dg.asset(**about("cur_billing_master", host, "ingestion", ["cur_delivery"]), output_required=False)
    def cur_billing_master(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        """The newest complete delivery of every source, as AWS sent it, under Athena names.

        A view over the delivered files. A refused delivery leaves the one before in place; the checks
        say why it was refused and stop the run. Of a month without a delivery nothing is made.
        """
        books, period = host.books(context), period_of(context)
        act(lambda: repair.require_mendable(books, period))
        seen = act(lambda: _look(context, books, period))
        if seen is None:
            return
        proposed = act(lambda: late.propose(books, period))
        _observe(context, host, period, seen)
        ids = ",".join(sorted(source.delivery_id or "" for source in seen))
        figures = _delivered(books, period, seen) | {"proposed_adjustment": proposed}
        yield outcome.materialized(host, "cur_billing_master", figures, ids)

    @dg.asset(**about("fact_cost_raw", host, "ingestion", ["cur_billing_master"]))
    def fact_cost_raw(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Every delivered line once, with exact money and all cost views."""
        books, period = host.books(context), period_of(context)
        iceberg.prepare()
        act(lambda: claims.require_one(books, period))
        done = act(lambda: ingest.ingest(books, period))
        return outcome.published(host, books, period, "fact_cost_raw", any(source.wrote for source in done))

    @dg.asset(**about("cur_quarantine", host, "ingestion", ["fact_cost_raw"]))
    def cur_quarantine(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Lines that cannot be booked, each with its reason; expected to be empty."""
        books, period = host.books(context), period_of(context)
        found = quarantine.quarantined(books, period)
        return outcome.materialized(
            host,
            "cur_quarantine",
            {
                "dagster/partition_row_count": found.lines,
                "quarantined_usd": found.cost_usd,
                "by_code": found.by_code,
            },
            f"{found.lines} {found.cost_usd:f}",
        )

    return [cur_billing_master, fact_cost_raw, cur_quarantine]


def _look(context: dg.AssetExecutionContext, books: Books, period: Period) -> Sequence[look.Seen] | None:
    """What lies there; `None` when nobody delivered the month.

    That is no failure, unless a person at a terminal asked for it.
    """
    try:
        return look.look(books, period)
    except CopsError as refusal:
        nothing = refusal.code == "E-PERIOD-UNKNOWN" and period not in look.months(books)
        if not nothing or is_waited_for(context.run):
            raise
    context.log.info("%s is skipped: nothing was delivered; cur_manifests looks again", period)
    return None


def _observe(
    context: dg.AssetExecutionContext, host: Host, period: Period, seen: Sequence[look.Seen]
) -> None:
    for source in seen:
        if source.is_new and source.delivery_id:
            context.log_event(
                dg.AssetMaterialization(
                    host.key("cur_delivery"),
                    partition=str(period),
                    tags={"dagster/data_version": source.delivery_id[:32]},
                )
            )


def _delivered(books: Books, period: Period, seen: Sequence[look.Seen]) -> dict[str, Any]:
    status = _status(books, period)
    return {
        "dagster/partition_row_count": status.lines if status else 0,
        "delivered_usd": status.aws_usd if status else Decimal(0),
        "sources": len(seen),
        "deliveries": ", ".join(sorted(source.delivery_id or "" for source in seen)),
        "refused": sum(len(source.refusals) for source in seen),
    }


def _status(books: Books, period: Period) -> PeriodStatus | None:
    try:
        return statuses(books, period)[0]
    except CopsError:
        return None
