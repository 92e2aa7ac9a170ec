"""Registers against the loads that wrote them: a row that no load wrote, changed or left out is a finding.

Belongs here: folding the documents of all loads in the order of the chain, and holding tables and `load_log`
against that. Does not belong here: what a load may do (`inputs/load.py`), writing its document
(`inputs/load_log.py`).

Nothing but a load writes these tables. Values are compared as documents hold them, made by the database's own
SQL and in whole columns: what a type could not read, such as an amount that is none, is a finding as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, documents
from cops_dagster.evidence.standing import Finding
from cops_dagster.inputs import load_log
from cops_dagster.inputs.columns import FIELDS
from cops_dagster.inputs.load_log import TableReport
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import Objects, Status, key_of, missing, tampered

NEXT = (
    "find out who wrote it: no load did; load the right row with `cops admin load --replace`, which proves"
    " it, also as it stands, or restore the admin database from its backup, then: cops evidence verify"
)
LOG_NEXT = "find out who wrote it: no command of COPS does; restore the admin database from its backup"
_TOLD = 20
"""Rows of one table that are told one by one."""

Values = tuple[Any, ...]
Rows = dict[Values, Values]


class _Unsaid:
    """A value that no document names, such as of a younger column: it equals whatever stands there."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_UNSAID: Any = _Unsaid()


@dataclass
class _Said:
    """What documents say, up to one of them.

    Attributes:
        is_whole: every row is in some document, so that one in none was written past them.
        since_first: the home's first entry is a load that kept no beginning: nothing is older than it.
    """

    rows: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in FIELDS})
    is_whole: bool = False
    since_first: bool = False
    told: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    unread: list[Finding] = field(default_factory=list)


def findings(books: Books, con: sa.Connection) -> list[Finding]:
    """Rows of every table that is loaded into, and of `load_log`, that are not what the loads say."""
    said = _fold(con, chain.objects(books))
    if said.unread:
        return said.unread
    return [*_logged(con, said), *(one for name in FIELDS for one in _apart(con, name, said))]


def before(con: sa.Connection) -> dict[str, list[dict[str, Any]]] | None:
    """Every row that stands before the first load that keeps them; `None` when one did.

    Rows of a home that is older than the documents are in none: what stands now is taken for them.
    """
    entries = t.evidence_index
    if con.execute(sa.select(sa.exists().where(entries.c.kind == load_log.FIRST))).scalar_one():
        return None
    found = {}
    for name in FIELDS:
        names = t.metadata.tables[name].c.keys()
        found[name] = [
            dict(zip(names, (one if isinstance(one, int | None) else str(one) for one in row), strict=True))
            for row in _held(con, name).values()
        ]
    return {name: rows for name, rows in found.items() if rows}


def proved(books: Books, con: sa.Connection, done: Mapping[str, TableReport]) -> dict[str, TableReport]:
    """The reports of a load with the rows that stood as given and that no load had written: now one says so.

    Raises:
        CopsError: `E-EVIDENCE-TAMPERED`, `E-EVIDENCE-MISSING` for documents that cannot be read.
    """
    if not any(one.same for one in done.values()):
        return dict(done)
    said = _fold(con, chain.objects(books))
    if said.unread:
        wrong = said.unread[0]
        raise (tampered if wrong.status == "mismatch" else missing)(wrong.what, wrong.found)
    found = {}
    for name, one in done.items():
        columns, key = _shape(name)
        given = [(row, tuple(documents.plain(row[column]) for column in columns)) for row in one.same]
        rows = said.rows[name]
        found[name] = replace(
            one, proved=tuple(row for row, values in given if rows.get(key(values)) != values)
        )
    return found


# --- what documents say -------------------------------------------------------------------------------


def _fold(con: sa.Connection, at: Objects) -> _Said:
    entries, said = t.evidence_index, _Said()
    loads = con.execute(
        sa.select(
            entries.c.evidence_seq,
            entries.c.kind,
            entries.c.subject_id,
            entries.c.sha256,
            entries.c.object_version_id,
        )
        .where(entries.c.kind.in_((load_log.KIND, load_log.FIRST)))
        .order_by(entries.c.evidence_seq)
    ).all()
    begins = bool(loads) and (loads[0].evidence_seq, loads[0].kind) == (1, load_log.KIND)
    said.since_first = said.is_whole = begins
    for load in loads:
        try:
            document = json.loads(at.get(key_of(str(load.sha256)), load.object_version_id))
            _add(said, load, document)
        except CopsError as problem:
            status: Status = "mismatch" if problem.code == "E-EVIDENCE-TAMPERED" else "incomplete"
            said.unread.append(
                Finding(load.evidence_seq, "document of a load", "as it was stored", problem.found, status)
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            said.unread.append(
                Finding(
                    load.evidence_seq,
                    "document of a load",
                    "one that a load wrote",
                    "another",
                    next_step=LOG_NEXT,
                )
            )
    return said


def _add(said: _Said, load: Any, document: dict[str, Any]) -> None:
    """Takes one document in; of several beginnings the first counts."""
    if load.kind == load_log.FIRST and not (said.is_whole and not said.since_first):
        for name, rows in document["before"].items():
            known = said.rows[name]
            for key, values in _whole(name, rows):
                if key in known:  # what loads said stays said: a beginning proves nothing against them
                    known[key] = tuple(
                        b if a is _UNSAID else a for a, b in zip(known[key], values, strict=True)
                    )
                elif not said.since_first:
                    known[key] = values
        said.is_whole, said.since_first = True, False
    for name, told in document["tables"].items():
        rows = said.rows[name]
        rows.update(_whole(name, told["inserted"]))
        rows.update(_whole(name, told.get("proved", ())))
        columns, key_of_row = _shape(name)
        for each in told["replaced"]:
            values = tuple({**each["key"], **each["new"]}.get(column, _UNSAID) for column in columns)
            key = key_of_row(values)
            earlier = rows.get(key, values)
            rows[key] = tuple(a if b is _UNSAID else b for a, b in zip(earlier, values, strict=True))
        said.told[str(load.subject_id), name] = (
            document["loaded_at"], document["actor"], document["identity"], len(told["inserted"]),
            told["unchanged"], len(told["replaced"]), load_log.as_json(told["replaced"]),
            load_log.as_json(told["files"]), str(load.evidence_seq),
        )  # fmt: skip


def _whole(name: str, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[Values, Values]]:
    """Rows of a document with their keys. One that lacks a younger column says nothing of it."""
    columns, key = _shape(name)
    try:
        values = list(map(itemgetter(*columns), rows))
    except KeyError:
        values = [tuple(row.get(column, _UNSAID) for column in columns) for row in rows]
    return zip(map(key, values), values, strict=True)


def _shape(name: str) -> tuple[list[str], Any]:
    """A table's columns, and what takes the key out of a row."""
    table = t.metadata.tables[name]
    columns = table.c.keys()
    at = [columns.index(column.name) for column in table.primary_key.columns]
    return columns, (itemgetter(*at) if len(at) > 1 else lambda row: (row[at[0]],))


# --- what stands --------------------------------------------------------------------------------------


def _held(con: sa.Connection, name: str) -> Rows:
    """A table's rows as documents hold them, by key."""
    table = t.metadata.tables[name]
    _, key = _shape(name)
    query = sa.select(*(_as_told(column, con.dialect.name) for column in table.c))
    rows = list(map(tuple, con.execute(query)))
    return dict(zip(map(key, rows), rows, strict=True))


def _as_told(column: sa.Column[Any], dialect: str) -> sa.ColumnElement[Any]:
    """A column in the form of documents, and unread by its type: what is no day is shown as it is."""
    if isinstance(column.type, sa.Integer):
        return column
    raw = sa.type_coerce(column, sa.Text)
    if dialect == "sqlite":
        return sa.func.replace(raw, " ", "T", type_=sa.Text) if isinstance(column.type, sa.DateTime) else raw
    text = sa.cast(column, sa.Text)
    form = {sa.Date: "YYYY-MM-DD", sa.DateTime: 'YYYY-MM-DD"T"HH24:MI:SS.US'}.get(type(column.type))
    if form is None:
        return raw if isinstance(column.type, sa.Text) else text
    return sa.func.coalesce(sa.func.to_char(column, form), text, type_=sa.Text)  # infinity has no such form


def _apart(con: sa.Connection, name: str, said: _Said) -> Iterator[Finding]:
    held, rows = _held(con, name), said.rows[name]
    if held == rows:
        return
    wrong = [key for key, row in rows.items() if key not in held or held[key] != row]
    wrong += [key for key in held if key not in rows] if said.is_whole else []
    for key in wrong[:_TOLD]:
        expected, found = _told(name, rows.get(key), held.get(key))
        yield Finding(0, f"{name}: {', '.join(str(one) for one in key)}", expected, found, next_step=NEXT)
    if len(wrong) > _TOLD:
        more = len(wrong) - _TOLD
        yield Finding(0, f"{name}: {more} more rows", "what the loads say", "other rows", next_step=NEXT)


def _told(name: str, loaded: Values | None, held: Values | None) -> tuple[str, str]:
    """What the loads say of a row, and what stands: the columns that differ, or all where one is missing."""
    columns = _shape(name)[0]
    differ = [at for at in range(len(columns)) if loaded is None or held is None or loaded[at] != held[at]]
    return _shown(columns, differ, loaded, "no such row"), _shown(columns, differ, held, "no row")


def _shown(columns: list[str], which: list[int], row: Values | None, none: str) -> str:
    if row is None:
        return none
    return ", ".join(f"{columns[at]} {row[at]}" for at in which if row[at] not in (None, "")) or "empty"


def _logged(con: sa.Connection, said: _Said) -> Iterator[Finding]:
    """Rows of `load_log` and documents that do not say the same."""
    log = t.load_log
    held = {
        (row.load_id, row.table_name): (
            documents.plain(row.loaded_at),
            row.actor,
            row.identity,
            row.inserted,
            row.unchanged,
            row.replaced,
            row.replaced_json,
            row.files_json,
            row.evidence_id,
        )
        for row in con.execute(sa.select(log))
    }
    for key in sorted({*held, *said.told}, key=str):
        if held.get(key) != said.told.get(key):
            expected, found = (
                f"by {one[1]}, {one[3]} inserted, {one[5]} replaced" if one else "no such load"
                for one in (said.told.get(key), held.get(key))
            )
            found = found if found != expected else "another row of this load"
            yield Finding(0, f"load_log: {key[0][:16]}, {key[1]}", expected, found, next_step=LOG_NEXT)
