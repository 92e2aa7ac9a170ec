"""The home: opened with its chain of evidence, or what to say where there is none.

Belongs here: opening the books, once per process; the refusals of a missing and a torn home, homes near by.
Does not belong here: what acts work with (`ledger/books.py`), the database itself (`stores/admin.py`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import decisions
from cops_dagster.ledger.books import Books
from cops_dagster.settings import Settings
from cops_dagster.stores import access, faults
from cops_dagster.stores.admin import find_admin, open_admin

_NEAR_MAX = 3
_LOOKED_AT_MAX = 200
"""Folders beside the named home that are looked into: a hint is not worth a long search."""
_BOOKED = {"lake": "lake/*/*/*/*.parquet", "evidence": "evidence/objects/*/*"}
"""What only the database can tell the meaning of, by the folder of the home that it lies in."""


def missing(settings: Settings) -> CopsError:
    """Why no command but one that makes a home goes on: `E-HOME`, or `E-HOME-TORN` for half a home."""
    torn_ = torn(settings)
    if torn_:
        return torn_
    near = " or ".join(_shown(home) for home in islice(_near(settings.home), _NEAR_MAX))
    make = "to make one: cops init"
    return CopsError(
        "E-HOME",
        f"home {settings.home}",
        expected="a home that COPS has worked in",
        found=f"no home at {settings.home} (named by {settings.home_named_by})"
        if _is_file(settings)
        else f"an empty admin database, {_database(settings)}",
        next_step=f"did you mean {near}? set COPS_HOME to it; {make}"
        if near
        else f"correct {_setting(settings)}, or go to the folder of your cops.toml; {make}",
    )


def torn(settings: Settings) -> CopsError | None:
    """Lake or evidence without the database that says what they are: a new one would orphan them."""
    left = [name for name, pattern in _BOOKED.items() if any(settings.home.glob(pattern))]
    if not left:
        return None
    return CopsError(
        "E-HOME-TORN",
        f"home {settings.home}",
        expected="the admin database that its files belong to",
        found=f"{_database(settings)} is missing or empty in a home that has {' and '.join(left)}",
        next_step="restore the admin database from its copy (cops docs operations), or mount"
        f" where it lies and correct {_setting(settings)}; to begin anew, use another COPS_HOME",
    )


def _is_file(settings: Settings) -> bool:
    return sa.make_url(settings.admin_url).get_backend_name() == "sqlite"


def _database(settings: Settings) -> str:
    url = sa.make_url(settings.admin_url)
    return Path(url.database or "").name if _is_file(settings) else url.set(query={}).render_as_string()


def _setting(settings: Settings) -> str:
    return "COPS_ADMIN_DB" if settings.admin_db else "COPS_HOME"


def _near(home: Path) -> Iterator[Path]:
    """Homes that may have been meant: upwards from here, of a `cops.toml` above, beside the named one."""
    seen = {home}
    for candidate in _candidates(home):
        if candidate not in seen and (candidate / "admin.db").is_file():
            yield candidate
        seen.add(candidate)


def _candidates(home: Path) -> Iterator[Path]:
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / home.name
        yield folder / ".cops"
        yield from _configured(folder)
    try:
        beside = sorted(islice(home.parent.iterdir(), _LOOKED_AT_MAX))
    except OSError:
        return
    for folder in beside:
        yield folder
        yield folder / ".cops"


def _configured(folder: Path) -> Iterator[Path]:
    try:
        named = tomllib.loads((folder / "cops.toml").read_text(encoding="utf-8")).get("home")
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(named, str):
        yield (folder / Path(named).expanduser()).absolute()


def _shown(home: Path) -> str:
    return min(str(home), os.path.relpath(home), key=len)


def open_books(settings: Settings) -> Books:
    """Opens the home; makes it where there is none. Only what may make a home calls this.

    Raises:
        CopsError: `E-HOME-TORN` for lake or evidence without their database; what `open_admin` raises.
    """
    books = existing_books(settings)
    if books is not None:
        return books
    if refusal := torn(settings):
        raise refusal
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise faults.of_disk(problem, str(settings.home)) or CopsError(
            "E-HOME",
            f"home {settings.home}",
            expected="a folder",
            found=str(problem.strerror),
            next_step="correct COPS_HOME",
        ) from None
    admin = open_admin(settings.admin_url)
    access.keep(settings.home, settings.access)
    return Books(admin, settings, decisions.keep)


def existing_books(settings: Settings) -> Books | None:
    """The books if there is a home already; never makes one."""
    access.keep(settings.home, settings.access)
    admin = find_admin(settings.admin_url)
    return Books(admin, settings, decisions.keep) if admin else None


def require_books(settings: Settings) -> Books:
    """The books of a home that is there; a mistyped or unmounted one must not look like an empty one.

    Raises:
        CopsError: `E-HOME`, `E-HOME-TORN`.
    """
    books = existing_books(settings)
    if books is None:
        raise missing(settings)
    return books
