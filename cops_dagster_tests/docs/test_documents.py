"""What the code has, the documents explain: settings, checks, error codes, CSV columns, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from cops_dagster.inputs import columns
from cops_dagster.operations.all_checks import NAMED
from cops_dagster.settings import Settings
from cops_dagster_tests.docs import pages
from cops_dagster_tests.docs.pages import ROOT

ALL_PAGES = [*pages.pages(), *sorted((ROOT / "docs" / "adr").glob("*.md"))]


def codes_in_the_code() -> set[str]:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "cops_dagster").rglob("*.py")]
    # a code alone, or in front of what a trigger of the database says
    found = re.findall(r"""["'](E-[A-Z0-9]+(?:-[A-Z]+)*)[" ]""", "\n".join(sources))
    return set(found)


def rows(kind: str) -> list[str]:
    """First cells, in backticks, of the documents' table rows: `E-…` codes or check names."""
    return re.findall(rf"^\| `({kind})`", pages.everything(), re.MULTILINE)


def test_every_error_code_is_explained_once() -> None:
    explained = rows("E-[A-Z0-9-]+")
    assert sorted(codes_in_the_code() - set(explained)) == []
    assert sorted(set(explained) - codes_in_the_code()) == []
    assert len(explained) == len(set(explained))


def test_every_check_is_explained_once_and_says_when_it_blocks() -> None:
    explained = re.findall(r"^\| `([a-z_0-9]+)`( \(blocks\))? \| ", pages.everything(), re.MULTILINE)
    assert sorted(name for name, _ in explained if name in NAMED) == sorted(NAMED)


def test_every_setting_is_in_its_page() -> None:
    page, missing = pages.text("docs/settings.md"), []
    for name, setting in Settings.model_fields.items():
        kind = setting.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            missing += [] if f"`[{name}]`" in page else [name]
            missing += [f"{name}.{inner}" for inner in kind.model_fields if f"`{inner}`" not in page]
        elif f"| `COPS_{name.upper()}`" not in page:
            missing.append(name)
    assert missing == []
    assert "`COPS_CONFIG`" in page


def test_no_setting_is_in_the_documents_that_does_not_exist() -> None:
    named = set(re.findall(r"COPS_[A-Z_]+", pages.everything()))
    known = {f"COPS_{name.upper()}" for name in Settings.model_fields} | {
        "COPS_CONFIG",
        "COPS_SOURCES__NAME",
        "COPS_SOURCES__WAREHOUSE",
        "COPS_TAGS__TENANT_ID",
        "COPS_NOTIFY__RECEIVERS__ONCALL__URL",
    }
    assert named <= known


@pytest.mark.parametrize("table", sorted(set(columns.FIELDS) - {"allocation_rules"}))
def test_every_csv_column_is_described(table: str) -> None:
    (row,) = re.findall(rf"^\| `{table}` \|.*$", pages.text("docs/admin-data.md"), re.MULTILINE)
    for column in columns.FIELDS[table]:
        assert f"`{column.name}`" in row
        assert (f"`{column.name}`?" in row) is (not column.required)


def test_every_column_of_a_rule_is_described() -> None:
    page = pages.text("docs/allocation-rules.md")
    assert [
        column.name for column in columns.FIELDS["allocation_rules"] if f"`{column.name}`" not in page
    ] == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_nothing_of_one_machine_is_in_the_documents(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?<![\w.])/(?:work|tmp|home|root|Users)/|https?://|index-url", text) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_says_context_decision_and_consequences_shortly(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert all(f"\n## {part}\n" in text for part in ("Context", "Decision", "Consequences"))
    assert len(text.splitlines()) <= 40
