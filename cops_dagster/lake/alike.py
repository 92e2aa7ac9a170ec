"""Lines that are alike, as one: delivered bytes grouped by what is asked of them, before the lens reads them.

Of 10 M lines some thousand differ in what decides their service, class, tags and cost views; the lens over
those costs a sixth of the lens over lines. Belongs here: the grouping, and why the digits are the same. Does
not belong here: the lens (`lake/lens.py`), which files are read (`lake/namespace.py`).

Every cost view of a plain line is one of its delivered costs, chosen by what else the line says and by which
costs are given. Of lines that agree in all of that the view of the sum is the sum of the views. Lines of
`SINGLE` types have views made of several costs, or are asked about one by one: each stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Literal

from sqlglot import exp

from cops_dagster.cur.schema import Sent
from cops_dagster.lake import lens, statements
from cops_dagster.lake.delivered import FILE, DeliveredFiles, carried, grouped_query, named
from cops_dagster.lake.footers import parquet
from cops_dagster.lake.judged import quarantine_code
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.views import union_by_name

SINGLE = ("Fee", "Refund", "Credit", "RIFee", "SavingsPlanRecurringFee", "SavingsPlanUpfrontFee")
"""Line types that are never grouped: what commitments cost, and what gives money back."""
COVERED = ("SavingsPlanCoveredUsage", "SavingsPlanNegation")
"""Line types that meet each other hour by hour (docs/adr/0028)."""
HOURLY = (
    "line_item_usage_start_date", "line_item_usage_end_date", "line_item_usage_type",
    "line_item_availability_zone", "savings_plan_savings_plan_a_r_n",
)  # fmt: skip
"""What else such lines must agree in; their operation is asked of every line."""
COUNT = "line_count"
"""How many lines a row stands for."""
Asked = Callable[[Collection[str]], Mapping[str, exp.Expr | None]]
"""Of the columns that a delivery has: those in which the lines of a row agree (`None`: as they are carried),
or what of one is asked, as an expression over the columns. Those that it has not are left out."""
Only = Callable[[Collection[str]], exp.Expr]
"""Of the columns that a delivery has: a condition over them on the lines that are asked about."""
Joined = tuple[str, Callable[[exp.Subquery, Collection[str]], exp.Select]]
"""A column, and the lines with it, of lines and the columns that a delivery has."""
Part = Literal["plain", "hourly", "single"]
EVERY: tuple[Part, ...] = ("plain", "hourly", "single")
HOURLY_ALONE: tuple[Part, ...] = ("hourly",)
_NONE: Mapping[str, exp.Expr] = {}
_SIGN = " sign"  # no delivered name ends so
_ALONE = " alone"
_DECIDING = (
    "bill_billing_entity", "line_item_line_item_type", "product_product_name", "product_servicecode",
    "line_item_product_code", "line_item_operation",
)  # fmt: skip
"""What the lens asks of every line beside its costs and its parent."""
_PARENT = "split_line_item_parent_resource_id"
_TYPE = "line_item_line_item_type"
_COSTS = (
    "line_item_unblended_cost", "line_item_net_unblended_cost", "reservation_effective_cost",
    "reservation_net_effective_cost", "savings_plan_savings_plan_effective_cost",
    "savings_plan_net_savings_plan_effective_cost",
)  # fmt: skip
"""The costs of which a plain line's views are one each."""
DAY = "line_item_usage_start_date"


def by(*names: str) -> Asked:
    """Lines of a row agree in these columns; in `DAY` they agree by the day."""

    def day() -> exp.Expr:
        return exp.func("DATE_TRUNC", exp.Literal.string("day"), exp.column(DAY), dialect="trino")

    return lambda _: {name: day() if name == DAY else None for name in names}


def alike(
    files: DeliveredFiles,
    through: Lens,
    period_start: date,
    asked: Asked,
    parts: Sequence[Part],
    beside: Mapping[str, exp.Expr] = _NONE,
    only: Only | None = None,
    joined: Joined | None = None,
    *,
    in_one: bool = False,
) -> exp.Query:
    """`fact_cost_raw` of one delivery with lines that are alike in one row, and `line_count`.

    Costs are sums; the costs of one row have one sign each, so that a condition on a line's sign holds of it.

    Args:
        asked: any other column is NULL, but for lines that stay single.
        parts: `plain` lines; the `hourly` ones, which else are plain, agree in `HOURLY` too, so that usage
            meets what takes it back; those that stay `single`.
        beside: what else the lines of a row agree in, as expressions over the delivered files.
        only: leaves the other lines out.
        joined: the lines with further columns in which those of a row agree too.
        in_one: all parts in one reading, plain lines among them, for engines that are paid by the byte.
    """
    given = carried(files)
    columns = {name: sent for name, (_, sent) in given.items()}
    apart_by = {_ALONE: exp.Case().when(_is_of(SINGLE, given[_TYPE][0]), _anything())} if in_one else _NONE
    lines = _read(files, through, given, {**beside, **apart_by})
    if only is not None:
        lines = exp.select("*").from_(lines).where(only(given)).subquery("asked")
    names = list(beside)
    if joined is not None:
        name, join = joined
        lines, names = join(lines, given).subquery("joined"), [*names, name]
    more = [exp.column(name, quoted=True) for name in names]
    keys = _keys(given, asked(given)) | {name: exp.column(name, quoted=True) for name in names}
    queries: list[exp.Query] = []
    if in_one:
        queries.append(_in_one(lines, keys, columns, parts))
        parts = ()
    if "plain" in parts:
        apart = _is_of((*SINGLE, *(COVERED if "hourly" in parts else ())))
        others = exp.or_(exp.column(_TYPE).is_(exp.null()), apart.not_())
        queries.append(_grouped(lines, keys, columns, others))
    if "hourly" in parts:
        hourly = keys | {name: exp.column(name, quoted=True) for name in HOURLY if name in given}
        queries.append(_grouped(lines, hourly, columns, _is_of(COVERED)))
    if "single" in parts:
        every = [exp.column(name, quoted=True) for name in given]
        one = named(exp.Literal.number(1), COUNT)
        alone = exp.Select().from_(lines).select(*every, *[each.copy() for each in more], one, copy=False)
        queries.append(alone.where(_is_of(SINGLE), copy=False))
    there = {name for query in queries for name in query.named_selects}
    columns = {name: sent for name, sent in columns.items() if name in there}
    counted = (exp.column(COUNT), *more)
    typed = grouped_query(replace(files, columns=columns), union_by_name(queries), _read_by_lens(), *counted)
    read = exp.Select().from_(
        lens.over(typed, through, period_start).subquery("lines", copy=False), copy=False
    )
    return read.select(*lens.selected(columns), *[one.copy() for one in counted], copy=False)


def bare(files: DeliveredFiles, through: Lens, columns: Sequence[str]) -> exp.Query:
    """These delivered columns of the lines that can be booked, as they are carried: the lens is not asked."""
    given = carried(files)
    # a report may have none of them (no tag at all), and no query selects nothing
    asked = {name: given[name] for name in columns if name in given} or {_TYPE: given[_TYPE]}
    read = _read(files, through, asked, _NONE)
    return exp.Select().from_(read).select(exp.Star(), copy=False)


def _read(
    files: DeliveredFiles,
    through: Lens,
    given: Mapping[str, tuple[exp.Expr, Sent]],
    beside: Mapping[str, exp.Expr],
) -> exp.Subquery:
    """The sound lines of a delivery: what was delivered as it is carried, and the sign of every cost."""
    source = parquet(files.reading, by_name=len(files.reading) > 1, file_column=FILE)
    values = [named(value, name) for name, (value, _) in given.items()]
    signs = [named(_sign(files, name, given), f"{name}{_SIGN}") for name in _COSTS if name in given]
    more = [named(value, name) for name, value in beside.items()]
    read = exp.Select().from_(source).select(*values, *signs, *more, copy=False)
    if through.has_faults:
        read = read.where(quarantine_code(files, through.accounts).is_(exp.null()), copy=False)
    return read.subquery("delivered")


def _grouped(
    lines: exp.Subquery, keys: Mapping[str, exp.Expr], columns: Mapping[str, Sent], condition: exp.Expr
) -> exp.Select:
    """The lines of which the condition holds: one row for all that agree in the keys."""
    costs = [name for name in _COSTS if name in columns]
    return (
        exp.Select()
        .from_(lines.copy())
        .select(
            *[named(value.copy(), name) for name, value in keys.items()],
            *[named(exp.func("SUM", exp.column(name, quoted=True)), name) for name in costs],
            named(exp.Count(this=exp.Star()), COUNT),
            copy=False,
        )
        .where(condition, copy=False)
        .group_by(
            *[value.copy() for value in keys.values()],
            *[exp.column(f"{name}{_SIGN}", quoted=True) for name in costs],
            copy=False,
        )
    )


def _in_one(
    lines: exp.Subquery, keys: Mapping[str, exp.Expr], columns: Mapping[str, Sent], parts: Sequence[Part]
) -> exp.Select:
    """Plain lines and the other parts in one reading: a line that stays single is a row by itself."""
    hourly = [name for name in HOURLY if name in columns] if "hourly" in parts else []
    found = {name: _where_of(COVERED, name, keys.get(name)) for name in hourly}
    found = {**keys, **found}
    if "single" not in parts:
        apart = exp.or_(exp.column(_TYPE).is_(exp.null()), _is_of(SINGLE).not_())
        return _grouped(lines, found, columns, apart)
    found = {name: _where_of(SINGLE, name, value) for name, value in found.items()}
    query = _grouped(lines, found, columns, exp.true())
    rest = [name for name in columns if name not in found and name not in _COSTS]
    values = [exp.func("ANY_VALUE", _where_of(SINGLE, name, None)) for name in rest]
    query.select(*[named(value, name) for value, name in zip(values, rest, strict=True)], copy=False)
    return query.group_by(exp.column(_ALONE, quoted=True), copy=False)


def _where_of(types: Sequence[str], name: str, others: exp.Expr | None) -> exp.Expr:
    """The column itself in lines of these types, and what is asked of the others."""
    column = exp.column(name, quoted=True)
    if others == column:
        return column
    found = exp.Case().when(_is_of(types), column)
    return found if others is None else found.else_(others.copy())


def _anything() -> exp.Expr:
    """A text that no other line has."""
    return exp.cast(exp.func("UUID"), "varchar")


def _is_of(types: Sequence[str], column: exp.Expr | None = None) -> exp.Expr:
    # of the column alone, so that the reader itself leaves the other lines out
    of = exp.column(_TYPE) if column is None else column.copy()
    return exp.In(this=of, expressions=[exp.Literal.string(name) for name in types])


@cache
def _read_by_lens() -> frozenset[str]:
    return frozenset(column.name for column in statements.parsed("lens").find_all(exp.Column))


def _keys(
    given: Mapping[str, tuple[exp.Expr, Sent]], asked: Mapping[str, exp.Expr | None]
) -> dict[str, exp.Expr]:
    keys: dict[str, exp.Expr] = {}
    for name in (*_DECIDING, *asked):
        if name in given:
            keys[name] = asked.get(name) or exp.column(name, quoted=True)
    if _PARENT in given:
        text = exp.func(
            "COALESCE", exp.cast(exp.column(_PARENT, quoted=True), "varchar"), exp.Literal.string("")
        )
        has_one = exp.NEQ(this=text, expression=exp.Literal.string(""))
        keys[_PARENT] = exp.Case().when(has_one, exp.Literal.string("some"))
    return keys


def _sign(files: DeliveredFiles, name: str, given: Mapping[str, tuple[exp.Expr, Sent]]) -> exp.Expr:
    """−1, 0, 1 or NULL, of the number as delivered where it is one: cheaper, and of exact money the same."""
    delivered = next(sent for one, sent in files.columns.items() if one.lower() == name)
    [(column, key), *more] = delivered.origins
    if delivered.data_type == "double" and key is None and not more:
        return exp.func("SIGN", exp.column(column, quoted=True))
    return exp.func("SIGN", given[name][0].copy())
