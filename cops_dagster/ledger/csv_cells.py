"""CSV that a spreadsheet may open: text that looks like a formula is text, numbers stay numbers.

Belongs here: the guard against formula injection, on what COPS writes for people. Does not belong here:
CSV that COPS reads (`ledger/frames.py`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import IO

from cops_dagster.money import amount

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def cell(value: object) -> str:
    """A value as a CSV cell. Text that begins like a formula, also behind blanks or quotes, gets a `'`.

    Amounts are plain decimals, so −12.50 stays a number (OWASP, CSV injection).
    """
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return amount.plain(value)
    if isinstance(value, (int, date)):
        return str(value)
    text = str(value)
    bare = text.lstrip(" '\"\u00a0\u200b\ufeff")
    return f"'{text}" if text.startswith(_STARTS) or bare.startswith(_STARTS) else text


def write(file: IO[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows with a header line; nothing when there are none."""
    writer = csv.writer(file, lineterminator="\n")
    if rows:
        writer.writerow(list(rows[0]))
        writer.writerows([cell(value) for value in row.values()] for row in rows)
