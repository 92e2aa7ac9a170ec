"""Reconciliation as text tables: cost and documents of tenants, and every term of the formula.

cost    TENANT UNBLENDED [BASIS] [markup=BPS] [adjustments=USD]
invoice TENANT USD
line    TENANT EXPECTED VARIANCE STATUS
month   STATUS [WORST]
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.money import amount
from cops_dagster.money.amount import ATTO
from cops_dagster.reconciliation.variance import (
    HALF_CENT,
    Invoiced,
    Reconciliation,
    TenantCost,
    Tolerance,
    half_unit,
    reconcile,
)

TOLERANCE = Tolerance(warning_abs=ATTO, warning_bps=50, failure_abs=10 * ATTO, failure_bps=200)


def read(text: str) -> tuple[list[TenantCost], list[tuple[str, int]], list[list[str]], list[str]]:
    costs: list[TenantCost] = []
    invoices: list[Invoiced] = []
    expected: list[list[str]] = []
    month: list[str] = []
    for row in filter(None, map(str.strip, text.splitlines())):
        kind, tenant, *words = row.split()
        match kind:
            case "cost":
                options = dict(word.split("=") for word in words if "=" in word)
                amounts = [amount.parse(word) for word in words if "=" not in word]
                costs.append(
                    TenantCost(
                        tenant, amounts[0], amounts[-1], int(options.get("markup", "0")),
                        amount.parse(options.get("adjustments", "0")),
                    )
                )  # fmt: skip
            case "invoice":
                invoices.append(Invoiced(tenant, amount.parse(words[0])))
            case "line":
                usd = [amount.to_text(amount.parse(word)) for word in words[:2]]
                expected.append([tenant, *usd, words[2]])
            case "month":
                month = [tenant, *words]
    return costs, invoices, expected, month


def shown(made: Reconciliation) -> list[list[str]]:
    return [
        [line.tenant_id, amount.to_text(line.expected), amount.to_text(line.variance), line.status]
        for line in made.lines
    ]


TABLES = {
    "what was invoiced is what was expected": """
        cost    acme 100
        invoice acme 60
        invoice acme 40
        line    acme 100 0 ok
        month   ok
    """,
    "more invoiced is a positive variance": """
        cost    acme 100
        invoice acme 100.5
        line    acme 100 0.5 ok
        month   ok acme
    """,
    "a credit note lowers what was invoiced": """
        cost    acme 100
        invoice acme 120
        invoice acme -20
        line    acme 100 0 ok
        month   ok
    """,
    "adjustments, charge basis and markup are expected of a tenant": """
        cost    acme 100 150 markup=1000 adjustments=50
        invoice acme 220
        line    acme 220 0 ok
        month   ok
    """,
    "each plan of a tenant has its own markup": """
        cost    acme 100 100 markup=1000
        cost    acme 200 200 markup=0
        invoice acme 310
        line    acme 310 0 ok
        month   ok
    """,
    "a negative markup is a discount": """
        cost    acme 100 100 markup=-1000
        invoice acme 90
        line    acme 90 0 ok
        month   ok
    """,
    "nothing is expected for what we bear or what has no owner, on any basis": """
        cost    acme 100
        cost    __operator__ 40 70 markup=1000 adjustments=3
        cost    __unallocated__ 5 9 markup=1000 adjustments=3
        invoice acme 100
        line    __operator__ 0 0 ok
        line    __unallocated__ 0 0 ok
        line    acme 100 0 ok
        month   ok
    """,
    "differences that cancel do not hide each other": """
        cost    acme 1000
        cost    beta 1000
        invoice acme 1100
        invoice beta 900
        line    acme 1000 100 failed
        line    beta 1000 -100 failed
        month   failed acme
    """,
    "a failed tenant outweighs a larger difference within tolerance": """
        cost    acme 100000
        cost    beta 1
        invoice acme 101500
        invoice beta 12
        line    acme 100000 1500 warning
        line    beta 1 11 failed
        month   failed beta
    """,
    "an invoice to a tenant without cost is not overlooked": """
        cost    acme 100
        invoice acme 100
        invoice ghost 50
        line    acme 100 0 ok
        line    ghost 0 50 failed
        month   failed ghost
    """,
    "a tenant that was never invoiced is not overlooked": """
        cost    acme 100
        cost    beta 50
        invoice acme 100
        line    acme 100 0 ok
        line    beta 50 -50 failed
        month   failed beta
    """,
    "nothing expected and nothing invoiced is in order": """
        cost    acme 0
        cost    beta 1
        invoice beta 1
        line    acme 0 0 ok
        line    beta 1 0 ok
        month   ok
    """,
    "with nothing expected the absolute tolerance decides": """
        cost    acme 0
        invoice acme 1.000000000000000001
        line    acme 0 1.000000000000000001 warning
        month   warning acme
    """,
    "at the basis points of what is expected is within them": """
        cost    acme 10000
        cost    beta 10000
        invoice acme 10050
        invoice beta 9949.999999999999999999
        line    acme 10000 50 ok
        line    beta 10000 -50.000000000000000001 warning
        month   warning beta
    """,
    "one atto-dollar above the failure tolerance fails": """
        cost    acme 10000
        cost    beta 10000
        invoice acme 10200
        invoice beta 10200.000000000000000001
        line    acme 10000 200 warning
        line    beta 10000 200.000000000000000001 failed
        month   failed beta
    """,
    "basis points of a negative expectation are as wide as of a positive one": """
        cost    acme -10000
        invoice acme -10050
        line    acme -10000 -50 ok
        month   ok acme
    """,
    "no cost at all is incomplete": """
        invoice acme 1
        line    acme 0 1 ok
        month   incomplete
    """,
    "no document at all is incomplete": """
        cost    acme 1000
        line    acme 1000 -1000 failed
        month   incomplete
    """,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_month_is_reconciled_line_by_line(name: str) -> None:
    costs, invoices, expected, (status, *worst) = read(TABLES[name])
    made = reconcile(costs, invoices, TOLERANCE, is_final=True)
    assert shown(made) == expected
    assert made.status == status
    assert not worst or (made.worst is not None and made.worst.tenant_id == worst[0])


@pytest.mark.parametrize("name", TABLES)
def test_before_aws_has_issued_its_invoices_a_month_is_provisional_unless_incomplete(name: str) -> None:
    costs, invoices, expected, (status, *_) = read(TABLES[name])
    made = reconcile(costs, invoices, TOLERANCE, is_final=False)
    assert made.status == ("incomplete" if status == "incomplete" else "provisional")
    assert shown(made) == expected  # the tenants' own lines are judged all the same


def test_a_month_of_nothing_matches_no_invoice_and_has_no_worst_tenant() -> None:
    made = reconcile([], [], TOLERANCE, is_final=True)
    assert (made.status, made.worst, made.lines) == ("ok", None, [])
    assert reconcile([], [], TOLERANCE, is_final=False).status == "provisional"


@pytest.mark.parametrize(("over", "status"), [(0, "ok"), (1, "failed")])
def test_every_document_line_allows_half_a_cent_of_rounding(over: int, status: str) -> None:
    """400 lines may be off by 2.00 in all, above both absolute tolerances of this test."""
    tight = Tolerance(0, 0, 0, 0)
    invoices = [Invoiced("acme", ATTO + HALF_CENT)] * 399 + [Invoiced("acme", ATTO + HALF_CENT + over)]
    made = reconcile([TenantCost("acme", 400 * ATTO, 400 * ATTO)], invoices, tight, is_final=True)
    assert made.status == status


YEN = half_unit("JPY", 6_850 * ATTO // 10**6)


@pytest.mark.parametrize(("over", "status"), [(0, "ok"), (1, "failed")])
def test_a_document_in_yen_allows_half_a_yen_of_rounding(over: int, status: str) -> None:
    """0.003425 USD at 0.00685: half a cent was allowed in every currency."""
    invoices = [Invoiced("acme", ATTO + YEN, YEN), Invoiced("acme", ATTO + YEN + over, YEN)]
    made = reconcile([TenantCost("acme", 2 * ATTO, 2 * ATTO)], invoices, Tolerance(0, 0, 0, 0), is_final=True)
    assert (YEN, made.status) == (3_425 * ATTO // 10**6, status)


def test_the_half_unit_of_a_tenants_currency_stands_on_its_line() -> None:
    made = reconcile([TenantCost("acme", 1, 1)], [], TOLERANCE, is_final=True, half_units={"acme": YEN})
    assert made.lines[0].half_unit == YEN


COSTS = st.builds(
    TenantCost,
    st.sampled_from(["acme", "beta", "__operator__", "__unallocated__"]),
    *[st.integers(-(10**24), 10**24)] * 2, st.integers(0, 5_000), st.integers(-(10**24), 10**24),
)  # fmt: skip
INVOICES = st.builds(Invoiced, st.sampled_from(["acme", "ghost"]), st.integers(-(10**24), 10**24))


@given(st.lists(COSTS, max_size=8), st.lists(INVOICES, max_size=8))
def test_the_totals_of_the_terms_are_the_formula_and_lose_nothing(
    costs: list[TenantCost], invoices: list[Invoiced]
) -> None:
    made = reconcile(costs, invoices, TOLERANCE, is_final=True)
    total = made.total
    assert total("allocated") == sum(cost.unblended for cost in costs)
    assert total("invoiced") == sum(invoiced for _, invoiced, _ in invoices)
    assert total("variance") == total("invoiced") - total("expected")
    assert total("expected") == (
        total("allocated") - total("operator") - total("unallocated") + total("adjustments")
        + total("basis_difference") + total("markup")
    )  # fmt: skip
