"""Billing periods as Dagster partitions: one shared monthly definition keyed `YYYY-MM`, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from cops_dagster.cur import layout
from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.settings_places import is_s3
from cops_dagster.stores.files import Folder


def first_period(settings: Settings) -> Period:
    """`COPS_FIRST_PERIOD`, else the oldest delivery found, else this month."""
    if settings.first_period:
        return Period.parse(settings.first_period)
    found = []
    for root in (*settings.report_roots, str(settings.deliveries_root)):
        # definitions load in seconds and without AWS: of a root in S3, what was fetched so far counts
        place = settings.fetched_place(root) if is_s3(root) else Path(root)
        try:
            found += [month.period for month in layout.months(Folder(place))]
        except (CopsError, OSError):
            continue  # a root that does not exist yet holds no period
    return min(found, default=Period.of(datetime.now(UTC).date()))


def billing_periods(first: Period) -> dg.MonthlyPartitionsDefinition:
    """Months from the first to the current one (`end_offset=1`: the month CUR is writing now)."""
    return dg.MonthlyPartitionsDefinition(start_date=str(first), fmt="%Y-%m", timezone="UTC", end_offset=1)


def period_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Period:
    """The period of a run, validated: GraphQL launches do not check partition keys."""
    return Period.parse(context.partition_key)


def newest_partition(periods: dg.MonthlyPartitionsDefinition) -> str:
    """The month that is being written now."""
    newest = periods.get_last_partition_key()
    assert newest is not None  # the definition ends with the current month
    return newest
