"""From what is wrong to what to do: the playbook's steps, by symptom, and a line of a diagnosis. Pure.

Belongs here: the steps of the quick diagnostic path, and how a verdict reads there. Does not belong here: how
to look closer at a check and which command mends it (its `Check`), asking (`operations/doctor.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from cops_dagster.money import amount
from cops_dagster.verdict import WAIT_FOR_AWS, Verdict

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
    command, said = verdict.of.mend, verdict.figures.get("next_step")
    if said:  # the refusal's own way out, with its ids; AWS may also deliver again
        command = f"{said}; or {command}" if command == WAIT_FOR_AWS else str(said)
    return Finding(
        step,
        light,
        verdict.check.replace("_", " "),
        ", ".join(figures[:5]),
        verdict.of.look.replace("{P}", period),
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
