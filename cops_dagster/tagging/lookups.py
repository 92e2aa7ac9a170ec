"""Names that should name something: what a lookup found, what it did not, and the money behind it. Pure.

Belongs here: the verdicts on delivered tags, plans and accounts that name nothing, each with the name that
was likely meant. Does not belong here: looking names up (`sql/stage_fact_cost_tagged.sql`). A lookup that
finds nothing is never 0 (docs/adr/0030).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal

from cops_dagster.period import Period
from cops_dagster.tagging.verdicts import MAPPED_ACCOUNTS_ARE_DELIVERED, PLANS_ARE_KNOWN, TENANTS_ARE_KNOWN
from cops_dagster.verdict import Severity, Verdict
from cops_dagster.words import near

LIMIT_PCT = 2
"""Per cent of a month's cost up to which an unknown name is a warning, as in rule 5.8."""
_SHOWN = 20


def outweighs(part: Decimal | int, whole: Decimal | int) -> bool:
    """`part` is more than the limit's share of `whole`; at the limit it is not. Both are sums of |cost|."""
    return 100 * part > LIMIT_PCT * whole


# --- tenants ------------------------------------------------------------------------------------------


def tenants_are_known(
    unknown: Sequence[Mapping[str, object]],
    tenants: Collection[str],
    pooled: Decimal = Decimal(0),
    month: Decimal = Decimal(0),
) -> Verdict:
    """Every delivered tenant tag names a tenant of the registry.

    A warning up to 2 % of the month; above, an error, and the cost is held in `__unallocated__`.

    Args:
        unknown: tags that name nobody, with their cost, the largest first.
        tenants: ids that are registered. While there are none nothing is held.
        pooled: Σ|cost| of those tags that nothing else gave a tenant, USD on the charge basis.
        month: Σ|cost| of the month, alike.
    """
    shown = [{**row, "near": near(str(row["tenant_tag"]), tenants) or "none"} for row in unknown[:_SHOWN]]
    held = bool(tenants) and outweighs(pooled, month)
    return Verdict(
        TENANTS_ARE_KNOWN,
        not unknown and bool(tenants),
        "ERROR" if held else "WARN",
        {
            "unknown_tags": len(unknown),
            "registered_tenants": len(tenants),
            "largest": shown,
            "without_a_tenant_usd": pooled,
            "month_usd": month,
            "what_became_of_it": ("held" if held else "spread by the rules") if pooled else "",
        },
    )


# --- plans --------------------------------------------------------------------------------------------


def plans_are_known(
    costs: Sequence[tuple[str | None, str | None, str | None, Decimal]],
    begins: Mapping[str, date],
    period: Period,
) -> Verdict:
    """Every delivered plan tag names a plan that is in force on the month's first day.

    One that does not is billed as the tenant's own plan. While no plan is registered at all, every tag is a
    plan of its own and nothing has a markup: a warning with the cost.

    Args:
        costs: tenant, plan, the plan tag that named nothing, and cost in USD on the charge basis.
        begins: plan → first day it is in force.
    """
    month = sum((abs(usd) for _, _, _, usd in costs), Decimal(0))
    wrong: list[tuple[str | None, str | None, str | None, Decimal]]
    if begins:
        wrong = [row for row in costs if row[2] is not None]
    else:
        wrong = [(tenant, None, plan, usd) for tenant, plan, _, usd in costs if plan is not None]
    usd = sum((abs(row[3]) for row in wrong), Decimal(0))
    shown: list[Mapping[str, object]] = [
        {
            "plan_tag": tag,
            "tenant_id": tenant or "none",
            "billed_as": plan or "no plan",
            "usd": cost,
            "near": near_plan(str(tag), begins, period),
        }
        for tenant, plan, tag, cost in sorted(wrong, key=lambda row: (-abs(row[3]), str(row)))
    ]
    severity: Severity = "ERROR" if begins and outweighs(usd, month) else "WARN"
    return Verdict(
        PLANS_ARE_KNOWN,
        not wrong,
        severity,
        {
            "unknown_plans": shown[:_SHOWN],
            "unknown_plan_usd": usd,
            "registered_plans": len(begins),
            "month_usd": month,
        },
    )


def near_plan(tag: str, begins: Mapping[str, date], period: Period) -> str:
    """The plan that was likely meant, and whether it is in force yet."""
    named = near(tag, begins)
    if named is None:
        return "none"
    return named if begins[named] <= period.start else f"{named}, which begins {begins[named]}"


def mapped_accounts_are_delivered(mapped: Mapping[str, str], delivered: Collection[str]) -> Verdict:
    """Every account of `account_tenants` stands in some delivery; a wrong digit maps nothing.

    Args:
        mapped: account → tenant, of rows that are in force in the month.
        delivered: accounts of all deliveries so far.
    """
    wrong: list[Mapping[str, object]] = [
        {
            "usage_account_id": account,
            "tenant_id": tenant,
            "near": near(account, set(delivered) - set(mapped), alike_pct=90) or "none",
        }
        for account, tenant in sorted(mapped.items())
        if account not in delivered
    ]
    return Verdict(
        MAPPED_ACCOUNTS_ARE_DELIVERED,
        not wrong if mapped else None,
        "WARN",
        {"mapped_accounts": len(mapped), "never_delivered": wrong[:_SHOWN]},
    )
