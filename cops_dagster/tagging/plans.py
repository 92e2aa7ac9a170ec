"""The plans that people registered, by the first day that each is in force.

Does not belong here: what a plan costs (`reconciliation/documents.py`), which plan a line names
(`tagging/tag.py`, which loads the engine: whoever asks here does not need it).
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa

from cops_dagster.stores import tables as t


def plans_begin(con: sa.Connection) -> dict[str, date]:
    """Each registered plan with the first day it is in force."""
    plans = t.plans
    first = sa.func.min(plans.c.effective_from)
    return dict(con.execute(sa.select(plans.c.plan_id, first).group_by(plans.c.plan_id)).all())
