"""Usage keys in Dagster: an asset per measure, days that are asked for, and the daemon that runs them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.evidence import verify
from cops_dagster.graph import usage_days
from cops_dagster.graph.assets import usage
from cops_dagster.graph.build import build_defs
from cops_dagster.graph.host import Host
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.usage import declared
from cops_dagster_tests.graph.instance import Dagster, running, until
from cops_dagster_tests.usage.declaring import FILES, day_of, declaring, flow, take

BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""

HOST = Host(billing_periods(Period(2025, 8)))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose home and declarations this process's settings name."""
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_KEYS", str(tmp_path / "keys.toml"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    settings.current.cache_clear()
    return tmp_path


def since(day: date, text: str = FILES) -> str:
    return text.replace('unit = "bytes"', f'unit = "bytes"\ncut_off = "00:00"\nsince = {day}', 1)


def test_a_declared_measure_is_made_and_the_others_are_still_read(process: Path) -> None:
    more = '[measures.ai_tokens]\nunit = "tokens"\n[measures.ai_tokens.source]\nkind = "csv"\n'
    declaring(process, FILES + more)
    made = build_defs(first=Period(2025, 8))
    dg.Definitions.validate_loadable(made)
    specs = {spec.key.to_user_string(): spec for spec in made.resolve_all_asset_specs()}
    days = specs["tenant_network_usage"].partitions_def
    assert isinstance(days, dg.DailyPartitionsDefinition)
    assert days.get_first_partition_key() == "2025-08-01"
    assert specs["tenant_storage_usage"].partitions_def is None
    above = {dep.asset_key.to_user_string() for dep in specs["allocation_key_snapshot"].deps}
    assert {"tenant_network_usage", "tenant_storage_usage", "tenant_ai_tokens_usage"} <= above
    assert {one.name for one in made.schedules or ()} >= {"refresh_usage_keys", "open_periods"}


def test_a_file_that_is_refused_stops_no_month_and_says_so_at_every_tick(process: Path) -> None:
    (process / "keys.toml").write_text("[measures.network]\nunti = 'bytes'\n", encoding="utf-8")
    made = build_defs(first=Period(2025, 8))
    dg.Definitions.validate_loadable(made)
    specs = {spec.key.to_user_string(): spec for spec in made.resolve_all_asset_specs()}
    assert specs["tenant_network_usage"].partitions_def is None  # loaded, as where nothing is declared
    assert "refresh_usage_keys" not in {one.name for one in made.schedules or ()}
    (told,) = [one for one in made.sensors or () if one.name == "declared_usage_keys"]
    with dg.build_sensor_context(definitions=made) as context:
        with pytest.raises(Exception, match="E-KEYS-FIELD"):
            told(context)
        (process / "keys.toml").write_text(FILES, encoding="utf-8")
        assert "reload" in str(told(context))
    assert "declared_usage_keys" not in {one.name for one in build_defs(first=Period(2025, 8)).sensors or ()}


def test_the_schedule_asks_for_every_day_that_is_complete_and_missing(process: Path) -> None:
    yesterday = now().date() - timedelta(days=1)
    books = declaring(process, since(yesterday - timedelta(days=2)))
    measures = list(declared.measures(books.settings).values())
    schedule = usage_days.schedule(HOST, measures, usage_days.job(HOST, measures))

    def asked() -> list[str]:
        with dg.build_schedule_context(scheduled_execution_time=now()) as context:
            found = schedule(context)
        return [str(one.partition_key) for one in found] if isinstance(found, list) else []

    wanted = [f"{yesterday - timedelta(days=number)}" for number in (2, 1, 0)]
    assert asked() == wanted
    flow(process, yesterday, acme=1)
    take(books, yesterday, at=now())
    assert asked() == wanted[:2]


def test_a_run_of_a_day_shows_its_version_and_its_checks(process: Path) -> None:
    books = declaring(process, since(day_of(1)))
    flow(process, day_of(1), acme=3, globex=1)
    measures = list(declared.measures(books.settings).values())
    assets = usage.assets(HOST, usage_days.days_of(HOST), measures)
    done = dg.materialize(assets, partition_key="2025-09-01", resources={"ledger": HOST.ledger()})
    assert done.success
    (made,) = done.asset_materializations_for_node("tenant_network_usage")
    assert made.partition == "2025-09-01"
    assert (made.metadata["version"].value, made.metadata["month"].value) == ("1", "loaded")
    judged = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
    assert judged == {
        "usage_days_come_in_time": False,  # the days after it are due, and long so
        "usage_days_name_tenants": True,
        "usage_day_shares_stay_steady": True,
        "usage_days_come_before_the_close": True,
    }


def versions(books: Books) -> dict[str, str]:
    with books.admin.read() as con:
        return {f"{row.usage_day}": row.evidence_id for row in con.execute(sa.select(t.usage_day))}


def backfilled(dagster: Dagster, days: list[str]) -> dict[str, str]:
    """Status of a run of each day, once all have ended."""
    known = {run["runId"] for run in dagster.runs()}
    params = {
        "assetSelection": [{"path": ["tenant_network_usage"]}], "partitionNames": days, "title": "days",
    }  # fmt: skip
    made = dagster.ask(BACKFILL, params=params)["launchPartitionBackfill"]
    assert made["__typename"] == "LaunchBackfillSuccess", made
    found = until(
        lambda: (
            runs
            if len(runs := [one for one in dagster.runs() if one["runId"] not in known and _is_day(one)])
            == len(days)
            else None
        )
    )
    return {run["tags"]["dagster/partition"]: dagster.ended(run["runId"]) for run in found}


def _is_day(run: dict[str, object]) -> bool:
    return str(run["tags"].get("dagster/partition", "")).count("-") == 2  # type: ignore[attr-defined]


@pytest.mark.long
def test_the_daemon_runs_days_and_the_one_without_files_fails_alone(process: Path) -> None:
    books = declaring(process, since(day_of(27)))
    for number in (27, 28, 30):
        flow(process, day_of(number), acme=number, globex=1)
    days = [f"{day_of(number)}" for number in (27, 28, 29, 30)]
    told = {"COPS_KEYS": str(process / "keys.toml"), "COPS_FIRST_PERIOD": "2025-09"}
    with running(process / "home", **told) as dagster:
        ended = backfilled(dagster, days)
        assert ended == {day: "FAILURE" if day == days[2] else "SUCCESS" for day in days}
        assert set(versions(books)) == {days[0], days[1], days[3]}
        flow(process, day_of(29), acme=29, globex=1)
        assert backfilled(dagster, days[2:3]) == {days[2]: "SUCCESS"}
    assert len(set(versions(books).values())) == 4
    with books.admin.read() as con:
        usage_ = {row.tenant_id: row.value for row in con.execute(sa.select(t.tenant_usage))}
    assert usage_ == {"acme": 27 + 28 + 29 + 30, "globex": 4}
    assert verify.verify(books).findings == []
