"""`delivered_lines`: delivered lines with exact money, and what is wrong with each.

Belongs here: why a line must be set aside, as expressions over one delivery's columns. Does not belong here:
how a column is read (`lake/delivered.py`), how often it happens (`sql/measure_delivery.sql`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from cops_dagster.cur import names, schema
from cops_dagster.cur.schema import Sent
from cops_dagster.lake import shapes, spellings
from cops_dagster.lake.delivered import (
    DeliveredFiles,
    as_text,
    delivered_value,
    exact_value,
    in_lower_case,
    named,
    nothing_of_its_own,
    query_over,
    typed_columns,
    values_of,
)
from cops_dagster.lake.functions import call, joined
from cops_dagster.lake.lines import needs_span


def lines_query(files: DeliveredFiles, accounts: Sequence[str] = (), *more: exp.Expr) -> exp.Query:
    """`delivered_lines`: the same with exact money and absent tags NULL, and what is wrong with a line.

    `quarantine_code` says why a line cannot be booked (NULL: it can), `quarantine_reason` which value it
    was, `lost_values` whether a value that no cost view needs could not be carried whole.

    Args:
        accounts: ids of accounts to set aside.
        more: further columns of the delivered files.
    """
    spelled = in_lower_case(files.columns)
    selected = typed_columns(schema.EXPECTED, spelled)
    judged = _Judgement(files, spelled, accounts)
    selected += [
        named(judged.code(), "quarantine_code"),
        named(judged.reason(), "quarantine_reason"),
        named(judged.lost(), "lost_values"),
        *more,
    ]
    return query_over(files, selected, spelled, blank_tags_are_null=True)


def quarantine_code(files: DeliveredFiles, accounts: Sequence[str] = ()) -> exp.Expr:
    """Why a delivered line cannot be booked, NULL for a sound one; see `lines_query`."""
    return _Judgement(files, in_lower_case(files.columns), accounts).code()


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
                lost.append(spellings.contradict(values_of(sent)))
        for column in schema.EXPECTED:
            sent_as = self._spelled.get(column.name)
            if sent_as is None or column.name in schema.VIEW_COSTS or column.data_type == "varchar":
                continue
            value = delivered_value(column.name, sent_as)
            if column.exact and sent_as.data_type == "double":
                lost.append(call("IS_EXACT_USD", value).not_())
            elif sent_as.data_type not in ("double", "decimal", "timestamp", "DATE", schema.ZONED):
                text = as_text(value, sent_as)
                read = exact_value(column, self._spelled)
                lost.append(exp.and_(_given(text), read.is_(exp.null())))
        return exp.or_(*lost)

    def _costs_nothing(self) -> exp.Expr:
        sent = self._spelled["line_item_unblended_cost"]
        value = delivered_value("line_item_unblended_cost", sent)
        absent: exp.Expr = value.is_(exp.null())
        if sent.data_type == "varchar":
            absent = _given(value).not_()
        return exp.and_(absent, nothing_of_its_own(self._spelled).is_(exp.null()))

    def _bad_costs(self) -> list[tuple[exp.Expr, exp.Expr, exp.Expr]]:
        found: list[tuple[exp.Expr, exp.Expr, exp.Expr]] = []
        for name in schema.VIEW_COSTS:
            sent = self._spelled.get(name)
            if sent is None or sent.data_type == "decimal":
                continue
            value = delivered_value(name, sent)
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
                said = shapes.said(name, joined(" | ", values_of(sent)))
                found.append((spellings.contradict(values_of(sent)), spellings.CLASH, said))
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
        return exact_value(schema.BY_NAME[name], self._spelled)


def _given(value: exp.Expr) -> exp.Expr:
    text = exp.func("COALESCE", value.copy(), exp.Literal.string(""))
    return exp.NEQ(this=text, expression=exp.Literal.string(""))
