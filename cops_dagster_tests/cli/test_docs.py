"""Documents and diagnostics where there is no checkout, and every text that names one."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cops_dagster import shipped
from cops_dagster.alerts import escalation
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.operations import all_checks
from cops_dagster_tests.docs import pages

PACKAGE = Path(shipped.__file__).parent
UNSAID = re.compile(r"docs/[a-z-]+\.md|sql/diagnostics/\w+\.sql")


def cops(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def said() -> Iterator[tuple[str, str]]:
    """Every text of the package that a person may see, with the module that says it."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unseen = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in unseen:
                yield path.name, node.value
    for path in (PACKAGE / "reports").glob("*.j2"):
        yield path.name, path.read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """What a text tells the reader to look at: diagnostics and topics."""
    return {f"@{name}" for name in re.findall(r"cops sql @(\w+)", text)} | set(
        re.findall(r"cops docs ([a-z][a-z/0-9-]+)", text)
    )


def there() -> set[str]:
    return {f"@{name}" for name in shipped.diagnostics()} | set(shipped.topics())


@pytest.mark.long
def test_no_text_names_a_file_that_only_a_checkout_has() -> None:
    """`cops sql sql/diagnostics/…` and "see docs/…" led nowhere from one's own folder."""
    assert [(module, text) for module, text in said() if UNSAID.search(text)] == []


def test_every_diagnostic_and_topic_that_a_text_names_is_shipped() -> None:
    texts = [text for _, text in said()] + [check.look for check in all_checks.CHECKS]
    texts += [*escalation._PAGE.values(), pages.everything()]
    found = {name for text in texts for name in named(text)} - {"@NAME"}
    assert len(found) > 10
    assert found - there() == set()


def test_the_topics_are_listed_with_what_they_are() -> None:
    told = json.loads(cops("docs", "--json"))
    assert {"topic": "closing", "title": shipped.first_words(shipped.topics()["closing"])} in told
    assert "troubleshooting" in cops("docs")


@pytest.mark.parametrize("topic", ["closing", "docs/closing.md", "CLOSING", "readme", "adr/0001"])
def test_a_document_is_markdown_for_a_pipe(topic: str) -> None:
    text = cops("docs", topic)
    assert text.startswith("# ")
    assert Path(cops("docs", topic, "--path").strip()).read_text(encoding="utf-8") == text


def test_a_document_is_formatted_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from cops_dagster.cli import docs

    docs._formatted("# Title\n\n`code` and\ntext\n")
    shown = capsys.readouterr().out
    assert "Title" in shown
    assert "#" not in shown


def test_a_topic_that_nobody_wrote_is_refused_with_the_near_one() -> None:
    with pytest.raises(CopsError) as refusal:
        cops("docs", "closings")
    assert refusal.value.code == "E-PARAM"
    assert "closing" in refusal.value.expected
    assert cops("docs", re.findall(r"cops docs ([\w-]+)", refusal.value.next_step)[0])


def test_documents_and_diagnostics_are_listed_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "none"))
    assert "@untagged_by_service" in cops("sql", "@")
    assert len(json.loads(cops("sql", "@", "--format", "json"))) == len(shipped.diagnostics())
    cops("docs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "near"), [("@untagged", "@untagged_by_service"), ("@tenant_dril", "@tenant_drill"), ("@x", "")]
)
def test_a_diagnostic_that_is_not_there_is_refused_with_the_near_ones(given: str, near: str) -> None:
    with pytest.raises(CopsError) as refusal:
        cops("sql", given)
    assert refusal.value.code == "E-PARAM"
    assert "@tenant_drill" in refusal.value.expected
    assert f"`cops sql {near or '@'}`" in refusal.value.next_step


@pytest.mark.parametrize("given", ["@variance_trend", "sql/diagnostics/variance_trend.sql"])
def test_a_diagnostic_answers_from_any_folder(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cops_dagster import settings
    from cops_dagster_tests.deliveries import home

    home(tmp_path, inputs=None).admin.close()
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path / "own")
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    assert json.loads(
        cops("sql", given, "--param", "start=2025-07", "--param", "end=2025-09", "--format", "json")
    ) == []  # fmt: skip
