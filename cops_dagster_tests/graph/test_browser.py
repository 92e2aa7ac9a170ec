"""Dagster's pages as people see them, in Chromium; a month made by hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, expect, sync_playwright

from cops_dagster.evidence.home import open_books
from cops_dagster.settings import load
from cops_dagster_tests.closing.ready import DOCUMENTS
from cops_dagster_tests.deliveries import INPUTS, MONTH, home, lines, write
from cops_dagster_tests.graph.instance import Dagster, running
from cops_dagster_tests.shown import by_tenant

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    folder = tmp_path_factory.mktemp("browser")
    write(folder / "cur", [lines(MONTH)])
    home(folder, inputs=INPUTS | DOCUMENTS)
    settings = {"COPS_CUR": str(folder / "cur"), "COPS_FIRST_PERIOD": "2025-09", "COPS_ACTOR": "lee"}
    with running(folder / "home", stopped=["cur_manifests"], **settings) as started:
        yield started


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    found = os.environ.get("COPS_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "Chromium is needed: apt-get install chromium, or COPS_TEST_CHROMIUM=/path/to/it"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1400, "height": 1000})
        made.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield made
        browser.close()


def see(page: Page, *texts: str) -> None:
    for text in texts:
        expect(page.get_by_text(text, exact=False).first).to_be_visible()


def launches(answer: Response) -> bool:
    return "launchp" in (answer.request.post_data or "").lower()


@pytest.mark.long
def test_a_month_is_made_and_looked_at(dagster: Dagster, page: Page, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("COPS_TEST_SCREENSHOTS", tmp_path))

    def look(name: str, path: str, *texts: str) -> None:
        page.goto(f"{dagster.url}{path}")
        try:
            see(page, *texts)
        finally:
            page.screenshot(path=pictures / f"{name}.png")

    look("lineage", "/asset-groups/", "ingestion", "tagging", "allocation", "reconciliation")
    page.get_by_role("button", name="Materialize all").first.click()
    dialog = page.get_by_role("dialog")
    wanted = dialog.get_by_role("textbox").first
    for _ in range(20):  # the dialog fills in the newest month when it has loaded, also over what was typed
        wanted.fill("2025-09")
        wanted.press("Enter")
        page.wait_for_timeout(500)
        if wanted.input_value().strip("[]") == "2025-09" and dialog.get_by_text("1 partition").count():
            break
    page.screenshot(path=pictures / "materialise.png")
    # The page asks Dagster in the background: leaving it before the answer cancels the launch.
    with page.expect_response(launches) as answered:
        dialog.get_by_role("button", name="Launch").last.click()
    assert "Success" in answered.value.text()
    look("runs", "/runs", "2025-09", "Success")

    look("partitions", "/assets/fact_cost_allocated?view=partitions", "2025-09", "Missing")
    look("checks", "/assets/fact_cost_tagged?view=checks", "tagging_preserves_cost", "tag_coverage_at_target")
    look("columns", "/assets/fact_cost_allocated?view=overview", "allocated_cost_usd", "decimal(38,18)",
         "fact_cost_tagged.unblended_cost")  # fmt: skip
    look("events", "/assets/tag_coverage?view=events&partition=2025-09", "covered_usd", "over_months")
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.get_by_role("img", name="Tag coverage").first
    expect(picture).to_be_visible()
    assert picture.evaluate("one => one.complete && one.naturalWidth > 200")
    page.screenshot(path=pictures / "chart.png")
    look("automation", "/automation", "cur_manifests", "evaluate_controls", "crawler_watch")

    books = open_books(load(home=dagster.home))
    assert set(by_tenant(books)) >= {"acme", "globex"}
