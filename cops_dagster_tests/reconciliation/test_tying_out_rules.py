"""Statement, bridge, forecast and exceptions: amounts that must agree, to difference 0."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.money import amount, currency
from cops_dagster.money.amount import ATTO
from cops_dagster.operations.forecast import Profile, forecast
from cops_dagster.reconciliation.bridge import WHOLE_MONTH, bridges
from cops_dagster.reconciliation.cents import Parts, present
from cops_dagster.reconciliation.differences import (
    AwsInvoice,
    Billed,
    Ledger,
    TenantFacts,
    against_aws,
    against_tenants,
    classify,
    missing_entities,
    of_ledger,
)
from cops_dagster.reconciliation.variance import (
    HALF_CENT,
    Invoiced,
    TenantCost,
    TenantLine,
    Tolerance,
    half_unit,
    reconcile,
)
from cops_dagster.words import OPERATOR, UNALLOCATED

USD = amount.parse
AMOUNTS = st.integers(-(10**24), 10**24)
TOLERANCE = Tolerance(ATTO, 50, 10 * ATTO, 200)


# --- statement --------------------------------------------------------------------------------------------


@given(
    AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(1, 10**21),
    st.sampled_from([currency.unit(code) for code in ("JPY", "USD", "KWD", "CLF")]),
)  # fmt: skip
def test_a_statements_parts_add_up_to_its_total_in_whole_minor_units(
    a: int, b: int, c: int, d: int, rate: int, unit: int
) -> None:
    usd = Parts(a, b, c, d)
    shown = present(usd, rate, unit)
    exact = Fraction(usd.total * ATTO, rate)
    assert all(part % unit == 0 for part in shown.parts.each())
    assert shown.parts.total == sum(shown.parts.each())
    assert abs(shown.parts.total - exact) <= Fraction(unit, 2)
    assert abs(shown.rounding - (shown.parts.total - exact)) <= Fraction(1, 2)
    for part, of in zip(shown.parts.each(), usd.each(), strict=True):
        assert abs(part - Fraction(of * ATTO, rate)) <= unit


def test_in_dollars_a_statement_is_its_amounts_to_the_cent() -> None:
    shown = present(Parts(USD("10.006"), USD("0.003"), 0, USD("1.001")), ATTO, currency.unit("USD"))
    assert [amount.show(part) for part in shown.parts.each()] == ["10.01", "0.00", "0.00", "1.00"]
    assert amount.show(shown.rounding, 3) == "0.000"


def test_a_half_cent_goes_to_the_even_cent() -> None:
    cent = currency.unit("USD")
    halves = ("0.005", "0.015", "-0.005")
    totals = [present(Parts(USD(text), 0, 0, 0), ATTO, cent).parts.total for text in halves]
    assert [amount.show(total) for total in totals] == ["0.00", "0.02", "0.00"]


def test_without_a_rate_there_is_no_statement() -> None:
    with pytest.raises(ValueError, match="positive"):
        present(Parts(1, 0, 0, 0), 0, ATTO)


# --- bridge -----------------------------------------------------------------------------------------------

COSTS = st.lists(
    st.builds(
        TenantCost, st.sampled_from(("acme", "globex", OPERATOR, UNALLOCATED)), AMOUNTS, AMOUNTS,
        st.integers(0, 3000), AMOUNTS, AMOUNTS, AMOUNTS,
    ),
    max_size=8,
)  # fmt: skip
INVOICES = st.lists(st.builds(Invoiced, st.sampled_from(("acme", "globex", "hooli")), AMOUNTS), max_size=6)


@given(COSTS, INVOICES)
def test_every_step_of_a_bridge_leads_to_the_next_and_the_tenants_add_up_to_the_month(
    costs: list[TenantCost], invoices: list[Invoiced]
) -> None:
    made = bridges(reconcile(costs, invoices, TOLERANCE, is_final=True).lines)
    for steps in made.values():
        at = steps[0].amount
        for step in steps:
            at += step.amount if step.kind == "change" else 0
            assert step.kind == "part" or step.cumulative == at
        parts = {step.name: step.amount for step in steps}
        assert parts["direct"] + parts["shared"] == parts["allocated"]
    whole = made.pop(WHOLE_MONTH)
    for at, step in enumerate(whole):
        assert step.amount == sum(steps[at].amount for steps in made.values())


# --- exceptions -------------------------------------------------------------------------------------------

DOCUMENTS = st.lists(
    st.builds(
        AwsInvoice, st.sampled_from(("I-1", "I-2", "I-3", "I-4")),
        st.sampled_from(("AWS", "AWS Marketplace")), AMOUNTS, AMOUNTS, st.just("1"),
    ),
    max_size=4, unique_by=lambda one: one.invoice_id,
)  # fmt: skip
BILLED = st.lists(
    st.builds(Billed, st.sampled_from(("I-1", "I-2", "I-5", "")), AMOUNTS, AMOUNTS, st.just("1")),
    max_size=4, unique_by=lambda one: one.invoice_id,
)  # fmt: skip


@given(DOCUMENTS, BILLED, st.booleans())
def test_aws_and_cur_differ_by_their_exceptions_and_nothing_else(
    issued: list[AwsInvoice], billed: list[Billed], is_final: bool
) -> None:
    found = against_aws(issued, billed, is_final=is_final)
    invoiced = sum((one.before_tax or 0) + (one.tax or 0) for one in issued)
    delivered = sum(one.before_tax + one.tax for one in billed)
    assert sum(one.amount for one in found) == invoiced - delivered
    assert len({(one.stage, one.subject_id) for one in found}) == len(found)


@given(COSTS, INVOICES, st.booleans())
def test_expected_and_invoiced_differ_by_their_exceptions_and_nothing_else(
    costs: list[TenantCost], invoices: list[Invoiced], is_final: bool
) -> None:
    made = reconcile(costs, invoices, TOLERANCE, is_final=is_final)
    found = against_tenants(made.lines, {}, is_final=is_final)
    assert sum(one.amount for one in found) == made.total("variance")
    off = {line.tenant_id for line in made.lines if line.status != "ok"}
    assert not is_final or off == {one.tenant_id for one in found if one.settled is None}


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_delivered_and_borne_differ_by_their_exceptions_and_nothing_else(
    newer: int, quarantined: int, unclaimed: int, held: int
) -> None:
    found = of_ledger(Ledger(newer, quarantined, unclaimed, held), is_final=True)
    assert sum(one.amount for one in found) == -(newer + quarantined + unclaimed + held)


def document(name: str, before_tax: str, tax: str = "0", **more: object) -> AwsInvoice:
    values = {"entity": "AWS", "payer_account_id": "1", **more}
    return AwsInvoice(name, before_tax=USD(before_tax), tax=USD(tax), **values)  # type: ignore[arg-type]


AWS = {
    "the same": ([document("I-1", "10")], [("I-1", "10", "0")], []),
    "half a cent": (
        [document("I-1", "10.01")], [("I-1", "10.005", "0")], [("I-1 before tax", "rounding", "0.005")],
    ),
    "one atto beyond": (
        [document("I-1", "10.01")], [("I-1", "10.004999999999999999", "0")],
        [("I-1 before tax", "unknown", "0.005000000000000001")],
    ),
    "two that cancel are two": (
        [document("I-1", "110"), document("I-2", "-60")], [("I-1", "10", "0"), ("I-2", "40", "0")],
        [("I-1 before tax", "unknown", "100"), ("I-2 before tax", "unknown", "-100")],
    ),
    "tax by itself": (
        [document("I-1", "10", "2")], [("I-1", "10", "1")], [("I-1 tax", "tax", "1")],
    ),
    "an invoice that is not loaded": (
        [document("I-1", "10")], [("I-1", "10", "0"), ("I-2", "3", "0")],
        [("I-2 before tax", "missing_invoice", "-3")],
    ),
    "lines without an invoice": (
        [document("I-1", "10")], [("I-1", "10", "0"), ("", "3", "0")],
        [("not invoiced before tax", "timing", "-3")],
    ),
    "a twin that the CUR does not know": (
        [document("I-1", "10"), document("I-9", "10")], [("I-1", "10", "0")],
        [("I-9 before tax", "duplicate", "10")],
    ),
    "a credit memo that the CUR lacks": (
        [document("I-1", "10"), document("CM-1", "-4", corrects_invoice_id="I-1")], [("I-1", "10", "0")],
        [("CM-1 before tax", "credit", "-4")],
    ),
    "an invoice in another currency without a rate": (
        [AwsInvoice("I-1", "AWS", None, None, "1", "EUR")], [("I-1", "10", "0")],
        [("I-1 before tax", "fx", "-10")],
    ),
    "another payer": (
        [document("I-1", "10", payer_account_id="2")], [("I-1", "10", "0")], [("I-1 payer", "unknown", "0")],
    ),
    "a total of zero": ([document("I-1", "0")], [("I-1", "0", "0")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", AWS)
def test_each_aws_document_is_compared_by_itself(name: str) -> None:
    issued, billed, expected = AWS[name]
    found = against_aws(
        issued, [Billed(one, USD(cost), USD(tax), "1") for one, cost, tax in billed], is_final=True
    )
    assert [(one.subject_id, one.kind, one.amount) for one in found] == [
        (subject, kind, USD(usd)) for subject, kind, usd in expected
    ]


@pytest.mark.parametrize(
    ("gap", "amounts", "kind"),
    [
        ("0.045", (9, 1), "rounding"),
        ("-0.045", (9, 1), "rounding"),
        ("0.045000000000000001", (9, 1), "unknown"),
        ("0.045", (8, 9), "unknown"),  # what was rounded in the tax says nothing of the rest
        ("0.005", (0, 0), "rounding"),  # an invoice rounds at least its own amount
    ],
)
def test_an_aws_invoice_may_differ_by_half_a_cent_for_each_amount_that_aws_rounded(
    gap: str, amounts: tuple[int, int], kind: str
) -> None:
    """AWS rounds each service of each account; the whole invoice had half a cent, or a cent, before."""
    (found,) = against_aws(
        [document("I-1", "18")], [Billed("I-1", USD("18") - USD(gap), 0, "1", *amounts)], is_final=True
    )
    assert (found.kind, found.settled is not None) == (kind, kind == "rounding")


def test_tax_has_a_rounding_bound_of_its_own() -> None:
    (found,) = against_aws(
        [document("I-1", "18", "1")], [Billed("I-1", USD("18"), USD("0.99"), "1", 9, 2)], is_final=True
    )
    assert (found.subject_id, found.kind) == ("I-1 tax", "rounding")


def test_an_aws_invoice_in_rupees_rounds_in_paise() -> None:
    """Half a paisa at 0.012 USD for a rupee, three times."""
    issued = document("I-1", "18", half_unit=half_unit("INR", USD("0.012")))
    for gap, kind in (("0.00018", "rounding"), ("0.000180000000000001", "unknown")):
        (found,) = against_aws([issued], [Billed("I-1", USD("18") - USD(gap), 0, "1", 3)], is_final=True)
        assert found.kind == kind


def test_in_a_running_month_what_aws_has_not_invoiced_settles_by_itself() -> None:
    (found,) = against_aws([], [Billed("", USD("10"), 0)], is_final=False)
    assert (found.kind, found.settled is not None) == ("timing", True)
    (found,) = against_aws([], [Billed("", USD("10"), 0)], is_final=True)
    assert found.settled is None


def test_an_entity_that_invoiced_last_month_and_not_this_one_is_missing() -> None:
    before = [document("I-1", "1"), document("I-2", "1", entity="AWS Marketplace")]
    (found,) = missing_entities(before, [document("I-3", "1")])
    assert (found.subject_id, found.kind) == ("entity AWS Marketplace", "missing_invoice")
    assert missing_entities(before, before) == []


def line(variance: str, **facts: object) -> tuple[TenantLine, TenantFacts]:
    made = TenantLine("acme", allocated=USD("100"), direct=USD("80"), shared=USD("20"), invoice_lines=1)
    made.rounding = HALF_CENT
    made.adjustments = USD(str(facts.pop("adjustments", "0")))
    made.invoiced = made.expected + USD(variance)
    if made.invoiced == 0:
        made.invoice_lines = 0
    return made, TenantFacts(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variance", "facts", "kind"),
    [
        ("0.005", {}, "rounding"),
        ("0.005000000000000001", {}, "unknown"),
        ("-100", {}, "missing_invoice"),
        ("60", {"documents": [("A", USD("60")), ("B", USD("40")), ("C", USD("60"))]}, "duplicate"),
        ("-7", {"adjustments": "7"}, "late_change"),
        ("-3", {"by_class": {"tax": USD("3")}}, "tax"),
        ("-3", {"by_class": {"support": USD("3")}}, "support_fee"),
        ("3", {"by_class": {"credit": USD("-3")}}, "credit"),
        ("3", {"by_class": {"refund": USD("-3")}}, "refund"),
        ("-20", {}, "allocation_gap"),
        ("-4", {"foreign_at_other_rates": [USD("100")]}, "fx"),
        ("-4", {}, "unknown"),
    ],
)
def test_a_variance_is_what_accounts_for_it(variance: str, facts: dict[str, object], kind: str) -> None:
    assert classify(*line(variance, **facts))[0] == kind


# --- status -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "ok"),
        ({"conflicts": 1}, "failed"),
        ({"missing_entities": 1}, "incomplete"),
        ({"conflicts": 1, "missing_entities": 1}, "failed"),
        ({"conflicts": 1, "is_final": False}, "provisional"),
    ],
)
def test_conflicts_and_missing_entities_decide_the_status(more: dict[str, object], status: str) -> None:
    made = reconcile(
        [TenantCost("acme", 1, 1)], [Invoiced("acme", 1)], TOLERANCE, **{"is_final": True, **more}
    )  # type: ignore[arg-type]
    assert made.status == status


# --- forecast ---------------------------------------------------------------------------------------------


def test_a_steady_month_is_forecast_exactly_and_without_error() -> None:
    profile = Profile([USD("10")] * 10, USD("103"), 30)  # the 11th day is being written
    made = forecast(USD("123"), USD("103"), profile)
    assert made
    assert (amount.show(made.amount), amount.show(made.error)) == ("320.00", "0.00")


def test_a_scope_has_its_share_of_the_error() -> None:
    profile = Profile([USD("8"), USD("12")] * 5, USD("100"), 30)
    whole, half = forecast(USD("100"), USD("100"), profile), forecast(USD("50"), USD("50"), profile)
    assert whole
    assert half
    assert amount.show(whole.amount) == "300.00"
    assert amount.show(whole.error) == "9.43"  # 2.108 a day × √20
    assert abs(whole.error - 2 * half.error) <= 1


@pytest.mark.parametrize("days", [[], [USD("10")], [0, 0]])
def test_two_days_with_cost_are_the_least_that_a_forecast_rests_on(days: list[int]) -> None:
    assert forecast(USD("10"), USD("10"), Profile(days, USD("10"), 30)) is None
