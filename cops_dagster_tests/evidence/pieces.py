"""Pieces of evidence, and what somebody who owns the file does to their index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cops_dagster.evidence import chain
from cops_dagster.evidence.chain import Piece
from cops_dagster.ledger.books import Books
from cops_dagster.stores import tables as t

TEXT = "text/plain"


def piece(number: int, subject: str = "2025-09") -> Piece:
    return Piece("note", "period", subject, TEXT, data=f"proof {number}".encode())


def add(books: Books, *pieces: Piece, run_id: str | None = None) -> list[int]:
    kept = chain.store(books, pieces)
    with books.admin.write() as con:
        return chain.index(con, books, kept, run_id=run_id)


def tamper(books: Books, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    """What somebody with the file does: the guards are triggers, and go first."""
    books.admin.close()
    with books.admin.engine.connect() as con:
        con.exec_driver_sql("PRAGMA query_only = OFF")
        for (name,) in con.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
            con.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            text, values = statement if isinstance(statement, tuple) else (statement, ())
            con.exec_driver_sql(text, values)
        con.exec_driver_sql("COMMIT")
    books.admin.close()


def rows(books: Books) -> list[dict[str, Any]]:
    with books.admin.read() as con:
        found = con.execute(sa.select(t.evidence_index).order_by(t.evidence_index.c.evidence_seq))
        return [dict(row) for row in found.mappings()]


def repair_head(books: Books) -> None:
    tamper(
        books,
        "UPDATE evidence_head SET (evidence_seq, entry_hash) = "
        "(SELECT evidence_seq, entry_hash FROM evidence_index ORDER BY evidence_seq DESC LIMIT 1)",
    )


def rebuild(books: Books, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Changes the entries, then makes every number, every hash and the head right again."""
    made = rows(books)
    change(made)
    prev = None
    for number, row in enumerate(made, start=1):
        row |= {"evidence_seq": number, "prev_hash": prev}
        prev = row["entry_hash"] = chain.entry_hash(row)
    tamper(books, "DELETE FROM evidence_index")
    with books.admin.write() as con:
        con.execute(sa.insert(t.evidence_index), made)
    repair_head(books)
