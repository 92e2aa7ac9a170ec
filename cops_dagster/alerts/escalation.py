"""Which facts are alerts, how urgent, and whose: the playbook's escalation. Pure.

Belongs here: rule names, severities, teams, titles and next steps of what is no check; how a check's verdict
becomes an observation. Does not belong here: how urgent a check is and whose (its `Check`, which a verdict
carries), what becomes of an observation (`alerts/lifecycle.py`).

    P1  reconciliation failed at month close, integrity broken        finance, platform
    P2  allocation mismatch above 2 % in an open period               billing-ops
    P3  coverage below 98 % for more than 24 h of data                platform
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from cops_dagster import clocks
from cops_dagster.alerts.lifecycle import DEAD_AFTER, Alert, Observation, Severity
from cops_dagster.period import Period
from cops_dagster.verdict import OF_DATA, OF_FINANCE, OF_TAGGING, Check, Teams, Verdict

RECONCILIATION = "reconciliation_failed"
RUN = "run_failed"
BUDGET = "budget_level"
CONTROL = "control"
SILENT = "evaluations_stopped"
COVERAGE = "tag_coverage_below_floor"
NO_CHECKS = (RECONCILIATION, RUN, BUDGET, CONTROL, SILENT)
"""Rules that are not about one check."""

COVERAGE_HELD_FOR = timedelta(hours=24)
STEPS_PCT = (2, 5, 10, 25, 50)
"""Percentages at which an amount is worth another message."""


_PAGE: Mapping[str, str] = {
    "cur_billing_master": "cops docs cur-ingestion",
    "fact_cost_raw": "cops docs cur-ingestion",
    "cur_quarantine": "cops docs cur-ingestion",
    "fact_cost_tagged": "cops docs tag-strategy",
    "allocation_key_snapshot": "cops docs allocation-rules",
    "fact_cost_allocated": "cops docs allocation-rules",
    "recon_summary": "cops docs reconciliation",
    "margin": "cops docs exports",
    "budget_master": "cops docs budgets-alerts",
}


_OF_NO_CHECK: Mapping[str, Teams] = {BUDGET: OF_FINANCE, COVERAGE: OF_TAGGING}


def teams_of(rule: str, severity: str, whose: Mapping[str, Teams]) -> Teams:
    """Whose alert it is.

    Args:
        whose: check → its teams (`operations/all_checks.py`).
    """
    teams = whose.get(rule) or _OF_NO_CHECK.get(rule, OF_DATA)
    if severity == "P1":
        return ("finance", "platform")
    return ("billing-ops",) if severity == "P2" and teams != OF_FINANCE else teams


def steps_passed(percent: Decimal | None) -> int:
    """How many of 2, 5, 10, 25, 50 % are exceeded, strictly."""
    return 0 if percent is None else sum(abs(percent) > step for step in STEPS_PCT)


def of_reconciliation(
    period: Period, status: str, at: datetime, *, run_id: str | None, figures: str = ""
) -> Observation | None:
    """P1 when a month whose invoices are all issued fails; only a passing one takes it back."""
    if status not in ("failed", "ok", "warning"):
        return None
    return Observation(
        RECONCILIATION,
        "",
        period,
        "P1",
        status == "failed",
        at,
        at,
        f"Reconciliation of {period} failed",
        figures,
        f"new invoices are frozen; cops docs reconciliation, then cops exceptions list {period}",
        status,
        because=f"a reconciliation passed: {status}",
        dagster_run_id=run_id,
    )


def does_not_hold(alert: Alert) -> bool:
    """A check's newest verdict, read from its alert."""
    return alert.state in ("firing", "pending")


def is_error(alert: Alert, check: Check, *, below_floor: bool) -> bool:
    """Whether the check of an alert failed as an ERROR, not as a warning.

    Args:
        below_floor: the coverage of the alert's month is below its floor (`COVERAGE` does not hold).
    """
    if check.lasts:
        return below_floor
    return check.gravest == "ERROR" and alert.severity == check.level("ERROR")


def of_verdict(
    verdict: Verdict, period: Period, *, data_at: datetime, at: datetime, run_id: str | None
) -> list[Observation]:
    """A check's verdict as it was asked, wherever that was: in a publication, a step, or by a sweep.

    One without a denominator counts as passed, and is no news: nothing was judged.
    """
    check, figures, fails = verdict.of, verdict.texts(), verdict.passed is False
    rank = check.level(verdict.severity)
    if rank is None and fails:
        return []
    percent = figures.get("mismatch_pct")
    seen = Observation(
        check.name,
        check.table,
        period,
        rank or check.level("WARN") or "P4",
        None if verdict.passed is None else fails,
        data_at,
        at,
        f"{period}: does not hold: {check.name.replace('_', ' ')}",
        ", ".join(f"{name} {value}" for name, value in figures.items() if value not in ("", "0")),
        f"{_PAGE.get(check.table, 'cops docs troubleshooting')}; cops status {period}",
        percent or _headline(check, figures),
        steps_passed(Decimal(percent)) if percent else 0,
        because="the check holds again",
        dagster_run_id=run_id,
    )
    if not check.lasts:
        return [seen]
    below = replace(
        seen,
        rule=COVERAGE,
        severity="P3",
        held_for=COVERAGE_HELD_FOR,
        holds=None if seen.holds is None else fails and verdict.severity == "ERROR",
        title=f"{period}: tag coverage is below {figures.get('floor_pct', '98')} %",
        because="coverage is above the floor again",
    )
    return [seen, below]


def _headline(check: Check, figures: Mapping[str, str]) -> str | None:
    name = check.headline or next(iter(figures), "")
    return f"{name} {figures[name]}" if name in figures else None


def of_run(
    job: str, period: Period | None, failed: bool, at: datetime, run_id: str, error: str
) -> Observation:
    """A run of a job for a period failed, or one succeeded again."""
    return Observation(
        RUN,
        job,
        period,
        "P3",
        failed,
        at,
        at,
        f"{period or job}: the run {job} failed",
        error,
        "read the run in Dagster, then run it again: a run resumes",
        run_id[:8],
        because="a later run succeeded",
        dagster_run_id=run_id,
    )


def of_budget(
    budget_id: str, period: Period, level: str, at: datetime, *, measured: str, step: int = 0
) -> Observation:
    """A budget's level: critical is P2, warning P3."""
    return Observation(
        BUDGET,
        budget_id,
        period,
        "P2" if level == "critical" else "P3",
        level != "ok",
        at,
        at,
        f"{period}: budget {budget_id} is {level}",
        measured,
        "cops docs budgets-alerts; cops budgets list",
        measured,
        step,
        because=f"the budget is {level}",
    )


PROOF = (
    "closed_periods_stay_locked",
    "closed_months_match_their_seals",
    "guards_are_as_migrations_made_them",
)
"""Controls whose failure means that what was proved is not so any more."""


def of_control(
    control: str, status: str, at: datetime, *, target: str, measured: str, next_step: str
) -> Observation:
    """A preventive control; what could not be measured is no news."""
    graver: Severity = "P1" if control in PROOF else "P3"
    return Observation(
        CONTROL,
        control,
        None,
        graver if status == "failed" else "P4",
        None if status == "unknown" else status != "ok",
        at,
        at,
        f"Control {control.replace('_', ' ')} is {status}",
        f"target {target}; measured {measured}",
        next_step,
        measured,
        because="the control holds again",
    )


def of_silence(newest_evaluation: datetime | None, now: datetime) -> Observation | None:
    """The dead man's handle: controls were evaluated once, and are not any more."""
    if newest_evaluation is None:
        return None
    is_watched = clocks.is_within(newest_evaluation, DEAD_AFTER, now)
    return Observation(
        SILENT,
        "",
        None,
        "P2",
        not is_watched,
        now,
        now,
        "Nothing is being watched",
        f"the controls were last evaluated at {newest_evaluation:%Y-%m-%d %H:%M} UTC",
        "start dagster-daemon, or run cops controls --evaluate; cops docs budgets-alerts",
        f"{newest_evaluation:%Y-%m-%d %H:%M}",
        because="the controls are evaluated again",
    )
