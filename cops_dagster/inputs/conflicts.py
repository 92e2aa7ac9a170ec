"""Conflicts of a load: what a given row may do to the stored one of its key, and what is said if it may not.

Belongs here: which columns may be replaced and for which months, the refusal that shows both rows, documents
in conflict that are kept. Does not belong here: storing rows (`inputs/load.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs import references
from cops_dagster.inputs.files import Row
from cops_dagster.inputs.references import Rows
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_REPLACEABLE: dict[str, frozenset[str]] = {
    "tenants": frozenset({"name", "plan_id", "active_from", "active_to", "currency"}),
    "tag_aliases": frozenset({"effective_to", "canonical"}),
    "account_tenants": frozenset({"effective_to", "tenant_id"}),
    "tenant_usage": frozenset({"value", "refreshed_at"}),
    # only while no evaluation has used the version, see `_budget_is_used`
    "budgets": frozenset(
        {"scope_type", "scope_value", "effective_from", "effective_to", "basis", "target_usd"}
    ),
}


class DocumentConflict(CopsError):
    """`E-INV-CONFLICT`: a document that came again with other content; both versions are at hand."""

    stored: Row
    given: Row


def keep(con: sa.Connection, refusal: DocumentConflict, actor: str) -> None:
    """Records both versions of a document; the load that brought the other one was refused whole."""
    stored, given = refusal.stored.values, refusal.given.values
    usd = [_document_usd(values) for values in (stored, given)]
    columns = differing(refusal.given, refusal.stored)
    if refusal.stored.line or columns == ["status"]:
        return  # twice in one file: the books hold neither; paid since: no amount is in question
    contents = [
        json.dumps({name: references.plain(values[name]) for name in columns}, sort_keys=True)
        for values in (stored, given)
    ]
    table, document = refusal.given.table, str(given["invoice_id"])
    conflict_id = digest("document-conflict-1", table, document, given.get("tenant_id"), *contents)
    conflicts = t.document_conflict
    if not con.execute(
        sa.select(conflicts.c.conflict_id).where(conflicts.c.conflict_id == conflict_id)
    ).first():
        con.execute(
            sa.insert(conflicts).values(
                conflict_id=conflict_id,
                table_name=table,
                document_id=document,
                period_start=stored["period_start"],
                tenant_id=given.get("tenant_id"),
                stored_json=contents[0],
                given_json=contents[1],
                difference_usd=usd[1] - usd[0],
                actor=actor,
                seen_at=now(),
            )
        )


def _document_usd(values: Mapping[str, Any]) -> Decimal:
    """The document's amount; of an AWS one in its base currency, before tax and tax together."""
    if "amount_usd" in values:
        return Decimal(values["amount_usd"] or 0)
    return Decimal(values["amount_before_tax"] + values["tax"])


def closed_months(con: sa.Connection) -> list[date]:
    """First days of the months that never change any more; the seal of one that is closing is computed."""
    lock = t.period_lock.c
    months = sa.select(lock.period_start).where(lock.state.in_(("closing", "closed")))
    return list(con.execute(months.order_by(lock.period_start)).scalars())


def compared(
    con: sa.Connection, name: str, rows: Sequence[Row], stored: Rows, replace: bool
) -> tuple[Rows, Rows, int, tuple[Mapping[str, Any], ...]]:
    """Rows to insert, rows to replace, how many are there already, and those that are stored."""
    first: Rows = {}
    unchanged = 0
    for row in rows:
        key = references.key_of(row)
        earlier = first.setdefault(key, row)
        if earlier is not row:
            if earlier.values != row.values:
                raise _conflict(row, earlier, earlier.where(), "give the row once; a load has no order")
            if name in references.DOCUMENTS and earlier.file == row.file:
                raise CopsError(
                    "E-INV-DUP",
                    row.where(),
                    expected="each document once in a file",
                    found=f"the same as line {earlier.line}",
                    next_step="remove one of them, and check why the source wrote it twice",
                )
            unchanged += 1
    new, changed, same = {}, {}, []
    for key, row in first.items():
        if key not in stored:
            new[key] = row
        elif stored[key].values == row.values:
            unchanged += 1
            same.append(row.values)
        elif replace:
            _check_replaceable(con, row, stored[key])
            changed[key] = row
        else:
            raise _conflict(row, stored[key], "the stored row", _way_out(name))
    return new, changed, unchanged, tuple(same)


def differing(row: Row, other: Row) -> list[str]:
    """Columns in which two rows of a table differ."""
    return [column for column in other.values if other.values[column] != row.values[column]]


def _conflict(row: Row, other: Row, whose: str, next_step: str) -> CopsError:
    columns = differing(row, other)
    clash = row.table == "tag_aliases" and "canonical" in columns  # one tag value, two meanings
    first = "canonical" if clash else columns[0]
    is_document = row.table in references.DOCUMENTS
    refusal = (DocumentConflict if is_document else CopsError)(
        "E-MAP-DUP" if clash else "E-INV-CONFLICT" if is_document else "E-LOAD-CONFLICT",
        f"{row.where(first)} ({references.shown(row.table, row.values)})",
        expected=f"{references.plain(other.values[first])} as in {whose}",
        found=references.plain(row.values[first])
        + (f", and {len(columns) - 1} more differ" if columns[1:] else ""),
        next_step=next_step,
        details={
            "table": row.table,
            "key": {name: references.plain(row.values[name]) for name in references.key_names(row.table)},
            "columns": {
                name: {
                    "stored": references.plain(other.values[name]),
                    "given": references.plain(row.values[name]),
                }
                for name in columns
            },
        },
    )
    if isinstance(refusal, DocumentConflict):
        refusal.stored, refusal.given = other, row
    return refusal


INSTEAD: dict[str, str] = {
    "allocation_rules": "load it as a new version that begins later; a month that has begun follows it with"
    " `cops allocate PERIOD --rules-as-of DAY --note '…'`",
    "budgets": "load it as a new version that begins later; a month is measured by that of its first day",
    "plans": "a new effective_from rules later months; for a month that has begun, load the markup under a"
    " new plan_id, give it to the tenants (tenants.csv --replace) and to the tag (tag_aliases.csv, plan_id)",
    "allocation_keys": "load it under a new key_name, with a new version of the rules that shall use it",
    "gl_accounts": "load it as a new version that begins later; a month is booked by that of its first day",
    "disputes": "load what is disputed besides under another dispute_id; what was settled, two people decide",
    "fx_rates": "a rate is frozen with its month: decide with finance who bears the difference",
}
"""How to correct a row that stays as it is, by table. Each of these is tried by a test."""


def _way_out(name: str) -> str:
    if name in references.DOCUMENTS:
        return "documents are immutable: load a credit note or a document that corrects this one"
    if name in INSTEAD and name not in _REPLACEABLE:
        return f"leave the row out, or: {INSTEAD[name]}"
    if name == "tag_aliases":
        return (
            "give the new meaning its own effective_from and end the stored row there with --replace, or"
            " load with --replace to replace it; both versions are reported"
        )
    return "leave the row out, or load with --replace to replace it; both versions are reported"


def _check_replaceable(con: sa.Connection, row: Row, old: Row) -> None:
    columns = differing(row, old)
    fixed = [name for name in columns if name not in _REPLACEABLE.get(row.table, ())]
    if fixed or (row.table == "budgets" and _budget_is_used(con, old.values)):
        column = (fixed or columns)[0]
        raise CopsError(
            "E-LOAD-IMMUTABLE",
            f"{row.where(column)} ({references.shown(row.table, row.values)})",
            expected=f"{references.plain(old.values[column])} as stored: rows of {row.table} stay so"
            + (" once they were measured" if row.table == "budgets" else ""),
            found=references.plain(row.values[column]),
            next_step=f"leave the row out, or: {INSTEAD[row.table]}"
            if row.table in INSTEAD
            else _way_out(row.table)
            if row.table not in _REPLACEABLE
            else f"leave {column} as it is; of {row.table}, {', '.join(sorted(_REPLACEABLE[row.table]))} may"
            " be replaced",
        )
    for begin, end in _months_touched(row, old):
        for month in (month for month in closed_months(con) if begin.replace(day=1) <= month < end):
            raise CopsError(
                "E-PERIOD-CLOSED",
                f"{row.where(columns[0])} ({references.shown(row.table, row.values)})",
                expected="values of open periods only",
                found=f"a change that reaches {Period.of(month)}, which is closed",
                next_step="a closed period never changes; book an adjustment in an open one",
            )


def _budget_is_used(con: sa.Connection, budget: Mapping[str, Any]) -> bool:
    history = t.budget_history
    return con.execute(
        sa.select(
            sa.exists()
            .where(history.c.budget_id == budget["budget_id"])
            .where(history.c.period_start >= budget["effective_from"].replace(day=1))
        )
    ).scalar_one()


def _months_touched(row: Row, old: Row) -> list[tuple[date, date]]:
    """Half-open ranges of days whose figures a replacement can change; a tenant's name has none."""
    was, will = old.values, row.values
    if row.table == "tenant_usage":
        return [(will["period_start"], Period.of(will["period_start"]).end)]
    if row.table == "tenants":
        return [
            *_between(was["active_from"], will["active_from"]),
            *_between(was["active_to"], will["active_to"]),
        ]
    named = {"tag_aliases": "canonical", "account_tenants": "tenant_id"}.get(row.table)
    if named is None:
        return []
    if was[named] != will[named]:
        ends = (was["effective_to"] or references.FOREVER, will["effective_to"] or references.FOREVER)
        return [(will["effective_from"], max(ends))]
    return _between(was["effective_to"], will["effective_to"])


def _between(one: date | None, other: date | None) -> list[tuple[date, date]]:
    """The days between two ends (or beginnings); an open end is the last of all days."""
    first, last = sorted((one or references.FOREVER, other or references.FOREVER))
    return [(first, last)] if first < last else []
