"""When checks hold, at their boundaries; and the reconciliation, term by term."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cops_dagster.allocation.verdicts import unallocated_within_2_pct
from cops_dagster.ingestion.verdicts import cost_matches_delivery, cost_views_bridge, rows_match_delivery
from cops_dagster.money.amount import ATTO
from cops_dagster.reconciliation.variance import Invoiced, TenantCost, Tolerance, reconcile
from cops_dagster.reconciliation.verdicts import aws_invoice_matches_cur
from cops_dagster.tagging.verdicts import Coverage, tag_coverage_at_target

TINY = Decimal("1e-18")
TOLERANCE = Tolerance(ATTO, 50, 10 * ATTO, 200)


@pytest.mark.parametrize(
    ("residual", "passed", "severity"),
    [
        (Decimal("0.01"), True, "WARN"),
        (Decimal("0.01") + TINY, False, "WARN"),
        (Decimal("-0.1"), False, "WARN"),
        (Decimal("0.1") + TINY, False, "ERROR"),
    ],
)
def test_the_bridge_holds_to_a_cent_and_fails_above_a_ten_thousandth(
    residual: Decimal, passed: bool, severity: str
) -> None:
    views = {"unblended": Decimal(100) + residual, "amortized": Decimal(90), "true_up": Decimal(-5),
             "upfront": Decimal(15)}  # fmt: skip
    views |= {f"net_{name}": usd for name, usd in views.items()}
    verdict = cost_views_bridge(views, Decimal(1000))
    assert (verdict.passed, verdict.severity) == (passed, severity)


@pytest.mark.parametrize(
    ("covered", "passed", "severity"),
    [("100", True, "WARN"), ("99.99", False, "WARN"), ("98", False, "WARN"), ("97.999999", False, "ERROR")],
)
def test_coverage_is_compared_without_rounding(covered: str, passed: bool, severity: str) -> None:
    figures = Coverage(Decimal(covered), Decimal(100), Decimal(100), 1, 1, 0, Decimal(0))
    verdict = tag_coverage_at_target(figures, Decimal(100), Decimal(98))
    assert (verdict.passed, verdict.severity) == (passed, severity)


def test_without_a_denominator_there_is_no_verdict() -> None:
    nothing = Coverage(Decimal(0), Decimal(0), Decimal(0), 0, 0, 0, Decimal(0))
    assert tag_coverage_at_target(nothing, Decimal(100), Decimal(98)).passed is None
    assert unallocated_within_2_pct(Decimal(0), Decimal(0), Decimal(0)).passed is None
    assert aws_invoice_matches_cur(0, []).passed is None
    assert aws_invoice_matches_cur(0, [], pro_forma=["reseller"], awaited=False).passed is True


def test_two_per_cent_is_within_and_a_hair_more_is_not() -> None:
    assert unallocated_within_2_pct(Decimal(1), Decimal(1), Decimal(100)).passed
    assert unallocated_within_2_pct(Decimal(2), TINY, Decimal(100)).passed is False


def test_any_difference_at_all_refuses_a_publication() -> None:
    assert cost_matches_delivery(Decimal(1), Decimal(1) - TINY, TINY).passed
    assert cost_matches_delivery(Decimal(1), Decimal(1) - TINY, Decimal(0)).refuses
    assert rows_match_delivery(3, 2, 0).refuses
    assert not rows_match_delivery(3, 2, 1).refuses


def cost(tenant: str, unblended: int, basis: int | None = None, bps: int = 0) -> TenantCost:
    return TenantCost(tenant, unblended * ATTO, (unblended if basis is None else basis) * ATTO, bps)


def test_expected_is_made_of_every_term_of_the_formula() -> None:
    """allocated 100 − operator 5 − unallocated 3 + basis (110−92) + markup 10 % of 110."""
    made = reconcile(
        [cost("a", 92, 110, 1_000), cost("__operator__", 5, 99), cost("__unallocated__", 3, 99)],
        [Invoiced("a", 120 * ATTO)], TOLERANCE, is_final=True,
    )  # fmt: skip
    terms = ("allocated", "operator", "unallocated", "basis_difference", "markup", "expected", "variance")
    assert [made.total(term) // ATTO for term in terms] == [100, 5, 3, 18, 11, 121, -1]


def test_differences_that_cancel_are_judged_by_the_worst_tenant() -> None:
    made = reconcile(
        [cost("a", 100), cost("b", 100)],
        [Invoiced("a", 200 * ATTO), Invoiced("b", 0)],
        TOLERANCE,
        is_final=True,
    )
    assert made.total("variance") == 0
    assert made.status == "failed"


@pytest.mark.parametrize(
    ("over", "status"),
    [(ATTO, "ok"), (ATTO + 1, "warning"), (10 * ATTO, "warning"), (10 * ATTO + 1, "failed")],
)
def test_at_the_tolerance_is_within_it(over: int, status: str) -> None:
    made = reconcile([cost("a", 100)], [Invoiced("a", 100 * ATTO + over)], TOLERANCE, is_final=True)
    assert made.status == status


def test_an_open_month_is_provisional_and_one_without_invoices_incomplete() -> None:
    assert reconcile([cost("a", 1)], [Invoiced("a", ATTO)], TOLERANCE, is_final=False).status == "provisional"
    assert reconcile([cost("a", 1)], [], TOLERANCE, is_final=True).status == "incomplete"
    assert reconcile([], [Invoiced("a", ATTO)], TOLERANCE, is_final=True).status == "incomplete"
