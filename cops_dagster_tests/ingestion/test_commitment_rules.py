"""Net unused commitment, halves of commitments, and which rule is offered a commitment's refund."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from cops_dagster.allocation.rules import Costs, Pool, Rule
from cops_dagster.ingestion import commitments
from cops_dagster.ingestion.commitments import Commitment
from cops_dagster.tagging.verdicts import negations_follow_usage

PAYER, OWN, OTHER = "111122223333", "444455556666", "777788889999"


@pytest.mark.parametrize(
    ("unused", "gross", "net", "left"),
    [(4, 60, 54, 4), (40, 600, 540, 36), (0, 60, 54, 0), (60, 60, 54, 54), (-10, 60, 54, -9), (7, 0, 3, 7),
     (1, 3, 1, 0), (2, 3, 1, 1), (5, 10, 10, 5), (4, 60, 66, 4), (4, -1, 10, 4), (4, 60, -5, 4),
     (4, 60, 0, 0)],
)  # fmt: skip
def test_a_discount_is_one_rate_of_used_and_unused_commitment(
    unused: int, gross: int, net: int, left: int
) -> None:
    assert commitments.net_unused(unused, gross, net) == left


CASES = """
# owner  has_fee  residual  accounts              missing
payer    no       -56       own                   fee
payer    no       -56       own,other             fee
own      no       -56       own                   fee
payer    no       -56       payer,own             .
own      no       -56       payer,own             .
nobody   no       -56       own,other             .
nobody   no       -56       own                   fee
own      yes      56        own                   usage
own      yes      56        payer,own             .
payer    yes      -56       own                   .
"""


@pytest.mark.parametrize("row", [row for row in CASES.strip().splitlines() if not row.startswith("#")])
def test_a_half_is_told_from_a_fault_by_whose_account_the_report_holds(row: str) -> None:
    owner, has_fee, residual, accounts, missing = row.split()
    name = {"payer": PAYER, "own": OWN, "other": OTHER}
    arn = f"arn:aws:savingsplans::{name[owner]}:savingsplan/x" if owner != "nobody" else "x"
    one = Commitment("s", arn, has_fee == "yes", True, Decimal(residual), Decimal(residual))
    here = [("s", name[account], PAYER) for account in accounts.split(",")]
    found = commitments.halves([one], [*here, ("another source", PAYER, PAYER)])
    assert [half.missing for half in found] == ([] if missing == "." else [missing])


def test_an_account_that_is_its_own_payer_has_whole_commitments() -> None:
    one = Commitment("s", f"arn:aws:savingsplans::{OWN}:savingsplan/x", False, True, Decimal(-5), Decimal(-5))
    assert commitments.halves([one], [("s", OWN, OWN)]) == []


def test_a_negation_without_fee_and_usage_is_no_half_of_anything() -> None:
    arn = f"arn:aws:savingsplans::{PAYER}:savingsplan/x"
    one = Commitment("s", arn, False, False, Decimal(-5), Decimal(-5))
    assert commitments.halves([one], [("s", OWN, PAYER)]) == []


def test_a_half_is_a_warning_that_names_the_commitment_and_its_money() -> None:
    half = commitments.Half("arn", "fee", Decimal(-56), Decimal(-50))
    verdict = commitments.commitments_are_delivered_whole([half])
    assert (verdict.passed, verdict.severity) == (False, "WARN")
    assert verdict.figures["halves"] == [{"commitment": "arn", "missing": "fee", "usd": Decimal(56)}]
    assert commitments.commitments_are_delivered_whole([]).passed


@pytest.mark.parametrize(
    ("usd", "decides", "passed", "severity"),
    [(None, True, True, "WARN"), ("-0.01", True, False, "WARN"), ("-80", True, False, "ERROR"),
     ("-80", False, False, "WARN")],
)  # fmt: skip
def test_a_negation_without_usage_is_grave_where_tenants_are_charged_on_it(
    usd: str | None, decides: bool, passed: bool, severity: str
) -> None:
    alone: list[dict[str, object]] = [{"service": "EC2", "unblended_usd": Decimal(usd)}] if usd else []
    verdict = negations_follow_usage(alone, Decimal(1000), decides=decides)
    assert (verdict.passed, verdict.severity) == (passed, severity)


def test_a_refund_of_a_commitment_is_claimed_by_the_rule_of_its_fee_and_keeps_its_class() -> None:
    day = date(2025, 1, 1)
    fees, refunds = (
        Rule(name, 1, day, None, number, (("charge_class", name),), "hold", None, (), "fail")
        for number, name in enumerate(("commitment_fee", "refund"))
    )
    pool = Pool("EC2", None, "refund", "1", None, "d", Costs(-1), "commitment_fee")
    plain = Pool("EC2", None, "refund", "1", None, "d", Costs(-1))
    assert (fees.claims(pool), refunds.claims(pool)) == (True, False)
    assert (fees.claims(plain), refunds.claims(plain)) == (False, True)
