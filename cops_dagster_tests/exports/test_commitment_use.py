"""The commitment account: bought, used by whom, unused, borne by whom (docs/adr/0058)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cops_dagster.allocation import allocate
from cops_dagster.errors import CopsError
from cops_dagster.exports import commitment_use
from cops_dagster.ingestion import ingest, look
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation.commitment_account import Use, accounts
from cops_dagster.tagging import tag
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, home, lines, write
from cops_dagster_tests.examples import examples
from cops_dagster_tests.shown import answer

D = Decimal
PLAN, RESERVED = "arn:aws:savingsplans::1:savingsplan/p", "arn:aws:ec2:us-east-1:1:reserved-instances/r"
TEXT = f"""
type service tenant cost sp ri od plan arn total spent upfront idle itype
SavingsPlanCoveredUsage AmazonEC2 acme 10 6 . 10 {PLAN} . . . . . m5
SavingsPlanCoveredUsage AmazonEC2 globex 5 3 . 5 {PLAN} . . . . . m5
SavingsPlanNegation AmazonEC2 . -15 . . . {PLAN} . . . . . m5
SavingsPlanRecurringFee AmazonEC2 . 12 . . . {PLAN} . 12 9 . . .
DiscountedUsage AmazonEC2 . 0 . 1.5 2.5 . {RESERVED} . . . . m5
RIFee AmazonEC2 . 1 . . . . {RESERVED} . . 1 0.5 .
Usage AmazonEC2 acme 7.5 . . 7.5 . . . . . . m5
Usage AmazonEC2 acme 100 . . 100 . . . . . . .
"""
SHORT = {
    "od": "pricing_public_on_demand_cost", "plan": "savings_plan_savings_plan_a_r_n",
    "arn": "reservation_reservation_a_r_n", "total": "savings_plan_total_commitment_to_date",
    "spent": "savings_plan_used_commitment",
    "upfront": "reservation_amortized_upfront_fee_for_billing_period",
    "idle": "reservation_unused_recurring_fee", "itype": "product_instance_type",
}  # fmt: skip
RULES = (
    INPUTS["allocation_rules"].split("\n")[0]
    + "\nfees,1,2025-01-01,10,,commitment_fee,fixed,,"
    + '"{""__operator__"": ""75"", ""acme"": ""25""}",fail,kim\n'
)


def books_of(folder: Path) -> Books:
    header, *rest = TEXT.strip().split("\n")
    header = " ".join(SHORT.get(name, name) for name in header.split())
    write(
        folder / "cur", [lines("\n".join([header + " account", *(f"{line} 111111111111" for line in rest)]))]
    )
    return home(
        folder, inputs={name: INPUTS[name] for name in ("plans", "tenants")} | {"allocation_rules": RULES}
    )


def test_each_commitment_is_told_by_who_used_it_and_who_bears_the_rest_and_equals_the_ledger(
    tmp_path: Path,
) -> None:
    books = books_of(tmp_path)
    look.look(books, SEPTEMBER)
    ingest.ingest(books, SEPTEMBER)
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        commitment_use.rows(books, SEPTEMBER)
    tag.tag(books, SEPTEMBER)
    allocate.allocate(books, SEPTEMBER)
    rows = commitment_use.rows(books, SEPTEMBER)
    by = {(row["commitment"], row["tenant_id"], row["by"]): row for row in rows}
    plan, reserved = by[PLAN, None, "commitment"], by[RESERVED, None, "commitment"]
    assert (plan["bought_usd"], plan["used_usd"], plan["unused_usd"]) == (12, 9, 3)
    assert (plan["on_demand_usd"], plan["saved_usd"], plan["residual_usd"]) == (15, 3, 0)
    assert (plan["utilisation_pct"], plan["savings_rate_pct"]) == (75, 20)
    assert plan["coverage_pct"] == D("66.666667"), "15 of the 22.5 that its instances would cost"
    assert (reserved["bought_usd"], reserved["utilisation_pct"]) == (2, 75)
    parts = {key[:2]: (row["used_usd"], row["unused_usd"]) for key, row in by.items() if key[2] == "tenant"}
    assert parts == {
        (PLAN, "acme"): (6, D("0.75")), (PLAN, "globex"): (3, 0), (PLAN, "__operator__"): (0, D("2.25")),
        (RESERVED, None): (D("1.5"), 0), (RESERVED, "__operator__"): (0, D("0.375")),
        (RESERVED, "acme"): (0, D("0.125")),
    }  # fmt: skip
    (total,) = [row for row in rows if row["by"] == "total"]
    ledger = "SELECT SUM(amortized_cost) FROM fact_cost_raw WHERE commitment_line IS NOT NULL"
    assert [(total["bought_usd"],)] == answer(books, ledger)
    assert total["bought_usd"] == sum(
        row["used_usd"] + row["unused_usd"] for row in rows if row["by"] == "tenant"
    )
    assert list(rows[0]) == list(commitment_use.COLUMNS)


amounts = st.integers(min_value=-(10**12), max_value=10**20)
uses = st.builds(
    Use, st.sampled_from("ab"), st.booleans(), st.sampled_from("xy"), st.sampled_from(["t", "u", None]),
    amounts, amounts, amounts,
)  # fmt: skip


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(uses, max_size=12), st.dictionaries(st.sampled_from("xy"), st.just({"t": 3, "o": 4})))
def test_what_tenants_used_and_bear_is_what_was_bought_to_difference_0(
    found: list[Use], bearers: dict[str, Any]
) -> None:
    for one in accounts(found, bearers, {}):
        assert sum(one.used_by.values()) == one.used
        assert sum(one.borne_by.values()) == one.unused
        assert one.bought == sum(use.amortized for use in found if use.commitment == one.commitment)
