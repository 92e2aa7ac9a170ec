"""References between the tables of a load: what a row names exists, and a tag value names one tenant.

Belongs here: keys, and the refusals that look at the rows of more than one table; stored rows are read on the
load's own connection. Does not belong here: cells (`inputs/cells.py`), documents (`inputs/dollars.py`),
versions in time (`inputs/versions.py`), conflicts with stored rows (`inputs/conflicts.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import Any

import sqlalchemy as sa

from cops_dagster.allocation.chain import SERVICES, goes_on
from cops_dagster.errors import CopsError
from cops_dagster.inputs.files import Row
from cops_dagster.policy import Tags
from cops_dagster.stores import tables as t
from cops_dagster.tagging.spelling import spelled
from cops_dagster.words import OPERATOR, UNALLOCATED

DOCUMENTS = ("invoice_detail", "aws_invoices")
FOREVER = date.max
_BEARERS = ("tenant_usage", "allocation_rules")
"""Tables in which a service may stand for a tenant."""

Key = tuple[Any, ...]
Rows = dict[Key, Row]


def key_names(table: str) -> list[str]:
    """Columns of a table's primary key."""
    return [column.name for column in t.metadata.tables[table].primary_key.columns]


def key_of(row: Row) -> Key:
    """The values of a row's primary key."""
    return tuple(row.values[name] for name in key_names(row.table))


def known(con: sa.Connection, given: Mapping[str, Sequence[Row]], column: sa.Column[Any]) -> set[Any]:
    """Values of a column, stored or in this load."""
    stored = con.execute(sa.select(column).distinct()).scalars()
    return {*stored, *(row.values[column.name] for row in given.get(column.table.name, ()))}


def shown(table: str, values: Mapping[str, Any]) -> str:
    """A row as people find it again: its table and key."""
    return f"{table} " + ", ".join(f"{name}={plain(values[name])}" for name in key_names(table))


def plain(value: object) -> str:
    """A value as it would stand in the CSV."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def check_references(con: sa.Connection, given: Mapping[str, Sequence[Row]]) -> None:
    """Every tenant, plan, key and rule that a row names exists, stored or in this load."""
    tenants = known(con, given, t.tenants.c.tenant_id)
    _check_new_tenants(con, given.get("tenants", ()))
    for name in ("account_tenants", "tenant_usage", "invoice_detail", "disputes", "gl_accounts"):
        for row in given.get(name, ()):  # an account for all tenants names none
            _require_tenant(row, "tenant_id", row.values["tenant_id"], tenants | {""})
    for row in given.get("tag_aliases", ()):
        if row.values["tag_name"] == "tenant_id":
            _refuse_reserved(row, ("alias", "canonical"), (UNALLOCATED, OPERATOR))
            _require_tenant(row, "canonical", row.values["canonical"], tenants)
    plans = known(con, given, t.plans.c.plan_id)
    for row in given.get("tenants", ()):
        if row.values["plan_id"] is not None and row.values["plan_id"] not in plans:
            raise _unknown("E-PLAN-UNKNOWN", row, "plan_id", row.values["plan_id"], "plans")
    for row in given.get("tag_aliases", ()):
        if row.values["tag_name"] == "plan_id" and plans and row.values["canonical"] not in plans:
            raise _unknown("E-PLAN-UNKNOWN", row, "canonical", row.values["canonical"], "plans")
    keys = known(con, given, t.allocation_keys.c.key_name)
    rules = known(con, given, t.allocation_rules.c.rule_id)
    for row in given.get("allocation_rules", ()):
        _check_rule(row, tenants, keys, rules)


def _check_new_tenants(con: sa.Connection, rows: Sequence[Row]) -> None:
    """What an older COPS took stays a tenant; a new one has no name that means a service or a rule."""
    meant = [row.values["tenant_id"] for row in rows if goes_on(row.values["tenant_id"], ())]
    if meant:
        stored = set(con.execute(sa.select(t.tenants.c.tenant_id)).scalars())
        for row in rows:
            _refuse_reserved(row, ("tenant_id",), set(meant) - stored)


def _refuse_reserved(row: Row, columns: Sequence[str], names: Collection[str]) -> None:
    for column in columns:
        if row.values[column].strip() in names:
            raise CopsError(
                "E-TENANT-RESERVED",
                row.where(column),
                expected="the name of a tenant",
                found=repr(row.values[column]),
                next_step="remove the row or choose another name; COPS books under this one, or means a"
                " service or a rule by it",
            )


def _require_tenant(row: Row, column: str, tenant: str, tenants: set[Any]) -> None:
    if tenant not in tenants and not (row.table in _BEARERS and goes_on(tenant, tenants)):
        raise _unknown("E-TENANT-UNKNOWN", row, column, tenant, "tenants")


def _unknown(code: str, row: Row, column: str, value: object, table: str) -> CopsError:
    return CopsError(
        code,
        row.where(column),
        expected=f"one that is in {table}, stored or in this load",
        found=repr(value),
        next_step=f"correct the value, or load {table}.csv with it",
    )


def _check_rule(row: Row, tenants: set[Any], keys: set[Any], rules: set[Any]) -> None:
    rule = row.values
    if (rule["method"] == "fixed") != (rule["shares"] is not None):
        raise CopsError(
            "E-RULE-METHOD" if rule["shares"] else "E-RULE-SUM",
            row.where("shares"),
            expected="shares that sum to 100 for the method fixed, and none for another method",
            found=f"method {rule['method']}, shares {rule['shares'] or 'empty'}",
            next_step="correct the method or the shares",
        )
    for tenant in json.loads(rule["shares"] or "{}"):
        if tenant != OPERATOR:
            _require_tenant(row, "shares", tenant, tenants)
    if rule["method"] == "usage_key" and rule["key_name"] not in keys:
        raise _unknown("E-KEY-UNKNOWN", row, "key_name", rule["key_name"], "allocation_keys")
    allowed = {"usage_key": keys, "proportional_cost": {None, "service", SERVICES}}.get(
        rule["method"], {None}
    )
    if rule["key_name"] not in allowed:
        raise CopsError(
            "E-RULE-METHOD",
            row.where("key_name"),
            expected="a key for usage_key, service, services or nothing for proportional_cost, else nothing",
            found=f"method {rule['method']}, key_name {rule['key_name']}",
            next_step="correct the method or the key",
        )
    other = fallback(rule)
    if other is not None and other not in rules:
        raise CopsError(
            "E-RULE-METHOD",
            row.where("on_zero_key"),
            expected="rule:ID of a rule that is stored or in this load",
            found=repr(rule["on_zero_key"]),
            next_step="correct the id, or load that rule",
        )


def fallback(rule: Mapping[str, Any]) -> str | None:
    """The rule that takes over when the key of this one is zero."""
    named: str = rule["on_zero_key"]
    return named.removeprefix("rule:") if named.startswith("rule:") else None


def check_names_of_tenants(con: sa.Connection, given: Mapping[str, Sequence[Row]], tags: Tags) -> None:
    """No tag value names two tenants on one day, as an alias or as the id itself.

    Asked of the tables as the load leaves them, since either side may be the new one. After a tenant
    has ended (`active_to`), its id may become an alias: that is how a merger is told.

    Raises:
        CopsError: `E-MAP-DUP` naming both tenants.
    """
    places = {
        (row.table, key_of(row)): row
        for table in ("tag_aliases", "tenants")
        for row in given.get(table, ())
        if row.values.get("tag_name", "tenant_id") == "tenant_id"
    }
    if not places:
        return
    names: defaultdict[str, list[_Name]] = defaultdict(list)
    for one in _names_of_tenants(con):
        names[spelled(one.text, tags, "tenant_id")].append(one)
    for same in names.values():
        for one, other in combinations(same, 2):
            here, there = (one, other) if (one.row.table, key_of(one.row)) in places else (other, one)
            row = places.get((here.row.table, key_of(here.row)))
            # what an older COPS took, and this load does not give, blocks no other row
            if row and one.tenant != other.tenant and one.begin < other.end and other.begin < one.end:
                raise CopsError(
                    "E-MAP-DUP",
                    f"{row.where('alias' if row.table == 'tag_aliases' else 'tenant_id')} ({here})",
                    expected="a tag value that names one tenant on any day",
                    found=f"the same value in {there}",
                    next_step="remove one of them; if a tenant was merged, end it (active_to) where the"
                    " alias begins",
                )


@dataclass(frozen=True)
class _Name:
    """A value that names a tenant over [begin, end)."""

    text: str
    tenant: str
    begin: date
    end: date
    row: Row

    def __str__(self) -> str:
        until = "open" if self.end == FOREVER else self.end
        return f"{self.row.table} {self.text} → {self.tenant}, from {self.begin} to {until}"


def _names_of_tenants(con: sa.Connection) -> Iterator[_Name]:
    aliases = sa.select(t.tag_aliases).where(t.tag_aliases.c.tag_name == "tenant_id")
    for values in con.execute(aliases).mappings():
        row = Row("tag_aliases", dict(values))
        end = values["effective_to"] or FOREVER
        yield _Name(values["alias"], values["canonical"], values["effective_from"], end, row)
    for values in con.execute(sa.select(t.tenants)).mappings():
        row = Row("tenants", dict(values))
        end = values["active_to"] or FOREVER
        yield _Name(values["tenant_id"], values["tenant_id"], values["active_from"], end, row)
