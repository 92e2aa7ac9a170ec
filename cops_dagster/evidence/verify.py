"""The whole chain of evidence held against itself, its anchors, its objects and its signatures.

Belongs here: reading every entry anew, and what does not fit. Does not belong here: adding entries
(`evidence/chain.py`), what a finding means and what to do about it (`evidence/standing.py`), the month
behind a seal (`evidence/month_proof.py`). What an attacker may have written is read here: no type is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, standing
from cops_dagster.evidence.chain import (
    as_text,
    end_as_text,
    every_entry,
    objects,
    right_hash,
    shortened,
)
from cops_dagster.evidence.standing import Finding
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import Objects, Status, Stored


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
    times = [str(as_text(row["recorded_at"])) for row in rows]
    return [
        Finding(row["evidence_seq"], "time", f"{before} or later, as entry {row['evidence_seq'] - 1}", time)
        for row, before, time in zip(rows[1:], times, times[1:], strict=False)
        if time < before
    ]


def _lost(rows: Sequence[Any]) -> list[Finding]:
    """Restores of a backup: what was recorded after it is gone, and stays worth knowing."""
    return [
        Finding(
            row["evidence_seq"],
            "restored from a backup",
            "every entry that was ever anchored",
            f"those after entry {row['subject_id']} are lost, says {row['actor']}",
            next_step="nothing: it was said, and stays in the chain",
        )
        for row in rows
        if row["kind"] == "restored"
    ]


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
    locks = t.period_lock
    closed = con.execute(
        sa.select(locks.c.period_start, locks.c.seal_digest).where(locks.c.state == "closed")
    )
    return _Recorded(
        rows=con.execute(every_entry().order_by(t.evidence_index.c.evidence_seq)).mappings().all(),
        heads=con.execute(sa.select(t.evidence_head)).all(),
        seals=[(f"{row.period_start:%Y-%m}", row.seal_digest) for row in closed],
        about=None if period is None else _about(con, period),
        explained=standing.explained(con, at),
    )


def _about(con: sa.Connection, period: Period) -> _About:
    journal, shown, adjustments = t.publish_journal, t.cur_billing_head, t.adjustment
    runs = set(
        con.execute(sa.select(journal.c.run_id).where(journal.c.period_start == period.start)).scalars()
    )
    deliveries = con.execute(
        sa.select(shown.c.delivery_id).where(shown.c.period_start == period.start)
    ).scalars()
    about = con.execute(
        sa.select(adjustments.c.adjustment_id).where(adjustments.c.usage_period_start == period.start)
    ).scalars()
    subjects = {("period", str(period))} | {("run", one) for one in runs}
    subjects |= {("delivery", one) for one in deliveries} | {("adjustment", one) for one in about}
    return _About(subjects, runs)


def _chain(rows: Sequence[Any], heads: Sequence[Any]) -> list[Finding]:
    found: list[Finding] = []
    seq, prev, version = 0, None, chain.VERSIONS[0]
    for row in rows:
        found += _entry(row, seq + 1, prev, version)
        seq, prev = row["evidence_seq"], row["entry_hash"]
        version = row["hash_version"] if row["hash_version"] in chain.VERSIONS else version
    recorded = [(head.head_id, head.evidence_seq, head.entry_hash) for head in heads]
    if recorded != ([(1, len(rows), prev)] if rows else []):
        expected = "; ".join(end_as_text(*head[1:]) for head in recorded) or end_as_text(0, None)
        found.append(Finding(0, "recorded length and head", expected, end_as_text(len(rows), prev)))
    return found


def _entry(row: Any, number: int, prev: str | None, version: int) -> list[Finding]:
    """What is wrong with one entry, given the number, hash and version that the one before leaves it."""
    seq, found = row["evidence_seq"], []
    if seq != number:
        found.append(Finding(seq, "number", str(number), str(seq)))
    if row["hash_version"] not in chain.VERSIONS or row["hash_version"] < version:
        found.append(Finding(seq, "hash version", f"{version} or a newer one", str(row["hash_version"])))
    if row["prev_hash"] != prev:
        found.append(Finding(seq, "hash of the entry before", shortened(prev), shortened(row["prev_hash"])))
    right = right_hash(row)
    if right is None or row["entry_hash"] != right:
        found.append(Finding(seq, "hash of the entry", shortened(right), shortened(row["entry_hash"])))
    return found


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
            found.append(Finding(0, f"seal of {period}", shortened(seal), "no entry"))
        elif row["evidence_seq"] > reach:
            seq, cut_short = row["evidence_seq"], standing.was_cut_short(at, period, _stored(row))
            found.append(
                Finding(
                    seq,
                    f"anchor of {period}",
                    f"one at entry {seq} or later",
                    f"none yet: its close was cut short, `cops close {period}` writes it"
                    if cut_short
                    else "none, though the month was closed with one: restore the store from its copy",
                    "incomplete",
                )
            )
    return found
