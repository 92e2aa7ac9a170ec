"""What is wrong with the tags of resources, before they cost anything: for the CI that provisions them.

Belongs here: the findings, from a resource's tags, the mapping of `[tags]` and the registry. Does not
belong here: reading files (`tagging/files.py`), tagging of delivered lines (`tagging/tag.py`).

What tagging would let pass is a finding too where it rests on luck: AWS merges spellings of a key, and a
name in another case is another name.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Literal

import sqlalchemy as sa

from cops_dagster.policy import Tags
from cops_dagster.stores import tables as t
from cops_dagster.tagging import active
from cops_dagster.tagging.files import Resource, column_of
from cops_dagster.tagging.spelling import spelled
from cops_dagster.words import OPERATOR, UNALLOCATED

VALUE_CHARS_MAX = 256
"""Longest tag value that AWS takes."""

_SHOWN_CHARS = 300

Problem = Literal[
    "key-missing",
    "key-spelling",
    "key-clash",
    "value-blank",
    "value-too-long",
    "value-form",
    "value-spelling",
    "value-unknown-yet",
    "alias",
    "reserved",
    "tenant-unknown",
    "tenant-inactive",
    "plan-unknown",
]

Severity = Literal["error", "warning"]
_Problem = tuple[Problem, Severity, str]  # with what to do


@dataclass(frozen=True)
class Finding:
    """One thing wrong with one resource.

    Attributes:
        resource: its address or ARN.
        finding: what is wrong, a stable word.
        severity: a `warning` costs nothing today.
        key: the tag key as written, or the one that is missing.
        value: the value as written, cut to 300 characters; None where there is none to show.
        next_step: what to do.
    """

    resource: str
    finding: Problem
    severity: Severity
    key: str
    value: str | None
    next_step: str


@dataclass(frozen=True)
class Alias:
    """A declared other spelling of a value, in force over [begin, end) (`end` None: open)."""

    canonical: str
    begin: date
    end: date | None


@dataclass(frozen=True)
class Registry:
    """What the home knows. An empty one judges only whether tags are there and well formed.

    Attributes:
        tenants: id → [active_from, active_to).
        plans: the ids of plans.
        aliases: (setting of `[tags]`, value) → its aliases in time.
        spellings: column → the one key that is active for it in the payer.
    """

    tenants: Mapping[str, tuple[date, date | None]] = field(default_factory=dict)
    plans: frozenset[str] = frozenset()
    aliases: Mapping[tuple[str, str], Sequence[Alias]] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> dict[str, dict[str, str]]:
        """Setting → known names by their `fold`."""
        known = {"tenant_id": set(self.tenants), "plan_id": set(self.plans), "service_component": set()}
        for (setting, _), aliases in self.aliases.items():
            if setting == "service_component":  # which have no registry
                known[setting] |= {alias.canonical for alias in aliases}
        return {setting: {fold(name): name for name in sorted(names)} for setting, names in known.items()}


def registry(con: sa.Connection) -> Registry:
    """What is registered, and the payer's keys as last listed."""
    tenants = {row.tenant_id: (row.active_from, row.active_to) for row in con.execute(sa.select(t.tenants))}
    aliases: defaultdict[tuple[str, str], list[Alias]] = defaultdict(list)
    for row in con.execute(sa.select(t.tag_aliases)):
        alias = Alias(row.canonical, row.effective_from, row.effective_to)
        aliases[row.tag_name, row.alias].append(alias)
    snapshot = active.recorded(con)
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for tag in snapshot.tags if snapshot else ():
        if tag.status == "Active":
            keys[column_of(tag.key)].append(tag.key)
    return Registry(
        tenants,
        frozenset(con.execute(sa.select(t.plans.c.plan_id).distinct()).scalars()),
        dict(aliases),
        {column: spellings[0] for column, spellings in keys.items() if len(spellings) == 1},
    )


def fold(text: str) -> str:
    """What spellings of one name have in common: no case, no blanks, no Unicode form."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in plain if not char.isspace() and unicodedata.category(char) != "Cf")


def judge(
    resources: Sequence[Resource], mapping: Tags, known: Registry | None, *, today: date
) -> list[Finding]:
    """Every finding, in the order of the resources.

    Args:
        known: None where there is no home.
        today: the day (UTC) whose aliases and active tenants count.
    """
    policy = _Policy(mapping, known or Registry(), today)
    return [finding for resource in resources for finding in policy.of(resource)]


class _Policy:
    """The rules of one call, with what was found of a value kept, since resources share values."""

    def __init__(self, mapping: Tags, known: Registry, today: date) -> None:
        self._mapping = mapping
        self._known = known
        self._today = today
        self._judged: dict[tuple[str, str], list[_Problem]] = {}
        # a key that begins with aws: is set by AWS alone
        self._columns = {
            setting: [
                column
                for column in active.resource_columns(mapping, setting)
                if not column.startswith("aws_")
            ]
            for setting in active.SETTINGS
        }
        self._aliases: defaultdict[tuple[str, str], list[Alias]] = defaultdict(list)
        for (setting, alias), meanings in self._known.aliases.items():
            self._aliases[setting, spelled(alias, mapping, setting)] += meanings

    def of(self, resource: Resource) -> Iterator[Finding]:
        """What is wrong with one resource."""
        spelled: defaultdict[str, list[str]] = defaultdict(list)
        for key in resource.tags:
            spelled[column_of(key)].append(key)
        unknown = {column_of(key) for key in resource.unknown}
        for setting, columns in self._columns.items():
            for column in columns:
                yield from self._key(resource, column, spelled[column])
            if columns:
                yield from self._role(resource, setting, columns, spelled, unknown)

    def _key(self, resource: Resource, column: str, keys: Sequence[str]) -> Iterator[Finding]:
        wanted = self._wanted(column)
        if len(keys) > 1:
            yield Finding(
                resource.name,
                "key-clash",
                "error",
                _cut(", ".join(keys)),
                None,
                f"keep {wanted} alone: AWS writes these keys into one column, and one value is lost",
            )
        elif keys and keys[0] != wanted:
            yield Finding(
                resource.name,
                "key-spelling",
                "error",
                _cut(keys[0]),
                _cut(resource.tags[keys[0]]),
                f"write the key as {wanted}: AWS merges both into one column once both are active, and"
                " only the active spelling is reported",
            )

    def _role(
        self,
        resource: Resource,
        setting: str,
        columns: Sequence[str],
        spelled: Mapping[str, list[str]],
        unknown: set[str],
    ) -> Iterator[Finding]:
        given = [key for column in columns for key in spelled[column]]
        key = next((key for key in given if resource.tags[key].strip()), None)  # the first non-empty wins
        if key is not None:
            if len(spelled[column_of(key)]) == 1:  # of a clash, nobody knows whose value wins
                yield from self._value(resource, setting, key, resource.tags[key])
            return
        wanted = " or ".join(self._wanted(column) for column in columns)
        if unknown & {*columns, column_of("*")}:
            yield Finding(
                resource.name,
                "value-unknown-yet",
                "warning",
                wanted,
                None,
                "Terraform knows this value only when it applies: check the resource afterwards",
            )
        elif given:
            yield Finding(
                resource.name,
                "value-blank",
                "error",
                _cut(given[0]),
                _cut(resource.tags[given[0]]),
                f"give {wanted} a value",
            )
        else:
            near = difflib.get_close_matches(wanted, [one[:128] for one in resource.tags], n=1)
            hint = f"; is {near[0]} meant to be it?" if near else ""
            yield Finding(
                resource.name, "key-missing", "error", wanted, None, f"tag the resource with {wanted}{hint}"
            )

    def _value(self, resource: Resource, setting: str, key: str, value: str) -> Iterator[Finding]:
        if (setting, value) not in self._judged:
            self._judged[setting, value] = list(self._problems(setting, value))
        for problem, severity, next_step in self._judged[setting, value]:
            yield Finding(resource.name, problem, severity, _cut(key), _cut(value), next_step)

    def _problems(self, setting: str, value: str) -> Iterator[_Problem]:
        if len(value) > VALUE_CHARS_MAX:
            yield "value-too-long", "error", f"AWS takes {VALUE_CHARS_MAX} characters at most"
            return
        if setting == "tenant_id" and fold(value) in (UNALLOCATED, OPERATOR):
            yield "reserved", "error", "name a tenant; COPS books under this name"
            return
        name = value.strip(" ")  # as tagging cuts it
        alias = self._alias(setting, name)
        if alias is None:
            yield from self._name(setting, value, name)
        else:
            yield "alias", "warning", f"write {alias}; this spelling is an alias of it"
            yield from self._name(setting, alias, alias)

    def _name(self, setting: str, value: str, name: str) -> Iterator[_Problem]:
        """A name without aliases; `value` is how it stands in the tag."""
        names = self._known.names[setting]
        registered = {"tenant_id": self._known.tenants, "plan_id": self._known.plans}.get(setting, ())
        right = name if name in names.values() else names.get(fold(name))
        if right is None and registered:
            problem: Problem = "tenant-unknown" if setting == "tenant_id" else "plan-unknown"
            yield problem, "error", self._nearest(setting, name)
        elif right is None and not _is_well_formed(value):
            yield "value-form", "error", "remove blanks at the ends and characters that cannot be seen"
        elif right is not None and right != value:
            same = self._mapping.fold_case and self._spelled(setting, value) == self._spelled(setting, right)
            severity: Severity = "warning" if same else "error"
            yield "value-spelling", severity, f"write {right}, with its case, blanks and Unicode form"
        if setting == "tenant_id" and right is not None and right in self._known.tenants:
            yield from self._activity(right)

    def _activity(self, tenant: str) -> Iterator[_Problem]:
        begin, end = self._known.tenants[tenant]
        if self._today < begin:
            yield "tenant-inactive", "error", f"{tenant} is active from {begin} on: wait, or correct tenants"
        elif end is not None and end <= self._today:
            yield "tenant-inactive", "error", f"{tenant} ended on {end}: name another tenant"

    def _alias(self, setting: str, value: str) -> str | None:
        for alias in self._aliases.get((setting, self._spelled(setting, value)), ()):
            if alias.begin <= self._today and (alias.end is None or self._today < alias.end):
                return alias.canonical
        return None

    def _nearest(self, setting: str, name: str) -> str:
        names = self._known.names[setting]
        near = difflib.get_close_matches(fold(name), names, n=1)
        past = self._aliases.get(
            (setting, self._spelled(setting, name)), ()
        )  # one that is not in force today
        hint = names[near[0]] if near else past[-1].canonical if past else None
        table = "tenants" if setting == "tenant_id" else "plans"
        asked = f"did you mean {hint}? Otherwise" if hint else "correct it, or"
        return f"{asked} load it with {table}.csv"

    def _spelled(self, setting: str, value: str) -> str:
        return spelled(value, self._mapping, setting)

    def _wanted(self, column: str) -> str:
        return self._known.spellings.get(column, active.key_of(column))


def _is_well_formed(value: str) -> bool:
    return (
        value == value.strip() and value.isprintable() and unicodedata.is_normalized("NFC", value)
    )  # isprintable: no control, format, surrogate or unassigned character


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
