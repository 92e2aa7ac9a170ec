"""Who is active in a period, and what they used: what a split by tenants or by a key is made from.

Belongs here: reading `tenants`, `allocation_keys` and `tenant_usage` of a period. Does not belong here: how a
pool is split by them (`allocation/rules.py`), loading them (`inputs/load.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.allocation.rules import Key
from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t


def active_tenants(con: sa.Connection, period: Period) -> dict[str, str | None]:
    """Tenants that are active on any day of a period, with their plans, by name."""
    rows = con.execute(
        sa.select(t.tenants.c.tenant_id, t.tenants.c.plan_id)
        .where(
            t.tenants.c.active_from < period.end,
            sa.or_(t.tenants.c.active_to.is_(None), t.tenants.c.active_to > period.start),
        )
        .order_by(t.tenants.c.tenant_id)
    )
    return {row.tenant_id: row.plan_id for row in rows}


def key(con: sa.Connection, key_name: str, period: Period) -> Key:
    """The figures of a key's measure in a period. Raises `E-KEY-UNKNOWN`."""
    keys, usage = t.allocation_keys, t.tenant_usage
    measure = con.execute(sa.select(keys.c.measure).where(keys.c.key_name == key_name)).scalar_one_or_none()
    if measure is None:
        raise CopsError(
            "E-KEY-UNKNOWN",
            f"key {key_name}",
            expected="a row in allocation_keys",
            found="none",
            next_step="load allocation_keys.csv with this key",
        )
    rows = con.execute(
        sa.select(usage.c.tenant_id, usage.c.value, usage.c.refreshed_at)
        .where(usage.c.measure == measure, usage.c.period_start == period.start)
        .order_by(usage.c.tenant_id)
    ).all()
    return Key(
        key_name,
        measure,
        {row.tenant_id: amount.from_decimal(row.value) for row in rows},
        min((row.refreshed_at for row in rows), default=None),
    )
