"""One constant in a step's `verdicts` is a check everywhere: graph, diagnosis, alerts, documents."""

from __future__ import annotations

from datetime import datetime
from types import ModuleType

import pytest

from cops_dagster.alerts import escalation
from cops_dagster.ingestion import verdicts as any_step
from cops_dagster.operations.all_checks import CHECKS, WHOSE, checks_in, of_table
from cops_dagster.operations.diagnosis import of_verdict
from cops_dagster.period import Period
from cops_dagster.verdict import OF_FINANCE, Check, Verdict
from cops_dagster_tests.docs.make_checks import PAGE, row, written

SEPTEMBER, AT = Period(2025, 9), datetime(2025, 10, 1)

MADE_UP = Check(
    "moon_is_full", "The moon is full.", "cur_billing_master", gravest="ERROR", look="cops moon {P}",
    mend="wait for the moon of {P}", whose=OF_FINANCE, levels=("P2", "P4"), headline="phase",
)  # fmt: skip


@pytest.fixture
def step() -> ModuleType:
    """A step's `verdicts` with one constant more."""
    made = ModuleType("verdicts")
    made.__dict__.update({**vars(any_step), "MOON_IS_FULL": MADE_UP})
    return made


def moon_is_full(phase: int) -> Verdict:
    """The made-up check's pure function."""
    return Verdict(MADE_UP, phase == 100, "ERROR", {"seen_by": "kim", "phase": phase})


def test_a_new_constant_is_a_check_of_its_asset_and_the_last_one(step: ModuleType) -> None:
    found = checks_in(step)
    assert found == (*checks_in(any_step), MADE_UP)
    assert of_table("cur_billing_master", found)[-1] is MADE_UP


def test_a_constant_that_a_module_takes_from_another_is_still_one_check(step: ModuleType) -> None:
    assert checks_in(any_step, step) == checks_in(step)


def test_the_doctor_says_of_a_new_check_how_to_look_and_how_to_mend() -> None:
    finding = of_verdict("freshness", moon_is_full(7), "2025-09")
    assert (finding.light, finding.what) == ("red", "moon is full")
    assert (finding.look, finding.next_step) == ("cops moon 2025-09", "wait for the moon of 2025-09")


def test_the_alert_of_a_new_check_is_as_urgent_as_it_says_and_goes_to_whom_it_says() -> None:
    (seen,) = escalation.of_verdict(moon_is_full(7), SEPTEMBER, data_at=AT, at=AT, run_id=None)
    assert (seen.rule, seen.scope, seen.severity, seen.holds) == (
        "moon_is_full", "cur_billing_master", "P2", True,
    )  # fmt: skip
    assert seen.measured == "phase 7"
    whose = WHOSE | {MADE_UP.name: MADE_UP.whose}
    assert escalation.teams_of(seen.rule, seen.severity, whose) == OF_FINANCE


def test_the_documents_show_a_new_check_with_all_that_is_known_of_it() -> None:
    assert row(MADE_UP) == (
        "| The moon is full. | `moon_is_full` | `cops moon {P}` | wait for the moon of {P} "
        "| finance, billing-ops |"
    )


def test_every_check_stands_in_the_documents_with_its_sentence_and_its_next_step() -> None:
    """Written by `.venv/bin/python -m cops_dagster_tests.docs.make_checks`."""
    assert PAGE.read_text(encoding="utf-8") == written(CHECKS)


@pytest.mark.parametrize(
    ("rule", "severity", "teams"),
    [
        ("allocated_equals_pool", "P1", "finance, platform"),
        ("unallocated_within_2_pct", "P2", "billing-ops"),
        ("budget_level", "P2", "finance, billing-ops"),
        ("budget_level", "P3", "finance, billing-ops"),
        ("plans_are_known", "P3", "finance, billing-ops"),
        ("variance_within_tolerance", "P4", "finance, billing-ops"),
        ("tag_coverage_below_floor", "P3", "platform"),
        ("tenants_are_known", "P4", "platform"),
        ("files_differ", "P4", "data-engineering, platform"),
        ("run_failed", "P3", "data-engineering, platform"),
        ("evaluations_stopped", "P2", "billing-ops"),
        ("a_check_of_another_version", "P3", "data-engineering, platform"),
    ],
)
def test_an_alert_goes_to_the_team_of_its_check(rule: str, severity: str, teams: str) -> None:
    assert ", ".join(escalation.teams_of(rule, severity, WHOSE)) == teams


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_says_in_a_sentence_what_is_so_while_it_holds(check: Check) -> None:
    assert check.sentence.endswith(".")
    assert check.sentence[0] != check.sentence[0].lower() or check.sentence.startswith("unblended")
