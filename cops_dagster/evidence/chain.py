"""The chain of evidence: which object proves what, each entry hashed over the one before.

Belongs here: storing documents, indexing them in the transaction they prove, verifying all of it. Does not
belong here: what a run's documents say (`evidence/certificate.py`), where bytes lie (`stores/objects.py`).

Bytes are stored before the transaction, since an index entry without its object would be a lie; an object
without an entry is only unused. The chain is tamper *evidence*: whoever owns the database, the store and the
anchors can rewrite all three. `verify` reads what an attacker may have written: nothing in a row is trusted
to have its type, and what cannot be read is a finding, never a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import standing
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest, encoded
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.objects import Objects, Stored, key_of, missing, tampered
from cops_dagster.stores.places import open_objects

VERSIONS = (1,)
"""Every encoding of an entry that ever was, oldest first. A chain never goes back to an older one."""
HASH_VERSION = VERSIONS[-1]
_BOUND = (
    "hash_version", "evidence_seq", "prev_hash", "kind", "subject_type", "subject_id", "object_key",
    "object_version_id", "sha256", "size_bytes", "content_type", "run_id", "actor",
)  # fmt: skip
"""Columns that an entry's hash binds, besides the time it was recorded at."""


@dataclass(frozen=True)
class Piece:
    """One piece of proof: bytes or a file, and what it is proof of."""

    kind: str
    subject_type: str
    subject_id: str
    content_type: str
    data: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Kept:
    """A piece whose bytes are in the store."""

    piece: Piece
    stored: Stored

    @property
    def sha256(self) -> str:
        """Digest of its bytes."""
        return self.stored.sha256

    @property
    def key(self) -> str:
        """Where it lies in the store."""
        return self.stored.key


def objects(books: Books) -> Objects:
    """The evidence store of these books."""
    return open_objects(books.settings.evidence_uri)


def require_store(books: Books) -> None:
    """Refuses a store that is gone, empty or another home's. Raises as `store`."""
    with books.admin.read() as con:
        standing.require(con, objects(books), books.settings.evidence_uri)


def store(books: Books, pieces: Sequence[Piece]) -> list[Kept]:
    """Puts the bytes of every piece into the store, in order.

    Raises:
        CopsError: `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED` for a store that is not the one these books
            wrote to; `E-EVIDENCE-STORE`.
    """
    require_store(books)
    at = objects(books)
    return [
        Kept(piece, at.put_file(piece.path) if piece.path is not None else at.put(piece.data or b""))
        for piece in pieces
    ]


def index(con: sa.Connection, books: Books, kept: Sequence[Kept], run_id: str | None = None) -> list[int]:
    """Appends to the chain within the caller's write transaction; the entries' numbers, in order.

    What is indexed already for the same subject keeps its number: proving twice adds nothing.

    Raises:
        CopsError: `E-EVIDENCE-TAMPERED` when the chain does not end where its recorded head says.
    """
    chain_head, entries = t.evidence_head, t.evidence_index
    seq, prev = _end(con)
    numbers = []
    for one in kept:
        piece = one.piece
        known = con.execute(
            sa.select(entries.c.evidence_seq).where(
                entries.c.kind == piece.kind,
                entries.c.subject_type == piece.subject_type,
                entries.c.subject_id == piece.subject_id,
                entries.c.sha256 == one.sha256,
            )
        ).scalar()
        if known is not None:
            numbers.append(int(known))
            continue
        seq += 1
        values: dict[str, Any] = {
            "evidence_seq": seq, "prev_hash": prev, "hash_version": HASH_VERSION, "kind": piece.kind,
            "subject_type": piece.subject_type, "subject_id": piece.subject_id, "object_key": one.key,
            "object_version_id": one.stored.version_id, "sha256": one.sha256,
            "size_bytes": one.stored.size_bytes, "content_type": piece.content_type, "run_id": run_id,
            "actor": books.actor, "recorded_at": now(),
        }  # fmt: skip
        prev = entry_hash(values)
        con.execute(sa.insert(entries).values(**values, entry_hash=prev))
        if seq == 1:
            con.execute(sa.insert(chain_head).values(head_id=1, evidence_seq=seq, entry_hash=prev))
        else:
            con.execute(
                sa.update(chain_head)
                .where(chain_head.c.head_id == 1)
                .values(evidence_seq=seq, entry_hash=prev)
            )
        numbers.append(seq)
    return numbers


def keep(con: sa.Connection, books: Books, piece: Piece) -> int:
    """Stores and indexes one small document within the caller's write transaction; the entry's number.

    For what only the transaction itself knows, such as a row that it just wrote. Raises as `store`.
    """
    at = objects(books)
    standing.require(con, at, books.settings.evidence_uri)
    return index(con, books, [Kept(piece, at.put(piece.data or b""))])[0]


def _end(con: sa.Connection) -> tuple[int, str | None]:
    """Number and hash of the last entry. To append behind a cut tail would bury the cut."""
    chain_head, entries = t.evidence_head, t.evidence_index
    head = con.execute(sa.select(chain_head).where(chain_head.c.head_id == 1).with_for_update()).one_or_none()
    last = con.execute(
        sa.select(entries.c.evidence_seq, entries.c.entry_hash)
        .order_by(entries.c.evidence_seq.desc())
        .limit(1)
    ).one_or_none()
    recorded = (head.evidence_seq, head.entry_hash) if head else (0, None)
    there = (last.evidence_seq, last.entry_hash) if last else (0, None)
    if recorded != there:
        raise CopsError(
            "E-EVIDENCE-TAMPERED",
            "the chain of evidence",
            expected=end_as_text(*recorded),
            found=end_as_text(*there),
            next_step="stop: run `cops evidence verify`",
        )
    return there


def entry_hash(values: Mapping[Any, Any]) -> str:
    """SHA-256 over an entry's bound columns, each length-prefixed."""
    return digest(*_hashed(values))


def entry_bytes(values: Mapping[Any, Any]) -> bytes:
    """The bytes whose SHA-256 is an entry's hash."""
    return encoded(*_hashed(values))


def _hashed(values: Mapping[Any, Any]) -> list[Any]:
    return ["evidence", *(values[name] for name in _BOUND), as_text(values["recorded_at"])]


def as_text(moment: Any) -> Any:
    """A time to the microsecond. SQLite gives `verify` the text that it holds, which may be none."""
    try:
        given = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        return moment
    return given.isoformat(timespec="microseconds") if isinstance(given, datetime) else given


def anchor(books: Books) -> None:
    """Writes the chain's head down in the evidence store: a shorter or rebuilt chain shows against it."""
    with books.admin.read() as con:
        head = con.execute(sa.select(t.evidence_head)).one_or_none()
    if head is not None:
        objects(books).anchor(head.evidence_seq, head.entry_hash)


def anchor_news(books: Books) -> bool:
    """Anchors a head that no anchor has yet; whether it did.

    Raises:
        CopsError: as `require_store`: nothing is written into a store that is not the one of this chain.
    """
    with books.admin.read() as con:
        head = con.execute(sa.select(t.evidence_head)).one_or_none()
    if head is None or (head.evidence_seq, head.entry_hash) in objects(books).anchors():
        return False
    require_store(books)
    anchor(books)
    return True


def find(con: sa.Connection, kind: str, subject_type: str, subject_id: str) -> Any:
    """The newest entry of a kind about a subject, or `None`."""
    entries = t.evidence_index
    return con.execute(
        sa.select(entries)
        .where(
            entries.c.kind == kind, entries.c.subject_type == subject_type, entries.c.subject_id == subject_id
        )
        .order_by(entries.c.evidence_seq.desc())
        .limit(1)
    ).one_or_none()


def newest_of(con: sa.Connection, kind: str) -> int:
    """The number of the newest entry of a kind, whatever it is about; 0 for none."""
    entries = t.evidence_index
    return con.scalar(sa.select(sa.func.max(entries.c.evidence_seq)).where(entries.c.kind == kind)) or 0


def recorded_at(con: sa.Connection, seq: int) -> datetime:
    """When an entry was recorded."""
    entries = t.evidence_index
    found: datetime = con.execute(
        sa.select(entries.c.recorded_at).where(entries.c.evidence_seq == seq)
    ).scalar_one()
    return found


def read(books: Books, seq: int) -> bytes:
    """The bytes of an entry's object, if entry and bytes are those recorded.

    Raises:
        CopsError: `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`, `E-EVIDENCE-STORE`.
    """
    entries = t.evidence_index
    with books.admin.read() as con:
        row = con.execute(every_entry().where(entries.c.evidence_seq == seq)).mappings().one_or_none()
    if row is None:
        raise missing(f"entry {seq}", "no such entry")
    if row["entry_hash"] != right_hash(row) or row["object_key"] != key_of(row["sha256"]):
        raise tampered(f"entry {seq}", "an entry that is not as it was recorded")
    return objects(books).get(row["object_key"], row["object_version_id"])


def end_as_text(seq: int, entry: str | None) -> str:
    """How long the chain is, and its last entry."""
    return f"{seq} entries, {shortened(entry)}"


def shortened(value: Any) -> str:
    """The beginning of a digest, for people."""
    return f"{str(value)[:16]}…" if value else "none"


def every_entry() -> sa.Select[Any]:
    """Entries with their time as it is held: a type would refuse to read what is no time."""
    entries = t.evidence_index
    return sa.select(
        *(
            sa.type_coerce(column, sa.Text).label(column.name) if column is entries.c.recorded_at else column
            for column in entries.c
        )
    )


def right_hash(row: Any) -> str | None:
    """What an entry's hash must be; `None` where its row cannot be hashed."""
    try:
        return entry_hash(row)
    except TypeError:  # a float, which SQLite lets any column hold and `digest` refuses
        return None
