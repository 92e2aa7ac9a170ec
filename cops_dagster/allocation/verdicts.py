"""The checks of keys and allocations, and when each holds. Pure.

Belongs here: a check as a constant, and as a function of exact figures. Does not belong here: measuring them
(`allocation/checks.py`). Those that are longer have modules: `key_shares`, `key_days`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from cops_dagster.allocation.rules import Plan
from cops_dagster.money import amount
from cops_dagster.verdict import OF_FINANCE, OF_MONTH, Check, Verdict, percent
from cops_dagster.words import near

_KEYS, _ALLOCATED, _USAGE = "allocation_key_snapshot", "fact_cost_allocated", "tenant_usage"

# fmt: off
KEY_TOTALS_POSITIVE = Check(
    "key_totals_positive", "Every key that a pool needs has a positive total.", _KEYS, blocks=True,
    gravest="ERROR", look=OF_MONTH.format("empty_keys"),
    mend="cops admin load tenant_MEASURE_usage.csv; cops materialize {P}",
)
RULES_COVER_EVERY_POOL = Check(
    "rules_cover_every_pool", "Every pool with cost is claimed by a rule.", _KEYS,
    look="cops rules explain {P}",
    mend="cops admin load allocation_rules.csv with a rule; cops materialize {P}", headline="unclaimed_pools",
)
RULES_MATCH_SOMETHING = Check(
    "rules_match_something", "Every service, account or plan that a rule names has cost.", _KEYS,
    look="cops rules explain {P}",
    mend="cops admin load allocation_rules.csv with a new version spelled alike; cops materialize {P}",
    headline="match_nothing",
)
RULES_UNCHANGED_IN_PERIOD = Check(
    "rules_unchanged_in_period", "No rule version starts inside the period.", _KEYS, blocks=True,
    look="cops rules explain {P}", mend="cops allocate {P} --rules-as-of DAY --note '…' --evidence LINK",
)
KEYS_NAME_EVERY_TENANT = Check(
    "keys_name_every_tenant", "Every active tenant, and nobody else, has a figure in each key.", _KEYS,
    look=OF_MONTH.format("empty_keys"),
    mend="cops admin load tenant_MEASURE_usage.csv with the missing tenants",
)
KEY_SHARES_STEADY = Check(
    "key_shares_steady", "Totals and shares of usage keys stay near last month's.", _KEYS, gravest="ERROR",
    look=OF_MONTH.format("empty_keys"),
    mend="is the figure right? else: cops admin load tenant_MEASURE_usage.csv --replace;"
    " cops materialize {P}",
    whose=OF_FINANCE, headline="moved",
)
KEYS_FRESH_24H = Check(
    "keys_fresh_24h", "Keys were refreshed in time (after month end for ended months).", _KEYS,
    look=OF_MONTH.format("empty_keys"),
    mend="run the usage pipeline; cops admin load tenant_MEASURE_usage.csv --replace", headline="stale",
)
USAGE_DAYS_COME_IN_TIME = Check(
    "usage_days_come_in_time", "Every day of a usage key that is due has been taken.", _USAGE,
    look="cops keys list", mend="mend the source; cops keys refresh --period {P}", headline="missing",
)
USAGE_DAYS_NAME_TENANTS = Check(
    "usage_days_name_tenants", "Every name of a day is a tenant's, and no tenant drops out of it.", _USAGE,
    look="cops keys list", mend="register the tenant or declare an alias; cops keys refresh --period {P}",
    headline="names",
)
USAGE_DAY_SHARES_STEADY = Check(
    "usage_day_shares_stay_steady", "Each tenant's share of a day stays near that of the day before.", _USAGE,
    look="cops keys list", mend="is the figure right? else mend the source; cops keys refresh --period {P}",
    headline="moved",
)
USAGE_DAYS_BEFORE_CLOSE = Check(
    "usage_days_come_before_the_close", "No day of a usage key came after its month was closed.", _USAGE,
    look="cops sql -q 'SELECT * FROM usage_day'",
    mend="the month stays; what it changes is an adjustment: cops adjust note {P} …", headline="late",
)
ALLOCATED_EQUALS_POOL = Check(
    "allocated_equals_pool", "Σ allocated = Σ raw per service and class, difference 0.", _ALLOCATED,
    blocks=True, gravest="ERROR", look=OF_MONTH.format("pool_vs_allocated"),
    mend="stop: this must never happen; cops evidence verify {P}", levels=("P1", "P1"), headline="differing",
)
UNALLOCATED_WITHIN_2_PCT = Check(
    "unallocated_within_2_pct", "Cost no rule claimed and the delivery gap stay within 2 %.", _ALLOCATED,
    gravest="ERROR", look=OF_MONTH.format("pool_vs_allocated"),
    mend="keys, then rules: cops rules check --period {P}; cops materialize {P}", levels=("P2", "P2"),
)
OPERATOR_SHARE_STEADY = Check(
    "operator_share_steady", "Our own share moved by at most 5 points since last month.", _ALLOCATED,
)
# fmt: on


def of_plan(made: Plan, rules: int) -> list[Verdict]:
    """`key_totals_positive` and `rules_cover_every_pool` over the plan that so many rules made."""
    zero = [
        {"rule_id": rule.rule_id, "key_name": key.key_name, "pool_usd": amount.to_text(costs.unblended)}
        for rule, key, costs in made.zero_keys
    ]
    unclaimed: defaultdict[tuple[str, str], int] = defaultdict(int)
    for pool in made.unclaimed:
        unclaimed[pool.service, pool.charge_class] += pool.costs.unblended
    rows = [
        {"service": service, "charge_class": charge_class, "unblended_usd": amount.to_text(cost)}
        for (service, charge_class), cost in sorted(unclaimed.items(), key=lambda one: -abs(one[1]))
        if cost
    ]
    return [key_totals_positive(zero, len(made.keys)), rules_cover_every_pool(rows, rules)]


def key_totals_positive(zero: Sequence[Mapping[str, object]], keys: int) -> Verdict:
    """Every key that a non-empty pool needs has a positive total, or its rule says what happens."""
    return Verdict(KEY_TOTALS_POSITIVE, not zero, "ERROR", {"keys": keys, "zero_keys": zero})


def rules_cover_every_pool(unclaimed: Sequence[Mapping[str, object]], rules: int) -> Verdict:
    """Every pool with cost is claimed by a rule; what is not stands in `__unallocated__`.

    A gap is a fault to look at, not a reason to lose the month: cost without a rule has its explicit
    place, so this never refuses (design rule 5.4; the rule set's own gaps are refused when loaded).
    """
    return Verdict(
        RULES_COVER_EVERY_POOL, not unclaimed, "WARN", {"rules": rules, "unclaimed_pools": unclaimed[:20]}
    )


def rules_match_something(
    idle: Sequence[tuple[str, str, str]], known: Mapping[str, Collection[str]], rules: int
) -> Verdict:
    """Every service, component, account or plan that a rule names has cost, or had the month before.

    Args:
        idle: rule, column and value that no cost has.
        known: by column, the values that do.
    """
    shown: list[Mapping[str, object]] = [
        {
            "rule_id": rule,
            "column": f"match_{column}",
            "value": value,
            "near": near(value, known[column]) or "none",
        }
        for rule, column, value in idle
    ]
    return Verdict(
        RULES_MATCH_SOMETHING,
        not idle if rules else None,
        "WARN",
        {"rules": rules, "match_nothing": shown[:20]},
    )


def rules_unchanged_in_period(
    changed: Sequence[str], rules_as_of: date, note: str | None, *, is_decided: bool
) -> Verdict:
    """No rule version starts inside the month, or somebody said which day's rules count.

    Args:
        changed: rule and version of those that do.
        note: what was said; is_decided: that it was.
    """
    return Verdict(
        RULES_UNCHANGED_IN_PERIOD,
        not changed or is_decided,
        "WARN",
        {
            "changed_rules": ", ".join(changed),
            "rules_as_of": str(rules_as_of),
            "run_note": note if is_decided else "none",
        },
    )


def keys_name_every_tenant(usage: Mapping[str, Collection[str]], active: Collection[str]) -> Verdict:
    """A tenant that a usage file forgot pays nothing of the pool, and the others pay its share.

    Args:
        usage: key → tenants that it has a figure of; active: tenants of the month.
    """
    wrong: list[dict[str, object]] = [
        {"key_name": name, "tenant_id": tenant, "what": what}
        for name, named in sorted(usage.items())
        for what, tenants in (
            ("no figure", set(active) - set(named)),
            ("not active in the month", set(named) - set(active) if active else set()),
        )
        for tenant in sorted(tenants)
    ]
    return Verdict(KEYS_NAME_EVERY_TENANT, not wrong, "WARN", {"keys": len(usage), "tenants": wrong[:50]})


def keys_fresh_24h(keys: int, stale: Sequence[tuple[str, datetime | None]]) -> Verdict:
    """Every key was refreshed in time (design rule 5.15).

    Args:
        stale: keys that were not, and when they were last.
    """
    shown: list[Mapping[str, object]] = [
        {"key_name": name, "refreshed_at_utc": f"{refreshed or 'never'}"} for name, refreshed in stale
    ]
    return Verdict(KEYS_FRESH_24H, not stale, "WARN", {"keys": keys, "stale": shown})


def allocated_equals_pool(differences: Sequence[Mapping[str, object]], total: Decimal) -> Verdict:
    """Σ allocated = Σ pool per service and charge class, difference 0 in every cost column."""
    return Verdict(
        ALLOCATED_EQUALS_POOL,
        not differences,
        "ERROR",
        {"allocated_usd": total, "differing": differences[:20]},
    )


def unallocated_within_2_pct(fault: Decimal, gap: Decimal, pool: Decimal) -> Verdict:
    """P2 mismatch (rule 5.8): |unclaimed or failed| + |allocated − newest delivery| ≤ 2 % of Σ|pool|."""
    mismatch = fault + gap
    return Verdict(
        UNALLOCATED_WITHIN_2_PCT,
        None if pool == 0 else 100 * mismatch <= 2 * pool,
        "ERROR",
        {
            "mismatch_pct": percent(mismatch, pool),
            "unclaimed_or_failed_usd": fault,
            "delivery_gap_usd": gap,
            "pool_usd": pool,
        },
    )


def operator_share_steady(share: Fraction | None, before: Fraction | None) -> Verdict:
    """Our own share of the month is within 5 points of last month's. Compared without rounding."""
    told = {"operator_share_pct": share, "previous_operator_share_pct": before}
    return Verdict(
        OPERATOR_SHARE_STEADY,
        None if share is None or before is None else 100 * abs(share - before) <= 5,
        "WARN",
        {
            name: None if one is None else amount.percent(one.numerator, one.denominator)
            for name, one in told.items()
        },
    )
