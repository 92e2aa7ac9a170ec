"""The lines of entries: balanced in each currency, exact, and in minor units as well."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.errors import CopsError
from cops_dagster.exports import entries
from cops_dagster.exports.entries import Document, Line
from cops_dagster.inputs.account_map import PURPOSES, AccountMap, Mapped
from cops_dagster.money import amount, currency
from cops_dagster.reconciliation.margin import Cell
from cops_dagster.words import OPERATOR, UNALLOCATED

USD = amount.ATTO
DAY, JULY = date(2025, 9, 30), date(2025, 7, 1)
ACCOUNTS = AccountMap(
    [Mapped(one, "", "", 1, JULY, None, one, one, "asset", "") for one in PURPOSES], DAY
)  # each purpose has an account of its own name


def cell(
    tenant: str, basis: int, unblended: int | None = None, markup: int = 0, usage: date | None = None
) -> Cell:
    return Cell(tenant, "team", "EC2", usage, basis if unblended is None else unblended, basis, markup=markup)


def sums(lines: list[Line]) -> dict[str, int]:
    """Purpose → sum in USD, of what is not 0."""
    made = entries.entry("x", "actual", DAY, lines, ACCOUNTS)
    found: dict[str, int] = {}
    for line in made.lines if made else ():
        if line.currency == "USD":
            found[line.purpose] = found.get(line.purpose, 0) + line.amount
    return {purpose: usd for purpose, usd in found.items() if usd}


MONTH = [
    cell("acme", 10 * USD, 8 * USD, 2 * USD), cell(OPERATOR, 3 * USD), cell(UNALLOCATED, USD),
    cell("acme", -USD, usage=JULY),
]  # fmt: skip


def test_what_aws_billed_is_borne_by_tenants_by_us_or_by_nobody_yet() -> None:
    assert sums(entries.cost(MONTH, None, {})) == {
        "recharge_cost": 10 * USD, "own_cost": 3 * USD, "suspense": USD, "correction_cost": -USD,
        "prepaid": -2 * USD, "aws_accrual": -11 * USD,
    }  # fmt: skip


def test_what_awss_documents_differ_is_rounding_or_a_rate_where_that_is_known_and_else_a_difference() -> None:
    documents = [Document("I-1", 12 * USD, "USD", 12 * USD), Document("I-2", 5 * USD, "EUR", 6 * USD)]
    found = sums(entries.cost(MONTH, documents, {"rounding": 2, "fx_difference": -3}))
    # the euros have their other side on `fx`, in euros and in dollars
    assert {name: found[name] for name in ("aws_payable", "fx", "rounding", "fx_difference")} == {
        "aws_payable": -12 * USD, "fx": -6 * USD, "rounding": 2, "fx_difference": -3,
    }  # fmt: skip
    assert found["aws_difference"] == 7 * USD - 2 + 3
    assert sums(entries.cost(MONTH, [], {}))["aws_payable"] == -11 * USD


def test_a_tenant_owes_its_documents_and_what_was_expected_is_income() -> None:
    cells = [one for one in MONTH if one.tenant_id == "acme"]
    documents = [Document("T-1", 12 * USD, "USD", 12 * USD, "acme")]
    assert sums(entries.recharge("acme", cells, documents, {"rounding": 1})) == {
        "receivable": 12 * USD, "recharge_income": -10 * USD, "markup_income": -2 * USD,
        "correction_income": USD, "rounding": -1, "billing_difference": -USD + 1,
    }  # fmt: skip
    assert sums(entries.recharge("acme", cells, None, {}))["income_accrual"] == 11 * USD


def test_a_document_about_a_closed_month_is_a_difference_as_a_whole() -> None:
    note = Document("CN-1", -3 * USD, "USD", -3 * USD, "acme", JULY)
    assert sums(entries.late(note)) == {"receivable": -3 * USD, "billing_difference": 3 * USD}
    memo = Document("CM-1", -3 * USD, "EUR", -4 * USD)
    assert sums(entries.late(memo)) == {"fx": 4 * USD, "aws_difference": -4 * USD}


def test_money_without_an_account_is_refused_with_its_amount_and_a_purpose_without_money_is_not() -> None:
    bare = AccountMap([Mapped("own_cost", "", "", 1, JULY, None, "1", "1", "asset", "")], DAY)
    with pytest.raises(CopsError, match=r"E-GL-UNMAPPED.*suspense.*7\.00 USD"):
        entries.entry("x", "actual", DAY, [Line("own_cost", -7 * USD), Line("suspense", 7 * USD)], bare)
    lines = [Line("own_cost", 1, service="a"), Line("own_cost", -1, service="b"), Line("suspense", 0)]
    assert entries.entry("x", "actual", DAY, lines, bare) is not None


def test_lines_that_do_not_add_up_are_refused_and_an_entry_of_nothing_is_none() -> None:
    with pytest.raises(CopsError, match="E-EXPORT-BALANCE"):
        entries.entry("x", "actual", DAY, [Line("own_cost", 1)], ACCOUNTS)
    assert entries.entry("x", "actual", DAY, [Line("own_cost", 1), Line("own_cost", -1)], ACCOUNTS) is None


AMOUNTS = st.integers(-(10**24), 10**24)
CELLS = st.lists(
    st.builds(
        cell, st.sampled_from(["acme", OPERATOR, UNALLOCATED]), AMOUNTS, AMOUNTS, st.just(0),
        st.sampled_from([None, JULY]),
    ),
    max_size=8,
)  # fmt: skip
DOCUMENTS = st.lists(
    st.builds(
        lambda name, units, code, usd: Document(
            name, units * currency.unit(code), code, units * currency.unit(code) if code == "USD" else usd
        ),
        st.text("AB", max_size=2), st.integers(-(10**9), 10**9),
        st.sampled_from(["USD", "EUR", "JPY", "KWD"]), AMOUNTS,
    ),
    max_size=4,
)  # fmt: skip


@given(CELLS, st.none() | DOCUMENTS, AMOUNTS)
def test_every_entry_is_balanced_in_each_currency_exactly_and_in_minor_units(
    cells: list[Cell], documents: list[Document] | None, rounding: int
) -> None:
    for lines in (
        entries.cost(cells, documents, {"rounding": rounding}),
        entries.recharge("acme", cells, documents, {"rounding": rounding}),
    ):
        made = entries.entry("x", "actual", DAY, lines, ACCOUNTS)
        if made is None:
            continue
        assert set(entries.balance(made.lines).values()) == {0}
        minor = entries.in_minor_units(made.lines)
        for code in {line.currency for line in made.lines}:
            unit = currency.unit(code)
            mine = [
                (line, units) for line, units in zip(made.lines, minor, strict=True) if line.currency == code
            ]
            assert sum(units for _, units in mine) == 0
            for line, units in mine:
                assert units % unit == 0
                assert abs(units - line.amount) < unit
                assert line.amount % unit or units == line.amount
