"""Lines of instances that run containers, and the split rows of what ran on them, hour by hour.

Belongs here: which line of an instance meets which split rows, as pieces of queries (docs/adr/0054). Does not
belong here: who bears what (`tagging/containers.py`), tags of a line (`lake/tag_columns.py`).

A split row names its instance and a span of time. A line of that instance over the same begin of a span is a
*contained* line: `container_of` is instance, begin, line type and usage type, one character between them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

import sqlglot
from sqlglot import exp

from cops_dagster.lake import tag_columns
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.statements import SOURCE_DIALECT
from cops_dagster.lake.tables import USD
from cops_dagster.lake.views import view
from cops_dagster.policy import Tags

ROWS, SPANS = "container_rows", "container_spans"
"""Split rows that agree in instance, begin and names; and the instances' hours that can be split."""
_RESOURCE, _START = "line_item_resource_id", "line_item_usage_start_date"
_PARENT = "split_line_item_parent_resource_id"
_USED, _UNUSED = "split_line_item_split_cost", "split_line_item_unused_cost"
_RATIO = "split_line_item_split_usage_ratio"
_NAMESPACE = ("resource_tags_aws_eks_namespace", "resource_tags_aws_ecs_service_name")
_CLUSTER = ("resource_tags_aws_eks_cluster_name", "resource_tags_aws_ecs_cluster_name")
# A pod's ARN names cluster and namespace: arn:aws:eks:region:account:pod/cluster/namespace/name/uid.
_OF_POD = "NULLIF(SPLIT_PART(SPLIT_PART(line_item_resource_id, ':pod/', 2), '/', {part}), '')"
_FAULT = f"""
CASE WHEN {_USED} < 0 OR {_UNUSED} < 0 THEN 'negative' WHEN {_RATIO} > 1 THEN 'above_one'
     WHEN {_USED} IS NULL AND {_UNUSED} IS NULL THEN 'no_figures' END
"""


JUDGED = "line_item_operation"
"""What is asked of split rows beside `delivered` to tell which of them split nothing."""


def provide_judged(engine: Engine, tags: Tags, *, of: str) -> None:
    """The view `split_lines` with each row's `tenant_tag`, for sql/find_unsplit_containers.sql."""
    said = tag_columns.tags_said(tags, set(engine.columns(of)))
    query = exp.select("*", exp.alias_(said["resource_tenant"], "tenant_tag"))
    view(engine, "split_lines", query.from_(of))


def delivered(tags: Tags) -> list[str]:
    """The delivered columns that are asked of split rows."""
    named = [name for kind in tag_columns.KINDS for name in tag_columns.tags_of(tags, kind)]
    component = tag_columns.columns_of(tags.service_component, "resource")
    own = (_RESOURCE, _START, _PARENT, _USED, _UNUSED, _RATIO, *_NAMESPACE, *_CLUSTER)
    return list(dict.fromkeys((*own, *named, *component)))


def provide(engine: Engine, tags: Tags, boundaries: Sequence[date], start: date, *, of: str) -> None:
    """Keeps `ROWS` and `SPANS`.

    `SPANS` has one row for each hour of an instance of which every split row is sound and one has a cost:
    of other hours nothing is split.

    Args:
        boundaries: see `tag_columns.cost_lines`.
        start: the first day of the month.
        of: a view of the columns `delivered` of every line.
    """
    present = set(engine.columns(of))
    if not {_PARENT, _RESOURCE, _START} <= present:
        engine.table(ROWS, [(name, kind) for name, kind in _row_columns()], [])
    else:
        engine.keep(ROWS, _rows(present, tags, boundaries, start, of))
    sound = exp.select("parent_id", "span_start", "parent_id || CHR(31) || TIME_TEXT(span_start) AS span")
    sound = sound.from_(ROWS).group_by("parent_id", "span_start")
    engine.keep(SPANS, sound.having("MAX(fault) IS NULL AND SUM(used_usd) + SUM(unused_usd) > 0"))


def names() -> tuple[str, ...]:
    """The columns of `ROWS` that say who ran: tags, component, cluster and namespace."""
    return (*tag_columns.tag_names(), "cluster", "namespace")


def _row_columns() -> list[tuple[str, str]]:
    return [
        ("parent_id", "VARCHAR"), ("span_start", "TIMESTAMP"), ("usage_slice", "DATE"),
        *((name, "VARCHAR") for name in names()),
        ("used_usd", USD), ("unused_usd", USD), ("line_count", "BIGINT"), ("fault", "VARCHAR"),
    ]  # fmt: skip


def _rows(present: set[str], tags: Tags, boundaries: Sequence[date], start: date, of: str) -> exp.Select:
    lines = exp.select("*").from_(of)
    absent = [name for name in (_USED, _UNUSED, _RATIO) if name not in present]
    lines = lines.select(*[exp.alias_(exp.cast(exp.null(), USD), name) for name in absent])
    lines = lines.where(f"{_PARENT} <> ''")
    first = exp.cast(exp.Literal.string(start.isoformat()), "DATE")
    said = tag_columns.tags_said(tags, present)
    said["cluster"] = _first(_CLUSTER, present, part=1)
    said["namespace"] = _first(_NAMESPACE, present, part=2)
    query = exp.select(
        exp.alias_(exp.column(_PARENT), "parent_id"),
        exp.alias_(exp.column(_START), "span_start"),
        exp.alias_(tag_columns.slice_of(boundaries, first), "usage_slice"),
        *[exp.alias_(value, name) for name, value in said.items()],
        exp.alias_(_parsed(f"COALESCE({_USED}, 0)"), "used_usd"),
        exp.alias_(_parsed(f"COALESCE({_UNUSED}, 0)"), "unused_usd"),
        exp.alias_(_parsed(_FAULT), "fault"),
    ).from_(lines.subquery("s"))
    keys = ("parent_id", "span_start", "usage_slice", *names())
    summed = exp.select(*keys).select(
        f"CAST(SUM(used_usd) AS {USD}) AS used_usd",
        f"CAST(SUM(unused_usd) AS {USD}) AS unused_usd",
        "COUNT(*) AS line_count",
        "MAX(fault) AS fault",
    )
    return summed.from_(query.subquery("r")).group_by(*keys)


def _first(columns: Sequence[str], present: Collection[str], *, part: int) -> exp.Expr:
    """The first of the columns that says something, else what the ARN of a pod says in this part."""
    given = [
        exp.func("NULLIF", exp.func("TRIM", exp.column(name, quoted=True)), exp.Literal.string(""))
        for name in columns
        if name in present
    ]
    return exp.func("COALESCE", *given, _parsed(_OF_POD.format(part=part)))


def spanned(lines: exp.Subquery, given: Collection[str]) -> exp.Select:
    """The lines with `tag_columns.CONTAINER`; NULL for lines of no instance whose hour is split."""
    if not {_RESOURCE, _START} <= set(given):
        return exp.select("*", f"CAST(NULL AS VARCHAR) AS {tag_columns.CONTAINER}").from_(lines)
    usage_type = "d.line_item_usage_type" if "line_item_usage_type" in given else "NULL"
    kind = "s.span || CHR(31) || COALESCE(d.line_item_line_item_type, '') || CHR(31)"
    span = f"CASE WHEN s.span IS NOT NULL THEN {kind} || COALESCE({usage_type}, '') END"
    source = exp.Subquery(this=lines.this, alias=exp.TableAlias(this=exp.to_identifier("d")))
    met = f"s.parent_id = d.{_RESOURCE} AND s.span_start = d.{_START}"
    return (
        exp.select("d.*", f"{span} AS {tag_columns.CONTAINER}")
        .from_(source)
        .join(f"{SPANS} AS s", on=met, join_type="left")
    )


def provide_parts(engine: Engine, groups: str, keys: Sequence[str], sums: Sequence[str]) -> None:
    """The view `container_parts`: contained groups of lines, each once for everyone who ran in its hours.

    Args:
        groups: a kept table of lines grouped by `keys` and `container_of`, with `sums`.
        keys: columns of it in which the rows of one instance, line type and usage type agree.
    """
    piece = "SPLIT_PART(container_of, CHR(31), {})".format
    container = f"{piece(1)} || CHR(31) || {piece(3)} || CHR(31) || {piece(4)}"
    contained = (
        exp.select("*", f"{container} AS container_id").from_(groups).where("container_of IS NOT NULL")
    )
    spans = exp.select(
        "container_id", f"{piece(1)} AS parent_id", f"CAST({piece(2)} AS TIMESTAMP) AS span_start"
    )
    spans = spans.distinct().from_("contained")
    ran = exp.select("s.container_id", "r.usage_slice", *(f"r.{name}" for name in names()))
    ran = ran.select("SUM(r.used_usd) AS used_usd", "SUM(r.unused_usd) AS unused_usd").from_("spans AS s")
    ran = ran.join(f"{ROWS} AS r", on="r.parent_id = s.parent_id AND r.span_start = s.span_start")
    ran = ran.group_by("s.container_id", "r.usage_slice", *(f"r.{name}" for name in names()))
    whole = exp.select("container_id", *keys, *(f"SUM({name}) AS {name}" for name in sums))
    whole = whole.from_("contained").group_by("container_id", *keys)
    query = exp.select(
        "g.container_id",
        *(f"g.{name}" for name in (*keys, *sums)),
        *(f"w.{name} AS ran_{name}" for name in names()),
        "w.used_usd",
        "w.unused_usd",
    )
    query = query.from_("whole AS g").join(
        "ran AS w", on="w.container_id = g.container_id AND w.usage_slice = g.usage_slice"
    )
    named = {"contained": contained, "spans": spans, "ran": ran, "whole": whole}
    for name, expression in named.items():
        query = query.with_(name, as_=expression, copy=False)
    ordered = ("container_id", *keys, *(f"ran_{name}" for name in names()))
    view(engine, "container_parts", query.order_by(*(exp.column(name) for name in ordered)))


def _parsed(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, read=SOURCE_DIALECT)
