"""Months that were run from the same state before are copied, not run again.

Half of the tests begin with the same month: 3.3 s of processor time each, 0.06 s when it is copied. Belongs
here: knowing that a state is the same, and the copy. Remembered are first runs alone: of a home in which
nothing was ever published, by code that the test did not patch. What was run in one process is copied in all
of the session's: they share a folder.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores.admin import now
from cops_dagster_tests import shared

Acts = Callable[[Books, Period], None]
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?")
_RECENT = timedelta(hours=3)
_by_test: list[pytest.MonkeyPatch] = []


def under(patches: pytest.MonkeyPatch) -> None:
    """Tells what the test that runs now may patch: what other code made is another test's."""
    _by_test[:] = [patches]


def run(books: Books, period: Period, acts: Acts) -> None:
    """Runs the acts of a month, or copies what they made of the same state before."""
    key = _key(books, period)
    if key is None:
        acts(books, period)
        return
    home, kept = books.settings.home, shared.folder() / "months" / key
    if not kept.exists():
        acts(books, period)  # what it refuses is not remembered
        _keep(books, kept)
        return
    books.admin.engine.dispose()
    for name in ("admin.db-wal", "admin.db-shm"):
        (home / name).unlink(missing_ok=True)
    shutil.rmtree(home / "evidence", ignore_errors=True)
    shutil.copytree(kept / "home", home, dirs_exist_ok=True)
    _belong_here(home, kept, Path(books.settings.cur))
    books.look_up_policy()


def _keep(books: Books, kept: Path) -> None:
    """A copy of the home, whole or not at all, whoever else makes the same one meanwhile."""
    home, cur = books.settings.home, Path(books.settings.cur)
    if not cur.is_dir() or any(
        one.is_symlink() or not (one.is_dir() or one.is_file()) for one in cur.rglob("*")
    ):
        return
    kept.parent.mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=kept.parent))
    shutil.copytree(home, place / "home", ignore=lambda _, names: _DATABASE & set(names))
    with (
        closing(sqlite3.connect(home / "admin.db")) as source,
        closing(sqlite3.connect(place / "home" / "admin.db")) as target,
    ):
        source.backup(target)
    (place / "home" / "admin.db").chmod((home / "admin.db").stat().st_mode)
    shutil.copytree(cur, place / "cur")
    (place / "delivered").write_text(str(cur), encoding="utf-8")
    try:
        place.rename(kept)
    except OSError:  # another process was first
        shutil.rmtree(place)


def _belong_here(home: Path, kept: Path, to: Path) -> None:
    """The delivered files lie where the test wrote them, as old as those that were read."""
    for path in (kept / "cur").rglob("*"):
        shutil.copystat(path, to / path.relative_to(kept / "cur"))
    from_ = (kept / "delivered").read_text(encoding="utf-8")
    with closing(sqlite3.connect(home / "admin.db")) as con, con:
        for table in ("cur_billing_head", "cur_delivery_place"):
            con.execute(f"UPDATE {table} SET location_json = replace(location_json, ?, ?)", (from_, str(to)))


def _key(books: Books, period: Period) -> str | None:
    """What a first run depends on; `None` for what is not remembered."""
    given = books.settings
    folder = given.home.parent
    is_usual = (
        given.cur == str(folder / "cur")
        and not given.admin_db
        and not given.lake.place
        and not given.evidence
    )
    if not is_usual or {one.name for one in given.home.iterdir()} - _DATABASE - {"evidence"}:
        return None
    if abs(now() - datetime.now(UTC).replace(tzinfo=None)) > timedelta(minutes=1):
        return None  # a test's own clock
    if any(patches._setattr for patches in _by_test):  # pytest has no public word for it
        return None
    state = hashlib.sha256(f"{period} {books.revision} {books.dagster_run_id}".encode())
    state.update(given.model_dump_json(exclude={"home", "cur"}).encode())
    for part in (*_files(Path(given.cur)), *_rows(given.home / "admin.db"), *_kept(given.home / "evidence")):
        state.update(_plain(part, folder).encode())
    return state.hexdigest()


_DATABASE = {"admin.db", "admin.db-wal", "admin.db-shm"}


def _files(cur: Path) -> Iterator[str]:
    for path in sorted(cur.rglob("*")):
        if path.is_symlink() or not path.is_file():
            yield f"{path}{'@' if path.is_symlink() else '/'}"
            continue
        age = timedelta(seconds=datetime.now(UTC).timestamp() - path.stat().st_mtime)
        when = "now" if timedelta(0) <= age < _RECENT else str(path.stat().st_mtime_ns)
        yield f"{path} {when} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _rows(database: Path) -> Iterator[str]:
    with closing(sqlite3.connect(database)) as con:
        for row in con.iterdump():
            yield _DIGEST.sub("digest", row) if row.startswith(_TIMED) else row


_TIMED = tuple(f'INSERT INTO "{table}"' for table in ("evidence_head", "evidence_index", "load_log"))
_DIGEST = re.compile(r"'(objects/../)?[0-9a-f]{64}'")
"""Of what was loaded and when: the first differs from test to test only with the second."""


def _kept(evidence: Path) -> Iterator[str]:
    yield from sorted(str(path.stat().st_size) for path in evidence.rglob("*") if path.is_file())


def _plain(text: str, folder: Path) -> str:
    """Text without what tells one test's folder and second from another's."""

    def recent(found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0].replace("+00:00", "")).replace(tzinfo=UTC)
        return "now" if abs(datetime.now(UTC) - moment) < _RECENT else found[0]

    return _TIME.sub(recent, text.replace(str(folder), "here"))
