"""The close report on Dagster's pages: readable there, and of a closed month as its close left it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from cops_dagster.graph import pages
from cops_dagster.graph.build import build_defs
from cops_dagster.ledger.books import Books
from cops_dagster.reports import close_report
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER
from cops_dagster_tests.graph.homes import month

__all__ = ["month"]  # the fixture

KEY = dg.AssetKey("close_report")


def shown(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """What stands on the asset's page, the newest first."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(KEY), limit=9).records
    return [
        {name: one.value for name, one in record.asset_materialization.metadata.items()}
        for record in records
        if record.asset_materialization
    ]


def reported(books: Books, instance: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    """The report as a run shows it."""
    made = pages.metadata(books, SEPTEMBER, close_report.keep(books, SEPTEMBER))
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=str(SEPTEMBER), metadata=made))
    return made


def test_the_report_is_read_where_it_stands_and_no_link_leads_to_a_file(tmp_path: Path) -> None:
    """Its page was a link to a file, which browsers refuse to open from a page of a server."""
    books = ready(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        made = reported(books, instance)
    assert not any("file:" in str(one.value) for one in made.values())
    assert isinstance(made["page"], dg.PathMetadataValue)
    assert Path(str(made["page"].value)).read_bytes().startswith(b"<!doctype html>")
    text = str(made["report"].value)
    assert text.startswith("### 2025-09: DRAFT, these amounts may still change; reconciliation ok, period")
    report = close_report.gather(books, SEPTEMBER)
    for bar in report.bars:
        assert f"| {bar.told} | {bar.usd} |" in text
    assert all(name in text for name, _ in report.signed.lines)
    assert [line for line in text.splitlines() if line.startswith("| acme |")]


def test_what_the_close_made_of_a_report_is_shown_once(month: Path) -> None:
    books = ready(month)
    (sensor,) = [one for one in build_defs().sensors or [] if one.name == "loaded_inputs"]
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        reported(books, instance)
        first: Any = sensor(dg.build_sensor_context(instance=instance))
        assert "0 closed month(s)" in first.skip_reason.skip_message
        sealed = close_by_two(books, SEPTEMBER)
        close_report.keep(books, SEPTEMBER)
        again: Any = sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
        assert again.skip_reason.skip_message == "0 load(s) and 1 closed month(s) reported"
        assert pages.report(books, instance) == 0
        after, before = shown(instance)
    assert sealed.seal_digest in after["report"]
    assert after["report"].startswith("### 2025-09: SEALED; reconciliation ok, period closed")
    assert "DRAFT" in before["report"]
