"""The trace of every load: who, when, from which bytes, and every row before and after.

Belongs here: `load_log` and the document in the chain of evidence, both in the load's transaction, and
reading them. Does not belong here: what a load may do (`inputs/load.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, documents, signatures
from cops_dagster.evidence.chain import Piece
from cops_dagster.inputs.columns import FIELDS
from cops_dagster.inputs.files import File
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t

KIND = "load"
"""What a load is among the pieces of evidence and among the decisions that are signed."""
FIRST = "first_load"
"""The piece of evidence of the first load that also holds what stood before it (`registers.before`)."""


@dataclass(frozen=True)
class Replaced:
    """One stored row that was replaced: its key, and the changed columns before and after."""

    key: dict[str, Any]
    old: dict[str, Any]
    new: dict[str, Any]


@dataclass(frozen=True)
class TableReport:
    """What a load did to one table, in rows.

    Attributes:
        left_out: by type, AWS papers that are no invoices.
        added: the rows that were inserted.
        same: the rows that stood there as given.
        proved: those of them that no load had written, see `registers.proved`.
    """

    inserted: int
    unchanged: int
    replaced: tuple[Replaced, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    added: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    same: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    proved: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Logged:
    """What one load did to one table, as it was recorded. `files`: name, sha256, size_bytes."""

    load_id: str
    table: str
    loaded_at: datetime
    actor: str
    identity: str
    inserted: int
    unchanged: int
    replaced: list[dict[str, Any]]
    files: list[dict[str, Any]]
    evidence_id: str


def record(
    con: sa.Connection,
    books: Books,
    files: Sequence[File],
    done: Mapping[str, TableReport],
    *,
    at: datetime,
    before: Mapping[str, Any] | None = None,
) -> tuple[str | None, str]:
    """Records what a load did, within its transaction; its id and what proves who did it.

    A load that changed nothing has no id and leaves nothing.

    Args:
        before: the rows that stood before the first load whose document holds them; else `None`.

    Raises:
        CopsError: `E-EVIDENCE-…`; what `signatures.require` raises.
    """
    changed = {name: one for name, one in done.items() if one.inserted or one.replaced or one.proved}
    identity = signatures.identity(books, con)
    if not changed:
        return None, identity
    document = documents.document(
        {
            "actor": books.actor,
            "identity": identity,
            "loaded_at": documents.plain(at),
            "tables": {name: _told(name, one, files) for name, one in changed.items()},
            **({} if before is None else {"before": before}),
        }
    )
    load_id = hashlib.sha256(document).hexdigest()
    kind = KIND if before is None else FIRST
    kept = chain.store(books, [Piece(kind, KIND, load_id, "application/json", data=document)])
    proof = chain.index(con, books, kept)[0]
    signatures.require(books, con, KIND, (KIND, load_id), load_id)
    for name, one in changed.items():
        told = _told(name, one, files)
        con.execute(
            sa.insert(t.load_log).values(
                load_id=load_id,
                table_name=name,
                loaded_at=at,
                actor=books.actor,
                identity=identity,
                inserted=one.inserted,
                unchanged=one.unchanged,
                replaced=len(one.replaced),
                replaced_json=as_json(told["replaced"]),
                files_json=as_json(told["files"]),
                evidence_id=str(proof),
            )
        )
    return load_id, identity


def history(con: sa.Connection, table: str | None = None) -> list[Logged]:
    """Every load of one table or all, the newest first.

    Raises:
        CopsError: `E-PARAM` for a table that nothing is loaded into.
    """
    if table is not None and table not in FIELDS:
        raise CopsError(
            "E-PARAM",
            f"table {table!r}",
            expected=f"one of {', '.join(FIELDS)}",
            found=repr(table),
            next_step="name a table as `cops admin load` does; key figures lie in tenant_usage",
        )
    log = t.load_log
    query = sa.select(log).order_by(log.c.loaded_at.desc(), log.c.load_id, log.c.table_name)
    if table is not None:
        query = query.where(log.c.table_name == table)
    return [
        Logged(
            row.load_id,
            row.table_name,
            row.loaded_at,
            row.actor,
            row.identity,
            row.inserted,
            row.unchanged,
            json.loads(row.replaced_json),
            json.loads(row.files_json),
            row.evidence_id,
        )
        for row in con.execute(query)
    ]


def _told(name: str, one: TableReport, files: Sequence[File]) -> dict[str, Any]:
    return {
        "unchanged": one.unchanged,
        "inserted": [_row(row) for row in one.added],
        **({"proved": [_row(row) for row in one.proved]} if one.proved else {}),
        "replaced": [
            {"key": _row(each.key), "old": _row(each.old), "new": _row(each.new)} for each in one.replaced
        ],
        "files": [
            {"name": file.path.name, "sha256": file.sha256, "size_bytes": file.size_bytes}
            for file in files
            if file.table == name
        ],
    }


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: documents.plain(value) for name, value in values.items()}


def as_json(content: object) -> str:
    """What a document says, as `load_log` holds it."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
