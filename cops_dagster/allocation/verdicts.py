"""When an allocation conserves cost, claims every pool and finds its keys. Pure.

Belongs here: a check as a function of exact figures. Does not belong here: measuring them
(`allocation/checks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from cops_dagster.verdict import Verdict, percent


def key_totals_positive(zero: Sequence[Mapping[str, object]], keys: int) -> Verdict:
    """Every key that a non-empty pool needs has a positive total, or its rule says what happens."""
    return Verdict("key_totals_positive", not zero, "ERROR", {"keys": keys, "zero_keys": zero}, blocking=True)


def rules_cover_every_pool(unclaimed: Sequence[Mapping[str, object]], rules: int) -> Verdict:
    """Every pool with cost is claimed by a rule; what is not stands in `__unallocated__`.

    A gap is a fault to look at, not a reason to lose the month: cost without a rule has its explicit
    place, so this never refuses (design rule 5.4; the rule set's own gaps are refused when loaded).
    """
    return Verdict(
        "rules_cover_every_pool", not unclaimed, "WARN", {"rules": rules, "unclaimed_pools": unclaimed[:20]}
    )


def allocated_equals_pool(differences: Sequence[Mapping[str, object]], total: Decimal) -> Verdict:
    """Σ allocated = Σ pool per service and charge class, difference 0 in every cost column."""
    return Verdict(
        "allocated_equals_pool",
        not differences,
        "ERROR",
        {"allocated_usd": total, "differing": differences[:20]},
        blocking=True,
    )


def unallocated_within_2_pct(fault: Decimal, gap: Decimal, pool: Decimal) -> Verdict:
    """P2 mismatch (rule 5.8): |unclaimed or failed| + |allocated − newest delivery| ≤ 2 % of Σ|pool|."""
    mismatch = fault + gap
    return Verdict(
        "unallocated_within_2_pct",
        None if pool == 0 else 100 * mismatch <= 2 * pool,
        "ERROR",
        {
            "mismatch_pct": percent(mismatch, pool),
            "unclaimed_or_failed_usd": fault,
            "delivery_gap_usd": gap,
            "pool_usd": pool,
        },
    )
