"""Drafts of documents: what is credited, what is issued anew, and that nothing is missing afterwards."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.money import amount, currency, footing
from cops_dagster.money.amount import ATTO
from cops_dagster.reconciliation import cents
from cops_dagster.reconciliation.drafting import Document, NothingToCredit, Owed, drafted, missing

RATES = {"USD": ATTO, "EUR": amount.parse("1.1664"), "JPY": amount.parse("0.0068493"),
         "KWD": amount.parse("3.2468")}  # fmt: skip


def document(text: str) -> Document:
    """`INV-1 749.07 USD`, or `CN-1 -3 USD > INV-1`; a credit note is what is below 0."""
    name, value, code, *named = text.split()
    units = amount.parse(value)
    usd = footing.nearest(units * RATES[code], ATTO)
    return Document(name, "credit_note" if units < 0 else "invoice", units, code, usd, (named or [None])[-1])


def told(one: Document) -> str:
    value = f"{amount.to_decimal(one.amount).normalize():f}"
    return f"{one.invoice_id} {value} {one.currency}" + (f" > {one.corrects}" if one.corrects else "")


CASES = {
    "nothing is missing": ("10", ["A 10 USD"], []),
    "less than half a cent is rounding": ("10.005", ["A 10 USD"], []),
    "too much": ("743.068", ["A 749.07 USD"], ["CN1-A -749.07 USD > A", "RE1-A 743.07 USD > A"]),
    "too little": ("12", ["A 10 USD"], ["CN1-A -10 USD > A", "RE1-A 12 USD > A"]),
    "nothing was invoiced": ("7", [], ["INV-2025-08-t 7 USD"]),
    "nothing is owed": ("0", ["A 10 USD"], ["CN1-A -10 USD > A"]),
    "a repeated invoice is only credited": ("10", ["A 10 USD", "B 10 USD"], ["CN1-A -10 USD > A"]),
    "the largest is corrected": (
        "14", ["A 10 USD", "B 5 USD"], ["CN1-A -10 USD > A", "RE1-A 9 USD > A"],
    ),
    "one is not enough": (
        "1", ["A 10 USD", "B 5 USD"], ["CN1-A -10 USD > A", "CN1-B -5 USD > B", "RE1-A 1 USD > A"],
    ),
    "what is credited already is left": (
        "8", ["A 10 USD", "CN1-A -3 USD > A"], ["CN2-A -7 USD > A", "RE1-A 8 USD > A"],
    ),
    "what was issued anew is corrected in its turn": (
        "8", ["A 10 USD", "CN1-A -10 USD > A", "RE1-A 9 USD > A"],
        ["CN2-A -9 USD > RE1-A", "RE2-A 8 USD > RE1-A"],
    ),
    "an id that looks like ours is kept whole": (
        "8", ["RE2025-17 9 USD"], ["CN1-RE2025-17 -9 USD > RE2025-17", "RE1-RE2025-17 8 USD > RE2025-17"],
    ),
    "everything was credited": ("8", ["A 10 USD", "X -10 USD > A"], ["RE1-A 8 USD > A"]),
    "less than nothing is owed": ("-2", ["A 10 USD"], ["CN1-A -12 USD > A"]),
    "an id that is taken is passed over": (
        "4", ["A 10 USD", "CN1-A 2 USD"], ["CN2-A -10 USD > A", "RE1-A 2 USD > A"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_draft_credits_an_invoice_in_full_and_issues_it_anew(name: str) -> None:
    usd, stored, expected = CASES[name]
    documents = [document(one) for one in stored]
    made = drafted(Owed("t", amount.parse(usd), "USD"), documents, RATES, (), "2025-08")
    assert [told(one) for one in made] == expected


def test_an_invoice_in_another_currency_is_credited_in_its_own_and_issued_in_the_tenants() -> None:
    made = drafted(Owed("t", amount.parse("50"), "EUR"), [document("A 60 USD")], RATES, (), "2025-08")
    assert [told(one) for one in made] == ["CN1-A -60 USD > A", "RE1-A 42.87 EUR > A"]


def test_what_amounts_to_the_same_in_another_currency_is_left_as_it_is() -> None:
    owed = Owed("t", amount.parse("116.64"), "EUR")
    assert drafted(owed, [document("A 116.64 USD")], RATES, (), "2025-08") == []


def test_less_than_nothing_without_an_invoice_cannot_be_drafted() -> None:
    with pytest.raises(NothingToCredit):
        drafted(Owed("t", amount.parse("-2"), "USD"), [], RATES, (), "2025-08")


@st.composite
def months(draw: st.DrawFn) -> tuple[Owed, list[Document]]:
    code = draw(st.sampled_from(sorted(RATES)))
    owed = Owed("t", draw(st.integers(-(10**22), 10**23)), code)
    documents: list[Document] = []
    for at in range(draw(st.integers(0, 4))):
        other = draw(st.sampled_from([code, code, "USD"]))
        invoices = [one for one in documents if one.kind == "invoice"]
        is_credit = bool(invoices) and draw(st.booleans())
        of = draw(st.sampled_from(invoices)) if is_credit else None
        units = draw(st.integers(0, 10**6)) * currency.unit(of.currency if of else other)
        code_of = of.currency if of else other
        signed = -units if is_credit else units
        usd = footing.nearest(signed * RATES[code_of], ATTO)
        if draw(st.integers(0, 5)) == 0:
            usd += draw(st.integers(-(10**18), 10**18))  # a credit note of another month's rate
        kind = "credit_note" if is_credit else "invoice"
        documents.append(Document(f"D{at}", kind, signed, code_of, usd, of.invoice_id if of else None))
    return owed, documents


@given(months())
def test_documents_and_drafts_come_to_the_statement_and_a_second_draft_is_empty(
    month: tuple[Owed, list[Document]],
) -> None:
    owed, documents = month
    try:
        made = drafted(owed, documents, RATES, {"CN1-D0"}, "2025-08")
    except NothingToCredit:
        assert not any(one.kind == "invoice" for one in documents)
        return
    after = [*documents, *made]
    assert missing(owed, after, RATES) == 0
    assert drafted(owed, after, RATES, (), "2025-08") == []
    invoices = {one.invoice_id for one in after if one.kind == "invoice"}
    for one in made:
        assert one.amount % currency.unit(one.currency) == 0
        assert (one.amount < 0) == (one.kind == "credit_note")
        assert one.corrects in invoices or (one.kind == "invoice" and len(made) == 1)
    names = [one.invoice_id for one in after]
    assert len(set(names)) == len(names)
    assert "CN1-D0" not in {one.invoice_id for one in made}


@given(st.integers(-(10**24), 10**24), st.sampled_from(sorted(RATES)))
def test_a_first_invoice_is_the_statements_total(usd: int, code: str) -> None:
    stated = cents.present(cents.Parts(usd, 0, 0, 0), RATES[code], currency.unit(code)).parts.total
    assert missing(Owed("t", usd, code), [], RATES) == stated
    assert amount.to_decimal(stated) % Decimal(1).scaleb(-currency.places(code)) == 0
