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
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cops_dagster.errors import CopsError
from cops_dagster.evidence import standing
from cops_dagster.evidence.standing import Finding
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest, encoded
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.objects import Objects, Status, Stored, key_of, missing, open_objects, tampered

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


@dataclass(frozen=True)
class Verification:
    """Outcome of a verification. Incomplete is not clean: it could not read everything.

    Attributes:
        warnings: what is odd and proves nothing, such as times that go back.
    """

    status: Status
    entries: int
    objects: int
    findings: list[Finding]
    warnings: list[Finding] = field(default_factory=list)

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return {"ok": "", "incomplete": standing.RESTORE, "mismatch": standing.OTHER_CHAIN}[self.status]


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
    h, e = t.evidence_head, t.evidence_index
    seq, prev = _end(con)
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
        if seq == 1:
            con.execute(sa.insert(h).values(head_id=1, evidence_seq=seq, entry_hash=prev))
        else:
            con.execute(sa.update(h).where(h.c.head_id == 1).values(evidence_seq=seq, entry_hash=prev))
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
    h, e = t.evidence_head, t.evidence_index
    head = con.execute(sa.select(h).where(h.c.head_id == 1).with_for_update()).one_or_none()
    last = con.execute(
        sa.select(e.c.evidence_seq, e.c.entry_hash).order_by(e.c.evidence_seq.desc()).limit(1)
    ).one_or_none()
    recorded = (head.evidence_seq, head.entry_hash) if head else (0, None)
    there = (last.evidence_seq, last.entry_hash) if last else (0, None)
    if recorded != there:
        raise CopsError(
            "E-EVIDENCE-TAMPERED", "the chain of evidence", expected=_end_as_text(*recorded),
            found=_end_as_text(*there), next_step="stop: run `cops evidence verify`",
        )  # fmt: skip
    return there


def entry_hash(values: Mapping[Any, Any]) -> str:
    """SHA-256 over an entry's bound columns, each length-prefixed."""
    return digest(*_hashed(values))


def entry_bytes(values: Mapping[Any, Any]) -> bytes:
    """The bytes whose SHA-256 is an entry's hash."""
    return encoded(*_hashed(values))


def _hashed(values: Mapping[Any, Any]) -> list[Any]:
    return ["evidence", *(values[name] for name in _BOUND), _as_text(values["recorded_at"])]


def _as_text(moment: Any) -> Any:
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
    e = t.evidence_index
    return con.execute(
        sa.select(e)
        .where(e.c.kind == kind, e.c.subject_type == subject_type, e.c.subject_id == subject_id)
        .order_by(e.c.evidence_seq.desc())
        .limit(1)
    ).one_or_none()


def recorded_at(con: sa.Connection, seq: int) -> datetime:
    """When an entry was recorded."""
    e = t.evidence_index
    found: datetime = con.execute(sa.select(e.c.recorded_at).where(e.c.evidence_seq == seq)).scalar_one()
    return found


def read(books: Books, seq: int) -> bytes:
    """The bytes of an entry's object, if entry and bytes are those recorded.

    Raises:
        CopsError: `E-EVIDENCE-MISSING`, `E-EVIDENCE-TAMPERED`, `E-EVIDENCE-STORE`.
    """
    e = t.evidence_index
    with books.admin.read() as con:
        row = con.execute(_entries().where(e.c.evidence_seq == seq)).mappings().one_or_none()
    if row is None:
        raise missing(f"entry {seq}", "no such entry")
    if row["entry_hash"] != _right_hash(row) or row["object_key"] != key_of(row["sha256"]):
        raise tampered(f"entry {seq}", "an entry that is not as it was recorded")
    return objects(books).get(row["object_key"], row["object_version_id"])


def entries(books: Books, con: sa.Connection, period: Period) -> tuple[list[dict[str, Any]], set[int]]:
    """Every entry of the chain in order, and the numbers of those that are about a period."""
    recorded = _recorded(con, period, objects(books))
    assert recorded.about is not None
    about = {row["evidence_seq"] for row in recorded.rows if recorded.about.covers(row)}
    return [dict(row) for row in recorded.rows], about


def verify(books: Books, period: Period | None = None, *, objects_too: bool = True) -> Verification:
    """Verifies the whole chain, and every object of it or of one period.

    Args:
        objects_too: read the objects; without, chain, anchors and seals alone.

    Returns:
        ok, or mismatch (something is not what was recorded), or incomplete (something cannot be read).
    """
    at = objects(books)
    # before the entries: a head that is anchored while this reads must not look like a cut chain
    anchors, findings = _anchors(at)
    try:
        with books.admin.read() as con:
            recorded = _recorded(con, period, at)
    except (CopsError, DBAPIError, ValueError) as problem:
        said = problem.code if isinstance(problem, CopsError) else type(problem).__name__
        found = Finding(0, "entries", "rows that can be read", said, "incomplete")
        return Verification("incomplete", 0, 0, [*findings, found])
    rows = recorded.rows
    anchors = [one for one in anchors if one not in recorded.explained]
    findings += [*_chain(rows, recorded.heads), *_anchored(rows, anchors)]
    checked = [row for row in rows if recorded.about is None or recorded.about.covers(row)]
    checked = checked if objects_too else []
    verdicts: dict[Stored, tuple[Status, str]] = {}  # many entries share one object, such as a rule set
    for row in checked:
        stored = _stored(row)
        if stored not in verdicts:
            verdicts[stored] = at.verify(stored)
    gone = standing.store_is_gone(list(verdicts.values()), books.settings.evidence_uri, len(checked))
    findings += (
        [gone] if gone and len(verdicts) > 1 else [*_sealed(recorded, at), *_objects(checked, verdicts)]
    )
    findings += _signatures(books, period)
    statuses = {finding.status for finding in findings}
    worst: Status = "mismatch" if "mismatch" in statuses else "incomplete" if statuses else "ok"
    return Verification(worst, len(rows), len(verdicts), findings, [*_clock(rows), *_lost(rows)])


def _signatures(books: Books, period: Period | None) -> list[Finding]:
    """What is wrong with signed decisions; what cannot be read of them is not clean."""
    from cops_dagster.evidence import signatures  # which keeps its signatures in this chain

    try:
        return signatures.verify(books, period)
    except (CopsError, DBAPIError, ValueError, TypeError) as problem:
        said = problem.code if isinstance(problem, CopsError) else type(problem).__name__
        return [Finding(0, "signatures", "decisions and signatures that can be read", said, "incomplete")]


def _objects(rows: Sequence[Any], verdicts: Mapping[Stored, tuple[Status, str]]) -> list[Finding]:
    found = []
    for row in rows:
        status, there = verdicts[_stored(row)]
        if status != "ok":
            what = f"object of {row['kind']} {str(row['subject_id'])[:16]}"
            found.append(Finding(row["evidence_seq"], what, f"{row['size_bytes']} bytes", there, status))
    return found


def _stored(row: Any) -> Stored:
    return Stored(str(row["object_key"]), str(row["sha256"]), row["size_bytes"], row["object_version_id"])


def _clock(rows: Sequence[Any]) -> list[Finding]:
    """Entries recorded earlier than the one before: a clock that was put back, or a time made up."""
    times = [str(_as_text(row["recorded_at"])) for row in rows]
    return [
        Finding(row["evidence_seq"], "time", f"{before} or later, as entry {row['evidence_seq'] - 1}", time)
        for row, before, time in zip(rows[1:], times, times[1:], strict=False)
        if time < before
    ]


def _lost(rows: Sequence[Any]) -> list[Finding]:
    """Restores of a backup: what was recorded after it is gone, and stays worth knowing."""
    return [
        Finding(
            row["evidence_seq"], "restored from a backup", "every entry that was ever anchored",
            f"those after entry {row['subject_id']} are lost, says {row['actor']}",
            next_step="nothing: it was said, and stays in the chain",
        )
        for row in rows if row["kind"] == "restored"
    ]  # fmt: skip


@dataclass(frozen=True)
class _About:
    """What belongs to a period: itself, its runs, its sealed deliveries, the adjustments about it."""

    subjects: set[tuple[str, str]]
    runs: set[str]

    def covers(self, row: Any) -> bool:
        return (row["subject_type"], row["subject_id"]) in self.subjects or row["run_id"] in self.runs


@dataclass(frozen=True)
class _Recorded:
    """What the database says of the evidence, in one snapshot."""

    rows: Sequence[Any]
    heads: Sequence[Any]
    seals: Sequence[tuple[str, str | None]]
    about: _About | None
    explained: set[tuple[int, str]]


def _recorded(con: sa.Connection, period: Period | None, at: Objects) -> _Recorded:
    p = t.period_lock
    closed = con.execute(sa.select(p.c.period_start, p.c.seal_digest).where(p.c.state == "closed"))
    return _Recorded(
        rows=con.execute(_entries().order_by(t.evidence_index.c.evidence_seq)).mappings().all(),
        heads=con.execute(sa.select(t.evidence_head)).all(),
        seals=[(f"{row.period_start:%Y-%m}", row.seal_digest) for row in closed],
        about=None if period is None else _about(con, period),
        explained=standing.explained(con, at),
    )


def _entries() -> sa.Select[Any]:
    """Entries with their time as it is held: a type would refuse to read what is no time."""
    e = t.evidence_index
    return sa.select(
        *(
            sa.type_coerce(column, sa.Text).label(column.name) if column is e.c.recorded_at else column
            for column in e.c
        )
    )


def _about(con: sa.Connection, period: Period) -> _About:
    j, h, a = t.publish_journal, t.cur_billing_head, t.adjustment
    runs = set(con.execute(sa.select(j.c.run_id).where(j.c.period_start == period.start)).scalars())
    deliveries = con.execute(sa.select(h.c.delivery_id).where(h.c.period_start == period.start)).scalars()
    about = con.execute(sa.select(a.c.adjustment_id).where(a.c.usage_period_start == period.start)).scalars()
    subjects = {("period", str(period))} | {("run", one) for one in runs}
    subjects |= {("delivery", one) for one in deliveries} | {("adjustment", one) for one in about}
    return _About(subjects, runs)


def _chain(rows: Sequence[Any], heads: Sequence[Any]) -> list[Finding]:
    found: list[Finding] = []
    seq, prev, version = 0, None, VERSIONS[0]
    for row in rows:
        found += _entry(row, seq + 1, prev, version)
        seq, prev = row["evidence_seq"], row["entry_hash"]
        version = row["hash_version"] if row["hash_version"] in VERSIONS else version
    recorded = [(head.head_id, head.evidence_seq, head.entry_hash) for head in heads]
    if recorded != ([(1, len(rows), prev)] if rows else []):
        expected = "; ".join(_end_as_text(*head[1:]) for head in recorded) or _end_as_text(0, None)
        found.append(Finding(0, "recorded length and head", expected, _end_as_text(len(rows), prev)))
    return found


def _entry(row: Any, number: int, prev: str | None, version: int) -> list[Finding]:
    """What is wrong with one entry, given the number, hash and version that the one before leaves it."""
    seq, found = row["evidence_seq"], []
    if seq != number:
        found.append(Finding(seq, "number", str(number), str(seq)))
    if row["hash_version"] not in VERSIONS or row["hash_version"] < version:
        found.append(Finding(seq, "hash version", f"{version} or a newer one", str(row["hash_version"])))
    if row["prev_hash"] != prev:
        found.append(Finding(seq, "hash of the entry before", _short(prev), _short(row["prev_hash"])))
    right = _right_hash(row)
    if right is None or row["entry_hash"] != right:
        found.append(Finding(seq, "hash of the entry", _short(right), _short(row["entry_hash"])))
    return found


def _right_hash(row: Any) -> str | None:
    try:
        return entry_hash(row)
    except TypeError:  # a float, which SQLite lets any column hold and `digest` refuses
        return None


def _anchors(at: Objects) -> tuple[list[tuple[int, str]], list[Finding]]:
    try:
        return at.anchors(), []
    except CopsError as problem:
        return [], [Finding(0, "anchors", "anchors that can be read", problem.found, "incomplete")]


def _anchored(rows: Sequence[Any], anchors: Sequence[tuple[int, str]]) -> list[Finding]:
    return standing.anchored({row["evidence_seq"]: row["entry_hash"] for row in rows}, anchors)


def _sealed(recorded: _Recorded, at: Objects) -> list[Finding]:
    """Every closed period has its seal in the chain, and an anchor behind it: else one was taken away."""
    found = []
    # listed anew: a period that was closed since the first listing has its anchor by now
    there = _anchors(at)[0] if recorded.seals else []
    reach = max((one[0] for one in there if one not in recorded.explained), default=0)
    entries = {(row["kind"], row["subject_id"], row["sha256"]): row for row in recorded.rows}
    for period, seal in recorded.seals:
        row = entries.get(("seal", period, seal))
        if row is None:
            found.append(Finding(0, f"seal of {period}", _short(seal), "no entry"))
        elif row["evidence_seq"] > reach:
            seq, cut_short = row["evidence_seq"], standing.was_cut_short(at, period, _stored(row))
            found.append(
                Finding(
                    seq, f"anchor of {period}", f"one at entry {seq} or later",
                    f"none yet: its close was cut short, `cops close {period}` writes it" if cut_short
                    else "none, though the month was closed with one: restore the store from its copy",
                    "incomplete",
                )
            )  # fmt: skip
    return found


def _end_as_text(seq: int, entry: str | None) -> str:
    return f"{seq} entries, {_short(entry)}"


def _short(value: Any) -> str:
    return f"{str(value)[:16]}…" if value else "none"
