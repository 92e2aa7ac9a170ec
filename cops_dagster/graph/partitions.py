"""Billing periods as Dagster partitions: one shared monthly definition keyed `YYYY-MM`, UTC.

Belongs here: which months are offered, and the month of a run. They end with the data: months that nobody
delivered are no work to do, and a chart over them is empty (docs/adr/0057).
"""

from __future__ import annotations

from datetime import date

import dagster as dg

from cops_dagster.ingestion import places
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.stores.admin import now


def billing_periods(first: Period, last: Period | None = None) -> dg.MonthlyPartitionsDefinition:
    """Months from the first to the last; by default to the one CUR is writing now (`end_offset=1`)."""
    if last is None:
        return dg.MonthlyPartitionsDefinition(
            start_date=str(first), fmt="%Y-%m", timezone="UTC", end_offset=1
        )
    return dg.MonthlyPartitionsDefinition(
        start_date=str(first), end_date=str(last.next()), fmt="%Y-%m", timezone="UTC"
    )


def offered(
    settings: Settings, *, first: Period | None = None, also: Period | None = None
) -> dg.MonthlyPartitionsDefinition:
    """The months of a home: from its first delivery to its newest, to this month while AWS delivers.

    Args:
        first: the first month, where somebody says so.
        also: a month that is offered whatever was delivered.
    """
    begins = first or places.first_period(settings)
    ends = last_month(places.newest_period(settings), now().date())
    if also is not None:
        begins, ends = min(begins, also), ends and max(ends, also)
    return billing_periods(begins, ends and max(ends, begins))


def last_month(newest: Period | None, today: date) -> Period | None:
    """The month to end with: that of the newest delivery once nothing came since; `None`: this month.

    AWS writes a month until some days into the next, so a home whose last month was delivered is alive.
    """
    this = Period.of(today)
    return newest if newest is not None and newest < this.previous() else None


def period_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Period:
    """The period of a run, validated: GraphQL launches do not check partition keys."""
    return Period.parse(context.partition_key)


def newest_partition(periods: dg.MonthlyPartitionsDefinition) -> str:
    """The newest month that is offered."""
    newest = periods.get_last_partition_key()
    assert newest is not None  # the definition holds its first month
    return newest
