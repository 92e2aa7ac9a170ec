"""Answering a person's SELECT: one statement, bound parameters, read-only, as of any run.

Belongs here: what `cops sql` may do. A query known to mislead still runs, and one line names the
corrected file in `sql/diagnostics/`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.lake import statements
from cops_dagster.lake.engine import Rows, Value
from cops_dagster.lake.namespace import LINES, Namespace
from cops_dagster.lake.question import Question, is_plain, question
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Answer:
    """The rows, and a hint when the question is known to mislead."""

    rows: Rows
    hint: str | None = None


def parameters(given: Sequence[str]) -> dict[str, Value]:
    """`name=value` pairs; a month or a date binds as a DATE, everything else as text."""
    bound: dict[str, Value] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise CopsError(
                "E-PARAM",
                f"parameter {pair!r}",
                expected="name=value",
                found=repr(pair),
                next_step="write it like --param start=2025-07",
            )
        bound[name] = _typed(name, text)
    return bound


def _typed(name: str, text: str) -> Value:
    try:
        if _MONTH.fullmatch(text):
            return Period.parse(text).start
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        raise CopsError(
            "E-PARAM",
            f"parameter {name}",
            expected="a month or a date that exists",
            found=repr(text),
            next_step="write it like 2025-09 or 2025-09-30",
        ) from None
    return text


def ask(
    books: Books, sql: str, params: dict[str, Value], *, as_of: str | None = None, verify: bool = False
) -> Answer:
    """Runs one SELECT over the whole namespace.

    A plain question about lines alone goes where `COPS_ENGINE` reads lines, if they lie in S3; every other
    is answered on this machine.

    Args:
        as_of: id of a run; later runs have not happened.
        verify: digest every file before it is read, not only those whose size or time moved.

    Raises:
        CopsError: `E-SQL` (not exactly one SELECT, or the engine cannot run it), `E-PARAM` (a parameter
            is missing), `E-RUN-UNKNOWN`, `E-DIGEST`.
    """
    seq = _journal_seq_of(books, as_of) if as_of else None
    with ExitStack() as opened, books.admin.read() as con:
        engine = opened.enter_context(books.engine())
        asked = question(engine, sql)
        _check_parameters(asked, params)
        names = Namespace(engine, con, books.settings, books.policy.tags, as_of_seq=seq, digests=verify)
        wanted = _wanted(asked, names)
        tree = statements.tree_of(sql)
        if books.settings.leaves_in_s3 and LINES.issuperset(wanted) and tree and is_plain(tree, params):
            there = names.engine = opened.enter_context(books.lines())
            names.provide(wanted)
            return Answer(there.fetch(tree.copy(), params), _hint(tree))
        if LINES.intersection(wanted):  # delivered bytes: they are read in a process of their own
            names.engine = engine = opened.enter_context(books.apart())
        names.provide(wanted)
        engine.lock_down([path for paths in names.paths.values() for path in paths])
        rows = engine.run(asked.text, params)
    return Answer(rows, _hint(tree) if tree else None)


def _check_parameters(asked: Question, params: dict[str, Value]) -> None:
    missing = sorted(asked.parameters - set(params))
    if not missing:
        return
    if not missing[0].isidentifier():
        raise CopsError(
            "E-PARAM",
            "parameter ?",
            expected="parameters with names",
            found="one by its position",
            next_step="write it as :name and add --param name=…",
        )
    raise CopsError(
        "E-PARAM",
        f"parameter {missing[0]}",
        expected="a value",
        found="none",
        next_step=f"add --param {missing[0]}=…",
    )


def _wanted(asked: Question, names: Namespace) -> list[str]:
    if any(schema == "information_schema" or name.startswith("duckdb_") for schema, name in asked.tables):
        return names.names()
    return [name for _, name in asked.tables]


def _arguments(tree: exp.Expr, function: type[exp.Expr]) -> set[str]:
    calls = tree.find_all(function)
    return {column.name.lower() for call in calls for column in call.find_all(exp.Column)}


def _hint(tree: exp.Expr) -> str | None:
    """The corrected file for a question known to mislead; a corrected question gets no hint."""
    found = None
    for select in tree.find_all(exp.Select):
        joins = {join.this.name.lower(): join.side for join in select.args.get("joins") or []}
        source = select.args.get("from_") or select.args.get("from")
        first = source.this.name.lower() if source else ""
        summed, newest = _arguments(select, exp.Sum), _arguments(select, exp.Max)
        if first == "fact_cost_allocated" and "invoice_detail" in joins and "amount_usd" in summed:
            found = "invoice_detail joined to entries multiplies both sums", "tenant_drill"
        elif (
            first == "cur_billing_master"
            and not select.args.get("where")
            and ("line_item_usage_start_date" in newest)
        ):
            found = "savings-plan fees lie in the future, so the newest date misleads", "latest_partition"
        elif first == "fact_cost_allocated" and "key_total" in summed:
            found = "key_total repeats on every line and reversals cancel it", "empty_keys"
        elif first == "pool" and joins.get("alloc") == "LEFT":
            found = "a service that only one side has is lost by the left join", "pool_vs_allocated"
    return f"note: {found[0]}; see cops sql @{found[1]}" if found else None


def _journal_seq_of(books: Books, run_prefix: str) -> int:
    """The journal number of a run, named by its id or an unambiguous beginning of it.

    Raises:
        CopsError: `E-RUN-UNKNOWN`.
    """
    journal = t.publish_journal
    with books.admin.read() as con:
        found = (
            con.execute(
                sa.select(journal.c.journal_seq).where(
                    journal.c.run_id.startswith(run_prefix, autoescape=True)
                )
            )
            .scalars()
            .all()
        )
    if len(found) != 1:
        raise CopsError(
            "E-RUN-UNKNOWN",
            f"run {run_prefix!r}",
            expected="one published run",
            found=f"{len(found)} runs",
            next_step="take a run id from `cops runs PERIOD`",
        )
    return int(found[0])
