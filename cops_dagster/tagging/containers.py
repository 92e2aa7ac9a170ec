"""Containers: an instance's cost goes to the tenants of its pods, each amount split to difference 0.

Belongs here: who ran, what was used and what was left, and `tag_groups` where `[containers] use` is `split`
(docs/adr/0054). Does not belong here: which line meets which split rows (`lake/container_lines.py`), which
name is whose (sql/stage_fact_cost_tagged.sql).

Weights are what AWS says that each pod used, and was given of what was left unused, of the instance's cost
over the same span: exact decimals of the delivered doubles. They are never money here: money is the
instance's own, and its parts add up to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from sqlglot import exp

from cops_dagster.lake import container_lines, tag_columns
from cops_dagster.lake.alike import Joined
from cops_dagster.lake.engine import Engine, Row
from cops_dagster.lake.namespace import Namespace
from cops_dagster.lake.tables import USD
from cops_dagster.money import amount
from cops_dagster.money.split import split
from cops_dagster.period import Period
from cops_dagster.policy import Containers, Policy
from cops_dagster.words import OPERATOR, UNALLOCATED

SPANNED: Joined = (tag_columns.CONTAINER, container_lines.spanned)
"""How lines are joined with the hours of instances that can be split."""
GROUPS = "line_groups"
"""What `group_lines_by_tags` makes, contained lines apart by instance and hour."""
_BEARERS = {"operator": OPERATOR, "hold": UNALLOCATED}
_COUNTS = ("line_count", "positive_line_count")
Named = Mapping[str, str | None]
"""Columns of a group that say whose it is, and what they say instead."""


def provide_spans(names: Namespace, policy: Policy, boundaries: Sequence[date], start: date) -> None:
    """Keeps the split rows and the hours of instances that can be split."""
    names.bare_lines(container_lines.delivered(policy.tags), "split_lines")
    container_lines.provide(names.engine, policy.tags, boundaries, start, of="split_lines")


def unsplit(names: Namespace, policy: Policy, period: Period) -> list[dict[str, Any]]:
    """Split rows by which nothing is split, by fault: sql/find_unsplit_containers.sql."""
    names.bare_lines([*container_lines.delivered(policy.tags), container_lines.JUDGED], "bare_split_lines")
    container_lines.provide(names.engine, policy.tags, (), period.start, of="bare_split_lines")
    container_lines.provide_judged(names.engine, policy.tags, of="bare_split_lines")
    return names.engine.fetch("find_unsplit_containers").dicts()


def provide_groups(engine: Engine, policy: Containers, aliases: Iterable[str]) -> None:
    """Keeps `tag_groups`: `GROUPS`, contained lines by who bears them; Σ of each cost is the same.

    Args:
        aliases: names that stand for a tenant: a namespace of such a name is that tenant's.
    """
    columns = engine.columns(GROUPS)
    sums = [name for name in columns if name.endswith("_cost") or name in _COUNTS]
    keys = [name for name in columns if name not in (*sums, "container_of")]
    container_lines.provide_parts(engine, GROUPS, keys, sums)
    asked = engine.columns("container_parts")
    every = exp.select("*").from_("container_parts")
    rows = (dict(zip(asked, row, strict=True)) for row in engine.each(every))
    whose = _whose(policy, frozenset(aliases))
    made = shared(rows, keys, sums, whose, _BEARERS.get(policy.unused))
    kinds = {"period_start": "DATE", "usage_slice": "DATE"} | dict.fromkeys(_COUNTS, "BIGINT")
    kinds |= {name: USD for name in sums if name not in _COUNTS}
    engine.table("container_groups", [(name, kinds.get(name, "VARCHAR")) for name in (*keys, *sums)], made)
    others = exp.select(*keys, *sums).from_(GROUPS).where("container_of IS NULL")
    engine.keep(
        "tag_groups", others.union(exp.select(*keys, *sums).from_("container_groups"), distinct=False)
    )


def _whose(policy: Containers, aliases: frozenset[str]) -> Callable[[Mapping[str, Any]], Named | None]:
    """Of a row of `container_parts`: what its containers say instead of their instance; `None`: nothing."""

    def of(row: Mapping[str, Any]) -> Named | None:
        said = {name: row[f"ran_{name}"] for name in tag_columns.tag_names()}
        component = {"component_tag": said.pop("component_tag")} if row["ran_component_tag"] else {}
        if said["resource_tenant"] is not None:
            return {**said, **component}
        cluster, namespace = row["ran_cluster"], row["ran_namespace"]
        tenant = policy.namespaces.get(f"{cluster}/{namespace}") or policy.namespaces.get(namespace or "")
        tenant = tenant or (namespace if namespace in aliases else None)
        if tenant is None:
            return None
        plans = {name: plan for name, plan in said.items() if name.endswith("_plan")}
        return dict.fromkeys(said) | plans | component | {"inherited_tenant": tenant}

    return of


@dataclass(frozen=True, slots=True)
class _Part:
    """A share of a group: who bears it, by what it says of itself; its weight."""

    named: tuple[tuple[str, str | None], ...]
    is_unused: bool
    weight: int


def shared(
    rows: Iterable[Mapping[str, Any]],
    keys: Sequence[str],
    sums: Sequence[str],
    whose: Callable[[Mapping[str, Any]], Named | None],
    bearer: str | None,
) -> Iterator[Row]:
    """Groups of lines by who bears them, every amount split by what was used and what was left.

    What names nobody stays with the instance, and so do its lines, which are counted once, and the positive
    sums of what is unused: they weigh how usage is tagged.

    Args:
        rows: `container_parts`: the rows of one group together.
        keys, sums: columns of a group; whatever of `sums` is no count is split.
        whose: what the containers of a row say of themselves.
        bearer: who bears what was left unused; `None`: whoever used the rest.
    """
    found: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(sums))
    spot = {name: place for place, name in enumerate(keys)}
    for group, ran in groupby(rows, key=lambda row: (row["container_id"], *(row[name] for name in keys))):
        held = list(ran)
        parts = list(_parts(held, whose))
        own = group[1:]
        done: dict[int, dict[str, int]] = {}
        weights = {f"{number:09d}": part.weight for number, part in enumerate(parts)}
        for place, name in enumerate(sums):
            if name in _COUNTS:
                found[own][place] += held[0][name]
                continue
            whole = amount.from_decimal(held[0][name])
            if not whole:
                continue
            if whole not in done:
                done[whole] = split(whole, weights)
            is_cost = not name.startswith("positive_")
            for part, share in zip(parts, done[whole].values(), strict=True):
                found[_key(own, spot, part, bearer, is_cost=is_cost)][place] += share
    for key, totals in found.items():
        yield (
            *key,
            *(
                total if name in _COUNTS else amount.to_decimal(total)
                for name, total in zip(sums, totals, strict=True)
            ),
        )


def _parts(
    rows: Sequence[Mapping[str, Any]], whose: Callable[[Mapping[str, Any]], Named | None]
) -> Iterator[_Part]:
    for row in rows:
        named = tuple((whose(row) or {}).items())
        yield _Part(named, False, amount.from_decimal(row["used_usd"]))
        yield _Part(named, True, amount.from_decimal(row["unused_usd"]))


def _key(
    own: tuple[Any, ...], spot: Mapping[str, int], part: _Part, bearer: str | None, *, is_cost: bool
) -> tuple[Any, ...]:
    """The group that a share belongs to."""
    if part.is_unused and bearer is not None:
        said: Iterable[tuple[str, str | None]] = [("borne_by", bearer)] if is_cost else ()
    else:
        said = part.named
    made = list(own)
    for name, value in said:
        made[spot[name]] = value
    return tuple(made)
