"""The checks of tagged lines, and when each holds. Pure.

Belongs here: a check as a constant, and as a function of exact figures; the coverage of design rule 5.7. Does
not belong here: measuring them (`tagging/checks.py`); when a name names something (`tagging/lookups.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from cops_dagster.money import amount
from cops_dagster.verdict import OF_FINANCE, OF_MONTH, OF_TAGGING, Check, Verdict, percent

_TAGGED = "fact_cost_tagged"

# fmt: off
TAGGING_PRESERVES_COST = Check(
    "tagging_preserves_cost", "Every cost view sums to the same before and after tagging.", _TAGGED,
    blocks=True, gravest="ERROR", levels=("P1", "P1"),
)
NEGATIONS_FOLLOW_USAGE = Check(
    "negations_follow_usage", "Savings-plan negations take back covered usage.", _TAGGED, gravest="ERROR",
    look="cops sql -q \"SELECT * FROM fact_cost_tagged WHERE takes_back = 'usage'\"",
    mend="restore the savings-plan columns in the report definition, or wait for the lines set aside",
)
REFUNDS_FOLLOW_WHAT_THEY_NAME = Check(
    "refunds_follow_what_they_name", "Refunds of a resource belong to its tenant.", _TAGGED,
    look="cops sql -q \"SELECT * FROM fact_cost_tagged WHERE takes_back = 'resource' AND tenant_id IS NULL\"",
    mend="tag the resource, then: cops materialize {P}",
)
CONTAINERS_ARE_SPLIT = Check(
    "containers_are_split", "Every split row says how its instance is split.", _TAGGED,
    look="cops docs containers",
    mend="turn split cost allocation on in the report, or [containers] use = \"parent\"", whose=OF_TAGGING,
)
TAG_COVERAGE_AT_TARGET = Check(
    "tag_coverage_at_target", "Coverable cost carries tenant and plan tags, by cost.", _TAGGED,
    gravest="ERROR", look=OF_MONTH.format("untagged_by_service"),
    mend="correct tags at the source, then: cops materialize {P}", whose=OF_TAGGING, levels=("P4", "P4"),
    lasts=True, headline="tag_coverage_pct",
)
TENANTS_ARE_KNOWN = Check(
    "tenants_are_known", "Every delivered tenant tag names a registered tenant.", _TAGGED, gravest="ERROR",
    look=OF_MONTH.format("untagged_cost"),
    mend="cops admin load tenants.csv tag_aliases.csv; cops materialize {P}", whose=OF_TAGGING,
    headline="largest",
)
PLANS_ARE_KNOWN = Check(
    "plans_are_known", "Every delivered plan tag names a plan in force.", _TAGGED, gravest="ERROR",
    look="cops sql -q 'SELECT * FROM plans'",
    mend="cops admin load plans.csv, or tag_aliases.csv with tag_name plan_id; cops materialize {P}",
    whose=OF_FINANCE, headline="unknown_plans",
)
TENANTS_WITH_USAGE_HAVE_DIRECT_COST = Check(
    "tenants_with_usage_have_direct_cost", "Tenants with platform usage appear in the CUR.", _TAGGED,
    look=OF_MONTH.format("untagged_cost"),
    mend="is the tenant's provisioning tagging? then: cops materialize {P}",
)
NO_TENANT_SPIKES = Check("no_tenant_spikes", "No tenant's direct cost doubled since last month.", _TAGGED)
TAGS_ARE_SPELLED_ALIKE = Check(
    "tags_are_spelled_alike", "Each tenant's tag is written in one way.", _TAGGED,
    look=OF_MONTH.format("untagged_cost"), mend="cops admin load tag_aliases.csv, or [tags] fold_case",
    whose=OF_TAGGING,
)
MAPPED_ACCOUNTS_ARE_DELIVERED = Check(
    "mapped_accounts_are_delivered", "Every mapped account stands in some delivery.", _TAGGED,
    look="cops sql -q 'SELECT * FROM account_tenants'",
    mend="cops admin load account_tenants.csv with the right account; cops materialize {P}",
)
MAPPED_TAGS_ARE_ACTIVE = Check(
    "mapped_tags_are_active", "The payer's mapped cost allocation tags are active.", _TAGGED,
)
# fmt: on


def tagging_preserves_cost(raw: Mapping[str, Decimal], tagged: Mapping[str, Decimal]) -> Verdict:
    """Each cost column sums to the same before and after tagging."""
    differences = {name: tagged[name] - raw[name] for name in raw}
    return Verdict(
        TAGGING_PRESERVES_COST,
        not any(differences.values()),
        "ERROR",
        {f"{name}_difference_usd": value for name, value in differences.items()}
        | {"raw_unblended_usd": raw["unblended"]},
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
        return Verdict(TAG_COVERAGE_AT_TARGET, None, "WARN", {"coverable_usd": coverage.coverable})
    share = 100 * coverage.covered
    return Verdict(
        TAG_COVERAGE_AT_TARGET,
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


def negations_follow_usage(alone: Sequence[dict[str, object]], total: Decimal, *, decides: bool) -> Verdict:
    """Every savings-plan negation takes back covered usage: what finds none is charged as if it were cost.

    An ERROR above a ten-thousandth of the month, where tenants are charged on unblended cost.

    Args:
        alone: service, account and USD of negations that found no usage, or of what is left of them.
        total: unblended cost of the month in USD.
        decides: whether the charge basis is unblended.
    """
    usd = sum((abs(Decimal(str(row["unblended_usd"]))) for row in alone), Decimal(0))
    grave = decides and usd > max(Decimal("0.01"), abs(total) * Decimal("1e-4"))
    return Verdict(
        NEGATIONS_FOLLOW_USAGE,
        not alone,
        "ERROR" if grave else "WARN",
        {"unmatched_usd": usd, "unmatched": [dict(row) for row in alone[:50]]},
    )


def refunds_follow_what_they_name(alone: Sequence[dict[str, object]]) -> Verdict:
    """Every refund or credit that names a resource belongs to that resource's tenant."""
    usd = sum((abs(Decimal(str(row["unblended_usd"]))) for row in alone), Decimal(0))
    return Verdict(
        REFUNDS_FOLLOW_WHAT_THEY_NAME,
        not alone,
        "WARN",
        {"unmatched_usd": usd, "unmatched": [dict(row) for row in alone[:50]]},
    )


def containers_are_split(unsplit: Sequence[dict[str, object]] | None) -> Verdict:
    """Every split row has its instance, and figures that split it; other hours stay with the instance.

    Args:
        unsplit: fault, how many, and the cost that they split; `None` where instances bear themselves.
    """
    usd = sum((abs(Decimal(str(row["split_usd"]))) for row in unsplit or ()), Decimal(0))
    return Verdict(
        CONTAINERS_ARE_SPLIT,
        None if unsplit is None else not unsplit,
        "WARN",
        {"unsplit_usd": usd, "unsplit": [dict(row) for row in unsplit or ()]},
    )


def tenants_with_usage_have_direct_cost(idle: Sequence[str]) -> Verdict:
    """Who uses the platform appears in the CUR.

    Args:
        idle: tenants with usage and without a line of their own.
    """
    return Verdict(
        TENANTS_WITH_USAGE_HAVE_DIRECT_COST, not idle, "WARN", {"tenants_without_cost": ", ".join(idle)}
    )


def no_tenant_spikes(direct: Mapping[str, Decimal], before: Mapping[str, Decimal]) -> Verdict:
    """A spike is more than twice last month's direct cost and at least 100 USD more."""
    spikes: list[dict[str, object]] = [
        {"tenant_id": tenant, "usd": cost, "previous_usd": before[tenant]}
        for tenant, cost in sorted(direct.items())
        if tenant in before and cost > 2 * before[tenant] and cost - before[tenant] >= 100
    ]
    return Verdict(NO_TENANT_SPIKES, not spikes, "WARN", {"spikes": spikes})


def tags_are_spelled_alike(variants: Mapping[str, Collection[str]]) -> Verdict:
    """Each tenant's tag is written in one way: a variant may be declared, but somebody typed it."""
    found: list[dict[str, object]] = [
        {"spelling": name, "variants": ", ".join(map(repr, sorted(spelled)))}
        for name, spelled in sorted(variants.items())
        if len(spelled) > 1
    ]
    return Verdict(TAGS_ARE_SPELLED_ALIKE, not found, "WARN", {"variants": found[:20]})


def mapped_tags_are_active(
    mapped: int, not_active: Sequence[str], merged: Sequence[str], listed_at: datetime | None
) -> Verdict:
    """Every tag of `[tags]` is active in the payer, in one spelling.

    Args:
        mapped: columns that `[tags]` names.
        not_active, merged: those that the payer has not activated, and that AWS fills from several keys.
        listed_at: when the payer's tags were listed; nothing to judge before the first `cops tags active`.
    """
    return Verdict(
        MAPPED_TAGS_ARE_ACTIVE,
        not not_active and not merged if listed_at else None,
        "WARN",
        {
            "mapped_tags": mapped,
            "not_active": ", ".join(not_active),
            "merged_by_aws": ", ".join(merged),
            "listed_at": listed_at.isoformat() if listed_at else None,
        },
    )
