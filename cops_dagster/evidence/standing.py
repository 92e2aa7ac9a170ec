"""Whether the evidence store is the one that these books wrote to: asked before anything is written there.

Belongs here: the quick look that every act can afford (anchors, the first and the newest object, the newest
seal). Does not belong here: verifying all of it (`evidence/chain.py`). An empty store agrees with anything,
and so would the next anchor in it: what the database knows must be there decides, not what is found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import Objects, Status, Stored

RESTORE = (
    "correct COPS_EVIDENCE or the rights on it, or restore the store from its copy; no command writes into it"
    " meanwhile, then: cops evidence verify"
)
OTHER_CHAIN = (
    "stop: COPS_EVIDENCE names another home's store, or the database is older than it; restore what is"
    " older, then: cops evidence verify. No newer copy exists: cops evidence restored --reason …"
)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was recorded; `seq` is the entry's number, 0 for the chain itself.

    `next_step` is set where it is not the chain's own (`RESTORE`, `OTHER_CHAIN`).
    """

    seq: int
    what: str
    expected: str
    found: str
    status: Status = "mismatch"
    next_step: str = ""


def look(con: sa.Connection, at: Objects, place: str) -> list[Finding]:
    """What shows at once that the store is not the one of this chain; nothing for a chain without entries.

    A seal whose close was cut short before its anchor is none of it: `cops close` finishes that.
    """
    entries, locks = t.evidence_index, t.period_lock
    try:
        said = explained(con, at)
        anchors = [one for one in at.anchors() if one not in said]
    except CopsError as problem:
        return [Finding(0, "anchors", "anchors that can be read", problem.found, "incomplete")]
    ends = con.execute(
        sa.select(sa.func.min(entries.c.evidence_seq), sa.func.max(entries.c.evidence_seq))
    ).one()
    seals = con.execute(
        sa.select(entries, locks.c.period_start)
        .join(locks, sa.and_(entries.c.kind == "seal", entries.c.sha256 == locks.c.seal_digest))
        .where(locks.c.state == "closed")
        .order_by(entries.c.evidence_seq)
    ).all()
    # no empty list is asked for: SQLAlchemy then looks for its ORM, which another thread may be importing
    known = [one for one in ends if one]
    probes = con.execute(sa.select(entries).where(entries.c.evidence_seq.in_(known))).all() if known else []
    hashes: dict[int, str] = {
        row.evidence_seq: row.entry_hash
        for seqs in ([seq for seq, _ in anchors],)
        if seqs
        for row in con.execute(
            sa.select(entries.c.evidence_seq, entries.c.entry_hash).where(entries.c.evidence_seq.in_(seqs))
        )
    }
    found = anchored(hashes, anchors)
    probed = [(row, at.verify(_stored(row))) for row in [*probes, *seals[-1:]]]
    if gone := store_is_gone([verdict for _, verdict in probed], place, int(ends[1] or 0)):
        return [gone]
    found += [
        Finding(row.evidence_seq, f"object of {row.kind}", f"{row.size_bytes} bytes", said, status)
        for row, (status, said) in probed
        if status != "ok"
    ]
    reach = max((seq for seq, _ in anchors), default=0)
    found += [
        Finding(
            row.evidence_seq,
            f"anchor of {row.period_start:%Y-%m}",
            "the one it was closed with",
            "none",
            "incomplete",
        )
        for row in seals
        if row.evidence_seq > reach and not was_cut_short(at, f"{row.period_start:%Y-%m}", _stored(row))
    ]
    return found


def store_is_gone(verdicts: Sequence[tuple[Status, str]], place: str, entries: int) -> Finding | None:
    """One finding in the place of one per object, when no object can be read."""
    if not verdicts or any(status != "incomplete" for status, _ in verdicts):
        return None
    return Finding(
        0,
        f"the store {place}",
        f"the objects of {entries} entries",
        f"none of them ({verdicts[0][1]}): it is gone, empty or another one",
        "incomplete",
    )


def explained(con: sa.Connection, at: Objects) -> set[tuple[int, str]]:
    """Anchors of entries that a restored backup lost, as a person said (`evidence/restored.py`).

    Raises:
        CopsError: what `Objects.get` raises.
    """
    entries = t.evidence_index
    rows = con.execute(
        sa.select(entries.c.object_key, entries.c.object_version_id).where(entries.c.kind == "restored")
    ).all()
    return {
        (int(seq), str(entry))
        for row in rows
        for seq, entry in json.loads(at.get(row.object_key, row.object_version_id))["lost_anchors"]
    }


def anchored(hashes: dict[int, Any], anchors: Sequence[tuple[int, str]]) -> list[Finding]:
    """Anchors that the chain does not have: it was cut or rebuilt, or they are another chain's."""
    return [
        Finding(seq, "anchor", _short(anchor), _short(hashes.get(seq)))
        for seq, anchor in anchors
        if hashes.get(seq) != anchor
    ]


def was_cut_short(at: Objects, period: str, seal: Stored) -> bool:
    """Whether a missing anchor was never written: the seal lies there and has no name yet.

    The name is given after the anchor, so a named seal had one.
    """
    try:
        at.named(f"seal-{period}")
    except CopsError as problem:
        return problem.code == "E-EVIDENCE-MISSING" and at.verify(seal)[0] == "ok"
    return False


def require(con: sa.Connection, at: Objects, place: str) -> None:
    """Refuses a store that is not the one of this chain.

    Raises:
        CopsError: `E-EVIDENCE-TAMPERED` for other bytes or another chain's anchors, `E-EVIDENCE-MISSING` for
            what is not there.
    """
    found = look(con, at, place)
    if not found:
        return
    is_other = any(one.status == "mismatch" for one in found)
    worst = next((one for one in found if one.status == "mismatch"), found[0])
    raise CopsError(
        "E-EVIDENCE-TAMPERED" if is_other else "E-EVIDENCE-MISSING",
        f"evidence store {place}",
        expected=f"{worst.what}: {worst.expected}",
        found=worst.found,
        next_step=OTHER_CHAIN if is_other else RESTORE,
    )


def _stored(row: Any) -> Stored:
    return Stored(row.object_key, row.sha256, row.size_bytes, row.object_version_id)


def _short(value: Any) -> str:
    return f"{str(value)[:16]}…" if value else "none"
