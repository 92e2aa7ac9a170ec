"""Who bills the same cost, and who gives way: pure."""

from __future__ import annotations

from datetime import date

import pytest

from cops_dagster.ingestion.source_rules import Claim, Pair, Span, Standing, clashes, held, shared

P, Q, A, B = "999999999999", "888888888888", "111111111111", "222222222222"


def claim(source: str, *pairs: Pair) -> Claim:
    return Claim(source, f"delivery of {source}", frozenset(pairs))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([(P, A)], [(P, A)], [(P, A)]),
        ([(P, A)], [(P, B)], []),  # per-account reports of one payer
        ([(P, A), (P, B), (P, "")], [(P, A)], [(P, A)]),  # a payer's report and a member's own
        ([(P, A)], [(Q, A)], []),  # the account moved from one payer to the other
        ([(P, "")], [(P, "")], [(P, "")]),  # a payer's own fees and taxes
        ([(P, "")], [(Q, "")], []),
        ([("", A)], [(P, A)], [("", A)]),  # who paid was not delivered: it may be the same
        ([(P, A)], [("", A)], [(P, A)]),
        ([(P, "")], [("", "")], []),
        ([("", "")], [("", "")], [("", "")]),
        ([("099", "011")], [("99", "11")], [("099", "011")]),  # some tools drop leading zeros
        ([], [(P, A)], []),
    ],
)  # fmt: skip
def test_two_deliveries_bill_the_same_where_they_share_payer_and_account(
    one: list[Pair], other: list[Pair], expected: list[Pair]
) -> None:
    assert shared(one, other) == expected


def test_what_is_booked_stays_and_the_newcomer_gives_way() -> None:
    away = held({"old": claim("old", (P, A))}, [(Standing.NEW, claim("new", (P, A)))])
    assert [(clash.one, clash.other) for clash in away["new"]] == [("new", "old")]


def test_of_two_that_nobody_knows_neither_is_taken() -> None:
    both = [(Standing.NEW, claim("a", (P, A))), (Standing.NEW, claim("b", (P, A), (P, B)))]
    assert set(held({}, both)) == {"a", "b"}


def test_a_source_of_earlier_months_is_served_before_a_new_one() -> None:
    both = [(Standing.NEW, claim("a", (P, A))), (Standing.KNOWN, claim("b", (P, A)))]
    assert set(held({}, both)) == {"a"}


def test_sources_that_share_nothing_are_all_taken() -> None:
    both = [(Standing.NEW, claim("a", (P, A))), (Standing.NEW, claim("b", (P, B)))]
    assert held({"c": claim("c", (Q, A))}, both) == {}


def test_an_account_that_leaves_one_report_may_come_in_another_in_the_same_look() -> None:
    shown = {"payer": claim("payer", (P, A), (P, B))}
    candidates = [(Standing.BOOKED, claim("payer", (P, A))), (Standing.NEW, claim("own", (P, B)))]
    assert held(shown, candidates) == {}


def test_a_booked_source_that_grows_into_another_waits_and_the_other_goes_on() -> None:
    shown = {"payer": claim("payer", (P, A)), "own": claim("own", (P, B))}
    assert set(held(shown, [(Standing.BOOKED, claim("payer", (P, A), (P, B)))])) == {"payer"}


def test_every_two_that_bill_the_same_are_named() -> None:
    found = clashes([claim("a", (P, A)), claim("b", (P, A)), claim("c", (P, B))])
    assert [(clash.one, clash.other, clash.pairs) for clash in found] == [("a", "b", ((P, A),))]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(), [True, True, True]),
        (Span(first=date(2025, 9, 1)), [False, True, True]),
        (Span(last=date(2025, 9, 1)), [True, True, False]),
        (Span(date(2025, 9, 1), date(2025, 9, 1)), [False, True, False]),
    ],
)
def test_a_span_holds_its_first_and_its_last_month(span: Span, expected: list[bool]) -> None:
    assert [span.holds(date(2025, month, 1)) for month in (8, 9, 10)] == expected
