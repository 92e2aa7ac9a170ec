"""The demo's inputs: columns as in the tables, and documents that fit the generated months."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from cops_dagster.demo import PERIODS, catalogue, expected, inputs, rules, write_demo
from cops_dagster.demo.totals import MonthTotals
from cops_dagster.period import Period
from cops_dagster.stores import tables

Demo = tuple[Path, dict[Period, MonthTotals]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    return folder, write_demo(folder, lines=5_000)


def rows(demo: Demo, table: str) -> list[dict[str, str]]:
    with (demo[0] / "inputs" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_named_after_a_table_and_has_its_columns(demo: Demo) -> None:
    for path in (demo[0] / "inputs").glob("*.csv"):
        is_usage = path.stem.startswith("tenant_") and path.stem.endswith("_usage")
        table = tables.metadata.tables["tenant_usage" if is_usage else path.stem]
        computed = {"measure"} if is_usage else {"amount_usd"}
        with path.open(encoding="utf-8") as file:
            header = file.readline().strip().split(",")
        assert header == [column.name for column in table.columns if column.name not in computed], path.name


def test_shares_and_direct_cost_add_up_to_the_month(demo: Demo) -> None:
    for month in demo[1].values():
        assert expected.bear(month).total() == Fraction(month.unblended)


def test_what_no_rule_claims_is_tax_alone(demo: Demo) -> None:
    for month in demo[1].values():
        tax = sum(cost for (_, charge_class), cost in month.pools.items() if charge_class == "tax")
        borne = expected.bear(month)
        held = month.pools["Market Data Feed", "marketplace"]
        assert borne.unclaimed == Fraction(tax)
        assert borne.of_tenant(rules.UNALLOCATED) == Fraction(tax + held)


def test_every_method_of_allocation_occurs() -> None:
    assert {rule.method for rule in rules.RULES} == {
        "even", "fixed", "proportional_cost", "usage_key", "hold",
    }  # fmt: skip


def _variance(demo: Demo) -> dict[tuple[Period, str], Fraction]:
    invoiced: dict[tuple[Period, str], Fraction] = defaultdict(Fraction)
    rates = {row["period_start"]: Fraction(row["rate"]) for row in rows(demo, "fx_rates")}
    for row in rows(demo, "invoice_detail"):
        rate = rates[row["period_start"]] if row["currency"] == "EUR" else Fraction(1)
        key = (Period.parse(row["period_start"][:7]), row["tenant_id"])
        invoiced[key] += Fraction(row["amount"]) * rate
    return {
        (period, tenant): cost - expected.bear(demo[1][period]).charge(tenant)
        for (period, tenant), cost in invoiced.items()
    }


def test_invoices_are_right_to_the_cent_but_for_one(demo: Demo) -> None:
    variance = _variance(demo)
    assert set(variance) == {(p, tenant.tenant_id) for p in PERIODS for tenant in catalogue.TENANTS}
    too_high = variance.pop(inputs.OVERBILLED[:2])
    assert all(abs(difference) < Fraction(1, 100) for difference in variance.values())
    owed = expected.bear(demo[1][inputs.OVERBILLED[0]]).charge(inputs.OVERBILLED[1])
    warning, failure = (max(Fraction(usd), owed * bps / 10_000) for usd, bps in ((1, 50), (10, 200)))
    assert warning < too_high < failure


def test_the_credit_note_names_the_invoice_that_it_brings_right(demo: Demo) -> None:
    documents = rows(demo, "invoice_detail")
    [note] = [row for row in documents if row["document_type"] == "credit_note"]
    [corrected] = [row for row in documents if row["invoice_id"] == note["corrects_invoice_id"]]
    assert Decimal(note["amount"]) == -120
    assert (corrected["tenant_id"], corrected["period_start"]) == (note["tenant_id"], note["period_start"])


def test_aws_invoices_are_those_of_the_final_months_in_cents(demo: Demo) -> None:
    found = rows(demo, "aws_invoices")
    assert {row["period_start"] for row in found} == {"2025-07-01", "2025-08-01"}
    for row in found:
        invoice = demo[1][Period.parse(row["period_start"][:7])].invoices[row["invoice_id"]]
        assert abs(Decimal(row["amount_before_tax"]) - invoice.before_tax) <= Decimal("0.005")
        assert Decimal(row["tax"]) == invoice.tax
    assert len(found) == 8


def test_budgets_stand_at_every_level(demo: Demo) -> None:
    month = demo[1][max(PERIODS)]
    borne = expected.bear(month)
    levels = set()
    for row in rows(demo, "budgets"):
        scope = {"tenant": borne.of_tenant, "plan": borne.of_plan, "service": borne.of_service}
        of_scope = scope.get(row["scope_type"])
        actual = of_scope(row["scope_value"]) if of_scope else borne.total()
        used = 100 * actual / Fraction(row["target_usd"])
        levels.add("critical" if used >= 95 else "warning" if used >= 80 else "ok")
    assert levels == {"ok", "warning", "critical"}


def test_usage_figures_are_refreshed_after_the_month(demo: Demo) -> None:
    for measure in rules.MEASURES:
        found = rows(demo, f"tenant_{measure}_usage")
        assert len(found) == len(PERIODS) * len(catalogue.TENANTS)
        for row in found:
            assert row["refreshed_at"] > f"{Period.parse(row['period_start'][:7]).end}T00:00:00Z"
            assert Decimal(row["value"]) > 0


def test_no_two_measures_split_alike() -> None:
    for period in PERIODS:
        figures = [tuple(rules.usage(period, measure).values()) for measure in rules.MEASURES]
        assert len(set(figures)) == len(figures)


def test_expected_totals_are_written_as_exact_text(demo: Demo) -> None:
    written = json.loads((demo[0] / "expected.json").read_text(encoding="utf-8"))
    assert {Period.parse(name): Decimal(month["unblended_usd"]) for name, month in written.items()} == {
        period: month.unblended for period, month in demo[1].items()
    }
