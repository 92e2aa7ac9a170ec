"""The state machine and the readiness list: every boundary from both sides."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cops_dagster.allocation.verdicts import ALLOCATED_EQUALS_POOL, UNALLOCATED_WITHIN_2_PCT
from cops_dagster.closing.checklist import open_before
from cops_dagster.closing.readiness import (
    UNCHANGED_FOR,
    ClosingFacts,
    Delivered,
    Facts,
    against_marking,
    finality,
    is_late,
    readiness,
    unmet,
)
from cops_dagster.ledger.states import MOVES, WRITABLE, may_move, order
from cops_dagster.period import Period
from cops_dagster.reconciliation.verdicts import AWS_INVOICE_MATCHES_CUR, EXCEPTIONS_EXPLAINED
from cops_dagster.verdict import Verdict

SEPTEMBER = Period(2025, 9)


STATES = ("open", "delayed", "provisional", "final", "closing", "closed")
SECOND = timedelta(seconds=1)
GOOD = Facts(
    SEPTEMBER,
    now=datetime(2025, 10, 12),
    deliveries=[Delivered("report", datetime(2025, 10, 9), is_invoiced=True)],
    waiting=[],
    quarantined_lines=0,
    gap_usd=Decimal("0E-18"),
    reconciled="ok",
    marked_by=None,
)
HOLD = [
    Verdict(check, True, "ERROR")
    for check in (
        ALLOCATED_EQUALS_POOL, UNALLOCATED_WITHIN_2_PCT, AWS_INVOICE_MATCHES_CUR, EXCEPTIONS_EXPLAINED,
    )
]  # fmt: skip
READY = ClosingFacts(
    is_current=True, earlier_open=[], verdicts=HOLD, unexplained=[], frozen_by=None, evidence="ok"
)


@pytest.mark.parametrize(
    ("delivered", "is_invoiced", "at", "late"),
    [
        # nothing delivered of September: waited for from two days into the month to the end of the next
        (None, False, "2025-09-02 23:59", False),
        (None, False, "2025-09-03 00:01", True),
        (None, False, "2025-10-31 23:59", True),
        (None, False, "2025-11-01 00:00", False),
        # delivered and not invoiced: two days after the last delivery
        ("2025-09-20 00:00", False, "2025-09-22 00:00", False),
        ("2025-09-20 00:00", False, "2025-09-22 00:01", True),
        ("2025-10-05 00:00", False, "2025-10-07 00:01", True),
        # invoiced: AWS has nothing more to say
        ("2025-10-05 00:00", True, "2025-10-09 00:00", False),
    ],
)
def test_a_month_is_late_when_aws_should_still_deliver_and_does_not(
    delivered: str | None, is_invoiced: bool, at: str, late: bool
) -> None:
    known = [Delivered("report", datetime.fromisoformat(delivered), is_invoiced)] if delivered else []
    lag = timedelta(hours=48)
    assert is_late(Period(2025, 9), known, datetime.fromisoformat(at), lag) is late


def missing(facts: Facts) -> list[str]:
    return [one.name for one in unmet(finality(facts))]


def test_a_month_of_which_everything_holds_is_final_and_ready() -> None:
    assert missing(GOOD) == []
    assert unmet(readiness(GOOD, READY)) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"now": datetime(2025, 10, 8) - SECOND}, "support_fees_have_arrived"),
        ({"deliveries": []}, "delivery_is_complete"),
        ({"waiting": ["report: E-SHRINK"]}, "delivery_is_complete"),
        ({"deliveries": [Delivered("r", datetime(2025, 10, 9), is_invoiced=False)]},
         "every_cost_line_has_an_invoice"),
        ({"now": datetime(2025, 10, 9) + UNCHANGED_FOR - SECOND}, "delivery_unchanged_for_72_hours"),
        ({"quarantined_lines": 1}, "no_line_is_quarantined"),
        ({"gap_usd": Decimal("-0.000000000000000001")}, "everything_delivered_is_allocated"),
        ({"gap_usd": None}, "everything_delivered_is_allocated"),
        ({"reconciled": None}, "period_is_reconciled"),
        ({"reconciled": "failed"}, "period_is_reconciled"),
        ({"reconciled": "incomplete"}, "period_is_reconciled"),
        ({"marked_by": "kim"}, "nobody_holds_it_provisional"),
        ({"is_delayed": True}, "no_delivery_is_waited_for"),
    ],
)  # fmt: skip
def test_what_makes_a_month_final_is_missed_by_name(change: dict[str, object], name: str) -> None:
    assert name in missing(replace(GOOD, **change))  # type: ignore[arg-type]


def _open(name: str, *, names: bool = False, ever: bool = False) -> Delivered:
    return Delivered(name, datetime(2025, 10, 9), False, names, ever)


@pytest.mark.parametrize(
    ("deliveries", "more", "evidence", "missing"),
    [
        ([_open("pro forma")], {}, False, ""),
        ([_open("pro forma"), *GOOD.deliveries], {}, False, ""),
        ([_open("report", names=True, ever=True)], {}, True, "every_cost_line_has_an_invoice"),
        ([_open("pro forma"), _open("report", names=True)], {}, True, "every_cost_line_has_an_invoice"),
        ([_open("report", ever=True)], {}, False, "every_cost_line_has_an_invoice"),
        ([_open("report", ever=True)], {}, True, ""),
        ([_open("pro forma")], {"now": datetime(2025, 9, 20)},
         False, "support_fees_have_arrived delivery_unchanged_for_72_hours"),
        ([_open("pro forma")], {"quarantined_lines": 1}, False, "no_line_is_quarantined"),
        ([_open("pro forma")], {"reconciled": "provisional", "once_final": "failed"},
         False, "period_is_reconciled"),
        ([_open("pro forma")], {"reconciled": "provisional", "once_final": "warning"}, False, ""),
        ([_open("pro forma")], {"marked_by": "kim"}, False, ""),
    ],
)  # fmt: skip
def test_a_person_may_say_that_no_invoice_will_come_where_none_has_begun_to(
    deliveries: list[Delivered], more: dict[str, object], evidence: bool, missing: str
) -> None:
    """The month of a pro forma report could never be final: AWS never fills its invoice column."""
    facts = replace(GOOD, deliveries=deliveries, **more)  # type: ignore[arg-type]
    assert [one.name for one in against_marking(facts, has_evidence=evidence)] == missing.split()


def test_what_a_person_said_holds_on_the_way_to_closed() -> None:
    facts = replace(GOOD, deliveries=[_open("pro forma")])
    assert missing(facts) == ["every_cost_line_has_an_invoice"]
    assert missing(replace(facts, said_by="kim")) == []


@pytest.mark.parametrize(("ever", "at", "late"), [
    (False, "2025-10-09 00:00", False), (True, "2025-10-09 00:00", True), (False, "2025-10-04 00:00", True),
])  # fmt: skip
def test_a_settled_month_that_was_never_invoiced_is_not_waited_for(ever: bool, at: str, late: bool) -> None:
    known = [Delivered("report", datetime(2025, 10, 1), False, names_invoices=False, ever_named=ever)]
    assert is_late(SEPTEMBER, known, datetime.fromisoformat(at), timedelta(hours=48)) is late


def test_72_hours_are_counted_to_the_second() -> None:
    assert timedelta(hours=72) == UNCHANGED_FOR
    delivered = [Delivered("r", datetime(2025, 10, 10), is_invoiced=True)]
    at = replace(GOOD, deliveries=delivered, now=datetime(2025, 10, 13))
    assert missing(at) == []
    assert missing(replace(at, now=at.now - SECOND)) == ["delivery_unchanged_for_72_hours"]


@pytest.mark.parametrize(("at", "delivered", "evidence", "missing"), [
    ("2025-12-01 00:00", "2025-11-30 23:00", True, ""),
    ("2025-12-01 00:00", "2025-11-30 23:00", False, "delivery_unchanged_for_72_hours"),
    ("2025-10-11 00:00", "2025-10-10 23:00", True, ""),
    ("2025-10-10 23:59", "2025-10-10 23:00", True, "delivery_unchanged_for_72_hours"),
    ("2025-12-01 00:00", None, True, "delivery_is_complete delivery_unchanged_for_72_hours"),
])  # fmt: skip
def test_a_person_may_say_with_evidence_that_old_files_are_awss_last_word(
    at: str, delivered: str | None, evidence: bool, missing: str
) -> None:
    """A month of 2018 that was handed over today could be closed in three days."""
    known = [Delivered("r", datetime.fromisoformat(delivered), True)] if delivered else []
    facts = replace(GOOD, deliveries=known, now=datetime.fromisoformat(at))
    assert [one.name for one in against_marking(facts, has_evidence=evidence)] == missing.split()


def test_the_list_says_who_said_it_and_before_how_it_is_said() -> None:
    fresh = [Delivered("r", datetime(2025, 11, 30, 23), True)]
    facts = replace(GOOD, deliveries=fresh, now=datetime(2025, 12, 1))
    (young,) = unmet(finality(facts))
    assert "`cops period mark-final 2025-09 --reason … --evidence LINK`" in young.next_step
    (said,) = [one for one in finality(replace(facts, said_by="kim")) if one.name == young.name]
    assert (said.holds, said.found) == (True, "unchanged for 1.0 h; its last word, says kim")


def test_support_fees_have_arrived_from_the_eighth_on() -> None:
    early = [Delivered("r", datetime(2025, 10, 1), is_invoiced=True)]
    at = replace(GOOD, deliveries=early, now=datetime(2025, 10, 8))
    assert missing(at) == []
    assert missing(replace(at, now=at.now - SECOND)) == ["support_fees_have_arrived"]


@pytest.mark.parametrize("status", ["ok", "warning", "provisional"])
def test_a_reconciliation_that_did_not_fail_lets_a_month_be_final(status: str) -> None:
    assert missing(replace(GOOD, reconciled=status)) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"is_current": False}, "ledger_was_made_from_todays_inputs"),
        ({"earlier_open": [Period(2025, 8)]}, "earlier_periods_are_closed"),
        ({"unexplained": ["acme 3.00 USD"]}, "variance_within_tolerance"),
        ({"frozen_by": "P1"}, "invoices_are_not_frozen"),
        ({"evidence": "mismatch"}, "evidence_is_intact"),
        ({"evidence": "incomplete"}, "evidence_is_intact"),
        ({"unproven": ["lake_file of 2025-08"]}, "closed_months_match_their_seals"),
        *(
            ({"verdicts": [Verdict(v.of, v.check != name, "WARN") for v in HOLD]}, name)
            for name in (one.check for one in HOLD)
        ),
        ({"verdicts": [Verdict(v.of, None, "WARN") for v in HOLD]}, "aws_invoice_matches_cur"),
    ],
)
def test_what_a_close_needs_beyond_is_missed_by_name(change: dict[str, object], name: str) -> None:
    blocking = unmet(readiness(GOOD, replace(READY, **change)))  # type: ignore[arg-type]
    assert name in [one.name for one in blocking]
    assert all(one.owner and one.next_step for one in blocking)


def test_a_month_without_a_pool_has_no_share_to_judge_and_may_close() -> None:
    none = [Verdict(v.of, None if v.of == UNALLOCATED_WITHIN_2_PCT else True, "ERROR") for v in HOLD]
    assert unmet(readiness(GOOD, replace(READY, verdicts=none))) == []


def test_nothing_leads_out_of_closed_and_only_forward_leads_into_it() -> None:
    assert [there for there in STATES if may_move("closed", there)] == []
    assert [here for here in STATES if may_move(here, "closed")] == ["closing"]
    assert [here for here in STATES if may_move(here, "closing")] == ["final"]
    assert all(
        here in WRITABLE or there in ("provisional", "closing", "closed", "final") for here, there in MOVES
    )


@given(st.lists(st.sampled_from(STATES), max_size=20))
def test_any_walk_that_reached_closed_went_through_every_state_on_the_way(walk: list[str]) -> None:
    at, been = "open", ["open"]
    for there in walk:
        if may_move(at, there):
            at = there
            been.append(there)
    if at == "closed":
        assert [one for one in ("provisional", "final", "closing", "closed") if one not in been] == []
        assert been.index("closed") == len(been) - 1


@pytest.mark.parametrize(
    ("period", "closed", "known", "expected"),
    [
        ("2025-09", [], ["2025-09"], []),
        ("2025-09", [], ["2025-08", "2025-09"], ["2025-08"]),
        ("2025-09", ["2025-08"], ["2025-08", "2025-09"], []),
        (
            "2025-09",
            ["2025-07"],
            ["2025-07", "2025-09"],
            ["2025-08"],
        ),  # a month that never came is not closed
        ("2025-01", ["2024-12"], ["2024-11", "2024-12", "2025-01"], ["2024-11"]),
        ("2025-07", [], ["2025-08"], []),
        ("2025-07", [], [], []),
    ],
)
def test_months_close_in_the_order_of_the_calendar(
    period: str, closed: list[str], known: list[str], expected: list[str]
) -> None:
    def days(names: list[str]) -> list[date]:
        return [Period.parse(name).start for name in names]

    found = open_before(Period.parse(period), days(closed), days(known))
    assert [str(one) for one in found] == expected


def test_states_are_ordered_as_a_month_goes_through_them() -> None:
    assert [order(state) for state in STATES] == sorted(order(state) for state in STATES)
    assert {pair for pair in product(STATES, STATES) if may_move(*pair)} == MOVES
