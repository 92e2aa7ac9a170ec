"""CSV that a spreadsheet may open: text that looks like a formula is text, numbers stay numbers.

Belongs here: the one writer of every CSV that leaves COPS, with its guard against formula injection (OWASP,
CSV injection). Does not belong here: CSV that COPS reads (`inputs/files.py`).
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import IO

from cops_dagster.money import amount

_FORMULA = frozenset("=+-@|%\N{MINUS SIGN}")
_CUTS = re.compile(r"([;\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029])")
"""Where a spreadsheet of another locale begins a cell, whatever quotes stand around it."""


def cell(value: object) -> str:
    """A value as a CSV cell. Text that a spreadsheet would take for a formula gets a `'` in front.

    So does text that begins like one behind blanks, quotes or invisible characters, in full-width characters,
    or, within it, behind a line break, tab or semicolon. Numbers are known by their type: −12.50 stays one.
    """
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return amount.plain(value)
    if isinstance(value, (int, float, date)):
        return str(value)
    text = str(value)
    if text.isascii() and text[:1].isalnum() and not _CUTS.search(text):
        return text
    has_content, parts = False, []
    for part in _CUTS.split(text):
        bare = _bare(part)
        parts.append(f"'{part}" if has_content and bare[:1] in _FORMULA else part)
        has_content = has_content or bool(bare)
    begins = text[:1] in ("\t", "\r", "\n") or _bare(text)[:1] in _FORMULA
    return ("'" if begins else "") + "".join(parts)


def text_of(cell_text: str) -> str:
    """The text whose cell this is: without the guards that `cell` puts in; any other text as it is."""
    parts = [part.removeprefix("'") for part in _CUTS.split(cell_text)]
    bare = "".join(parts)
    return bare if cell(bare) == cell_text else cell_text


def _bare(text: str) -> str:
    """What a spreadsheet may see first: full-width characters as plain ones, no invisible ones."""
    plain = unicodedata.normalize("NFKC", text)
    for index, char in enumerate(plain):
        if char not in "'\"`" and not char.isspace() and unicodedata.category(char)[0] not in "CMZ":
            return plain[index:]
    return ""


def write(file: IO[str], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a header line, which names chosen by people may stand in, and rows."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(name) for name in columns])
    writer.writerows([cell(value) for value in row] for row in rows)


def write_records(file: IO[str], records: Sequence[Mapping[str, object]]) -> None:
    """Writes records that all have the fields of the first; nothing when there are none."""
    if records:
        write(file, list(records[0]), [list(record.values()) for record in records])
