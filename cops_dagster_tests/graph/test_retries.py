"""Retries only where a retry can help: what time may mend is tried again, a refusal is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cops_dagster.errors import CopsError
from cops_dagster.graph import resources
from cops_dagster.graph.build import JOB, build_defs
from cops_dagster.graph.resources import BY_COMMAND, TRANSIENT
from cops_dagster.ingestion import look
from cops_dagster.period import Period
from cops_dagster_tests.graph.homes import month

__all__ = ["month"]  # the fixture


def run(
    monkeypatch: pytest.MonkeyPatch, code: str, times: int, tags: dict[str, str]
) -> tuple[bool, int, Any]:
    """An act refused `times` times: whether its asset is made, how often it was refused, its failure."""
    refusals = 0
    asked = look.look

    def refused(*args: Any, **kwargs: Any) -> Any:
        nonlocal refusals
        if refusals < times:
            refusals += 1
            raise CopsError(code, "test", expected="an answer", found="none", next_step="wait")
        return asked(*args, **kwargs)

    monkeypatch.setattr(look, "look", refused)
    monkeypatch.setattr(resources, "WAIT_SECONDS", 0)
    with dg.instance_for_test() as instance:
        done = build_defs(first=Period(2025, 9)).resolve_job_def(JOB).execute_in_process(
            partition_key="2025-09", instance=instance, raise_on_error=False, tags=tags,
            asset_selection=[dg.AssetKey("cur_billing_master")],
        )  # fmt: skip
    failed = [one for one in done.all_events if one.is_step_failure and one.step_key == "cur_billing_master"]
    return not failed, refusals, failed and failed[0].step_failure_data.user_failure_data


@pytest.mark.sampled(2)
@pytest.mark.parametrize("code", ["E-DB-BUSY", "E-AWS-THROTTLED"])
def test_what_time_may_mend_is_tried_again(month: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    assert code in TRANSIENT
    assert run(monkeypatch, code, 2, {})[:2] == (True, 2)


def test_it_is_not_tried_for_ever_and_the_last_refusal_says_why(
    month: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, refusals, said = run(monkeypatch, "E-DB-BUSY", 99, {})
    assert (good, refusals) == (False, 1 + resources.RETRIES)
    assert said.metadata["error_code"].value == "E-DB-BUSY"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("code", "tags"), [("E-CCY", {}), ("E-DB-BUSY", BY_COMMAND)])
def test_a_refusal_and_what_a_person_waits_for_are_told_at_once(
    month: Path, monkeypatch: pytest.MonkeyPatch, code: str, tags: dict[str, str]
) -> None:
    good, refusals, said = run(monkeypatch, code, 1, tags)
    assert (good, refusals) == (False, 1)
    assert said.metadata["error_code"].value == code
