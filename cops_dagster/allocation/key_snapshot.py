"""The keys that a run used, frozen under the id of its inputs: what was split by stays visible as it was.

Belongs here: rows of `allocation_key_snapshot`. Does not belong here: what a key is (`allocation/rules.py`),
of which version of its usage it was made (`allocation/key_versions.py`).
"""

from __future__ import annotations

from itertools import islice

import sqlalchemy as sa

from cops_dagster import words
from cops_dagster.allocation import key_versions
from cops_dagster.allocation.inputs import Inputs
from cops_dagster.allocation.rules import Plan
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_ROWS_AT_A_TIME = 5_000


def freeze(books: Books, period: Period, inputs: Inputs, made: Plan) -> None:
    """Freezes a plan's keys, once: the same inputs have the same keys."""
    snapshots, at = t.allocation_key_snapshot, now()
    rows = (
        {
            "inputs_id": inputs.inputs_id,
            "key_name": key.key_name,
            "tenant_id": tenant,
            "period_start": period.start,
            "measure": key.measure,
            "key_value": amount.to_decimal(weight),
            "key_total": amount.to_decimal(key.total),
            "refreshed_at": key.refreshed_at,
            "frozen_at": at,
        }
        for key in made.keys.values()
        for tenant, weight in sorted(key.weights.items() or {words.UNALLOCATED: 0}.items())
    )
    with books.admin.write() as con:
        frozen = con.execute(
            sa.select(snapshots.c.inputs_id).where(snapshots.c.inputs_id == inputs.inputs_id).limit(1)
        ).first()
        while not frozen and (batch := list(islice(rows, _ROWS_AT_A_TIME))):
            con.execute(sa.insert(snapshots), batch)
        if not frozen:
            key_versions.name(con, period, inputs.inputs_id, made.keys.values())
