"""A whole month with a savings plan, a returned reservation and refunds: who bears what, and what is said."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cops_dagster.closing import current
from cops_dagster.ingestion import checks
from cops_dagster.ledger.books import Books
from cops_dagster.reports import explain
from cops_dagster.tagging import checks as judge_tagged
from cops_dagster.verdict import Verdict
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, home, lines, run, write
from cops_dagster_tests.shown import answer, by_tenant

D = Decimal
PLAN = "arn:aws:savingsplans::999999999999:savingsplan/x"
RESERVED = "arn:aws:ec2:eu-west-1:999999999999:reserved-instances/x"
HEADER = (
    "type account tenant cost sp resource line_item_net_unblended_cost savings_plan_savings_plan_a_r_n"
    " savings_plan_net_savings_plan_effective_cost reservation_reservation_a_r_n reservation_effective_cost"
    " savings_plan_total_commitment_to_date savings_plan_used_commitment bill_payer_account_id"
    " line_item_line_item_description"
)
RULES = (
    "rule_id,version,effective_from,priority,match_charge_class,method,key_name,shares,on_zero_key,"
    "approved_by\n"
    'fees,1,2025-01-01,1,commitment_fee,fixed,,"{""__operator__"": ""100""}",fail,kim\n'
    "rest,1,2025-01-01,2,,proportional_cost,,,fail,kim\n"
)


def month(folder: Path, rows: str) -> Books:
    text = rows.strip()
    for name, value in (("PLAN", PLAN), ("RESERVED", RESERVED), ("MEMBER", "1" * 12), ("PAYER", "9" * 12)):
        text = text.replace(name, value)
    write(folder / "cur", [lines(f"{HEADER}\n{text}")])
    books = home(folder, inputs={**{n: INPUTS[n] for n in ("plans", "tenants")}, "allocation_rules": RULES})
    run(books)
    return books


def said(verdicts: list[Verdict], check: str) -> tuple[bool | None, str, Any]:
    (found,) = [one for one in verdicts if one.check == check]
    return found.passed, found.severity, found.figures


# type, account, tenant, cost, sp, resource, net, plan, sp_net, arn, ri, total, used, payer, text
WHOLE = """
SavingsPlanCoveredUsage MEMBER acme   80    56 i-1      80    PLAN 50.4 .        . .     .  PAYER .
SavingsPlanNegation     MEMBER .      -80   .  .        -80   PLAN .    .        . .     .  PAYER .
Usage                   MEMBER globex 80    .  i-2      72    .    .    .        . .     .  PAYER .
SavingsPlanRecurringFee PAYER .      60    .  .        54    PLAN .    .        . 60    56 PAYER .
Fee                     PAYER .      5000  .  .        5000  .    .    RESERVED . .     .  PAYER .
Refund                  PAYER .      -5000 .  .        -5000 .    .    RESERVED . .     .  PAYER .
Refund                  PAYER .      -2    .  .        -2    .    .    RESERVED . .     .  PAYER recurring
Refund                  MEMBER .      -3    .  i-1      -3    .    .    .        . .     .  PAYER .
"""


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    return month(tmp_path_factory.mktemp("whole"), WHOLE)


@pytest.mark.long
def test_each_tenant_gets_back_what_it_had_and_the_operator_what_it_bore(books: Books) -> None:
    """The covered usage and its negation are acme's, purchase and refunds of commitments the operator's."""
    assert by_tenant(books) == {"acme": -3, "globex": 80, "__operator__": 58}


def test_a_returned_reservation_is_in_no_amortized_month(books: Books) -> None:
    columns = "line_item_unblended_cost amortized_cost upfront_cost net_amortized_cost net_upfront_cost"
    sums = ", ".join(f"SUM({name})" for name in columns.split())
    # 56 used, 4 unused, 80, -3, -2; net 50.4 + 3.6 + 72 - 3 - 2
    assert answer(books, f"SELECT {sums} FROM fact_cost_raw") == [(135, 135, 0, D(121), 0)]


def test_the_bridge_holds_gross_and_net(books: Books) -> None:
    passed, _, figures = said(checks.raw(books, SEPTEMBER), "cost_views_bridge")
    assert (passed, figures["residual_usd"], figures["net_residual_usd"]) == (True, 0, 0)


def test_every_line_that_takes_back_others_found_them(books: Books) -> None:
    found = judge_tagged.tagged(books, SEPTEMBER)
    assert said(found, "negations_follow_usage")[0]
    assert said(found, "refunds_follow_what_they_name")[0]


def test_the_raw_lines_stay_as_aws_sent_them_and_explain_shows_them(books: Books) -> None:
    rows, total = explain.entries(books, SEPTEMBER, "acme")
    assert total == -3
    usage = next(row for row in rows if row["charge_class"] == "usage")
    shown = explain.entry(books, usage["entry_id"]).line_groups
    assert {(row["line_type"], row["unblended_usd"]) for row in shown} >= {
        ("SavingsPlanCoveredUsage", 80), ("SavingsPlanNegation", -80),
    }  # fmt: skip
    assert current.is_current(books, SEPTEMBER)


# a member account's own report: usage of its payer's plan and reservation, and not their fees
OWN_REPORT = """
SavingsPlanCoveredUsage MEMBER acme 80  56 i-1 80  PLAN 50.4 .        .  . . PAYER .
SavingsPlanNegation     MEMBER .    -89 .  .   -89 PLAN .    .        .  . . PAYER .
DiscountedUsage         MEMBER acme 0   .  i-3 0   .    .    RESERVED 30 . . PAYER .
Usage                   MEMBER acme 20  .  i-2 18  .    .    .        .  . . PAYER .
Refund                  MEMBER .    -1  .  i-9 -1  .    .    .        .  . . PAYER .
"""


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Books:
    return month(tmp_path_factory.mktemp("member"), OWN_REPORT)


def test_fees_that_are_in_the_payers_report_are_a_warning_and_no_broken_bridge(member: Books) -> None:
    found = checks.raw(member, SEPTEMBER)
    assert said(found, "cost_views_bridge")[0]
    passed, severity, figures = said(found, "commitments_are_delivered_whole")
    assert (passed, severity) == (False, "WARN")
    assert [(half["commitment"], half["missing"], half["usd"]) for half in figures["halves"]] == [
        (PLAN, "fee", 65), (RESERVED, "fee", 30),
    ]  # fmt: skip


def test_what_found_nothing_to_take_back_is_said_with_its_money(member: Books) -> None:
    found = judge_tagged.tagged(member, SEPTEMBER)
    passed, severity, figures = said(found, "negations_follow_usage")
    assert (passed, severity, figures["unmatched_usd"]) == (False, "ERROR", 9)
    passed, _, figures = said(found, "refunds_follow_what_they_name")
    assert (passed, figures["unmatched_usd"]) == (False, 1)
