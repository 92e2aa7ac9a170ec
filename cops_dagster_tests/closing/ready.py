"""A month that can be closed, for the tests of closing and of what comes after."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.closing import approve, close
from cops_dagster.closing.close import Closed
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions
from cops_dagster.reconciliation.exceptions import Exceptional
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, home, lines, run, write

DOCUMENTS = {
    "aws_invoices": (
        "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
        "I-1,2025-09,111111111111,INVOICE,USD,40.81,0.07\n"
    ),
    "invoice_detail": (
        "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-1,acme,2025-09,14.10,USD,issued,invoice\nT-2,globex,2025-09,28.21,USD,issued,invoice\n"
    ),
}
"""What AWS and Commercial-Ops invoiced for `MONTH` of September."""


def aged(root: Path, when: datetime = datetime(2025, 10, 9, tzinfo=UTC)) -> None:
    """Lets every file below `root` have been delivered at `when`."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (when.timestamp(), when.timestamp()))


def ready(folder: Path, **overrides: object) -> Books:
    """Open books over a September of which everything on the readiness list holds."""
    write(folder / "cur", [lines(MONTH)])
    aged(folder / "cur")
    books = home(folder, inputs=INPUTS | DOCUMENTS, **overrides)
    run(books)
    return books


def month(folder: Path, text: str, *, period: Period = SEPTEMBER, assembly: str) -> None:
    """Delivers a month's lines, as old as the others."""
    write(folder / "cur", [lines(text, period)], period=period, assembly=assembly)
    aged(folder / "cur")


def another(books: Books, name: str = "second") -> Books:
    """The same books as another person uses them."""
    return replace(books, settings=books.settings.model_copy(update={"actor": name}))


def close_by_two(books: Books, period: Period = SEPTEMBER) -> Closed:
    """Closes a month as two people do: one asks, another agrees; what is closed already is an answer."""
    try:
        return close.close(books, period)
    except CopsError as asked:
        if asked.code != "E-SECOND-PERSON":
            raise
    done = approve.approve(another(books), f"close-{period}", reason="looked at the list")
    return replace(close.close(books, period), wrote=done.was_new)


def unresolved(con: sa.Connection, period: Period) -> list[Exceptional]:
    """Current exceptions that still wait for a decision or for its approval."""
    return [one for one in exceptions.current(con, period) if one.status in ("open", "decided")]
