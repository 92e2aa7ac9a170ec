"""What changed between two deliveries of a month, by account, service, invoice, line type and usage day.

Belongs here: reading two recorded breakdowns. No lake file is read: the figures were taken at first sight.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import not_one
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

DIMENSIONS = ("account", "service", "invoice", "line_type", "usage_day")


@dataclass(frozen=True)
class Change:
    """One value of one dimension, before and after; amounts in USD."""

    dimension: str
    value: str
    rows_before: int
    rows_after: int
    usd_before: Decimal
    usd_after: Decimal

    @property
    def change_usd(self) -> Decimal:
        """After − before."""
        return self.usd_after - self.usd_before


@dataclass(frozen=True)
class Comparison:
    """Two deliveries of one source and what differs, in rows and USD.

    Every dimension's changes sum to the same total; those of usage days to that of usage lines.
    """

    source_id: str
    before_id: str
    after_id: str
    rows_before: int
    rows_after: int
    usd_before: Decimal
    usd_after: Decimal
    changes: list[Change]


def since(books: Books, period: Period, delivery: str) -> Comparison:
    """The newest delivery of a period against an earlier one, named by the beginning of its id.

    The newest is the one readers see; where a later one waits for approval, that one.

    Raises:
        CopsError: `E-DELIVERY-UNKNOWN`.
    """
    deliveries = t.cur_delivery
    with books.admin.read() as con:
        found = con.execute(
            sa.select(deliveries).where(
                deliveries.c.period_start == period.start,
                deliveries.c.delivery_id.startswith(delivery, autoescape=True),
            )
        ).all()
        if len(found) != 1 or not delivery:
            raise not_one(
                len(found),
                "E-DELIVERY-UNKNOWN",
                f"delivery {delivery!r} of {period}",
                expected="one known delivery of that month",
                next_step=f"take an id from `cops status {period}`",
            )
        before = found[0]
        newest = con.execute(
            sa.select(deliveries)
            .where(deliveries.c.period_start == period.start, deliveries.c.source_id == before.source_id)
            .order_by(deliveries.c.first_seen_at.desc())
            .limit(1)
        ).one()
        old, new = _breakdown(con, before.delivery_id), _breakdown(con, newest.delivery_id)
    nothing = (0, Decimal(0))
    changes = [
        Change(
            *key,
            old.get(key, nothing)[0],
            new.get(key, nothing)[0],
            old.get(key, nothing)[1],
            new.get(key, nothing)[1],
        )
        for key in sorted(old.keys() | new.keys())
        if old.get(key, nothing) != new.get(key, nothing)
    ]
    changes.sort(key=lambda one: (DIMENSIONS.index(one.dimension), -abs(one.change_usd), one.value))
    return Comparison(
        before.source_id,
        before.delivery_id,
        newest.delivery_id,
        before.row_count,
        newest.row_count,
        before.cost_usd,
        newest.cost_usd,
        changes,
    )


def _breakdown(con: sa.Connection, delivery_id: str) -> dict[tuple[str, str], tuple[int, Decimal]]:
    breakdown = t.cur_delivery_breakdown
    rows: Any = con.execute(
        sa.select(breakdown).where(
            breakdown.c.delivery_id == delivery_id, breakdown.c.dimension.in_(DIMENSIONS)
        )
    )
    return {(row.dimension, row.value): (row.row_count, row.cost_usd) for row in rows}
