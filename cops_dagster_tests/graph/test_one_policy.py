"""One month, whoever makes it and wherever: shell, cron, UI, daemon, Lambda; and what stands still."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from cops_dagster import settings
from cops_dagster.evidence.home import open_books
from cops_dagster.graph import schedules, sensors
from cops_dagster.graph.build import build_defs
from cops_dagster.graph.host import Host
from cops_dagster.graph.launch import launch
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, adopt, home, lines, run, write
from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.graph.homes import handlers
from cops_dagster_tests.graph.instance import running, until

MAPPED = (
    '[tags]\ntenant_id = ["user_customer", "user_tenant_id"]\nplan_id = []\n[charge]\nbasis = "amortized"\n'
)
FIRST = Period(2025, 7)


def runs(books: Books) -> dict[str, str]:
    """The run that readers see of every table of September."""
    heads = t.period_head
    with books.admin.read() as con:
        return dict(
            con.execute(sa.select(heads.c.table_name, heads.c.run_id).where(heads.c.source_id == "")).all()
        )


def journal(books: Books) -> int:
    with books.admin.read() as con:
        return int(con.execute(sa.select(sa.func.count()).select_from(t.publish_journal)).scalar_one())


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A home whose policy was adopted from a settings file, with a delivery and no run yet."""
    write(tmp_path / "cur", [lines(MONTH)])
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "cops.toml").write_text(f'cur = "../cur"\n{MAPPED}')
    books = home(tmp_path)
    given = settings.policy_of(tmp_path / "work" / "cops.toml")
    adopt(replace(books, settings=settings.load(home=tmp_path / "home", **sections(given))))
    books.admin.close()
    return tmp_path


def sections(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, (value, _) in given.items():
        section, _, setting = name.partition(".")
        made.setdefault(section, {})[setting] = value
    return made


def elsewhere(begun: Path, name: str, monkeypatch: pytest.MonkeyPatch, **env: str) -> Books:
    """A copy of the home, opened by a process that stands in a folder of this name."""
    (begun / name).mkdir(exist_ok=True)
    shutil.copytree(begun / "home", begun / f"home-{name}")
    monkeypatch.chdir(begun / name)
    for variable in ("COPS_CONFIG", "COPS_CUR"):
        monkeypatch.delenv(variable, raising=False)
    for variable, text in {"COPS_HOME": str(begun / f"home-{name}"), **env}.items():
        monkeypatch.setenv(variable, text)
    settings.current.cache_clear()
    return open_books(settings.current())


@pytest.mark.long
def test_the_same_month_is_one_run_by_act_and_by_job_with_settings_and_without(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make ui` in the checkout made every open month anew, with default tags."""
    in_work = elsewhere(begun, "work", monkeypatch)  # `cur` of its cops.toml is relative to the file
    run(in_work)
    in_checkout = elsewhere(begun, "checkout", monkeypatch, COPS_CUR=str(begun / "cur"))
    launch(in_checkout, SEPTEMBER, None)
    assert runs(in_checkout) == runs(in_work)
    with in_checkout.admin.read() as con:
        assert con.execute(sa.select(t.recon_run.c.charge_basis)).scalars().all() == ["amortized"]
    before = journal(in_checkout)
    launch(in_checkout, SEPTEMBER, None)
    assert journal(in_checkout) == before


@pytest.fixture
def different(begun: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    """A process whose settings are not those of the books."""
    return elsewhere(begun, "other", monkeypatch, COPS_CUR=str(begun / "cur"), COPS_CHARGE__BASIS="unblended")


def test_every_sensor_and_schedule_that_acts_stands_still_and_says_why(different: Books) -> None:
    definitions = build_defs(first=FIRST)
    by_name = {one.name: one for one in definitions.sensors or []}
    told: dict[str, Any] = {
        name: by_name[name](dg.build_sensor_context())  # type: ignore[operator]
        for name in ("cur_manifests", "late_deliveries")
    }
    for one in definitions.schedules or []:
        assert isinstance(one, dg.ScheduleDefinition)
        told[one.name] = one(dg.build_schedule_context())
    assert set(told) == {
        "cur_manifests", "late_deliveries", "refresh_budgets", "evaluate_controls", "open_periods",
    }  # fmt: skip
    for name, answer in told.items():
        assert isinstance(answer, dg.SkipReason), name
        assert answer.skip_message
        assert answer.skip_message.startswith("E-POLICY")
        assert "found charge.basis = unblended (COPS_CHARGE__BASIS)" in answer.skip_message
        assert "cops policy diff" in answer.skip_message


def test_a_schedule_asks_for_its_run_where_settings_agree(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(begun, "same", monkeypatch, COPS_CUR=str(begun / "cur"), COPS_CHARGE__BASIS="amortized")
    assert schedules.standing_still(Host(billing_periods(FIRST))) is None
    found = {one.name: one for one in build_defs(first=FIRST).schedules or []}
    at = dg.build_schedule_context(scheduled_execution_time=datetime(2025, 10, 1, tzinfo=UTC))
    assert isinstance(found["evaluate_controls"](at), dg.RunRequest)  # type: ignore[operator]


def test_what_only_clears_up_needs_no_policy(different: Books) -> None:
    assert "attempts closed" in sensors.swept(different)


def test_a_run_of_dagster_is_refused_in_the_words_of_the_ledger(
    different: Books, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = build_defs(first=FIRST)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("materialise_period").execute_in_process(
            partition_key="2025-09", instance=instance, raise_on_error=False
        )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    given = failure.step_failure_data.user_failure_data
    assert given
    assert given.metadata["error_code"].value == "E-POLICY"
    assert journal(different) == 0


@pytest.mark.long
def test_shell_cron_daemon_ui_and_lambda_make_one_and_the_same_run(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five folders: beside cops.toml, another with COPS_CONFIG, the root, the daemon's, the webserver's."""
    (begun / "home" / "dagster").mkdir(exist_ok=True)
    made: dict[str, Books] = {}
    for name in ("beside", "named", "root", "daemon"):
        shutil.copytree(begun / "home", begun / f"home-{name}")
        made[name] = open_books(settings.load(home=begun / f"home-{name}"))
    cops, cur, file = (
        f'"{sys.executable}" -m cops_dagster.cli.start',
        begun / "cur",
        begun / "work" / "cops.toml",
    )
    (begun / "far").mkdir()

    def shell(name: str, folder: str, given: str) -> None:
        env = f'env -i PATH="$PATH" PYTHONPATH="{ROOT}" COPS_HOME="{begun}/home-{name}" {given}'
        done = subprocess.run(
            ["/bin/sh", "-c", f'cd "{folder}" && {env} {cops} materialize 2025-09'],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        assert "E-" not in done.stderr, done.stderr

    shell("beside", str(begun / "work"), "")
    shell("named", str(begun / "far"), f'COPS_CONFIG="{file}"')
    shell("root", "/", f'COPS_CUR="{cur}"')
    wanted = runs(made["beside"])
    assert set(wanted) >= {"fact_cost_tagged", "fact_cost_allocated"}
    assert [runs(made[name]) for name in ("named", "root")] == [wanted, wanted]

    home_ = begun / "home-daemon"
    with running(
        home_, COPS_CUR=str(cur), COPS_WATCH__EVERY_SECONDS="2", COPS_FIRST_PERIOD="2025-08"
    ) as dagster:
        by_daemon = until(lambda: dagster.runs(**{"cops/cause": "delivery"}))[0]["runId"]
        assert dagster.ended(by_daemon) == "SUCCESS", dagster.why(by_daemon)
        assert runs(made["daemon"]) == wanted
        before = journal(made["daemon"])
        monkeypatch.setenv("DAGSTER_URL", dagster.url)
        for handler in (handlers().ingest, handlers().allocate):
            answer = handler({"period": "2025-09"})
            assert dagster.ended(answer["run_id"]) == "SUCCESS", dagster.why(answer["run_id"])
    assert runs(made["daemon"]) == wanted
    assert journal(made["daemon"]) == before
