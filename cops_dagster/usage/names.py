"""Who a name of a source is: a tenant, an alias of one, or an account of one, on the day of its figure.

Belongs here: reading who is known on a day. Does not belong here: what becomes of a name that nobody has
(`usage/judged.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import sqlalchemy as sa

from cops_dagster.allocation import chain
from cops_dagster.policy import Tags
from cops_dagster.stores import tables as t
from cops_dagster.tagging.spelling import spelled
from cops_dagster.usage.declared import Measure


@dataclass(frozen=True)
class Names:
    """Who is who on a day.

    Attributes:
        tenants: every registered id; active: those that are active on the day, part_day: of whom it is the
            first or the last.
        others: a name of the source → tenant, where it is no id itself.
        registered: as tenants, also where names are those of accounts.
        tags: by which a spelling is compared, as tagging does.
    """

    tenants: Collection[str]
    active: Collection[str]
    part_day: Collection[str]
    others: Mapping[str, str]
    tags: Tags
    registered: Collection[str]

    def tenant(self, name: str) -> str | None:
        """The tenant that is meant; `None` for a name that nobody has. Declared aliases go first."""
        if name in self.others:
            return self.others[name]
        if name in self.tenants:
            return name
        return self.others.get(spelled(name, self.tags, "tenant_id"))

    def is_bearer(self, tenant: str) -> bool:
        """Whether it may stand in a usage file: a registered tenant, or a service that bears."""
        return tenant in self.registered or chain.goes_on(tenant, self.registered)


def on(con: sa.Connection, tags: Tags, measure: Measure, day: date) -> Names:
    """Registered tenants, and the aliases and accounts that are in force on the day."""
    tenants = t.tenants
    rows = con.execute(sa.select(tenants)).all()
    active = {
        row.tenant_id
        for row in rows
        if row.active_from <= day and (row.active_to is None or day < row.active_to)
    }
    part_day = {
        row.tenant_id for row in rows if row.active_from == day or row.active_to == day + timedelta(days=1)
    }
    others: dict[str, str] = {}
    if measure.names == "account":
        accounts = t.account_tenants
        others = {row.usage_account_id: row.tenant_id for row in con.execute(_in_force(accounts, day))}
    else:
        aliases = t.tag_aliases
        for row in con.execute(_in_force(aliases, day).where(aliases.c.tag_name == "tenant_id")):
            others[spelled(row.alias, tags, "tenant_id")] = row.canonical
    registered = frozenset(row.tenant_id for row in rows)
    known = frozenset() if measure.names == "account" else registered
    return Names(known, frozenset(active), part_day, {**others, **measure.aliases}, tags, registered)


def _in_force(table: sa.Table, day: date) -> sa.Select[tuple[object, ...]]:
    return sa.select(table).where(
        table.c.effective_from <= day,
        sa.or_(table.c.effective_to.is_(None), table.c.effective_to > day),
    )
