"""Hourly usage of one month as profiles: what the lines of each say, and what they cost together.

Belongs here: how a month's usage money divides over tenants, kinds and tagging faults, in integers.
Does not belong here: the lines themselves (`demo/cur.py`), month-level lines (`demo/bill.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cops_dagster.demo import catalogue
from cops_dagster.demo.catalogue import KINDS, UNITS, Kind, Tenant
from cops_dagster.demo.line import Line
from cops_dagster.period import Period

_FIRST = Period(2025, 7)
_USAGE_USD = 46_500
"""Positive usage of 2025-07, so that the whole month comes to 50,000–60,000 USD."""

_COVERAGE_BPS = (9900, 9840, 9690)
"""Tag coverage of the first three months; the third is below the 98 % that checks call an error."""


@dataclass(frozen=True)
class Profile:
    """Lines that differ only in hour, resource and amount.

    Attributes:
        line: what every line of the profile says.
        budget: on-demand value of all its lines in the month, in 1e-10 USD, met within a few percent.
        unblended_sign: +1; 0 on reservations; −1 where a negation takes back the profile before it.
        savings_plan_pct, reservation_pct, recurring_pct: effective costs in percent of on-demand.
        quantity: most units metered per hour; `normalization` in quarters.
        prefix: how its resource ids begin; empty for none.
    """

    line: Line
    budget: int
    quantity: int
    prefix: str
    unblended_sign: int = 1
    normalization: int | None = None
    savings_plan_pct: int | None = None
    reservation_pct: int | None = None
    recurring_pct: int | None = None


def growth_pct(period: Period) -> int:
    """Size of a month in percent of 2025-07: three points more each month, for two years."""
    months = 12 * (period.year - _FIRST.year) + period.month - _FIRST.month
    return 100 + 3 * min(max(months, 0), 24)


def coverage_bps(period: Period) -> int:
    """Tag coverage by cost that the month is made to have, in basis points."""
    months = 12 * (period.year - _FIRST.year) + period.month - _FIRST.month
    return _COVERAGE_BPS[min(max(months, 0), len(_COVERAGE_BPS) - 1)]


def of_month(period: Period) -> list[Profile]:
    """The profiles of a month. Pairs of covered usage and its negation stand first, side by side."""
    usage = _USAGE_USD * UNITS * growth_pct(period) // 100
    tagged = usage * coverage_bps(period) // 10_000
    pairs: list[Profile] = []
    plain: list[Profile] = []
    for tenant in catalogue.TENANTS:
        own = tagged * tenant.weight // 10_000
        pairs += _covered_pair(tenant, own * catalogue.COVERED_WEIGHT // 10_000)
        plain += [
            _usage(_tagged(kind, tenant), kind, own * kind.weight // 10_000)
            for kind in KINDS.values()
            if kind.weight
        ]
        plain += [
            _reserved(tenant, name, arn, own * catalogue.RESERVED_WEIGHT // 10_000 // 2)
            for name, arn in catalogue.RESERVATIONS.items()
        ]
    return pairs + plain + _faulty(period, usage - tagged) + _marketplace()


def paired(profiles: list[Profile]) -> int:
    """How many profiles at the front are halves of pairs."""
    return sum(1 for profile in profiles if profile.line.line_type.startswith("SavingsPlan"))


def _tagged(kind: Kind, tenant: Tenant, line_type: str = "Usage") -> Line:
    number = catalogue.TENANTS.index(tenant)
    account = catalogue.PLATFORM if number % 2 else catalogue.PRODUCTION
    if tenant.tenant_id == catalogue.DEDICATED_TENANT:
        account = catalogue.DEDICATED
    return replace(
        _line(kind, line_type),
        account=account,
        tenant_tag=tenant.tenant_id,
        plan_tag=tenant.plan_id,
        component_tag=kind.component,
        name_tag=f"{tenant.tenant_id}-{kind.name}",
        environment="staging" if kind.name == "web" and number % 3 == 0 else "production",
        cost_center=f"CC-{1001 + number}",
    )


def _line(kind: Kind, line_type: str = "Usage") -> Line:
    return Line(
        line_type,
        kind.product_code,
        kind.servicecode,
        kind.product_name,
        family=kind.family,
        usage_type=kind.usage_type,
        operation=kind.operation,
        zone=f"{catalogue.REGION}a" if kind.instance_type or kind.name == "nat" else "",
        instance_type=kind.instance_type,
        operating_system="Linux" if kind.prefix == "i-" else "",
        region=catalogue.REGION,
        term="OnDemand",
        unit=kind.unit,
        description=f"{kind.family} {kind.usage_type}, per {kind.unit}",
    )


def _usage(line: Line, kind: Kind, budget: int) -> Profile:
    return Profile(line, budget, kind.quantity, kind.prefix, normalization=kind.normalization)


def _covered_pair(tenant: Tenant, budget: int) -> list[Profile]:
    kind = KINDS["api"]
    line = replace(_tagged(kind, tenant, "SavingsPlanCoveredUsage"), savings_plan_arn=catalogue.SAVINGS_PLAN)
    covered = replace(_usage(line, kind, budget), savings_plan_pct=catalogue.EFFECTIVE_PCT_SAVINGS_PLAN)
    negation = replace(
        covered,
        line=replace(
            line,
            line_type="SavingsPlanNegation",
            description=f"SavingsPlanNegation used by AccountId : {line.account}",
            # AWS writes it without resource and tags
            tenant_tag=None,
            plan_tag=None,
            component_tag=None,
            name_tag=None,
            environment=None,
            cost_center=None,
        ),
        prefix="",
        unblended_sign=-1,
        savings_plan_pct=None,
    )
    return [covered, negation]


def _reserved(tenant: Tenant, name: str, arn: str, budget: int) -> Profile:
    kind = KINDS[name]
    line = replace(
        _tagged(kind, tenant, "DiscountedUsage"),
        reservation_arn=arn,
        term="Reserved",
        description=f"{kind.usage_type}, reserved instance applied",
    )
    return replace(
        _usage(line, kind, budget),
        unblended_sign=0,
        reservation_pct=catalogue.EFFECTIVE_PCT_RESERVATION,
        recurring_pct=catalogue.RECURRING_PCT_RESERVATION,
    )


def _faulty(period: Period, budget: int) -> list[Profile]:
    """Usage that lacks a tag, or says a wrong one: 1 % of the month by design, the rest one new fleet.

    Shared platform services can name no tenant; the fleet is machines that somebody forgot to tag.
    """
    base = min(budget, _USAGE_USD * UNITS * growth_pct(period) // 100 // 100)
    acme, globex = catalogue.TENANTS[0], catalogue.TENANTS[1]
    shares: list[tuple[Line, str, int]] = [
        (replace(_line(KINDS["control-plane"]), component_tag="api", account=catalogue.PLATFORM),
         "control-plane", 18),
        (replace(_line(KINDS["transfer"]), tenant_tag="", plan_tag="", component_tag="network"),
         "transfer", 28),
        (_line(KINDS["nat"]), "nat", 8),
        (replace(_line(KINDS["bucket"]), name_tag="access-logs", component_tag="storage"), "bucket", 10),
        (replace(_line(KINDS["functions"]), tenant_tag="", plan_tag="", component_tag=""),
         "functions", 10),
        (replace(_tagged(KINDS["worker"], acme), tenant_tag=catalogue.UNKNOWN_TAG), "worker", 8),
        (replace(_tagged(KINDS["web"], globex), plan_tag=None), "web", 8),
        (replace(_line(KINDS["disk"]), account=catalogue.DEDICATED), "disk", 5),
        # an alias counts as delivered; so little of it leaves the coverage where it is
        (replace(_tagged(KINDS["functions"], acme), tenant_tag="Acme"), "functions", 5),
    ]  # fmt: skip
    found = [_usage(line, KINDS[name], base * percent // 100) for line, name, percent in shares]
    rest = budget - base
    if rest > 0:
        fleet = replace(_line(KINDS["worker"]), account=catalogue.PLATFORM, name_tag="batch-fleet")
        found.append(_usage(fleet, KINDS["worker"], rest // 2))
        found.append(_usage(replace(fleet, tenant_tag="", plan_tag=""), KINDS["worker"], rest // 2))
    return found


def _marketplace() -> list[Profile]:
    """Metered Marketplace software on tenants' own machines: tagged like those."""
    kind = KINDS["api"]
    return [
        _usage(
            replace(
                _tagged(kind, tenant),
                product_code="8k2rzq0v5w1m3t7c9x4bn6yda",
                servicecode="",
                product_name="Hardened Linux AMI",
                invoice="marketplace",
                family="",
                term="",
                usage_type="EUC1-SoftwareUsage:m6i.large",
                description="Hardened Linux AMI, hourly software fee",
            ),
            kind,
            120 * UNITS,
        )
        for tenant in catalogue.TENANTS[:3]
    ]
