"""The bridge from AWS's bill to our invoices, each step a named amount. Pure.

Belongs here: the steps, their order, that they add up, what finance calls them. Σ over the tenants,
`__operator__` and `__unallocated__` of every step is that step of the whole month, to difference 0.

    aws_billed + amortisation = amortised;  + back_to_charge_basis − operator − unallocated = allocated
    allocated = direct + shared;  + adjustments + markup = expected;  + variance = invoiced
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from cops_dagster.reconciliation.variance import TenantLine
from cops_dagster.words import OPERATOR, UNALLOCATED

Kind = Literal["level", "change", "part"]
WHOLE_MONTH = ""
"""The name under which the steps of the whole month stand."""
_TOLD: Mapping[str, str] = {
    "aws_billed": "billed by AWS",
    "amortisation": "to accrual basis",
    "amortised": "on accrual basis (amortised)",
    "back_to_charge_basis": "back to charge basis",
    "operator": "own cost",
    "unallocated": "cost that nobody bears yet",
    "allocated": "chargeable cost",
    "adjustments": "prior-period adjustments",
    "expected": "billable",
}
_HALF_CENT = Decimal("0.005")
_ACCRUAL = ("amortisation", "amortised", "back_to_charge_basis")


def told(step: str, usd: Decimal = Decimal(0)) -> str:
    """What finance calls a step; that of the variance says by its sign who was billed too much."""
    if step == "variance":
        if abs(usd) < _HALF_CENT:
            return "over- or under-billed"
        return "over-billed" if usd > 0 else "under-billed"
    return _TOLD.get(step, step.replace("_", " "))


def is_shown(step: str, amounts: Mapping[str, Decimal]) -> bool:
    """Whether people read a step: the way to accrual basis and back says nothing where it cancels out."""
    there, back = (amounts.get(name, Decimal(0)) for name in ("amortisation", "back_to_charge_basis"))
    return step not in _ACCRUAL or there + back != 0


@dataclass(frozen=True)
class Step:
    """One bar: a level, a change of it, or a part of the level before. `cumulative` is where it ends."""

    name: str
    kind: Kind
    amount: int
    cumulative: int


def bridges(lines: Sequence[TenantLine]) -> dict[str, list[Step]]:
    """The steps of every tenant, and under `WHOLE_MONTH` of all of them together."""
    plans = {line.tenant_id: _plan(line) for line in lines}
    whole = [
        (name, kind, sum(plan[at][2] for plan in plans.values()))
        for at, (name, kind, _) in enumerate(_plan(TenantLine(WHOLE_MONTH)))
    ]
    return {WHOLE_MONTH: _steps(whole), **{name: _steps(plan) for name, plan in plans.items()}}


def _plan(line: TenantLine) -> list[tuple[str, Kind, int]]:
    charged = line.direct + line.shared
    is_tenant = line.tenant_id not in (OPERATOR, UNALLOCATED)
    return [
        ("aws_billed", "level", line.allocated),
        ("amortisation", "change", line.amortized - line.allocated),
        ("amortised", "level", line.amortized),
        ("back_to_charge_basis", "change", charged - line.amortized),
        ("operator", "change", -charged if line.tenant_id == OPERATOR else 0),
        ("unallocated", "change", -charged if line.tenant_id == UNALLOCATED else 0),
        ("allocated", "level", charged if is_tenant else 0),
        ("direct", "part", line.direct if is_tenant else 0),
        ("shared", "part", line.shared if is_tenant else 0),
        ("adjustments", "change", line.adjustments),
        ("markup", "change", line.markup),
        ("expected", "level", line.expected),
        ("variance", "change", line.variance),
        ("invoiced", "level", line.invoiced),
    ]


def _steps(plan: Sequence[tuple[str, Kind, int]]) -> list[Step]:
    made, at = [], 0
    for name, kind, usd in plan:
        at = usd if kind == "level" else at + usd if kind == "change" else at
        made.append(Step(name, kind, usd, at))
    return made
