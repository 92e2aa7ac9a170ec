"""Exports in the graph: made by a job of their own, red once the month changed, made again by the sensor."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cops_dagster.exports import files, focus, packs
from cops_dagster.graph.build import EXPORT_JOB, build_defs
from cops_dagster.operations import consequences, handed_out
from cops_dagster.period import Period
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER, give, run
from cops_dagster_tests.exports import made_month


@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    monkeypatch.setenv("COPS_ACTOR", "test")
    return build_defs(first=Period(2025, 9))


def ticked(defs: dg.Definitions) -> list[str | None]:
    sensor = defs.get_sensor_def("stale_exports")
    with dg.build_sensor_context(definitions=defs) as context:
        data = sensor.evaluate_tick(context)
    return [request.partition_key for request in data.run_requests or []]


def test_an_export_is_made_again_once_the_month_changed(tmp_path: Path, defs: dg.Definitions) -> None:
    books = ready(tmp_path)
    (nothing,) = consequences.JUDGES["focus_export"](books, SEPTEMBER)
    assert nothing.passed is None
    focus.export(books, SEPTEMBER, tmp_path / "out", side="sell", version="1.4")
    (current,) = consequences.JUDGES["focus_export"](books, SEPTEMBER)
    assert current.passed
    assert ticked(defs) == []
    give(books, tmp_path, invoice_detail=(
        "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
        "C-1,acme,2025-09,-1,USD,issued,credit_note,T-1\n"))  # fmt: skip
    run(books)
    (stale,) = consequences.JUDGES["focus_export"](books, SEPTEMBER)
    assert (stale.passed, stale.severity, stale.figures["stale"]) == (False, "WARN", "focus_sell_1_4")
    assert ticked(defs) == ["2025-09"]


@pytest.mark.long
def test_a_booked_correction_asks_for_the_open_month_and_the_job_makes_it_again(
    tmp_path: Path, defs: dg.Definitions
) -> None:
    books = ready(tmp_path)
    made_month.corrected(tmp_path, books, before=lambda: focus.export_all(books, OCTOBER))
    with books.admin.read() as con:
        assert list(handed_out.stale_months(con)) == [OCTOBER]
    assert ticked(defs) == ["2025-10"]
    done = defs.resolve_job_def(EXPORT_JOB).execute_in_process(partition_key="2025-10")
    assert done.success
    made = {
        event.materialization.asset_key.to_user_string(): event.materialization.metadata
        for event in done.get_asset_materialization_events()
    }
    # October is not settled: no pack
    assert set(made) == {"focus_export", "journal", "margin_export", "commitment_account"}
    assert "focus_cost_1_4" in str(made["focus_export"]["exports"])
    (again,) = consequences.JUDGES["focus_export"](books, OCTOBER)
    assert again.passed
    assert ticked(defs) == []


@pytest.mark.long
def test_the_job_hands_out_the_margin_and_the_packs_of_a_settled_month(
    tmp_path: Path, defs: dg.Definitions
) -> None:
    books = ready(tmp_path)
    close_by_two(books)
    packs.pack(books, SEPTEMBER, tmp_path / "by_hand")
    done = defs.resolve_job_def(EXPORT_JOB).execute_in_process(partition_key="2025-09")
    assert done.success
    assert len(done.asset_materializations_for_node("tenant_pack")) == 1
    of_home, by_hand = (
        files.digest_of(place / "pack_2025-09" / "acme")
        for place in (books.settings.home / "exports", tmp_path / "by_hand")
    )
    assert of_home == by_hand
    assert (books.settings.home / "exports" / "margin" / "2025-09" / "margin_cells.csv").is_file()
    with books.admin.read() as con:
        assert {row.export_name for row in handed_out.newest(con, SEPTEMBER)} >= {"margin", "pack"}
