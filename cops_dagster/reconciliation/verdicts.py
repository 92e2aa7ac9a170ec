"""When a reconciliation is within tolerance, explained and in line with AWS's own invoices. Pure.

Belongs here: a check as a function of exact figures. Does not belong here: which figures
(`reconciliation/sides.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from cops_dagster.verdict import Figure, Verdict


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
        "invoices": invoices,
        "explained": len(gaps) - len(differing),
        "differing": differing,
    }
    if pro_forma:
        figures["pro_forma_sources"] = ", ".join(pro_forma)
    judged = not differing if invoices or not awaited else None
    return Verdict("aws_invoice_matches_cur", judged, "WARN", figures)
