"""What almost every command begins with: the settings, the books of this home, the month that was named.

Belongs here: fetching them, each where it is asked for, since start-up counts. Does not belong here: what is
done with them (the steps), and what is said afterwards (`cli/output.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period
    from cops_dagster.settings import Settings


def settings() -> Settings:
    """The settings of this process."""
    from cops_dagster.settings import current

    return current()


def books() -> Books:
    """The books of the home; refused where there is none.

    Raises:
        CopsError: `E-HOME`, `E-HOME-TORN`.
    """
    from cops_dagster.evidence.home import require_books

    return require_books(settings())


def new_books() -> Books:
    """The books of the home, which is made where there is none."""
    from cops_dagster.evidence.home import open_books

    return open_books(settings())


def books_if_any() -> Books | None:
    """The books of the home, for what also works without one."""
    from cops_dagster.evidence.home import existing_books

    return existing_books(settings())


def month(text: str) -> Period:
    """A billing month as people write it.

    Raises:
        CopsError: `E-PARAM`.
    """
    from cops_dagster.period import Period

    return Period.parse(text)


def month_if_given(text: str | None) -> Period | None:
    """A billing month, or none where none was named."""
    return month(text) if text else None


def known_month(text: str) -> Period:
    """A month that the books of the home know.

    Raises:
        CopsError: `E-PARAM`; `E-PERIOD-UNKNOWN` for one they have never seen.
    """
    from cops_dagster.ledger.month import require_known

    wanted = month(text)
    with books().admin.read() as con:
        require_known(con, wanted)
    return wanted
