"""Billing periods as Dagster partitions: one shared monthly definition keyed `YYYY-MM`, UTC."""

from __future__ import annotations

import dagster as dg

from cops_dagster.period import Period


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
