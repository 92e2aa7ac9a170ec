"""When tagging preserves cost, and how much of it carries a tenant. Pure.

Belongs here: a check as a function of exact figures, and the coverage of design rule 5.7. Does not belong
here: measuring them (`tagging/checks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cops_dagster.money import amount
from cops_dagster.verdict import Verdict, percent


def tagging_preserves_cost(raw: Mapping[str, Decimal], tagged: Mapping[str, Decimal]) -> Verdict:
    """Each cost column sums to the same before and after tagging."""
    differences = {name: tagged[name] - raw[name] for name in raw}
    return Verdict(
        "tagging_preserves_cost",
        not any(differences.values()),
        "ERROR",
        {f"{name}_difference_usd": value for name, value in differences.items()}
        | {"raw_unblended_usd": raw["unblended"]},
        blocking=True,
    )


@dataclass(frozen=True)
class Coverage:
    """Figures of design rule 5.7, in USD on the charge basis and in rows."""

    covered: Decimal
    coverable: Decimal
    propagated: Decimal
    covered_rows: int
    coverable_rows: int
    missing_rows: int
    missing_cost: Decimal

    @property
    def percent(self) -> Decimal | None:
        """Share of coverable cost whose tags came delivered; `None` without a denominator."""
        return percent(self.covered, self.coverable)

    @property
    def row_percent(self) -> Decimal | None:
        """The same by rows."""
        return amount.percent(self.covered_rows, self.coverable_rows)

    @property
    def propagated_percent(self) -> Decimal | None:
        """Share that has a tenant after mapping."""
        return percent(self.propagated, self.coverable)


def tag_coverage_at_target(coverage: Coverage, target_pct: Decimal, floor_pct: Decimal) -> Verdict:
    """Coverage reaches its target; below the floor it is an ERROR. Compared without rounding."""
    if coverage.coverable == 0:
        return Verdict("tag_coverage_at_target", None, "WARN", {"coverable_usd": coverage.coverable})
    share = 100 * coverage.covered
    return Verdict(
        "tag_coverage_at_target",
        share >= target_pct * coverage.coverable,
        "ERROR" if share < floor_pct * coverage.coverable else "WARN",
        {
            "tag_coverage_pct": coverage.percent,
            "target_pct": target_pct,
            "floor_pct": floor_pct,
            "covered_usd": coverage.covered,
            "coverable_usd": coverage.coverable,
            "row_coverage_pct": coverage.row_percent,
            "propagated_coverage_pct": coverage.propagated_percent,
            "missing_tenant_tag": coverage.missing_rows,
            "missing_tenant_tag_usd": coverage.missing_cost,
        },
    )
