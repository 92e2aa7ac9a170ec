"""Delivered files as queries: `cur_billing_master` as AWS sent it, `delivered_lines` with exact money.

Belongs here: one type per column whatever the format, and why a line must be set aside. Does not belong
here: cost views (`lake/lens.py`), the decision what is complete (`cur/`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlglot import exp

from cops_dagster.cur import names, schema
from cops_dagster.cur.schema import Column, Sent
from cops_dagster.errors import CopsError
from cops_dagster.lake import shapes, spellings
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.functions import call, joined
from cops_dagster.lake.kept import conversion
from cops_dagster.lake.lines import is_split, needs_span

USD = "DECIMAL(38, 18)"
FILE = "cops_file"
"""The column that says in which file a line stands; no delivered name."""


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
    spelled = _spelled(files.columns)
    selected: list[exp.Expr] = []
    for column in schema.EXPECTED:
        sent = spelled.get(column.name)
        value = _as_sent(column, sent, _delivered(column.name, sent)) if sent else exp.null()
        selected.append(_named(exp.cast(value, column.data_type), column.name))
    return _over(files, selected, spelled)


def lines_query(files: DeliveredFiles, accounts: Sequence[str] = (), *more: exp.Expr) -> exp.Query:
    """`delivered_lines`: the same with exact money and absent tags NULL, and what is wrong with a line.

    `quarantine_code` says why a line cannot be booked (NULL: it can), `quarantine_reason` which value it
    was, `lost_values` whether a value that no cost view needs could not be carried whole.

    Args:
        accounts: ids of accounts to set aside.
        more: further columns of the delivered files.
    """
    spelled = _spelled(files.columns)
    selected: list[exp.Expr] = []
    for column in schema.EXPECTED:
        sent = spelled.get(column.name)
        kind = USD if column.exact else column.data_type
        value = exp.cast(_exact(column, spelled) if sent else exp.null(), kind)
        selected.append(_named(value, column.name))
    judged = _Judgement(files, spelled, accounts)
    selected += [
        _named(judged.code(), "quarantine_code"),
        _named(judged.reason(), "quarantine_reason"),
        _named(judged.lost(), "lost_values"),
        *more,
    ]
    return _over(files, selected, spelled, blank_tags_are_null=True)


def _over(
    files: DeliveredFiles,
    selected: list[exp.Expr],
    spelled: dict[str, Sent],
    *,
    blank_tags_are_null: bool = False,
) -> exp.Query:
    for name, text in (("source_id", files.source_id), ("delivery_id", files.delivery_id)):
        selected.append(_named(exp.Literal.string(text), name))
    for name in added_columns(files.columns):
        # as text, whatever its type: a type that no revision knows may change from month to month
        value: exp.Expr = exp.cast(_delivered(name, spelled[name.lower()]), "varchar")
        if blank_tags_are_null and name.lower().startswith("resource_tags_"):
            value = _unblank(value)
        selected.append(_named(value, schema.kept_as(name)))
    # one call without copies: adding columns one by one copies the tree each time, 0.7 s for 150 of them
    source = parquet(files.reading, by_name=len(files.reading) > 1, file_column=FILE)
    return exp.Select().from_(source).select(*selected, copy=False)


def _named(value: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(value, name, quoted=True, copy=False)


def added_columns(columns: dict[str, Sent]) -> list[str]:
    """Delivered columns that the schema does not know, in order; COPS' own of a conversion left out."""
    own = {schema.FAULT, schema.FAULT_TEXT, schema.LOST}
    return [name for name in schema.unexpected(columns) if name not in own]


def _spelled(columns: dict[str, Sent]) -> dict[str, Sent]:
    """The columns in lower case, as engines compare names; one of nothing is text of which none was given."""
    nothing = Sent("varchar", ())
    return {
        name.lower(): nothing if sent.data_type == schema.NOTHING else sent for name, sent in columns.items()
    }


def _delivered(name: str, sent: Sent) -> exp.Expr:
    """The value of a column as delivered; a column that came in several spellings is read by them all."""
    return spellings.one_value(name, _values(sent))


def _values(sent: Sent) -> list[exp.Expr]:
    values: list[exp.Expr] = []
    for column, key in sent.origins:
        value: exp.Expr = exp.column(column, quoted=True)
        if key is not None:
            value = exp.func("map_extract_value", value, exp.Literal.string(key), dialect="duckdb")
        if len(sent.origins) > 1 and sent.data_type == "varchar":
            value = exp.cast(value, "varchar")
        values.append(value)
    return values or [exp.cast(exp.null(), "varchar")]


def _as_sent(column: Column, sent: Sent, value: exp.Expr) -> exp.Expr:
    if column.data_type == "timestamp":
        return _instant(value, sent)
    if column.data_type == "double" and sent.data_type != "double":
        # a decimal goes by way of its text: the engine's cast divides and may miss by one unit
        return exp.TryCast(this=exp.cast(value, "varchar"), to=exp.DataType.build("double"))
    return value


def _instant(value: exp.Expr, sent: Sent) -> exp.Expr:
    if sent.data_type in ("timestamp", "DATE", schema.ZONED):
        return value if sent.data_type == "timestamp" else shapes.in_utc(value, sent.data_type)
    return call("UTC_TIME", exp.cast(value, "varchar"))


def _exact(column: Column, spelled: dict[str, Sent]) -> exp.Expr:
    """A value as `fact_cost_raw` keeps it."""
    sent = spelled[column.name]
    value = _delivered(column.name, sent)
    if column.name.startswith(names.TAG_PREFIXES):
        return _unblank(exp.cast(value, "varchar"))
    if not column.exact:
        return _as_sent(column, sent, value)
    if sent.data_type == "double":
        value = call("CARRIED_USD" if column.name in schema.VIEW_COSTS else "EXACT_USD", value)
    elif sent.data_type != "decimal":
        value = call("EXACT_TEXT_USD", exp.cast(value, "varchar"))
    if column.name == "line_item_unblended_cost":
        return exp.func("COALESCE", value, _nothing_of_its_own(spelled))
    return value


def _nothing_of_its_own(spelled: dict[str, Sent]) -> exp.Expr:
    """0 for a split cost allocation row, which has no cost of its own; NULL for any other."""
    parent, operation = [
        exp.cast(_delivered(name, spelled[name]), "varchar") if name in spelled else None
        for name in ("split_line_item_parent_resource_id", "line_item_operation")
    ]
    return exp.Case().when(is_split(parent, operation), exp.cast(exp.Literal.number(0), USD))


def _unblank(value: exp.Expr) -> exp.Expr:
    given = exp.NEQ(this=exp.func("TRIM", value.copy()), expression=exp.Literal.string(""))
    return exp.Case().when(given, value)


class _Judgement:
    """What is wrong with a line, as expressions over one delivery's columns."""

    def __init__(self, files: DeliveredFiles, spelled: dict[str, Sent], accounts: Sequence[str]) -> None:
        self._spelled = spelled
        self._converted = files.is_converted
        self._accounts = accounts

    def code(self) -> exp.Expr:
        """`E-…` of the first fault, NULL for a sound line."""
        case = exp.Case()
        if self._converted:
            fault = exp.column(schema.FAULT)
            case = case.when(fault.copy().is_(exp.null()).not_(), fault)
        case = case.when(self._costs_nothing(), exp.Literal.string("E-COST-NULL"))
        for wrong, code, _ in self._bad_costs():
            case = case.when(wrong, code)
        for wrong, name, _ in self._bad_lines():
            case = case.when(wrong, exp.Literal.string(name))
        return case

    def reason(self) -> exp.Expr:
        """The value that was wrong, as text."""
        case = exp.Case()
        if self._converted:
            fault = exp.column(schema.FAULT)
            case = case.when(fault.is_(exp.null()).not_(), exp.column(schema.FAULT_TEXT))
        case = case.when(self._costs_nothing(), exp.Literal.string("line_item_unblended_cost is empty"))
        for wrong, _, value in self._bad_costs():
            case = case.when(wrong, value)
        for wrong, _, value in self._bad_lines():
            case = case.when(wrong, value)
        return case

    def lost(self) -> exp.Expr:
        """A value of a column that no cost view needs was rounded, could not be read, or was sent twice."""
        lost: list[exp.Expr] = [exp.false()]
        if self._converted:
            lost.append(exp.column(schema.LOST).is_(exp.null()).not_())
        for name, sent in self._spelled.items():
            if len(sent.origins) > 1 and not names.is_tag(name) and not schema.is_booked_by(name):
                lost.append(spellings.contradict(_values(sent)))
        for column in schema.EXPECTED:
            sent_as = self._spelled.get(column.name)
            if sent_as is None or column.name in schema.VIEW_COSTS or column.data_type == "varchar":
                continue
            value = _delivered(column.name, sent_as)
            if column.exact and sent_as.data_type == "double":
                lost.append(call("IS_EXACT_USD", value).not_())
            elif sent_as.data_type not in ("double", "decimal", "timestamp", "DATE", schema.ZONED):
                text = exp.cast(value, "varchar")
                read = _exact(column, self._spelled)
                lost.append(exp.and_(_given(text), read.is_(exp.null())))
        return exp.or_(*lost)

    def _costs_nothing(self) -> exp.Expr:
        sent = self._spelled["line_item_unblended_cost"]
        value = _delivered("line_item_unblended_cost", sent)
        absent: exp.Expr = value.is_(exp.null())
        if sent.data_type == "varchar":
            absent = _given(value).not_()
        return exp.and_(absent, _nothing_of_its_own(self._spelled).is_(exp.null()))

    def _bad_costs(self) -> list[tuple[exp.Expr, exp.Expr, exp.Expr]]:
        found: list[tuple[exp.Expr, exp.Expr, exp.Expr]] = []
        for name in schema.VIEW_COSTS:
            sent = self._spelled.get(name)
            if sent is None or sent.data_type == "decimal":
                continue
            value = _delivered(name, sent)
            text = exp.cast(value.copy(), "varchar")
            said = exp.func("CONCAT", exp.Literal.string(f"{name} = "), text.copy())
            if sent.data_type == "double":
                found.append((call("IS_EXACT_USD", value).not_(), call("DOUBLE_FAULT", value), said))
            else:
                wrong = exp.and_(_given(text), call("EXACT_TEXT_USD", text).is_(exp.null()))
                found.append((wrong, call("TEXT_FAULT", text), said))
        return found

    def _bad_lines(self) -> list[tuple[exp.Expr, str, exp.Expr]]:
        found: list[tuple[exp.Expr, str, exp.Expr]] = []
        said: exp.Expr
        for name, sent in self._spelled.items():
            if len(sent.origins) > 1 and schema.is_booked_by(name):
                said = shapes.said(name, joined(" | ", _values(sent)))
                found.append((spellings.contradict(_values(sent)), spellings.CLASH, said))
        begin = self._read("line_item_usage_start_date")
        wrong: exp.Expr = begin.copy().is_(exp.null())
        said = exp.Literal.string("line_item_usage_start_date is empty")
        if "line_item_usage_end_date" in self._spelled:
            end = self._read("line_item_usage_end_date")
            wrong = exp.or_(wrong, exp.LTE(this=end.copy(), expression=begin.copy()))
            times = [
                exp.func("COALESCE", exp.cast(one, "varchar"), exp.Literal.string("nothing"))
                for one in (begin, end)
            ]
            said = joined(
                "", [exp.Literal.string("usage from "), times[0], exp.Literal.string(" to "), times[1]]
            )
        spanned = needs_span(exp.cast(self._read("line_item_line_item_type"), "varchar"))
        found.append((exp.and_(spanned, wrong), "E-TIME", said))
        if self._accounts:
            account = self._read("line_item_usage_account_id")
            listed = exp.In(
                this=exp.func("COALESCE", account, exp.Literal.string("")),
                expressions=[exp.Literal.string(one) for one in self._accounts],
            )
            said = joined("", [exp.Literal.string("line_item_usage_account_id = "), account])
            found.append((listed, "E-ACCOUNT", said))
        return found

    def _read(self, name: str) -> exp.Expr:
        return _exact(schema.BY_NAME[name], self._spelled)


def _given(value: exp.Expr) -> exp.Expr:
    text = exp.func("COALESCE", value.copy(), exp.Literal.string(""))
    return exp.NEQ(this=text, expression=exp.Literal.string(""))
