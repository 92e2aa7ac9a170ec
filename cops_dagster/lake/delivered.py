"""Delivered files as queries: `cur_billing_master` as AWS sent it, and how each column is read.

Belongs here: one type per column whatever the format, money exact. Does not belong here: why a line must be
set aside (`lake/judged.py`), cost views (`lake/lens.py`), the decision what is complete (`cur/`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.cur import names, schema
from cops_dagster.cur.schema import Column, Sent
from cops_dagster.errors import CopsError
from cops_dagster.lake import shapes, spellings
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.functions import call
from cops_dagster.lake.kept import conversion
from cops_dagster.lake.lines import is_split

USD = "DECIMAL(38, 18)"
FILE = "cops_file"
"""The column that says in which file a line stands; no delivered name."""
_OWN = (schema.FAULT, schema.FAULT_TEXT, schema.LOST)
"""Columns of a conversion that say what is wrong with a line."""
_TEXTS = {
    "double": "DOUBLE_TEXT", "FLOAT": "DOUBLE_TEXT", "timestamp": "TIME_TEXT", schema.ZONED: "ZONED_TEXT",
}  # fmt: skip
"""Delivered types of which engines write another text, and the function that writes DuckDB's."""


@dataclass(frozen=True)
class DeliveredFiles:
    """One delivery's data files, their flat columns and where they lie now.

    Attributes:
        paths, sizes, versions: the files as AWS delivered them.
        read_paths: the Parquet files that are read: the same, or what COPS made of CSV.
    """

    delivery_id: str
    source_id: str
    columns: dict[str, Sent]
    paths: tuple[Path, ...]
    sizes: tuple[int, ...]
    versions: tuple[int, ...]
    read_paths: tuple[Path, ...] = ()

    @classmethod
    def recorded(cls, row: Any, home: Path, converted: Sequence[Any] = ()) -> DeliveredFiles:
        """From `cur_delivery` with `cur_billing_head.location_json` (the manifest stands first).

        Files below the home are recorded relative to it, so that a moved home still finds them.

        Args:
            converted: rows of `cur_read_file`.
        """
        location = json.loads(row.location_json)[1:]
        instead = {one.position: conversion(home, one.path) for one in converted}
        return cls(
            delivery_id=row.delivery_id,
            source_id=row.source_id,
            columns=schema.from_json(row.columns_json),
            paths=tuple(home / path for path, _, _ in location),
            sizes=tuple(size for _, size, _ in location),
            versions=tuple(version for _, _, version in location),
            read_paths=tuple(
                instead.get(position, home / path) for position, (path, _, _) in enumerate(location)
            ),
        )

    @property
    def reading(self) -> tuple[Path, ...]:
        """The files that the engine reads."""
        return self.read_paths or self.paths

    @property
    def is_converted(self) -> bool:
        """COPS converted the files, so money is exact already and faults stand beside it."""
        return schema.FAULT in self.columns

    def verify_unchanged(self) -> None:
        """Refuses delivered files whose size or time moved since they were digested (`E-DIGEST`)."""
        for path, size, version in zip(self.paths, self.sizes, self.versions, strict=True):
            try:
                info = path.stat()
            except OSError:
                info = None
            if info is None or (info.st_size, info.st_mtime_ns) != (size, version):
                raise CopsError(
                    "E-DIGEST",
                    f"delivered file {path.name!r} of source {self.source_id}",
                    expected=f"{size} bytes as when it was digested",
                    found="no such file" if info is None else "another size or time",
                    next_step="materialise the period again to take the newest delivery; where there is none,"
                    " restore this file, or the one that the lake kept of it",
                )


def master_query(files: DeliveredFiles) -> exp.Query:
    """`cur_billing_master`: every delivered column under its name and one type, NULL where not sent."""
    spelled = in_lower_case(files.columns)
    selected: list[exp.Expr] = []
    for column in schema.EXPECTED:
        sent = spelled.get(column.name)
        value = _as_sent(column, sent, delivered_value(column.name, sent)) if sent else exp.null()
        selected.append(named(exp.cast(value, column.data_type), column.name))
    return query_over(files, selected, spelled)


def carried(files: DeliveredFiles) -> dict[str, tuple[exp.Expr, Sent]]:
    """Each delivered column by the name it is kept under: its value, and how a query over it finds it.

    Money is exact and times are times; everything else is as delivered, so that the engine groups by what
    it reads (its dictionaries) and not by what it would have to compute.
    """
    spelled = in_lower_case(files.columns)
    found: dict[str, tuple[exp.Expr, Sent]] = {}
    for name in files.columns:
        sent, column = spelled[name.lower()], schema.BY_NAME.get(name.lower())
        if name in _OWN:
            continue
        kept = schema.kept_as(name) if column is None else column.name
        value, kind = delivered_value(name, sent), sent.data_type
        if column is not None and column.exact:
            value, kind = exp.cast(exact_value(column, spelled), USD), "decimal"
        elif column is not None and column.data_type == "timestamp":
            value, kind = exp.cast(_as_sent(column, sent, value), "timestamp"), "timestamp"
        found[kept] = value, Sent(kind, ((kept, None),))
    return found


def grouped_query(
    files: DeliveredFiles, source: exp.Query, wanted: Collection[str], *more: exp.Expr
) -> exp.Query:
    """`delivered_lines` over sound lines that were grouped (`lake/alike.py`), without what is wrong with one.

    Args:
        files: with the columns of `source`.
        wanted: expected columns that are there even where AWS sent none.
        more: further columns of `source`.
    """
    spelled = in_lower_case(files.columns)
    columns = [column for column in schema.EXPECTED if column.name in spelled or column.name in wanted]
    selected = [*typed_columns(columns, spelled), *more]
    return query_over(
        files, selected, spelled, source.subquery("lines", copy=False), blank_tags_are_null=True
    )


def typed_columns(columns: Sequence[Column], spelled: dict[str, Sent]) -> list[exp.Expr]:
    """Expected columns with exact money, under their names; NULL where AWS sent none."""
    selected = []
    for column in columns:
        kind = USD if column.exact else column.data_type
        value = exact_value(column, spelled) if column.name in spelled else exp.null()
        selected.append(named(exp.cast(value, kind), column.name))
    return selected


def query_over(
    files: DeliveredFiles,
    selected: list[exp.Expr],
    spelled: dict[str, Sent],
    source: exp.Expr | None = None,
    *,
    blank_tags_are_null: bool = False,
) -> exp.Query:
    """These columns, COPS' own and those that AWS added, of a delivery's files or of what groups them."""
    for name, text in (("source_id", files.source_id), ("delivery_id", files.delivery_id)):
        selected.append(named(exp.Literal.string(text), name))
    for name in added_columns(files.columns):
        # as text, whatever its type: a type that no revision knows may change from month to month
        sent = spelled[name.lower()]
        value = as_text(delivered_value(name, sent), sent)
        if blank_tags_are_null and name.lower().startswith("resource_tags_"):
            value = _unblank(value)
        selected.append(named(value, schema.kept_as(name)))
    # one call without copies: adding columns one by one copies the tree each time, 0.7 s for 150 of them
    found = (
        parquet(files.reading, by_name=len(files.reading) > 1, file_column=FILE) if source is None else source
    )
    return exp.Select().from_(found).select(*selected, copy=False)


def named(value: exp.Expr, name: str) -> exp.Expr:
    """A value under a name, without a copy of it."""
    return exp.alias_(value, name, quoted=True, copy=False)


def added_columns(columns: dict[str, Sent]) -> list[str]:
    """Delivered columns that the schema does not know, in order; COPS' own of a conversion left out."""
    return [name for name in schema.unexpected(columns) if name not in _OWN]


def in_lower_case(columns: dict[str, Sent]) -> dict[str, Sent]:
    """The columns in lower case, as engines compare names; one of nothing is text of which none was given."""
    nothing = Sent("varchar", ())
    return {
        name.lower(): nothing if sent.data_type == schema.NOTHING else sent for name, sent in columns.items()
    }


def delivered_value(name: str, sent: Sent) -> exp.Expr:
    """The value of a column as delivered; a column that came in several spellings is read by them all."""
    return spellings.one_value(name, values_of(sent))


def values_of(sent: Sent) -> list[exp.Expr]:
    """What each of a column's spellings or map keys says."""
    values: list[exp.Expr] = []
    for column, key in sent.origins:
        value: exp.Expr = exp.column(column, quoted=True)
        if key is not None:
            value = exp.func("map_extract_value", value, exp.Literal.string(key), dialect="duckdb")
        if len(sent.origins) > 1 and sent.data_type == "varchar":
            value = exp.cast(value, "varchar")
        values.append(value)
    return values or [exp.cast(exp.null(), "varchar")]


def as_text(value: exp.Expr, sent: Sent) -> exp.Expr:
    """A delivered value as the text that every engine writes alike."""
    function = _TEXTS.get(sent.data_type)
    return call(function, value) if function else exp.cast(value, "varchar")


def _as_sent(column: Column, sent: Sent, value: exp.Expr) -> exp.Expr:
    if column.data_type == "timestamp":
        return _instant(value, sent)
    if column.data_type == "double" and sent.data_type != "double":
        # a decimal goes by way of its text: the engine's cast divides and may miss by one unit
        return call("TEXT_DOUBLE", as_text(value, sent))
    is_other = column.data_type == "varchar" and sent.data_type in _TEXTS
    return as_text(value, sent) if is_other else value


def _instant(value: exp.Expr, sent: Sent) -> exp.Expr:
    if sent.data_type in ("timestamp", "DATE", schema.ZONED):
        return value if sent.data_type == "timestamp" else shapes.in_utc(value, sent.data_type)
    return call("UTC_TIME", as_text(value, sent))


def exact_value(column: Column, spelled: dict[str, Sent]) -> exp.Expr:
    """A value as `fact_cost_raw` keeps it."""
    sent = spelled[column.name]
    value = delivered_value(column.name, sent)
    if column.name.startswith(names.TAG_PREFIXES):
        return _unblank(as_text(value, sent))
    if not column.exact:
        return _as_sent(column, sent, value)
    if sent.data_type == "double":
        value = call("CARRIED_USD" if column.name in schema.VIEW_COSTS else "EXACT_USD", value)
    elif sent.data_type != "decimal":
        value = call("EXACT_TEXT_USD", as_text(value, sent))
    if column.name == "line_item_unblended_cost":
        return exp.func("COALESCE", value, nothing_of_its_own(spelled))
    return value


def nothing_of_its_own(spelled: dict[str, Sent]) -> exp.Expr:
    """0 for a split cost allocation row, which has no cost of its own; NULL for any other."""
    parent, operation = [
        exp.cast(delivered_value(name, spelled[name]), "varchar") if name in spelled else None
        for name in ("split_line_item_parent_resource_id", "line_item_operation")
    ]
    return exp.Case().when(is_split(parent, operation), exp.cast(exp.Literal.number(0), USD))


def _unblank(value: exp.Expr) -> exp.Expr:
    given = exp.NEQ(this=exp.func("TRIM", value.copy()), expression=exp.Literal.string(""))
    return exp.Case().when(given, value)
