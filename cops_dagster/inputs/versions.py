"""Versions in time: the rows of a table as they would stand after a load, and the days each is in force.

Belongs here: dates that run forward, versions of one owner that do not overlap, priorities and fallbacks of
the rules in force on any day. Does not belong here: whether what a row names exists (`inputs/references.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import itemgetter
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.inputs import account_rows
from cops_dagster.inputs.files import Row
from cops_dagster.inputs.references import FOREVER, Rows, fallback, shown
from cops_dagster.period import Period
from cops_dagster.policy import Tags
from cops_dagster.tagging.spelling import spelled


def check_versions(name: str, rows: Rows, tags: Tags, closed: Collection[date] = ()) -> None:
    """Dates of the rows as the table would hold them after the load.

    Args:
        closed: first days of the months that are closed or being closed.
    """
    if name == "tenants":
        for row in rows.values():
            _require_forward(row, "active_from", "active_to", "E-LOAD-VALUE")
    elif name == "tag_aliases":
        for row in rows.values():
            _require_forward(row, "effective_from", "effective_to", "E-LOAD-VALUE")
        _spans(
            rows,
            lambda alias: (alias["tag_name"], spelled(alias["alias"], tags, alias["tag_name"])),
            "E-MAP-DUP",
            open_end_yields=False,
            named="canonical",
        )
    elif name == "account_tenants":
        # the mapping is joined by its dates, so an open end lasts until it is replaced by a date
        _spans(rows, itemgetter("usage_account_id"), "E-ACCOUNT-OVERLAP", open_end_yields=False)
    elif name == "budgets":
        _spans(rows, itemgetter("budget_id"), "E-BUDGET-OVERLAP", closed=closed)
    elif name == "gl_accounts":
        _spans(rows, itemgetter("purpose", "tenant_id", "service"), "E-GL-OVERLAP")
        account_rows.check(rows)
    elif name == "allocation_rules":
        spans = _spans(rows, itemgetter("rule_id"), "E-RULE-DATES", closed=closed)
        _check_priorities(spans)
        _check_cycles(spans)


@dataclass(frozen=True)
class _Span:
    """A version and the days it is in force, half-open."""

    begin: date
    end: date
    row: Row


def _require_forward(row: Row, since: str, until: str, code: str) -> None:
    if row.values[until] is not None and row.values[until] <= row.values[since]:
        raise CopsError(
            code,
            f"{row.where(until)} ({shown(row.table, row.values)})",
            expected=f"a day after {since} {row.values[since]}",
            found=str(row.values[until]),
            next_step="correct the dates; the last day is exclusive",
        )


def _spans(
    rows: Rows,
    owner: Callable[[Mapping[str, Any]], Any],
    code: str,
    *,
    open_end_yields: bool = True,
    named: str | None = None,
    closed: Collection[date] = (),
) -> list[_Span]:
    """Every version's days. An empty `effective_to` lasts until the next version (or for ever).

    Args:
        owner: what a row's versions have in common.
        named: a column that a refusal shows of both rows, besides their keys.
        closed: first days of months that no version can rule any more.

    Raises:
        CopsError: `code` when a version ends before it begins, or two of one owner overlap.
    """
    versions: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows.values():
        _require_forward(row, "effective_from", "effective_to", code)
        versions[owner(row.values)].append(row)
    spans = []
    for same in versions.values():
        same.sort(key=lambda row: row.values["effective_from"])
        for row, following in zip(same, [*same[1:], None], strict=True):
            begin, end = row.values["effective_from"], row.values["effective_to"]
            takeover = following.values["effective_from"] if following else FOREVER
            if following and (
                begin == takeover or (end or (begin if open_end_yields else FOREVER)) > takeover
            ):
                here, other = (following, row) if following.line else (row, following)
                here_is, other_is = (f" → {one.values[named]}" if named else "" for one in (here, other))
                raise CopsError(
                    code,
                    f"{here.where('effective_from')} ({shown(here.table, here.values)}{here_is})",
                    expected=f"no day in common with {shown(other.table, other.values)}{other_is}",
                    found=f"{begin} to {end or 'open'}, then from {takeover}",
                    next_step=_apart(row, following, here is row, closed),
                )
            spans.append(_Span(begin, min(end or FOREVER, takeover), row))
    return spans


def _apart(earlier: Row, later: Row, is_earlier: bool, closed: Collection[date]) -> str:
    """What keeps two versions apart. `is_earlier`: the earlier one is new, the later one stands stored."""
    begin, end = earlier.values["effective_from"], earlier.values["effective_to"]
    if begin == later.values["effective_from"] and "version" in earlier.values:
        day, month = begin + timedelta(days=1), Period.of(begin)
        if month.start in closed:
            return f"begin it in a later month: {month} is closed"
        follow = f"{month} follows it from there with `cops allocate {month} --rules-as-of {day} --note '…'`"
        if earlier.table == "budgets":
            follow = "a month is measured by the version of its first day"
        if earlier.table == "gl_accounts":
            follow = "a month is booked by the version of its first day"
        return f"begin it on {day}; {follow}"
    if is_earlier:
        return f"end it where the later one begins: effective_to {later.values['effective_from']}"
    if end:
        return f"begin it where the earlier one ends: effective_from {end}, or later"
    return "end the earlier one where the later one begins, or move the later one"


def _check_priorities(spans: Sequence[_Span]) -> None:
    latest: dict[int, _Span] = {}  # per priority, the span seen so far that ends last
    for span in sorted(spans, key=lambda span: span.begin):
        priority = span.row.values["priority"]
        other = latest.get(priority)
        if other and span.begin < other.end:
            here, there = (span.row, other.row) if span.row.line else (other.row, span.row)
            raise CopsError(
                "E-RULE-OVERLAP",
                f"{here.where('priority')} ({shown(here.table, here.values)})",
                expected="strict priorities among the rules in force at any time",
                found=f"priority {priority} also in {shown(there.table, there.values)} from {span.begin}",
                next_step="give one of them another priority",
            )
        if not other or span.end > other.end:
            latest[priority] = span


def _check_cycles(spans: Sequence[_Span]) -> None:
    for day in sorted({span.begin for span in spans}):
        in_force = {span.row.values["rule_id"]: span.row for span in spans if span.begin <= day < span.end}
        for begin in in_force:
            path, at = [begin], fallback(in_force[begin].values)
            while at in in_force and at not in path:
                path.append(at)
                at = fallback(in_force[at].values)
            if at == begin:
                rows = [in_force[rule] for rule in path]
                here = next((row for row in rows if row.line), rows[0])
                raise CopsError(
                    "E-RULE-CYCLE",
                    f"{here.where('on_zero_key')} ({shown(here.table, here.values)})",
                    expected="fallbacks that end",
                    found=f"{' → '.join([*path, begin])} on {day}",
                    next_step="let one of them fall back to hold, even or fail",
                )
