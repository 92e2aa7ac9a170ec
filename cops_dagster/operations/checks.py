"""What is asked of budgets: refreshed today, and each about something.

Does not belong here: refreshing them (`operations/budgets.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from cops_dagster.clocks import APART
from cops_dagster.ledger.books import Books
from cops_dagster.operations import verdicts
from cops_dagster.operations.budgets import known_scopes
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.verdict import Verdict


def budgets(books: Books) -> list[Verdict]:
    """Verdicts on `budget_master`: refreshed since 04:00 UTC today, and each about something."""
    with books.admin.read() as con:
        master = t.budget_master
        rows = con.execute(sa.select(master).order_by(master.c.budget_id)).all()
        # what has cost is about something; only of the others is it asked whether they name anything
        silent = [row for row in rows if row.actual_usd == 0 and row.scope_type != "total"]
        known = known_scopes(books, con, Period.of(rows[0].period_start)) if silent else {}
    oldest = min((row.last_refreshed_at for row in rows), default=None)
    today = datetime.now(UTC).replace(tzinfo=None, hour=4, minute=0, second=0, microsecond=0)
    due = today if now() >= today else today - timedelta(days=1)
    ahead = [row.last_refreshed_at for row in rows if row.last_refreshed_at > now() + APART]
    return [
        verdicts.budgets_refreshed_today(
            len(rows), oldest, is_in_time=oldest is not None and oldest >= due and not ahead
        ),
        verdicts.budget_scopes_are_known(
            [(row.budget_id, row.scope_type, row.scope_value) for row in silent], known, len(rows)
        ),
    ]
