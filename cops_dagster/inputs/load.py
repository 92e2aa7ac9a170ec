"""Loading admin data from CSV (design rule 5.11): all files or none, and nothing is overwritten.

Belongs here: which files, what holds between rows and tables, conflicts, the one write transaction.
Does not belong here: what one cell may hold (`inputs/files.py`), the trace it leaves (`inputs/load_log.py`).

The checks run inside the write transaction, so what they saw stays true until the rows are stored.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.inputs import closed, documents, load_log, references, registers
from cops_dagster.inputs import files as frames
from cops_dagster.inputs.files import Row
from cops_dagster.inputs.load_log import Replaced, TableReport
from cops_dagster.inputs.references import Key, Rows
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.policy import Tags
from cops_dagster.reconciliation import aws_documents, freeze
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

_REPLACEABLE: dict[str, frozenset[str]] = {
    "tenants": frozenset({"name", "plan_id", "active_from", "active_to", "currency"}),
    "tag_aliases": frozenset({"effective_to", "canonical"}),
    "account_tenants": frozenset({"effective_to", "tenant_id"}),
    "tenant_usage": frozenset({"value", "refreshed_at"}),
    # only while no evaluation has used the version, see `_check_budget_unused`
    "budgets": frozenset(
        {"scope_type", "scope_value", "effective_from", "effective_to", "basis", "target_usd"}
    ),
}


@dataclass(frozen=True)
class LoadReport:
    """What a load did, by whom and when; only tables that files were given for are listed.

    Attributes:
        identity: what proves who: `claimed`, or by which key it was signed.
        load_id: names its rows in `load_log`; `None` when there was nothing to do.
    """

    actor: str
    identity: str
    loaded_at: datetime
    load_id: str | None
    tables: dict[str, TableReport]


def load(books: Books, paths: Sequence[Path], *, replace: bool = False) -> LoadReport:
    """Loads CSV files, each named after its table; a folder stands for the `*.csv` in it.

    An identical row is unchanged. With `replace`, descriptive columns of stored rows may change, never
    for a closed period, and a given row that stands as it is though no load wrote it is proved by this one.
    Whatever changed is in `load_log` and in the chain of evidence, both versions of a replaced row as well,
    and with the home's first what stood before; a load that changes nothing leaves nothing.

    Raises:
        CopsError: nothing was written. `E-LOAD-FILE`, `E-LOAD-COLUMN`, `E-LOAD-VALUE` and the codes of
            single cells (see `frames.read`); `E-LOAD-CONFLICT`, `E-INV-CONFLICT`, `E-INV-DUP`,
            `E-LOAD-IMMUTABLE`, `E-PERIOD-CLOSED`; `E-TENANT-UNKNOWN`, `E-PLAN-UNKNOWN`,
            `E-KEY-UNKNOWN`, `E-MAP-DUP`, `E-ACCOUNT-OVERLAP`, `E-BUDGET-OVERLAP`, `E-RULE-METHOD`,
            `E-RULE-SUM`, `E-RULE-DATES`, `E-RULE-OVERLAP`, `E-RULE-CYCLE`, `E-INV-LINK`, `E-FX`,
            `E-CCY-SCALE`, `E-FREEZE`; `E-POLICY`, `E-EVIDENCE-…`, and in signed books what
            `signatures.require` raises. A document in conflict is refused and kept in `document_conflict`.
    """
    require_policy(books)
    files, tags = [frames.read(path) for path in _files(paths)], books.policy.tags
    at = now()
    try:
        with books.admin.write() as con:
            before = registers.before(con)
            reports = store(con, _by_table(files), replace=replace, tags=tags, actor=books.actor)
            if replace:
                reports = registers.proved(books, con, reports)
            load_id, identity = load_log.record(con, books, files, reports, at=at, before=before)
    except DocumentConflict as refusal:
        # the load is refused whole; that somebody sent another version of a document is kept
        with books.admin.write() as con:
            _keep_conflict(con, refusal, books.actor)
        raise
    return LoadReport(books.actor, identity, at, load_id, reports)


class DocumentConflict(CopsError):
    """`E-INV-CONFLICT`: a document that came again with other content; both versions are at hand."""

    stored: Row
    given: Row


def _keep_conflict(con: sa.Connection, refusal: DocumentConflict, actor: str) -> None:
    stored, given = refusal.stored.values, refusal.given.values
    usd = [_document_usd(values) for values in (stored, given)]
    columns = _differing(refusal.given, refusal.stored)
    if refusal.stored.line or columns == ["status"]:
        return  # twice in one file: the books hold neither; paid since: no amount is in question
    contents = [
        json.dumps({name: references.plain(values[name]) for name in columns}, sort_keys=True)
        for values in (stored, given)
    ]
    table, document = refusal.given.table, str(given["invoice_id"])
    conflict_id = digest("document-conflict-1", table, document, given.get("tenant_id"), *contents)
    conflicts = t.document_conflict
    if not con.execute(
        sa.select(conflicts.c.conflict_id).where(conflicts.c.conflict_id == conflict_id)
    ).first():
        con.execute(
            sa.insert(conflicts).values(
                conflict_id=conflict_id,
                table_name=table,
                document_id=document,
                period_start=stored["period_start"],
                tenant_id=given.get("tenant_id"),
                stored_json=contents[0],
                given_json=contents[1],
                difference_usd=usd[1] - usd[0],
                actor=actor,
                seen_at=now(),
            )
        )


def _document_usd(values: Mapping[str, Any]) -> Decimal:
    """The document's amount; of an AWS one in its base currency, before tax and tax together."""
    if "amount_usd" in values:
        return Decimal(values["amount_usd"] or 0)
    return Decimal(values["amount_before_tax"] + values["tax"])


def read_files(paths: Sequence[Path]) -> dict[str, list[Row]]:
    """The rows of CSV files by table, each cell checked. Raises as `load` does; the database is not asked."""
    return _by_table([frames.read(path) for path in _files(paths)])


def _by_table(files: Sequence[frames.File]) -> dict[str, list[Row]]:
    given: defaultdict[str, list[Row]] = defaultdict(list)
    for file in files:
        given[file.table].extend(file.rows)
    return dict(given)


def store(
    con: sa.Connection,
    rows: Mapping[str, list[Row]],
    *,
    replace: bool = False,
    tags: Tags | None = None,
    actor: str = "",
) -> dict[str, TableReport]:
    """Checks rows against each other and what is stored, and stores them, in the caller's transaction."""
    reports, spelling, given = {}, tags or Tags(), dict(rows)
    left_out = _leave_out_what_is_no_invoice(given)
    stored = {name: _stored(con, name, given[name]) for name in frames.FIELDS if name in given}
    if given.get("invoice_detail"):
        given["invoice_detail"] = references.in_dollars(con, given)
    references.check_references(con, given)
    for name in stored:  # in the order of FIELDS
        new, changed, unchanged, same = _compared(con, name, given[name], stored[name], replace)
        closed.judge(con, new.values(), _closed(con), actor)
        after = {**stored[name], **new, **changed}
        if new or changed:
            references.check_versions(name, after, spelling, _closed(con))
        for row in new.values() if name in references.DOCUMENTS else ():
            documents.check(row)
            if name == "invoice_detail":
                freeze.require_none(con, row.where("period_start"), row.values)
        replaced = tuple(_write(con, name, new.values(), changed, stored[name]))
        added = tuple(row.values for row in new.values())
        reports[name] = TableReport(len(new), unchanged, replaced, left_out.get(name, {}), added, same)
    references.check_names_of_tenants(con, given, spelling)
    return reports


def _closed(con: sa.Connection) -> list[date]:
    """First days of the months that never change any more; the seal of one that is closing is computed."""
    lock = t.period_lock.c
    months = sa.select(lock.period_start).where(lock.state.in_(("closing", "closed")))
    return list(con.execute(months.order_by(lock.period_start)).scalars())


def _leave_out_what_is_no_invoice(given: dict[str, list[Row]]) -> dict[str, dict[str, int]]:
    """Takes receipts and the like out of AWS's documents; how many of each type there were."""
    rows = given.get("aws_invoices")
    if rows is None:
        return {}
    given["aws_invoices"] = [row for row in rows if aws_documents.is_invoice(row.values["invoice_type"])]
    types = (aws_documents.spelled(row.values["invoice_type"]) for row in rows)
    return {"aws_invoices": dict(Counter(one for one in types if not aws_documents.is_invoice(one)))}


# --- files and stored rows ----------------------------------------------------------------------------


def _files(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise CopsError(
                "E-LOAD-FILE",
                f"folder {path}",
                expected="CSV files named after their tables, such as tenants.csv",
                found="no *.csv file",
                next_step="give another folder, or the files themselves",
            )
        found |= {file.resolve(): file for file in files}  # a file named twice is loaded once
    return list(found.values())


def _key(table: str, values: Mapping[str, Any]) -> Key:
    return tuple(values[name] for name in references.key_names(table))


def _stored(con: sa.Connection, name: str, rows: Sequence[Row]) -> Rows:
    """Stored rows that `rows` may meet: the whole table, or its months where the month is in the key."""
    if not rows:
        return {}
    table = t.metadata.tables[name]
    query = sa.select(table)
    if "period_start" in references.key_names(name):
        months = [row.values["period_start"] for row in rows]
        query = query.where(table.c.period_start.between(min(months), max(months)))
    found = (Row(name, dict(values), "stored") for values in con.execute(query).mappings())
    return {_key(name, row.values): row for row in found}


# --- conflicts ----------------------------------------------------------------------------------------


def _compared(
    con: sa.Connection, name: str, rows: Sequence[Row], stored: Rows, replace: bool
) -> tuple[Rows, Rows, int, tuple[Mapping[str, Any], ...]]:
    """Rows to insert, rows to replace, how many are there already, and those that are stored."""
    first: Rows = {}
    unchanged = 0
    for row in rows:
        key = _key(name, row.values)
        earlier = first.setdefault(key, row)
        if earlier is not row:
            if earlier.values != row.values:
                raise _conflict(row, earlier, earlier.where(), "give the row once; a load has no order")
            if name in references.DOCUMENTS and earlier.file == row.file:
                raise CopsError(
                    "E-INV-DUP",
                    row.where(),
                    expected="each document once in a file",
                    found=f"the same as line {earlier.line}",
                    next_step="remove one of them, and check why the source wrote it twice",
                )
            unchanged += 1
    new, changed, same = {}, {}, []
    for key, row in first.items():
        if key not in stored:
            new[key] = row
        elif stored[key].values == row.values:
            unchanged += 1
            same.append(row.values)
        elif replace:
            _check_replaceable(con, row, stored[key])
            changed[key] = row
        else:
            raise _conflict(row, stored[key], "the stored row", _way_out(name))
    return new, changed, unchanged, tuple(same)


def _differing(row: Row, other: Row) -> list[str]:
    return [column for column in other.values if other.values[column] != row.values[column]]


def _conflict(row: Row, other: Row, whose: str, next_step: str) -> CopsError:
    columns = _differing(row, other)
    clash = row.table == "tag_aliases" and "canonical" in columns  # one tag value, two meanings
    first = "canonical" if clash else columns[0]
    is_document = row.table in references.DOCUMENTS
    refusal = (DocumentConflict if is_document else CopsError)(
        "E-MAP-DUP" if clash else "E-INV-CONFLICT" if is_document else "E-LOAD-CONFLICT",
        f"{row.where(first)} ({references.shown(row.table, row.values)})",
        expected=f"{references.plain(other.values[first])} as in {whose}",
        found=references.plain(row.values[first])
        + (f", and {len(columns) - 1} more differ" if columns[1:] else ""),
        next_step=next_step,
        details={
            "table": row.table,
            "key": {name: references.plain(row.values[name]) for name in references.key_names(row.table)},
            "columns": {
                name: {
                    "stored": references.plain(other.values[name]),
                    "given": references.plain(row.values[name]),
                }
                for name in columns
            },
        },
    )
    if isinstance(refusal, DocumentConflict):
        refusal.stored, refusal.given = other, row
    return refusal


_INSTEAD: dict[str, str] = {
    "allocation_rules": "load it as a new version that begins later; a month that has begun follows it with"
    " `cops allocate PERIOD --rules-as-of DAY --note '…'`",
    "budgets": "load it as a new version that begins later; a month is measured by that of its first day",
    "plans": "a new effective_from rules later months; for a month that has begun, load the markup under a"
    " new plan_id, give it to the tenants (tenants.csv --replace) and to the tag (tag_aliases.csv, plan_id)",
    "allocation_keys": "load it under a new key_name, with a new version of the rules that shall use it",
    "fx_rates": "a rate is frozen with its month: decide with finance who bears the difference",
}
"""How to correct a row that stays as it is, by table. Each of these is tried by a test."""


def _way_out(name: str) -> str:
    if name in references.DOCUMENTS:
        return "documents are immutable: load a credit note or a document that corrects this one"
    if name in _INSTEAD and name not in _REPLACEABLE:
        return f"leave the row out, or: {_INSTEAD[name]}"
    if name == "tag_aliases":
        return (
            "give the new meaning its own effective_from and end the stored row there with --replace, or"
            " load with --replace to replace it; both versions are reported"
        )
    return "leave the row out, or load with --replace to replace it; both versions are reported"


def _check_replaceable(con: sa.Connection, row: Row, old: Row) -> None:
    columns = _differing(row, old)
    fixed = [name for name in columns if name not in _REPLACEABLE.get(row.table, ())]
    if fixed or (row.table == "budgets" and _budget_is_used(con, old.values)):
        column = (fixed or columns)[0]
        raise CopsError(
            "E-LOAD-IMMUTABLE",
            f"{row.where(column)} ({references.shown(row.table, row.values)})",
            expected=f"{references.plain(old.values[column])} as stored: rows of {row.table} stay so"
            + (" once they were measured" if row.table == "budgets" else ""),
            found=references.plain(row.values[column]),
            next_step=f"leave the row out, or: {_INSTEAD[row.table]}"
            if row.table in _INSTEAD
            else _way_out(row.table)
            if row.table not in _REPLACEABLE
            else f"leave {column} as it is; of {row.table}, {', '.join(sorted(_REPLACEABLE[row.table]))} may"
            " be replaced",
        )
    for begin, end in _months_touched(row, old):
        for month in (month for month in _closed(con) if begin.replace(day=1) <= month < end):
            raise CopsError(
                "E-PERIOD-CLOSED",
                f"{row.where(columns[0])} ({references.shown(row.table, row.values)})",
                expected="values of open periods only",
                found=f"a change that reaches {Period.of(month)}, which is closed",
                next_step="a closed period never changes; book an adjustment in an open one",
            )


def _budget_is_used(con: sa.Connection, budget: Mapping[str, Any]) -> bool:
    history = t.budget_history
    return con.execute(
        sa.select(
            sa.exists()
            .where(history.c.budget_id == budget["budget_id"])
            .where(history.c.period_start >= budget["effective_from"].replace(day=1))
        )
    ).scalar_one()


def _months_touched(row: Row, old: Row) -> list[tuple[date, date]]:
    """Half-open ranges of days whose figures a replacement can change; a tenant's name has none."""
    was, will = old.values, row.values
    if row.table == "tenant_usage":
        return [(will["period_start"], Period.of(will["period_start"]).end)]
    if row.table == "tenants":
        return [
            *_between(was["active_from"], will["active_from"]),
            *_between(was["active_to"], will["active_to"]),
        ]
    named = {"tag_aliases": "canonical", "account_tenants": "tenant_id"}.get(row.table)
    if named is None:
        return []
    if was[named] != will[named]:
        ends = (was["effective_to"] or references.FOREVER, will["effective_to"] or references.FOREVER)
        return [(will["effective_from"], max(ends))]
    return _between(was["effective_to"], will["effective_to"])


def _between(one: date | None, other: date | None) -> list[tuple[date, date]]:
    """The days between two ends (or beginnings); an open end is the last of all days."""
    first, last = sorted((one or references.FOREVER, other or references.FOREVER))
    return [(first, last)] if first < last else []


# --- writing ------------------------------------------------------------------------------------------


def _write(
    con: sa.Connection, name: str, new: Iterable[Row], changed: Rows, stored: Rows
) -> Iterable[Replaced]:
    table = t.metadata.tables[name]
    inserted = [row.values for row in new]
    if inserted:
        con.execute(sa.insert(table), inserted)
    keys = references.key_names(name)
    for key, row in changed.items():
        columns = _differing(row, stored[key])
        update = {column: row.values[column] for column in columns}
        con.execute(sa.update(table).where(*(table.c[k] == row.values[k] for k in keys)).values(update))
        yield Replaced(
            key={k: row.values[k] for k in keys},
            old={column: stored[key].values[column] for column in columns},
            new=update,
        )
