"""What people decided, as entries of the evidence chain, in the transaction of the act itself.

Belongs here: the shape of such an entry. Does not belong here: the acts (they call `keep` after their row is
written), and comparing rows with entries, which reads this shape back.

An entry has the kind `decision`; its subject is the table and the key of the row (parts joined by `/`); its
document is the row as the database holds it, `{"table": …, "row": {column: text or null}}`, in sorted JSON.
The newest entry about a row says what the row must be. Rows that were written before there were such entries
have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cops_dagster.evidence import chain, documents
from cops_dagster.evidence.chain import Piece
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount

KIND = "decision"
SETTLED_BY = "cops"
"""Who is named where a reconciliation settles a difference by itself: that is no decision of a person."""

NOT_DECIDED: Mapping[str, frozenset[str]] = {
    "recon_exceptions": frozenset({"withdrawn_at", "withdrawn_recon_seq"}),
}
"""Columns that change without a person, so that a document does not bind them."""


def keep(con: sa.Connection, books: Books, table: sa.Table, *key: Any) -> int:
    """Puts a row that was just written into the chain, as the database holds it; the entry's number.

    Raises:
        CopsError: `E-EVIDENCE-…`: what cannot be proved is not done.
    """
    columns = zip(table.primary_key.columns, key, strict=True)
    row = con.execute(sa.select(table).where(*(column == value for column, value in columns))).one()
    piece = Piece(KIND, table.name, subject_of(key), "application/json", data=document(table, row))
    return chain.keep(con, books, piece)


def subject_of(key: tuple[Any, ...]) -> str:
    """The subject of an entry about the row with this key."""
    return "/".join(_as_text(part) or "" for part in key)


def document(table: sa.Table, row: Any) -> bytes:
    """The canonical document of a row."""
    values = row._mapping
    bound = [column.name for column in table.columns if column.name not in NOT_DECIDED.get(table.name, ())]
    return documents.document(
        {"table": table.name, "row": {name: _as_text(values[name]) for name in sorted(bound)}}
    )


def _as_text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case Decimal():
            return amount.to_text(amount.from_decimal(value))
        case datetime():
            return value.isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
        case _:
            return str(value)
