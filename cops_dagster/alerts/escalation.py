"""Which facts are alerts, how urgent, and whose: the playbook's escalation as tables. Pure.

Belongs here: rule names, severities, teams, titles and next steps. Does not belong here: what becomes of
an observation (`alerts/lifecycle.py`).

    P1  reconciliation failed at month close, integrity broken        finance, platform
    P2  allocation mismatch above 2 % in an open period               billing-ops
    P3  coverage below 98 % for more than 24 h of data                platform
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from cops_dagster.alerts.lifecycle import DEAD_AFTER, Alert, Observation, Severity
from cops_dagster.ledger import clocks
from cops_dagster.period import Period
from cops_dagster.verdict import Verdict

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

_INTEGRITY = (
    "rows_match_delivery", "cost_matches_delivery", "tagging_preserves_cost", "allocated_equals_pool",
)  # fmt: skip
_OF_CHECK: Mapping[str, tuple[Severity | None, Severity | None]] = {
    **dict.fromkeys(_INTEGRITY, ("P1", "P1")),
    "unallocated_within_2_pct": ("P2", "P2"),
    "tag_coverage_at_target": ("P4", "P4"),  # below the floor it is `COVERAGE` too, after 24 h of data
    # a failed reconciliation is an alert of its own, written with the freeze; its check would say it twice
    "variance_within_tolerance": (None, "P4"),
    "delivery_within_48h": ("P3", "P3"),
}
"""Severity of an ERROR and of a WARN; every other check is P3 and P4."""

_PAGE: Mapping[str, str] = {
    "cur_billing_master": "cops docs cur-ingestion",
    "fact_cost_raw": "cops docs cur-ingestion",
    "cur_quarantine": "cops docs cur-ingestion",
    "fact_cost_tagged": "cops docs tag-strategy",
    "allocation_key_snapshot": "cops docs allocation-rules",
    "fact_cost_allocated": "cops docs allocation-rules",
    "recon_summary": "cops docs reconciliation",
    "budget_master": "cops docs budgets-alerts",
}


_OF_FINANCE = (
    BUDGET, "variance_within_tolerance", "exceptions_explained", "aws_invoice_matches_cur", "plans_are_known",
    "plans_have_a_markup", "key_shares_steady", "budget_scopes_are_known",
)  # fmt: skip
_OF_TAGGING = (
    COVERAGE, "tag_coverage_at_target", "tenants_are_known", "tags_are_spelled_alike",
    "mapped_tags_are_delivered",
)  # fmt: skip


def teams_of(rule: str, severity: str) -> tuple[str, ...]:
    """Whose alert it is."""
    if severity == "P1":
        return ("finance", "platform")
    if rule in _OF_FINANCE:
        return ("finance", "billing-ops")
    if severity == "P2":
        return ("billing-ops",)
    if rule in _OF_TAGGING:
        return ("platform",)
    return ("data-engineering", "platform")


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


_ASSET_OF: Mapping[str, str] = {
    "key_totals_positive": "allocation_key_snapshot",
    "rules_cover_every_pool": "allocation_key_snapshot",
}
"""Whose check it is that is asked once more with the publication of another table."""


def of_verdict(
    asset: str, verdict: Verdict, period: Period, *, data_at: datetime, at: datetime, run_id: str | None
) -> list[Observation]:
    """A check's verdict as it was asked, wherever that was: in a publication, a step, or by a sweep."""
    return of_check(
        _ASSET_OF.get(verdict.check, asset),
        verdict.check,
        period,
        verdict.passed is not False,
        verdict.severity,
        verdict.texts(),
        data_at=data_at,
        at=at,
        run_id=run_id,
    )


def does_not_hold(alert: Alert) -> bool:
    """A check's newest verdict, read from its alert."""
    return alert.state in ("firing", "pending")


def is_error(alert: Alert, *, below_floor: bool) -> bool:
    """Whether the check of an alert failed as an ERROR, not as a warning.

    Args:
        below_floor: the coverage of the alert's month is below its floor (`COVERAGE` does not hold).
    """
    if alert.rule == "tag_coverage_at_target":
        return below_floor
    error, warning = _OF_CHECK.get(alert.rule, ("P3", "P4"))
    return alert.severity == error and (error != warning or alert.rule not in _ONLY_WARN)


_ONLY_WARN = ("delivery_within_48h",)
"""Checks of one severity whatever the verdict that never are an ERROR."""


def of_check(
    asset: str,
    check: str,
    period: Period,
    passed: bool,
    severity: str,
    figures: Mapping[str, str],
    *,
    data_at: datetime,
    at: datetime,
    run_id: str | None,
) -> list[Observation]:
    """A check's verdict. One without a denominator comes as passed, and is no news: nothing was judged."""
    error, warning = _OF_CHECK.get(check, ("P3", "P4"))
    rank = error if severity == "ERROR" else warning
    if rank is None and not passed:
        return []
    shown = ", ".join(f"{name} {value}" for name, value in figures.items() if value not in ("", "0"))
    percent = figures.get("mismatch_pct")
    seen = Observation(
        check,
        asset,
        period,
        rank or warning or "P4",
        None if "verdict" in figures else not passed,
        data_at,
        at,
        f"{period}: does not hold: {check.replace('_', ' ')}",
        shown,
        f"{_PAGE.get(asset, 'cops docs troubleshooting')}; cops status {period}",
        percent or _headline(check, figures),
        steps_passed(Decimal(percent)) if percent else 0,
        because="the check holds again",
        dagster_run_id=run_id,
    )
    if check != "tag_coverage_at_target":
        return [seen]
    below = replace(
        seen,
        rule=COVERAGE,
        severity="P3",
        held_for=COVERAGE_HELD_FOR,
        holds=None if seen.holds is None else not passed and severity == "ERROR",
        title=f"{period}: tag coverage is below {figures.get('floor_pct', '98')} %",
        because="coverage is above the floor again",
    )
    return [seen, below]


_HEADLINE: Mapping[str, str] = {
    "tag_coverage_at_target": "tag_coverage_pct",
    "variance_within_tolerance": "variance_usd",
    "exceptions_explained": "undecided_exceptions",
    "rules_cover_every_pool": "unclaimed_pools",
    "no_unexpected_columns": "unexpected_columns",
    "tenants_are_known": "largest",
    "plans_are_known": "unknown_plans",
    "plans_have_a_markup": "without_markup",
    "key_shares_steady": "moved",
    "budget_scopes_are_known": "about_nothing",
    "rules_match_something": "match_nothing",
    "allocated_equals_pool": "differing",
    "aws_invoice_matches_cur": "differing",
    "keys_fresh_24h": "stale",
}
"""The figure that says most, by check."""


def _headline(check: str, figures: Mapping[str, str]) -> str | None:
    name = _HEADLINE.get(check, next(iter(figures), ""))
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
