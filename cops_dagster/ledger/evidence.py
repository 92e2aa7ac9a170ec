"""The chain of evidence: which object proves what, each entry hashed over the one before.

Belongs here: storing documents, indexing them in the transaction they prove, verifying all of it. Does not
belong here: what a run's documents say (`ledger/certificate.py`), where bytes lie (`stores/objects.py`).

Bytes are stored before the transaction, since an index entry without its object would be a lie; an object
without an entry is only unused. The chain is tamper *evidence*: whoever owns the database, the store and the
anchors can rewrite all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.objects import Objects, Status, Stored, open_objects

HASH_VERSION = 1
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


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was recorded; `seq` is the entry's number, 0 for the chain itself."""

    seq: int
    what: str
    expected: str
    found: str
    status: Status = "mismatch"


@dataclass(frozen=True)
class Verification:
    """Outcome of a verification. Incomplete is not clean: it could not read everything."""

    status: Status
    entries: int
    objects: int
    findings: list[Finding]


def objects(books: Books) -> Objects:
    """The evidence store of these books."""
    return open_objects(books.settings.evidence_uri)


def store(books: Books, pieces: Sequence[Piece]) -> list[Kept]:
    """Puts the bytes of every piece into the store, in order."""
    at = objects(books)
    return [
        Kept(piece, at.put_file(piece.path) if piece.path is not None else at.put(piece.data or b""))
        for piece in pieces
    ]


def index(con: sa.Connection, books: Books, kept: Sequence[Kept], run_id: str | None = None) -> list[int]:
    """Appends to the chain within the caller's write transaction; the entries' numbers, in order.

    What is indexed already for the same subject keeps its number: proving twice adds nothing.
    """
    h, e = t.evidence_head, t.evidence_index
    head = con.execute(sa.select(h).with_for_update()).one_or_none()
    seq, prev = (head.evidence_seq, head.entry_hash) if head else (0, None)
    numbers = []
    for one in kept:
        piece = one.piece
        known = con.execute(
            sa.select(e.c.evidence_seq).where(
                e.c.kind == piece.kind, e.c.subject_type == piece.subject_type,
                e.c.subject_id == piece.subject_id, e.c.sha256 == one.sha256,
            )
        ).scalar()  # fmt: skip
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
        con.execute(sa.insert(e).values(**values, entry_hash=prev))
        numbers.append(seq)
    if head is None and prev is not None:
        con.execute(sa.insert(h).values(head_id=1, evidence_seq=seq, entry_hash=prev))
    elif head is not None and seq != head.evidence_seq:
        con.execute(sa.update(h).values(evidence_seq=seq, entry_hash=prev))
    return numbers


def entry_hash(values: Any) -> str:
    """SHA-256 over an entry's bound columns, each length-prefixed."""
    recorded: datetime = values["recorded_at"]
    return digest("evidence", *(values[name] for name in _BOUND), recorded.isoformat(timespec="microseconds"))


def anchor(books: Books) -> None:
    """Writes the chain's head down in the evidence store: a shorter or rebuilt chain shows against it."""
    with books.admin.read() as con:
        head = con.execute(sa.select(t.evidence_head)).one_or_none()
    if head is not None:
        objects(books).anchor(head.evidence_seq, head.entry_hash)


def find(con: sa.Connection, kind: str, subject_type: str, subject_id: str) -> Any:
    """The newest entry of a kind about a subject, or `None`."""
    e = t.evidence_index
    return con.execute(
        sa.select(e)
        .where(e.c.kind == kind, e.c.subject_type == subject_type, e.c.subject_id == subject_id)
        .order_by(e.c.evidence_seq.desc())
        .limit(1)
    ).one_or_none()


def read(books: Books, seq: int) -> bytes:
    """The bytes of an entry's object. Raises `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`."""
    e = t.evidence_index
    with books.admin.read() as con:
        row = con.execute(sa.select(e).where(e.c.evidence_seq == seq)).one()
    return objects(books).get(row.object_key, row.object_version_id)


def verify(books: Books, period: Period | None = None) -> Verification:
    """Verifies the whole chain, and every object of it or of one period.

    Returns:
        ok, or mismatch (something is not what was recorded), or incomplete (something cannot be read).
    """
    e = t.evidence_index
    with books.admin.read() as con:
        rows = con.execute(sa.select(e).order_by(e.c.evidence_seq)).mappings().all()
        head = con.execute(sa.select(t.evidence_head)).one_or_none()
        about = None if period is None else _subjects(con, period)
    at = objects(books)
    findings = [*_chain(rows, head), *_anchored(rows, at)]
    checked = [row for row in rows if about is None or (row["subject_type"], row["subject_id"]) in about]
    for row in checked:
        status, found = at.verify(
            Stored(row["object_key"], row["sha256"], row["size_bytes"], row["object_version_id"])
        )
        if status != "ok":
            what = f"object of {row['kind']} {row['subject_id'][:16]}"
            findings.append(Finding(row["evidence_seq"], what, f"{row['size_bytes']} bytes", found, status))
    statuses = {finding.status for finding in findings}
    status = "mismatch" if "mismatch" in statuses else "incomplete" if statuses else "ok"
    return Verification(status, len(rows), len(checked), findings)


def _chain(rows: Sequence[Any], head: Any) -> list[Finding]:
    found, prev, version = [], None, HASH_VERSION
    for expected, row in enumerate(rows, start=1):
        seq = row["evidence_seq"]
        if seq != expected:
            found.append(Finding(seq, "number", str(expected), str(seq)))
            break
        if row["hash_version"] != version:
            found.append(Finding(seq, "hash version", str(version), str(row["hash_version"])))
        if row["prev_hash"] != prev:
            found.append(Finding(seq, "hash of the entry before", _short(prev), _short(row["prev_hash"])))
        right = entry_hash(row)
        if row["entry_hash"] != right:
            found.append(Finding(seq, "hash of the entry", _short(right), _short(row["entry_hash"])))
        if not str(row["object_key"]).endswith(f"/{row['sha256']}"):
            found.append(Finding(seq, "key of the object", row["sha256"][:16], str(row["object_key"])))
        prev = row["entry_hash"]
    recorded = (head.evidence_seq, head.entry_hash) if head else (0, None)
    if recorded != (len(rows), prev):
        found.append(
            Finding(
                0, "recorded length and head", f"{recorded[0]} entries, {_short(recorded[1])}",
                f"{len(rows)} entries, {_short(prev)}",
            )
        )  # fmt: skip
    return found


def _anchored(rows: Sequence[Any], at: Objects) -> list[Finding]:
    try:
        anchors = at.anchors()
    except OSError as problem:
        return [Finding(0, "anchors", "anchors that can be read", str(problem.strerror), "incomplete")]
    hashes = {row["evidence_seq"]: row["entry_hash"] for row in rows}
    return [
        Finding(seq, "anchor", _short(anchored), _short(hashes.get(seq)))
        for seq, anchored in anchors
        if hashes.get(seq) != anchored
    ]


def _short(value: str | None) -> str:
    return f"{value[:16]}…" if value else "none"


def _subjects(con: sa.Connection, period: Period) -> set[tuple[str, str]]:
    """What belongs to a period: itself, its runs, its sealed deliveries, the adjustments about it."""
    j, h, a = t.publish_journal, t.cur_billing_head, t.adjustment
    runs = con.execute(sa.select(j.c.run_id).where(j.c.period_start == period.start)).scalars()
    deliveries = con.execute(sa.select(h.c.delivery_id).where(h.c.period_start == period.start)).scalars()
    about = con.execute(sa.select(a.c.adjustment_id).where(a.c.usage_period_start == period.start)).scalars()
    return (
        {("period", str(period))}
        | {("run", one) for one in runs}
        | {("delivery", one) for one in deliveries}
        | {("adjustment", one) for one in about}
    )
