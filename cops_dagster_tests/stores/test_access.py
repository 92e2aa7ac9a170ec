"""Who on this machine reads a home: its user alone, whatever the umask, or its group if that was chosen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cops_dagster import settings
from cops_dagster.evidence.home import existing_books, open_books
from cops_dagster.operations import first_day
from cops_dagster.stores.places import open_objects


@pytest.fixture(autouse=True)
def _everybodys_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def begun(home: Path, **given: object) -> None:
    books = open_books(settings.load(home=home, **given))
    open_objects(books.settings.evidence_uri).put(b"proof")
    first_day.write_config(home / "cops.toml", {"actor": "anna"})
    books.admin.close()


def modes(home: Path) -> set[int]:
    return {mode(path) & 0o077 for path in (home, *home.rglob("*"))}


def test_a_new_home_and_all_in_it_is_its_users_alone(tmp_path: Path) -> None:
    begun(tmp_path / "a" / "home")
    assert modes(tmp_path / "a" / "home") == {0}
    assert mode(tmp_path / "a" / "home" / "admin.db") == 0o600


def test_a_home_of_a_group_is_the_groups_and_nobody_elses(tmp_path: Path) -> None:
    begun(tmp_path / "home", access="group")
    assert mode(tmp_path / "home") == 0o2770
    assert mode(tmp_path / "home" / "admin.db") == 0o660
    assert not any(one & 0o007 for one in modes(tmp_path / "home"))
    assert all(one & 0o040 for one in modes(tmp_path / "home"))


@pytest.mark.parametrize(("access", "left"), [("owner", 0o700), ("group", 0o2770)])
def test_a_home_of_an_earlier_version_is_closed_when_it_is_opened(
    tmp_path: Path, access: str, left: int
) -> None:
    home = tmp_path / "home"
    begun(home)
    home.chmod(0o755)
    (home / "admin.db").chmod(0o644)
    books = existing_books(settings.load(home=home, access=access))
    assert books
    books.admin.close()
    assert (mode(home), mode(home / "admin.db") & 0o007) == (left, 0)


@pytest.mark.parametrize(("before", "has_home"), [(0o755, False), (0o1777, True)])
def test_a_folder_of_others_that_somebody_names_keeps_its_mode(
    tmp_path: Path, before: int, has_home: bool
) -> None:
    """`COPS_HOME=/tmp`: nobody is shut out of a folder that is no home, or is for all."""
    place = tmp_path / "common"
    place.mkdir()
    if has_home:
        begun(place)
    place.chmod(before)
    books = existing_books(settings.load(home=place))
    if books:
        books.admin.close()
    assert mode(place) == before
