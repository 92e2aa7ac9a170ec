"""Which months the books know.

Belongs here: the question, and the refusal of a month that nobody knows: what is asked about it must not be
answered with "nothing is wrong". Does not belong here: how a month stands (`ledger/state.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.stores import tables as t


def known(con: sa.Connection) -> list[Period]:
    """Months with a delivery, a state or a freeze, the oldest first."""
    columns = (
        t.cur_delivery.c.period_start, t.cur_billing_head.c.period_start, t.cur_delivery_hold.c.period_start,
        t.period_lock.c.period_start, t.invoice_freeze.c.period_start,
    )  # fmt: skip
    starts = con.execute(sa.union(*(sa.select(column) for column in columns))).scalars()
    return [Period.of(start) for start in sorted(starts)]


def require_known(con: sa.Connection, period: Period) -> None:
    """Refuses a month that the books never heard of: it may be mistyped, or the books another's.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN`.
    """
    there = known(con)
    if period in there:
        return
    raise CopsError(
        "E-PERIOD-UNKNOWN", f"period {period}", expected="a month with a delivery, a state or a freeze",
        found=f"months from {there[0]} to {there[-1]}, not this one" if there else "no month at all",
        next_step=f"correct the month or COPS_HOME; a new month comes with `cops materialize {period}`",
    )  # fmt: skip
