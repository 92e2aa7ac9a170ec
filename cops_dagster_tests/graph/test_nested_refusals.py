"""A refusal within a run reaches the person who waits for it as it was said: subject, found, next step."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cops_dagster import settings
from cops_dagster.errors import CopsError
from cops_dagster.graph import resources, sensors
from cops_dagster.graph.host import Host
from cops_dagster.graph.launch import launch
from cops_dagster.graph.partitions import billing_periods
from cops_dagster.ingestion.verdicts import NO_DELIVERY_WAITS_FOR_APPROVAL
from cops_dagster.operations.diagnosis import of_verdict
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, home, lines, run, write

HOST = Host(billing_periods(Period(2025, 9)))
REFUSAL = CopsError(
    "E-SHRINK", "delivery report of 2025-09", expected="as much as before", found="half of it",
    next_step="cops approve abc --reason '…'", details={"rows": 3},
)  # fmt: skip


def test_a_refusal_goes_through_texts_and_comes_back_whole() -> None:
    again = CopsError.of_figures(REFUSAL.as_figures())
    assert again is not None
    assert again.as_dict() == REFUSAL.as_dict()


def test_figures_of_something_else_are_no_refusal() -> None:
    assert CopsError.of_figures({"error_code": "", "subject": "x"}) is None
    assert CopsError.of_figures({"rows": "3"}) is None


def test_a_step_that_is_refused_carries_the_five_facts() -> None:
    def act() -> None:
        raise REFUSAL

    with pytest.raises(dg.Failure) as failure:
        resources.act(act)
    texts = {name: str(value.value) for name, value in failure.value.metadata.items()}
    carried = CopsError.of_figures(texts)
    assert carried is not None
    assert carried.as_dict() == REFUSAL.as_dict()


def test_doctor_gives_the_next_step_of_the_refusal_itself() -> None:
    verdict = Verdict(NO_DELIVERY_WAITS_FOR_APPROVAL, False, "ERROR", {**REFUSAL.as_figures()})
    finding = of_verdict("freshness", verdict, "2025-09")
    assert finding.next_step == "cops approve abc --reason '…'"
    assert "half of it" in finding.found


def test_a_sensor_says_whom_a_refusal_is_about_and_what_was_expected() -> None:
    said = str(sensors._refused(REFUSAL).skip_message)
    assert all(fact in said for fact in ("E-SHRINK", REFUSAL.subject, REFUSAL.expected, REFUSAL.next_step))


def test_a_sensor_in_an_unknown_home_says_so_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "nowhere"))
    settings.current.cache_clear()
    said = str(sensors._told(HOST, sensors.swept).skip_message)
    assert "no home at" in said
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.long
def test_a_month_that_shrank_is_refused_with_the_command_that_lets_it_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    short = "\n".join(MONTH.strip().splitlines()[:2])
    write(tmp_path / "cur", [lines(short)], assembly="a2")
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COPS_CUR", str(tmp_path / "cur"))
    settings.current.cache_clear()
    with pytest.raises(CopsError) as refusal:
        launch(books, SEPTEMBER, None)
    assert refusal.value.code == "E-SHRINK"
    assert "delivery" in refusal.value.subject
    assert refusal.value.next_step.startswith("cops approve") or "cops approve" in refusal.value.next_step
    assert "E-SHRINK" not in refusal.value.found
