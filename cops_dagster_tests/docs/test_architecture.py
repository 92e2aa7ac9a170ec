"""The page to enter by: what it names exists, what it asks a reader to read can be read in that time."""

from __future__ import annotations

import configparser
import re
from fnmatch import fnmatch

import pytest

from cops_dagster_tests.docs import pages
from cops_dagster_tests.docs.pages import ROOT

PACKAGE = ROOT / "cops_dagster"
PAGE = "docs/architecture.md"
FIRST_HOUR_MAX = 2_200

_MODULE = re.compile(r"`(?:cops_dagster/)?((?:[a-z_]+/)*[a-z_0-9]+\.py|(?:[a-z_]+/)+)`")


def named(text: str) -> list[str]:
    """Modules and folders of the package that a text names, in order."""
    return _MODULE.findall(text)


def paragraph(beginning: str) -> str:
    """The paragraph of the page that begins with these words."""
    (found,) = [one for one in pages.text(PAGE).split("\n\n") if one.startswith(f"**{beginning}")]
    return found


def lines_of(names: list[str]) -> int:
    return sum(len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in names)


@pytest.mark.parametrize("page", [PAGE, "CONTRIBUTING.md"])
def test_every_module_that_the_page_names_exists(page: str) -> None:
    text = pages.text(page)
    of_a_step = {"verdicts.py", "checks.py", "test_policy.py"}  # one in every step; a test
    places = (PACKAGE, ROOT)
    gone = [
        name
        for name in named(text)
        if name not in of_a_step and not any((place / name).exists() for place in places)
    ]
    assert gone == []
    assert len(named(text)) > 20 or page != PAGE


@pytest.mark.parametrize("step", ["ingestion", "tagging", "allocation", "reconciliation"])
def test_a_step_has_the_grammar_that_the_page_tells(step: str) -> None:
    assert (PACKAGE / step / "verdicts.py").exists()
    assert (PACKAGE / step / "checks.py").exists()


def test_the_first_hour_can_be_read_in_an_hour() -> None:
    reading = named(paragraph("The first hour"))
    assert len(reading) > 10
    assert lines_of(reading) <= FIRST_HOUR_MAX


def test_the_second_hour_is_no_longer_than_the_first() -> None:
    assert lines_of(named(paragraph("The second hour"))) <= FIRST_HOUR_MAX


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_page_to_enter_by_is_linked_first(page: str) -> None:
    links = re.findall(r"\]\(([^)]+\.md)\)", pages.text(page))
    assert links[0] == PAGE


def test_the_table_of_layers_is_that_of_the_linter() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = re.findall(r"[a-z_]+", config["importlinter:contract:layers"]["layers"])
    table = pages.text("CONTRIBUTING.md").split("| layer |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    told = [name for cell in cells for name in re.findall(r"`([a-z_*]+)`", cell)]
    assert [layer for layer in layers if not any(fnmatch(layer, name) for name in told)] == []
    assert [name for name in told if not any(fnmatch(layer, name) for layer in layers)] == []


def test_every_folder_is_in_the_picture_or_below_it() -> None:
    picture = (ROOT / "docs" / "images" / "house.svg").read_text(encoding="utf-8")
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {one for one in folders if f">{one}<" not in picture} == set()


def test_every_folder_says_what_belongs_where_and_where_to_start() -> None:
    silent = []
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        text = " ".join(path.read_text(encoding="utf-8").split())
        if any(words not in text for words in ("Belongs here:", "not belong here:", "Start at `")):
            silent.append(path.parent.name)
    assert silent == []


def test_modules_that_folders_name_exist() -> None:
    gone = [
        f"{path.parent.name}: {name}"
        for path in sorted(PACKAGE.glob("*/__init__.py"))
        for name in named(path.read_text(encoding="utf-8"))
        if not any((place / name).exists() for place in (path.parent, PACKAGE, ROOT))
    ]
    assert gone == []
