"""The checks of a reconciliation, and when each holds. Pure.

Belongs here: a check as a constant, and as a function of exact figures. Does not belong here: which figures
(`reconciliation/sides.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation.margin import MarginLine
from cops_dagster.tagging.lookups import near_plan
from cops_dagster.verdict import OF_FINANCE, Check, Figure, Verdict

_RECON = "recon_summary"

# fmt: off
PLANS_HAVE_A_MARKUP = Check(
    "plans_have_a_markup", "Every plan that cost is billed by has a markup in force.", _RECON,
    gravest="ERROR", look="cops sql -q 'SELECT * FROM plans'",
    mend="cops admin load plans.csv with the plan in force on {P}-01; cops materialize {P}", whose=OF_FINANCE,
    headline="without_markup",
)
VARIANCE_WITHIN_TOLERANCE = Check(
    "variance_within_tolerance", "Invoiced = expected within tolerance, for the worst tenant.", _RECON,
    gravest="ERROR", look="cops sql @tenant_drill --param start={P} --param end={P}",
    mend="timing: wait; allocation: cops materialize {P}; invoice: credit note and reissue", whose=OF_FINANCE,
    levels=(None, "P4"), headline="variance_usd",
)
EXCEPTIONS_EXPLAINED = Check(
    "exceptions_explained", "Every exception has a decision.", _RECON, look="cops exceptions list {P}",
    mend="cops exceptions decide ID --decision '…' --evidence LINK", whose=OF_FINANCE,
    headline="undecided_exceptions",
)
AWS_INVOICE_MATCHES_CUR = Check(
    "aws_invoice_matches_cur", "AWS's invoices tie to the CUR by invoice id.", _RECON,
    look="cops exceptions list {P}", mend="cops admin load aws_invoices.csv; cops materialize {P}",
    whose=OF_FINANCE, headline="differing",
)
MARGIN_ABOVE_FLOOR = Check(
    "margin_above_floor", "No tenant's margin is below its floor, nor the month's.", "margin",
    look="cops margin {P} --by tenant",
    mend="a tenant: a markup from the next month on; the month: own cost and unused commitments, see cops"
    " margin {P} --by service; or another floor: cops policy adopt", whose=OF_FINANCE, headline="margin_pct",
)
# fmt: on


@dataclass(frozen=True)
class Unpriced:
    """Cost of a tenant that no markup could be found for, in atto-USD on the charge basis.

    Attributes:
        plan_id: the plan that has no markup in force; `None` for cost of a tenant that has plans by tags
            only, so that its shared cost has none.
    """

    tenant_id: str
    plan_id: str | None
    usd: int


def plans_have_a_markup(unpriced: Sequence[Unpriced], begins: Mapping[str, date], period: Period) -> Verdict:
    """Every plan that cost is billed by has a markup in force on the month's first day.

    Without one it is not 0 but unknown: the month is `incomplete` and has no statement. A tenant whose plan
    comes from tags alone is a warning: its shared cost carries no tag, so it is billed without a markup.
    """
    missing = [one for one in unpriced if one.plan_id is not None]
    shown: list[Mapping[str, object]] = [
        {
            "tenant_id": one.tenant_id,
            "plan_id": one.plan_id or "none of its own",
            "usd": amount.to_decimal(one.usd),
            "near": "" if one.plan_id is None else near_plan(one.plan_id, begins, period),
        }
        for one in unpriced
    ]
    return Verdict(
        PLANS_HAVE_A_MARKUP,
        not unpriced,
        "ERROR" if missing else "WARN",
        {
            "without_markup": shown[:20],
            "without_markup_usd": amount.to_decimal(sum(abs(one.usd) for one in unpriced)),
            "plans_in_force": sum(day <= period.start for day in begins.values()),
        },
    )


def variance_within_tolerance(
    status: str, variance: Decimal, variance_pct: Decimal | None, worst_tenant: str | None
) -> Verdict:
    """Invoiced − expected stays within tolerance for the worst tenant, never only for the net."""
    return Verdict(
        VARIANCE_WITHIN_TOLERANCE,
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
        EXCEPTIONS_EXPLAINED,
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
    return Verdict(AWS_INVOICE_MATCHES_CUR, judged, "WARN", figures)


def margin_above_floor(
    month: MarginLine | None,
    tenants: Sequence[MarginLine],
    *,
    month_floor: Decimal | None,
    tenant_floor: Decimal | None,
) -> Verdict:
    """No tenant's margin lies below its floor, nor the month's: at the floor is not below it.

    Args:
        month_floor, tenant_floor: in percent; where neither is set there is nothing to judge.
    """
    below: list[Mapping[str, object]] = [
        {"tenant_id": one.name, "margin_pct": one.margin_pct, "margin_usd": amount.to_decimal(one.margin)}
        for one in tenants
        if tenant_floor is not None and one.is_below(tenant_floor)
    ]
    month_holds = month_floor is None or month is None or not month.is_below(month_floor)
    judged = [floor for floor in (month_floor, tenant_floor) if floor is not None]
    return Verdict(
        MARGIN_ABOVE_FLOOR,
        (month_holds and not below) if judged else None,
        "WARN",
        {
            "margin_pct": month.margin_pct if month else None,
            "month_floor_pct": month_floor,
            "tenant_floor_pct": tenant_floor,
            "tenants_below": below[:20],
        },
    )
