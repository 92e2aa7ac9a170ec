"""Digest and read are the same bytes: a file that is exchanged behind our back is never booked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cops_dagster.closing import sealing
from cops_dagster.errors import CopsError
from cops_dagster.ingestion import first_sight, ingest, kept_bytes, look
from cops_dagster.lake import keeping, live
from cops_dagster.ledger.books import Books
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, write
from cops_dagster_tests.shown import answer

SWAPPED = MONTH.replace("acme  ", "other ").replace("globex", "acme  ").replace("other ", "globex")
TENANTS = (
    "SELECT resource_tags_user_tenant_id, SUM(line_item_unblended_cost) FROM fact_cost_raw"
    " WHERE resource_tags_user_tenant_id IS NOT NULL GROUP BY 1 ORDER BY 1"
)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    write(tmp_path / "cur", [lines(MONTH)])
    opened = home(tmp_path, inputs=None)
    yield opened
    opened.admin.close()


def file_of(folder: Path) -> Path:
    (found,) = (folder / "cur").rglob("*.parquet")
    return found


def other_bytes(folder: Path) -> Path:
    """A delivery with the tenants swapped, in a file of the same size and time."""
    write(folder / "swapped", [lines(SWAPPED)])
    (made,) = (folder / "swapped").rglob("*.parquet")
    info = file_of(folder).stat()
    with made.open("ab") as stream:  # behind the footer is no place for a Parquet file: sizes must agree
        assert stream.tell() == info.st_size
    os.utime(made, ns=(info.st_mtime_ns, info.st_mtime_ns))
    return made


def renamed(target: Path, made: Path) -> None:
    made.replace(target)


def rewritten(target: Path, made: Path) -> None:
    info = target.stat()
    with target.open("r+b") as stream:
        stream.write(made.read_bytes())
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))


def linked(target: Path, made: Path) -> None:
    target.unlink()
    target.symlink_to(made)


def copied(target: Path, made: Path) -> None:
    shutil.copy2(target, made)
    made.replace(target)


def kept_of(books: Books) -> Path:
    (path,) = (books.settings.lake_root / ingest.TABLE).rglob("*.parquet")
    return path


EXCHANGES = [renamed, rewritten, linked]


def during(monkeypatch: pytest.MonkeyPatch, module: Any, act: str, exchange: Callable[[], None]) -> None:
    """Right after a step of COPS has read the files, somebody does something to them."""
    real = getattr(module, act)

    def then(*given: Any, **named: Any) -> Any:
        answer = real(*given, **named)
        exchange()
        return answer

    monkeypatch.setattr(module, act, then)


@pytest.mark.long
@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("process", ["the same process", "another process"])
def test_a_file_exchanged_after_first_sight_is_refused(
    exchange: Callable[[Path, Path], None], process: str, tmp_path: Path, books: Books
) -> None:
    """With equal size and time it was booked in the same process, tenants swapped, as verified."""
    look.look(books, SEPTEMBER)
    exchange(file_of(tmp_path), other_bytes(tmp_path))
    if process == "another process":
        live._verified.clear()
    with pytest.raises(CopsError, match="E-DIGEST"):
        ingest.ingest(books, SEPTEMBER)
    assert answer(books, TENANTS) == []


@pytest.mark.long
@pytest.mark.parametrize("exchange", [renamed, rewritten])
def test_a_kept_file_exchanged_while_it_is_read_is_refused(
    exchange: Callable[[Path, Path], None], tmp_path: Path, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    look.look(books, SEPTEMBER)
    made = other_bytes(tmp_path)
    during(monkeypatch, kept_bytes, "measure", lambda: exchange(kept_of(books), made))
    with pytest.raises(CopsError, match="E-DIGEST"):
        ingest.ingest(books, SEPTEMBER)
    assert answer(books, TENANTS) == []


def test_a_file_exchanged_for_the_time_of_keeping_alone_is_refused(
    tmp_path: Path, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards every byte of it is right again; what counts is what lies in the lake."""
    look.look(books, SEPTEMBER)
    target, before = file_of(tmp_path), tmp_path / "before"
    os.link(target, before)
    made = other_bytes(tmp_path)
    during(monkeypatch, live, "files_read", lambda: made.replace(target))
    during(monkeypatch, keeping, "keep", lambda: copied(before, target))
    with pytest.raises(CopsError, match="E-DIGEST"):
        ingest.ingest(books, SEPTEMBER)


@pytest.mark.parametrize("exchange", [renamed, rewritten])
def test_a_file_exchanged_while_it_is_seen_for_the_first_time_is_refused_and_taken_the_next_time(
    exchange: Callable[[Path, Path], None], tmp_path: Path, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = other_bytes(tmp_path)
    with monkeypatch.context() as patch:
        during(patch, first_sight, "measure", lambda: exchange(file_of(tmp_path), made))
        (seen,) = look.look(books, SEPTEMBER)
    assert [one.code for one in seen.refusals] == ["E-DIGEST"]
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    assert [tenant for tenant, _ in answer(books, TENANTS)] == ["acme", "globex"]


def test_a_file_that_gets_a_second_name_or_other_rights_meanwhile_is_taken(
    tmp_path: Path, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a backup by hard links does it."""
    look.look(books, SEPTEMBER)
    target = file_of(tmp_path)

    def backed_up() -> None:
        for file in (target, kept_of(books)):
            os.link(file, tmp_path / f"backup-{file.name}")
            file.chmod(0o440)

    during(monkeypatch, kept_bytes, "measure", backed_up)
    (done,) = ingest.ingest(books, SEPTEMBER)
    assert done.wrote


def test_the_same_bytes_delivered_again_are_taken(tmp_path: Path, books: Books) -> None:
    look.look(books, SEPTEMBER)
    copied(file_of(tmp_path), tmp_path / "again")
    (done,) = ingest.ingest(books, SEPTEMBER)
    assert done.wrote


@pytest.mark.long
def test_a_file_exchanged_while_its_month_is_sealed_stops_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept copy is held against the digest of first sight, so that the seal's evidence is the month's."""
    books = ready(tmp_path)
    made = other_bytes(tmp_path)
    during(monkeypatch, sealing, "_delivered", lambda: renamed(kept_of(books), made))
    with pytest.raises(CopsError, match="E-DIGEST"):
        close_by_two(books, SEPTEMBER)
    books.admin.close()
