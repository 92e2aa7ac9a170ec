"""A September with all that a bill has, and an October that corrects one: for exports and their judges.

Belongs here: commitments used, unused and half used, credits, refunds, tax, marketplace, a negation that
takes a part, a hostile name, a credit note, a late delivery that was booked. Does not belong here: any test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cops_dagster.closing import approve
from cops_dagster.ledger.books import Books
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER, late_delivery, somebody_else
from cops_dagster_tests.closing.ready import aged, close_by_two, month
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

_ARN = "arn:aws:savingsplans::111111111111:savingsplan/p-1"
_RI = "arn:aws:ec2:eu-central-1:111111111111:reserved-instances/r-1"
_HEADER = (
    "type service account tenant plan component cost invoice bill_billing_entity product_product_name"
    " savings_plan_savings_plan_a_r_n sp savings_plan_total_commitment_to_date savings_plan_used_commitment"
    " savings_plan_start_time savings_plan_end_time savings_plan_payment_option savings_plan_purchase_term"
    " reservation_reservation_a_r_n ri reservation_unused_recurring_fee amount pricing_unit resource"
    " bill_payer_account_id product_region_code resource_tags_user_name"
)
_NAMES = _HEADER.split()
_USUAL = {"account": "111111111111", "invoice": "I-1", "bill_billing_entity": "AWS", "amount": "1.5",
          "bill_payer_account_id": "999999999999", "product_region_code": "eu-central-1",
          "pricing_unit": "Hrs"}  # fmt: skip


def _line(**given: str) -> str:
    cells = _USUAL | given
    return " ".join(cells.get(name, ".") for name in _NAMES)


def _own(type_: str, tenant: str, cost: str, **given: str) -> str:
    return _line(type=type_, service=given.pop("service", "AmazonEC2"), tenant=tenant, plan="team",
                 component="api", cost=cost, **given)  # fmt: skip


PLAN = {"savings_plan_savings_plan_a_r_n": _ARN}
WIDE = "\n".join(
    [
        _HEADER,
        _own("Usage", "acme", "10.10", resource="i-1", resource_tags_user_name="=1+1"),
        _own("Usage", "globex", "20.20", resource="i-2", resource_tags_user_name="@;=x"),
        _own("SavingsPlanCoveredUsage", "acme", "3", sp="2", **PLAN),
        _own("SavingsPlanCoveredUsage", "globex", "4", sp="2.5", **PLAN),
        _line(type="SavingsPlanNegation", service="AmazonEC2", cost="-5", **PLAN),
        _line(type="SavingsPlanRecurringFee", service="ComputeSavingsPlans", cost="6", invoice="I-2",
              savings_plan_total_commitment_to_date="6", savings_plan_used_commitment="4.5",
              savings_plan_start_time="2025-01-01T00:00:00.000Z",
              savings_plan_end_time="2026-01-01T00:00:00.000Z",
              savings_plan_payment_option="No_Upfront", savings_plan_purchase_term="1yr", **PLAN),
        _line(type="SavingsPlanUpfrontFee", service="ComputeSavingsPlans", cost="100", invoice="I-3", **PLAN),
        _own("DiscountedUsage", "acme", "0", ri="0.7", reservation_reservation_a_r_n=_RI),
        _own("RIFee", "acme", "0.9", reservation_unused_recurring_fee="0.2",
             reservation_reservation_a_r_n=_RI),
        _line(type="Usage", service="AmazonEC2", cost="3.01"),
        _line(type="Usage", service="AWSDataTransfer", cost="9.000000001", pricing_unit="GB"),
        _line(type="Usage", service="AWSDataTransfer", cost="1.1", invoice="I-2", pricing_unit="GB"),
        _line(type="Tax", service="AmazonEC2", cost="0.07"),
        _line(type="Credit", service="AmazonEC2", cost="-1.5"),
        _line(type="Refund", service="AmazonEC2", cost="-0.4"),
        _line(type="Fee", service="AWSSupportBusiness", cost="2.2"),
        _line(type="Usage", service=".", cost="7.7", bill_billing_entity="AWS_Marketplace",
              product_product_name="Market_Feed", invoice="I-4"),
    ]
).replace("No_Upfront", "No_Upfront")  # fmt: skip
"""Underscores stand for blanks."""

RULES = INPUTS["allocation_rules"] + (
    'fees,1,2025-01-01,21,,commitment_fee,fixed,,"{""__operator__"": ""100""}",fail,kim\n'
    "refunds,1,2025-01-01,22,,refund,even,,,fail,kim\n"
    "support,1,2025-01-01,23,,support,proportional_cost,,,fail,kim\n"
    "market,1,2025-01-01,24,,marketplace,even,,,fail,kim\n"
    "tax,1,2025-01-01,25,,tax,hold,,,fail,kim\n"
)
_OCTOBER = """
type   service    account       tenant  plan  component  cost  invoice
Usage  AmazonEC2  111111111111  acme    team  api        10    I-10
Usage  AmazonEC2  111111111111  .       .     .          3     I-10
"""
TABLES = INPUTS | {
    "allocation_rules": RULES,
    "tenants": (
        "tenant_id,name,plan_id,active_from,currency\n"
        'acme,"=Acme, Inc",team,2025-01-01,USD\nglobex,Globex,team,2025-01-01,EUR\n'
    ),
    "plans": "plan_id,effective_from,markup_bps\nteam,2025-01-01,700\n",
    "fx_rates": "base,quote,period_start,rate\nEUR,USD,2025-09,1.17\nEUR,USD,2025-10,1.16\n",
}


def wide(folder: Path) -> Books:
    """Open books over a reconciled September with all that a bill has, and its documents."""
    table = lines(WIDE)
    spaced = {"bill_billing_entity", "product_product_name", "savings_plan_payment_option"}
    for name in spaced:
        values = [
            None if cell is None or cell == "." else cell.replace("_", " ")
            for cell in table[name].to_pylist()
        ]
        table = table.set_column(table.schema.get_field_index(name), name, [values])
    write(folder / "cur", [table])
    aged(folder / "cur")
    books = home(folder, inputs=TABLES)
    give(
        books,
        folder,
        invoice_detail=(
            "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
            "T-1,acme,2025-09,40.00,USD,issued,invoice,\nC-1,acme,2025-09,-5.00,USD,issued,credit_note,T-1\n"
            "T-2,globex,2025-09,30.00,EUR,issued,invoice,\n"
        ),
    )
    run(books)
    return books


def corrected(folder: Path, books: Books, *, before: Callable[[], object] = lambda: None) -> None:
    """Of closable books: closes September, delivers it once more, and books what changed in October.

    Args:
        before: what happens in October before that.
    """
    close_by_two(books, SEPTEMBER)
    month(folder, _OCTOBER, period=OCTOBER, assembly="o1")
    run(books, OCTOBER)
    before()
    proposed = late_delivery(books, folder, MONTH + "Usage AmazonS3 111111111111 acme team api 5\n")
    approve.approve(somebody_else(books), proposed, reason="looked at it")
    run(books, OCTOBER)
