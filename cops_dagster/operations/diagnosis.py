"""From what is wrong to what to do: the playbook's recovery steps, by check and by symptom. Pure.

Belongs here: which step of the quick diagnostic path a check belongs to, how to look closer, which command
mends it. Does not belong here: asking the checks (`operations/doctor.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from cops_dagster.money import amount
from cops_dagster.verdict import Verdict

Light = Literal["green", "amber", "red", "unknown"]
Step = Literal["home", "scope", "freshness", "tags", "allocation", "invoices", "snapshot", "alerts"]

STEPS: tuple[Step, ...] = ("scope", "freshness", "tags", "allocation", "invoices", "snapshot")
"""The playbook's quick diagnostic path, in its order."""


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis: how it stands, what was found, how to look closer, what to run."""

    step: Step
    light: Light
    what: str
    found: str
    look: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Recovery:
    """How to look closer at a check that does not hold, and the command that mends it. `{P}` is the month."""

    look: str
    command: str


_DELIVERY = Recovery("cops status {P}", "wait for AWS, then: cops materialize {P}")
_SQL = "cops sql @{} --param start={{P}} --param end={{P}}"
RECOVERY: Mapping[str, Recovery] = {
    "delivery_within_48h": Recovery(
        "cops sql @latest_partition", "cops period mark-delayed {P} --reason '…'"
    ),
    "each_payer_has_one_source": Recovery(
        "cops source list", "choose one: cops source retire NAME --reason '…'; cops materialize {P}"
    ),
    "every_source_is_taken": Recovery(
        "cops source list", "mend or wait, or: cops source retire NAME --reason '…'; cops materialize {P}"
    ),
    "every_source_has_its_place": Recovery(
        "cops source list", "name its root in COPS_CUR again, or: cops source retire NAME --reason '…'"
    ),
    "every_delivery_is_ingested": Recovery("cops runs {P}", "cops materialize {P}"),
    "no_foreign_exports": Recovery("cops source list", "nothing: it is left alone; or move it elsewhere"),
    "no_delivery_waits_for_approval": Recovery("cops status {P}", "cops approve ID --reason '…'"),
    "rows_not_falling": Recovery(
        "cops sql @expected_vs_ingested --param period_start={P}",
        "ask AWS whether the report is whole, then: cops materialize {P}",
    ),
    "no_unexpected_columns": Recovery(
        "cops sql @schema_diff", "nothing: new columns are kept, nullable, and listed"
    ),
    "no_lines_quarantined": Recovery(
        "cops sql -q 'SELECT * FROM cur_quarantine'", "AWS must deliver these lines again"
    ),
    "commitments_are_delivered_whole": Recovery(
        "cops sql -q 'SELECT DISTINCT line_item_usage_account_id, bill_payer_account_id FROM fact_cost_raw'",
        "nothing in a member account's own report; else wait for AWS, then: cops materialize {P}",
    ),
    "negations_follow_usage": Recovery(
        "cops sql -q \"SELECT * FROM fact_cost_tagged WHERE takes_back = 'usage'\"",
        "restore the savings-plan columns in the report definition, or wait for the lines set aside",
    ),
    "refunds_follow_what_they_name": Recovery(
        "cops sql -q \"SELECT * FROM fact_cost_tagged WHERE takes_back = 'resource' AND tenant_id IS NULL\"",
        "tag the resource, then: cops materialize {P}",
    ),
    "tag_coverage_at_target": Recovery(
        _SQL.format("untagged_by_service"), "correct tags at the source, then: cops materialize {P}"
    ),
    "tenants_are_known": Recovery(
        _SQL.format("untagged_cost"), "cops admin load tenants.csv tag_aliases.csv; cops materialize {P}"
    ),
    "mapped_tags_are_delivered": Recovery(
        "cops sql @schema_diff",
        "correct tenant_id in [tags] (the near name), then: cops materialize {P}",
    ),
    "mapped_accounts_are_delivered": Recovery(
        "cops sql -q 'SELECT * FROM account_tenants'",
        "cops admin load account_tenants.csv with the right account; cops materialize {P}",
    ),
    "plans_are_known": Recovery(
        "cops sql -q 'SELECT * FROM plans'",
        "cops admin load plans.csv, or tag_aliases.csv with tag_name plan_id; cops materialize {P}",
    ),
    "plans_have_a_markup": Recovery(
        "cops sql -q 'SELECT * FROM plans'",
        "cops admin load plans.csv with the plan in force on {P}-01; cops materialize {P}",
    ),
    "key_shares_steady": Recovery(
        _SQL.format("empty_keys"),
        "is the figure right? else: cops admin load tenant_MEASURE_usage.csv --replace; cops materialize {P}",
    ),
    "rules_match_something": Recovery(
        "cops rules explain {P}",
        "cops admin load allocation_rules.csv with a new version spelled alike; cops materialize {P}",
    ),
    "budget_scopes_are_known": Recovery(
        "cops budgets list", "cops admin load budgets.csv with a new version about something that exists"
    ),
    "tags_are_spelled_alike": Recovery(
        _SQL.format("untagged_cost"), "cops admin load tag_aliases.csv, or [tags] fold_case"
    ),
    "tenants_with_usage_have_direct_cost": Recovery(
        _SQL.format("untagged_cost"), "is the tenant's provisioning tagging? then: cops materialize {P}"
    ),
    "key_totals_positive": Recovery(
        _SQL.format("empty_keys"), "cops admin load tenant_MEASURE_usage.csv; cops materialize {P}"
    ),
    "keys_fresh_24h": Recovery(
        _SQL.format("empty_keys"),
        "run the usage pipeline; cops admin load tenant_MEASURE_usage.csv --replace",
    ),
    "keys_name_every_tenant": Recovery(
        _SQL.format("empty_keys"), "cops admin load tenant_MEASURE_usage.csv with the missing tenants"
    ),
    "rules_cover_every_pool": Recovery(
        "cops rules explain {P}", "cops admin load allocation_rules.csv with a rule; cops materialize {P}"
    ),
    "rules_unchanged_in_period": Recovery(
        "cops rules explain {P}", "cops allocate {P} --rules-as-of DAY --note '…' --evidence LINK"
    ),
    "allocated_equals_pool": Recovery(
        _SQL.format("pool_vs_allocated"), "stop: this must never happen; cops evidence verify {P}"
    ),
    "unallocated_within_2_pct": Recovery(
        _SQL.format("pool_vs_allocated"),
        "keys, then rules: cops rules check --period {P}; cops materialize {P}",
    ),
    "variance_within_tolerance": Recovery(
        "cops sql @tenant_drill --param start={P} --param end={P}",
        "timing: wait; allocation: cops materialize {P}; invoice: credit note and reissue",
    ),
    "exceptions_explained": Recovery(
        "cops exceptions list {P}", "cops exceptions decide ID --decision '…' --evidence LINK"
    ),
    "aws_invoice_matches_cur": Recovery(
        "cops exceptions list {P}", "cops admin load aws_invoices.csv; cops materialize {P}"
    ),
    "budgets_refreshed_today": Recovery("cops budgets list", "cops budgets refresh"),
}  # fmt: skip
"""By check; every other check of a delivery is looked at in the status, and waits for AWS."""

SYMPTOMS: Mapping[str, tuple[Step, ...]] = {
    "missing-partitions": ("scope", "freshness"),
    "rows-fell": ("freshness",),
    "new-columns": ("freshness",),
    "untagged-cost": ("tags", "allocation"),
    "usage-without-cost": ("tags",),
    "pool-mismatch": ("allocation", "freshness"),
    "zero-allocation": ("allocation", "tags"),
    "division-by-zero": ("allocation",),
    "no-alerts": ("alerts",),
    "stale-budgets": ("alerts",),
    "variance": ("invoices", "allocation", "freshness"),
    "timing-gap": ("freshness", "invoices"),
}
"""The playbook's symptoms, and the steps that find their cause, the likeliest first."""


def of_verdict(step: Step, verdict: Verdict, period: str) -> Finding:
    """A check's verdict as a line of the diagnosis."""
    light: Light = "green" if verdict.passed else "unknown" if verdict.passed is None else "amber"
    if verdict.passed is False and verdict.severity == "ERROR":
        light = "red"
    figures = [
        f"{name} {_short(name, value)}"
        for name, value in verdict.figures.items()
        if value not in ("", [], None) and name not in ("next_step", "details")
    ]
    recovery = RECOVERY.get(verdict.check, _DELIVERY)
    command, said = recovery.command, verdict.figures.get("next_step")
    if said:  # the refusal's own way out, with its ids; AWS may also deliver again
        command = f"{said}; or {command}" if recovery is _DELIVERY else str(said)
    return Finding(
        step,
        light,
        verdict.check.replace("_", " "),
        ", ".join(figures[:5]),
        recovery.look.replace("{P}", period),
        "" if light in ("green", "unknown") else command.replace("{P}", period),
    )


def of_closed_month(finding: Finding, period: str) -> Finding:
    """A closed month is never changed: what would mend an open one is an adjustment or a note."""
    if finding.light not in ("red", "amber") or finding.step not in ("tags", "allocation", "freshness"):
        return finding
    if finding.what.startswith("E-DIGEST"):  # what is lost is no matter of amounts
        return finding
    return replace(finding, next_step=f"the month is closed: cops adjust note {period} … or cops adjust move")


def _short(name: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        first = ", ".join(_short("", one) for one in value[0].values()) if value else ""
        return f"{len(value)} ({first}{', …' if len(value) > 1 else ''})"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if name.endswith("_pct") else amount.show(amount.from_decimal(value))
    return str(value)[:200]
