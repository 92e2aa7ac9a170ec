"""The Parquet that COPS makes of a delivered file which is none, and the proof that it made it.

Belongs here: an entry of the chain for every conversion, by which a row of `cur_read_file` may stand, and
rows that have none. Does not belong here: converting (`lake/convert.py`, `lake/mend.py`), which rows there
are (`ingestion/record.py`).
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.cur.schema import FAULT
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, documents
from cops_dagster.evidence.chain import Piece
from cops_dagster.evidence.standing import Finding
from cops_dagster.lake.kept import conversion
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t

KIND = "conversion"
UNPROVED = "a conversion that the chain knows"
NEXT = (
    "find out who wrote to `cur_read_file`: no command of COPS did; `cops materialize` of an open month makes"
    " the conversion anew, for a closed one restore the admin database from its backup"
)
REPLAY = (
    "it was made before schema 8, when none was proved; `cops evidence replay PERIOD` makes a closed month"
    " again from the delivered bytes"
)


def keep(con: sa.Connection, books: Books, delivery_id: str, position: int, sha256: str) -> None:
    """Puts into the chain that a delivered file was converted to these bytes, before their row is written.

    Raises:
        CopsError: `E-EVIDENCE-…`: what cannot be proved is not read.
    """
    cur_delivery_file = t.cur_delivery_file
    delivered = con.execute(
        sa.select(cur_delivery_file.c.sha256).where(
            cur_delivery_file.c.delivery_id == delivery_id, cur_delivery_file.c.position == position
        )
    ).scalar_one_or_none()
    document = {
        "delivery_id": delivery_id, "position": position, "delivered_sha256": delivered,
        "read_sha256": sha256,
    }  # fmt: skip
    proof = Piece(
        KIND,
        "delivery",
        _subject(delivery_id, position, sha256),
        "application/json",
        data=documents.document(document),
    )
    chain.keep(con, books, proof)


def _subject(delivery_id: str, position: int, sha256: str) -> str:
    """What an entry is about. Each file of a delivery has its own: none may be read in another's place."""
    return f"{delivery_id}/{position}/{sha256}"


def unproved(con: sa.Connection, books: Books) -> tuple[list[Finding], list[Finding]]:
    """Rows of `cur_read_file` that no entry of the chain knows: findings, and warnings.

    A warning is a converted delivery of which the chain knows nothing: before schema 8 none was proved.
    """
    conversions, deliveries, entries = t.cur_read_file, t.cur_delivery, t.evidence_index
    proved = set(con.execute(sa.select(entries.c.subject_id).where(entries.c.kind == KIND)).scalars())
    known = {subject.partition("/")[0] for subject in proved}
    findings: list[Finding] = []
    warnings: list[Finding] = []
    query = sa.select(conversions, deliveries.c.columns_json).join(
        deliveries, deliveries.c.delivery_id == conversions.c.delivery_id, isouter=True
    )
    for row in con.execute(query.order_by(conversions.c.delivery_id, conversions.c.position)):
        what = f"file read for delivery {row.delivery_id[:16]}"
        try:
            conversion(books.settings.home, row.path)
        except CopsError as problem:
            findings.append(Finding(0, what, problem.expected, problem.found, next_step=NEXT))
            continue
        if _subject(row.delivery_id, row.position, row.sha256) in proved:
            continue
        is_old = f'"{FAULT}"' in (row.columns_json or "") and row.delivery_id not in known
        found = f"sha256 {row.sha256[:12]}…"
        said = Finding(0, what, UNPROVED, found, next_step=REPLAY if is_old else NEXT)
        (warnings if is_old else findings).append(said)
    return findings, warnings
