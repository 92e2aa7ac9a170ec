"""Cost allocation tags: those that `[tags]` maps against those that the payer has activated.

Belongs here: the comparison, and the snapshot in the admin database. Does not belong here: the call to AWS
(`stores/aws/cost_explorer.py`), files (`tagging/files.py`), when the check holds (`tagging/verdicts.py`).
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.policy import Tags
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.aws import cost_explorer
from cops_dagster.tagging.files import CostTag, column_of, parse_cost_tags
from cops_dagster.tagging.verdicts import mapped_tags_are_active
from cops_dagster.verdict import Verdict

SETTINGS = ("tenant_id", "plan_id", "service_component")
"""The settings of `[tags]` that name tags, which are the tag names of `tag_aliases`, too."""

_USER = "user_"
_RESOURCE = "resource_tags_"
# columns that no tag of a resource fills
_ELSEWHERE = ("account_tag_", "cost_category_", "iam_principal_", "line_item_")


@dataclass(frozen=True)
class Snapshot:
    """The payer's cost allocation tags, and when they were listed (UTC)."""

    tags: tuple[CostTag, ...]
    listed_at: datetime


@dataclass(frozen=True)
class ActiveFinding:
    """What holds of one CUR column of a tag.

    Attributes:
        finding: `active`, `not-active`, or `E-TAG-CLASH` where AWS merges several keys into the column.
        severity: `ok`, `warning` (a clash that no mapping reads) or `error`.
        column: as in `[tags]`, such as `user_tenant_id`.
        mapped_to: settings of `[tags]` that name it, such as `tenant_id`.
        keys: the active keys of the column as AWS spells them.
        next_step: what to do; empty when nothing is.
    """

    finding: Literal["active", "not-active", "E-TAG-CLASH"]
    severity: Literal["ok", "warning", "error"]
    column: str
    mapped_to: tuple[str, ...]
    keys: tuple[str, ...]
    next_step: str = ""


def key_of(column: str) -> str:
    """The plainest key of a name in `[tags]`: `tenant_id` for `user_tenant_id`."""
    return column.removeprefix(_USER)


def resource_columns(mapping: Tags, setting: str) -> list[str]:
    """The names in a setting that are tags of resources, such as `user_tenant_id`, in order."""
    names: tuple[str, ...] = getattr(mapping, setting)
    return [name.removeprefix(_RESOURCE) for name in names if not name.startswith(_ELSEWHERE)]


def mapped_columns(mapping: Tags) -> dict[str, tuple[str, ...]]:
    """Column → the settings of `[tags]` that name it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for setting in SETTINGS:
        for column in resource_columns(mapping, setting):
            found[column].append(setting)
    return {column: tuple(settings) for column, settings in found.items()}


def compare(tags: Sequence[CostTag], mapping: Tags) -> list[ActiveFinding]:
    """Every mapped column, then every other one that AWS would merge; the gravest first."""
    active: defaultdict[str, list[str]] = defaultdict(list)
    for tag in sorted(tags, key=lambda tag: tag.key):
        if tag.status == "Active":
            active[column_of(tag.key)].append(tag.key)
    mapped = mapped_columns(mapping)
    found = [_mapped(column, mapped[column], tuple(active[column]), tags) for column in mapped]
    found += [
        _clash(column, (), tuple(keys))
        for column, keys in active.items()
        if len(keys) > 1 and column not in mapped
    ]
    return sorted(found, key=lambda one: ("error", "warning", "ok").index(one.severity))


def verdict(snapshot: Snapshot | None, mapping: Tags) -> Verdict:
    """Every tag of `[tags]` is active in the payer, in one spelling."""
    found = compare(snapshot.tags, mapping) if snapshot else []

    def columns(finding: str) -> list[str]:
        return [one.column for one in found if one.finding == finding and one.mapped_to]

    return mapped_tags_are_active(
        len(mapped_columns(mapping)),
        columns("not-active"),
        columns("E-TAG-CLASH"),
        snapshot.listed_at if snapshot else None,
    )


def listed() -> list[CostTag]:
    """The payer's cost allocation tags, asked of AWS now.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE`.
    """
    entries = cost_explorer.list_cost_allocation_tags()
    return parse_cost_tags(entries, "the answer of Cost Explorer", "E-AWS-UNREACHABLE")


def record(books: Books, tags: Sequence[CostTag]) -> None:
    """Replaces the stored snapshot by this one, in one transaction."""
    table, fetched_at = t.active_cost_allocation_tag, now()
    rows = [
        {
            "tag_key": tag.key,
            "tag_type": tag.kind,
            "status": tag.status,
            "last_updated_at": tag.last_updated_at,
            "last_used_on": tag.last_used_on,
            "fetched_at": fetched_at,
        }
        for tag in tags
    ]
    with books.admin.write() as con:
        con.execute(sa.delete(table))
        if rows:
            con.execute(sa.insert(table), rows)


def recorded(con: sa.Connection) -> Snapshot | None:
    """The stored snapshot; None while there is none (AWS lists its own keys in every payer)."""
    table = t.active_cost_allocation_tag
    rows = con.execute(sa.select(table).order_by(table.c.tag_key, table.c.tag_type)).all()
    if not rows:
        return None
    tags = [
        CostTag(row.tag_key, row.tag_type, row.status, row.last_updated_at, row.last_used_on) for row in rows
    ]
    return Snapshot(tuple(tags), max(row.fetched_at for row in rows))


def _mapped(
    column: str, settings: tuple[str, ...], keys: tuple[str, ...], tags: Sequence[CostTag]
) -> ActiveFinding:
    if len(keys) > 1:
        return _clash(column, settings, keys)
    if keys:
        return ActiveFinding("active", "ok", column, settings, keys)
    return ActiveFinding("not-active", "error", column, settings, (), _activation(column, tags))


def _clash(column: str, settings: tuple[str, ...], keys: tuple[str, ...]) -> ActiveFinding:
    return ActiveFinding(
        "E-TAG-CLASH",
        "error" if settings else "warning",
        column,
        settings,
        keys,
        f"AWS writes {' and '.join(keys)} into one column and does not say whose value wins: move the"
        " resources to one spelling and deactivate the others in the payer account",
    )


def _activation(column: str, tags: Sequence[CostTag]) -> str:
    """How a mapped tag becomes active. AWS backdates nothing by itself (cost allocation tags guide)."""
    listed = sorted({tag.key for tag in tags if column_of(tag.key) == column})
    key = listed[0] if listed else key_of(column)
    how = (
        f"activate {key} in the payer account (Billing, Cost allocation tags); it takes up to 24 hours and"
        " counts from then on: ask AWS for a backfill (12 months at most) if earlier days had the tag"
    )
    if listed:
        return how
    near = difflib.get_close_matches(column, [column_of(tag.key) for tag in tags], n=1)
    hint = f"; or did you mean {near[0]} in [tags]?" if near else ""
    return f"no resource had {key} yet, AWS lists it up to 24 hours after one has; then {how}{hint}"
