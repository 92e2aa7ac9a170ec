"""A database that was restored from a backup: the entries since are lost, and a person says so.

Belongs here: saying it, with the anchors that it explains. Does not belong here: finding anchors that the
chain does not have (`evidence/standing.py`). Only a chain that ends early and is otherwise whole is
explained.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from cops_dagster.errors import CopsError, require_said
from cops_dagster.evidence import chain, documents, seal, verify
from cops_dagster.evidence.chain import Kept, Piece
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import Objects, key_of


@dataclass(frozen=True)
class Restored:
    """Outcome: where the restored chain ended, and the newest entry that an anchor knew."""

    ended_at: int
    reached: int


def accept(books: Books, reason: str) -> Restored:
    """Records that the database was restored and what was lost with it; the chain goes on from there.

    Raises:
        CopsError: `E-PARAM` without a reason; `E-EVIDENCE-TAMPERED` when the chain is not just shorter than
            its anchors, or a close was lost: that needs a backup made after it.
    """
    require_said(
        reason,
        subject="reason",
        expected="which backup was restored, and why",
        next_step="add --reason '…'; it stands in the chain for ever",
    )
    at = chain.objects(books)
    verified = verify.verify(books)
    ahead = [one for one in verified.findings if one.what == "anchor" and one.seq > verified.entries]
    others = [one for one in verified.findings if one not in ahead]
    _require(not others, "a chain that is whole but for its end", others[0].what if others else "")
    _require(bool(ahead), "anchors beyond the end of the chain", "none: nothing was lost")
    for period in _lost_closes(books, at):
        _require(
            holds=False, expected="a backup made after every close", found=f"the close of {period} is lost"
        )
    lost = [(one.seq, entry) for one in ahead for seq, entry in at.anchors() if seq == one.seq]
    content = {"ended_at": verified.entries, "lost_anchors": lost, "reason": reason.strip()}
    piece = Piece(
        "restored", "chain", str(verified.entries), "application/json", data=documents.document(content)
    )
    kept = Kept(piece, at.put(piece.data or b""))
    with books.admin.write() as con:
        chain.index(con, books, [kept])
    chain.anchor(books)
    return Restored(verified.entries, max(seq for seq, _ in lost))


def _require(holds: bool, expected: str, found: str) -> None:
    if not holds:
        raise CopsError(
            "E-EVIDENCE-TAMPERED",
            "the restored database",
            expected=expected,
            found=found,
            next_step="stop: run `cops evidence verify`, or restore a newer backup",
        )


def _lost_closes(books: Books, at: Objects) -> list[str]:
    """Months whose seal has its name in the store, and no entry in the chain."""
    with books.admin.read() as con:
        entries = t.evidence_index
        seals = set(con.execute(sa.select(entries.c.sha256).where(entries.c.kind == "seal")).scalars())
        periods = month.known(con)
    found = []
    for period in periods:
        try:
            named = at.named(seal.name_of(period))
        except CopsError as problem:
            if problem.code != "E-EVIDENCE-MISSING":
                raise
            continue
        if named not in {key_of(sha256) for sha256 in seals}:
            found.append(str(period))
    return found
