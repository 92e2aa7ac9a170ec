"""The verdicts: each check's rule as a pure function of exact figures.

Belongs here: when a check holds, how grave it is when it does not, and the figures that show it.
`publish` asks the blocking ones on the staged files; the Dagster checks ask them again on what was
published. Names are the sentences that hold when green (design section 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cops_dagster.money import amount
from cops_dagster.verdict import Figure, Verdict


def rows_match_delivery(delivered: int, accepted: int, quarantined: int) -> Verdict:
    """Every delivered line is accepted or quarantined."""
    return Verdict(
        "rows_match_delivery",
        delivered == accepted + quarantined,
        "ERROR",
        {"delivered_rows": delivered, "accepted_rows": accepted, "quarantined_rows": quarantined},
        blocking=True,
    )


def cost_matches_delivery(delivered: Decimal, accepted: Decimal, quarantined: Decimal) -> Verdict:
    """Delivered unblended cost = accepted + quarantined, difference exactly 0."""
    return _equal(
        "cost_matches_delivery",
        delivered,
        accepted + quarantined,
        {"delivered_usd": delivered, "accepted_usd": accepted, "quarantined_usd": quarantined},
    )


def cost_views_bridge(
    views: Mapping[str, Decimal],
    absolute: Decimal,
    elsewhere: Decimal = Decimal(0),
    net_elsewhere: Decimal = Decimal(0),
) -> Verdict:
    """Unblended = amortized + true-up + upfront, gross and net, to AWS's own rounding (design rule 5.9).

    WARN above max(0.01, 1e-7 × Σ|cost|), ERROR above 1e-4 × Σ|cost|.

    Args:
        views: total of each cost view in USD; all of them stand in the figures, net views included.
        absolute: Σ|unblended cost| over the lines.
        elsewhere, net_elsewhere: what halves of commitments leave over (`ingestion/commitments.py`).
    """
    residual = views["unblended"] - views["amortized"] - views["true_up"] - views["upfront"] - elsewhere
    net_residual = (
        views["net_unblended"] - views["net_amortized"] - views["net_true_up"] - views["net_upfront"]
    ) - net_elsewhere
    worst = max(abs(residual), abs(net_residual))
    warn = max(Decimal("0.01"), absolute * Decimal("1e-7"))
    error = max(warn, absolute * Decimal("1e-4"))
    return Verdict(
        "cost_views_bridge",
        worst <= warn,
        "ERROR" if worst > error else "WARN",
        {f"{name}_usd": total for name, total in views.items()}
        | {
            "residual_usd": residual, "net_residual_usd": net_residual, "tolerance_usd": warn,
            "elsewhere_usd": elsewhere, "net_elsewhere_usd": net_elsewhere,
        },
    )  # fmt: skip


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
        return _percent(self.covered, self.coverable)

    @property
    def row_percent(self) -> Decimal | None:
        """The same by rows."""
        return amount.percent(self.covered_rows, self.coverable_rows)

    @property
    def propagated_percent(self) -> Decimal | None:
        """Share that has a tenant after mapping."""
        return _percent(self.propagated, self.coverable)


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
            "mismatch_pct": _percent(mismatch, pool),
            "unclaimed_or_failed_usd": fault,
            "delivery_gap_usd": gap,
            "pool_usd": pool,
        },
    )


def variance_within_tolerance(
    status: str, variance: Decimal, variance_pct: Decimal | None, worst_tenant: str | None
) -> Verdict:
    """Invoiced − expected stays within tolerance for the worst tenant, never only for the net."""
    return Verdict(
        "variance_within_tolerance",
        status == "ok",
        "ERROR" if status == "failed" else "WARN",
        {
            "status": status,
            "variance_usd": variance,
            "variance_pct": variance_pct,
            "worst_tenant_id": worst_tenant,
        },
    )


def exceptions_explained(count: int, waiting: Sequence[tuple[str, str, Decimal, str]]) -> Verdict:
    """Every difference that the reconciliation found is settled, or decided by two people with evidence.

    Args:
        count: current exceptions.
        waiting: of those that are not, class, subject, USD and status (open or decided).
    """
    shown: list[Mapping[str, object]] = [
        {"class": kind, "subject": subject, "usd": usd, "status": status}
        for kind, subject, usd, status in waiting
    ]
    return Verdict(
        "exceptions_explained",
        not waiting,
        "WARN",
        {"exceptions": count, "undecided_exceptions": len(waiting), "waiting": shown},
    )


def aws_invoice_matches_cur(
    invoices: int,
    gaps: Sequence[tuple[str, Decimal, bool]],
    *,
    pro_forma: Sequence[str] = (),
    awaited: bool = True,
) -> Verdict:
    """Each AWS invoice ties to the CUR by invoice id, before tax and tax, or the difference is explained.

    Args:
        invoices: documents loaded for the period; without any there is nothing to judge.
        gaps: differences beyond rounding: invoice and part, invoiced − delivered in USD, explained.
        pro_forma: sources on which AWS issues no invoice, as a person said.
        awaited: whether AWS invoices any source of the period; if none, no document is missing.
    """
    differing: list[Mapping[str, object]] = [
        {"invoice": subject, "difference_usd": usd} for subject, usd, explained in gaps if not explained
    ]
    figures: dict[str, Figure] = {
        "invoices": invoices, "explained": len(gaps) - len(differing), "differing": differing,
    }  # fmt: skip
    if pro_forma:
        figures["pro_forma_sources"] = ", ".join(pro_forma)
    judged = not differing if invoices or not awaited else None
    return Verdict("aws_invoice_matches_cur", judged, "WARN", figures)


def no_unexpected_columns(unexpected: Sequence[str], revision: int) -> Verdict:
    """The delivery has no column that the newest schema revision does not know."""
    return Verdict(
        "no_unexpected_columns",
        not unexpected,
        "WARN",
        {"unexpected_columns": ", ".join(unexpected), "schema_revision": revision},
    )


def _equal(check: str, left: Decimal, right: Decimal, figures: Mapping[str, Figure]) -> Verdict:
    return Verdict(check, left == right, "ERROR", {**figures, "difference_usd": left - right}, blocking=True)


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    return amount.percent(amount.from_decimal(part), amount.from_decimal(whole))
