"""Loading admin data from CSV (design rule 5.11): all files or none, and nothing is overwritten.

Belongs here: which files, in which order rows are judged, the one write transaction. Does not belong here:
what one cell may hold (`inputs/files.py`), what holds between rows and tables (`inputs/references.py`,
`inputs/versions.py`, `inputs/dollars.py`), conflicts with stored rows (`inputs/conflicts.py`), the trace that
a load leaves (`inputs/load_log.py`).

The checks run inside the write transaction, so what they saw stays true until the rows are stored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.inputs import (
    chains,
    closed,
    disputes,
    documents,
    dollars,
    load_log,
    references,
    registers,
    versions,
)
from cops_dagster.inputs.columns import FIELDS
from cops_dagster.inputs.conflicts import DocumentConflict, closed_months, compared, differing, keep
from cops_dagster.inputs.files import File, Row, read
from cops_dagster.inputs.load_log import Replaced, TableReport
from cops_dagster.inputs.references import Rows
from cops_dagster.ledger.books import Books
from cops_dagster.policy import Tags
from cops_dagster.reconciliation import aws_documents, freeze
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


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
            single cells (see `inputs/files.py`); `E-LOAD-CONFLICT`, `E-INV-CONFLICT`, `E-INV-DUP`,
            `E-LOAD-IMMUTABLE`, `E-PERIOD-CLOSED`; `E-TENANT-UNKNOWN`, `E-PLAN-UNKNOWN`,
            `E-KEY-UNKNOWN`, `E-MAP-DUP`, `E-ACCOUNT-OVERLAP`, `E-BUDGET-OVERLAP`, `E-RULE-METHOD`,
            `E-RULE-SUM`, `E-RULE-DATES`, `E-RULE-OVERLAP`, `E-RULE-CYCLE`, `E-CHAIN-CYCLE`, `E-INV-LINK`,
            `E-FX`, `E-CCY-SCALE`, `E-FREEZE`; `E-POLICY`, `E-EVIDENCE-…`, and in signed books what
            `signatures.require` raises. A document in conflict is refused and kept in `document_conflict`.
    """
    require_policy(books)
    files, tags = [read(path) for path in _files(paths)], books.policy.tags
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
            keep(con, refusal, books.actor)
        raise
    return LoadReport(books.actor, identity, at, load_id, reports)


def read_files(paths: Sequence[Path]) -> dict[str, list[Row]]:
    """The rows of CSV files by table, each cell checked. Raises as `load` does; the database is not asked."""
    return _by_table([read(path) for path in _files(paths)])


def _by_table(files: Sequence[File]) -> dict[str, list[Row]]:
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
    stored = {name: _stored(con, name, given[name]) for name in FIELDS if name in given}
    if given.get("invoice_detail"):
        given["invoice_detail"] = dollars.in_dollars(con, given)
    references.check_references(con, given)
    for name in stored:  # in the order of FIELDS
        new, changed, unchanged, same = compared(con, name, given[name], stored[name], replace)
        closed.judge(con, new.values(), closed_months(con), actor)
        if name == "disputes":
            disputes.take(con, new.values(), closed_months(con), actor)
        after = {**stored[name], **new, **changed}
        if new or changed:
            versions.check_versions(name, after, spelling, closed_months(con))
        for row in new.values() if name in references.DOCUMENTS else ():
            documents.check(row)
            if name == "invoice_detail":
                freeze.require_none(con, row.where("period_start"), row.values)
        replaced = tuple(_write(con, name, new.values(), changed, stored[name]))
        added = tuple(row.values for row in new.values())
        reports[name] = TableReport(len(new), unchanged, replaced, left_out.get(name, {}), added, same)
    references.check_names_of_tenants(con, given, spelling)
    if "allocation_rules" in reports and reports["allocation_rules"].added:
        chains.check(con, reports["allocation_rules"].added)
    return reports


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
    return {references.key_of(row): row for row in found}


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
        columns = differing(row, stored[key])
        update = {column: row.values[column] for column in columns}
        con.execute(sa.update(table).where(*(table.c[k] == row.values[k] for k in keys)).values(update))
        yield Replaced(
            key={k: row.values[k] for k in keys},
            old={column: stored[key].values[column] for column in columns},
            new=update,
        )
