"""The check of a booking, and when it holds. Pure.

Belongs here: a check as a constant, and as a function of exact figures. Does not belong here: measuring them
(`adjustments/proposals.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cops_dagster.verdict import Check, Verdict

# fmt: off
ADJUSTMENT_EQUALS_PROPOSAL = Check(
    "adjustment_equals_proposal", "What is booked is what was approved, line by line and in each cost.",
    "fact_cost_adjustment", blocks=True, gravest="ERROR", look="cops evidence verify {P}",
    mend="nothing is booked: find out who changed the staged lines",
)
# fmt: on


def adjustment_equals_proposal(
    approved: Mapping[str, Decimal], staged: Mapping[str, Decimal], approved_lines: int, staged_lines: int
) -> Verdict:
    """The staged entries are the approved ones: as many, and the same in each cost."""
    differences = {name: staged[name] - approved[name] for name in approved}
    return Verdict(
        ADJUSTMENT_EQUALS_PROPOSAL,
        not any(differences.values()) and staged_lines == approved_lines,
        "ERROR",
        {**differences, "lines": staged_lines},
    )
