"""The files of a journal, and the row that says which bytes a month was given out as.

Does not belong here: the texts (`exports/journal_text.py`), how a folder takes its place
(`exports/files.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cops_dagster.exports import files, journal_text, record
from cops_dagster.exports.journal import Journal
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest

NAMES = {
    "journal.csv": journal_text.csv,
    "journal.beancount": journal_text.beancount,
    "journal.hledger": journal_text.hledger,
}


def write(give_out: Callable[[], Sequence[Journal]], folder: Path) -> Sequence[Journal]:
    """Writes the journal of some months in all three formats; the folder takes its place whole.

    Args:
        give_out: makes the journals, and records them. Asked once the folder is known to be fit: entries that
            nobody could be handed would stand as given out for ever.

    Raises:
        CopsError: `E-OUT` for a folder that is something else.
    """
    with files.swapped(folder, "journal") as made:
        journals = give_out()
        for name, text in NAMES.items():
            (made / name).write_text(text(journals), encoding="utf-8", newline="")
    return journals


def keep(books: Books, journals: Sequence[Journal]) -> None:
    """Records of each month which bytes its entries are.

    Raises:
        CopsError: `E-EXPORT-DIFFERS` when the same entries were other bytes before.
    """
    for one in journals:
        made_from = digest("journal-csv-1", [posted.entry_id for posted in one.posted])
        sha256 = hashlib.sha256(journal_text.csv([one]).encode()).hexdigest()
        record.record(books, "journal", one.period, made_from, sha256)
