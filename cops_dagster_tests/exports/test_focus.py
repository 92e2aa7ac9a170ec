"""FOCUS files of a month: equal to the ledger to the last digit, exact ratios, refused where they must be."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pyarrow import parquet

from cops_dagster.allocation import reverse
from cops_dagster.closing import periods
from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain
from cops_dagster.exports import focus, record
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.operations import handed_out
from cops_dagster.reconciliation import reconcile, statement
from cops_dagster.settings_sections import Exports
from cops_dagster.stores import tables as t
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import MONTH, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.exports import made_month
from cops_dagster_tests.shown import answer

COSTS = ("BilledCost", "EffectiveCost", "x_NetEffectiveCost")
LATE = (
    "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
    "CN-1,acme,2025-09,-1,USD,issued,credit_note,T-1\n"
)
LEDGER = (
    "SELECT service, charge_class, tenant_id, SUM(allocated_cost_usd), SUM(allocated_amortized_cost_usd),"
    " SUM(allocated_net_amortized_cost_usd) FROM fact_cost_allocated"
    " WHERE period_start = DATE '2025-09-01' GROUP BY ALL"
)


def rows(folder: Path, name: str = "cost-and-usage") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(folder / "parquet" / f"{name}.parquet").to_pylist()
    return found


def total(found: list[dict[str, Any]], *by: str, costs: tuple[str, ...] = COSTS) -> dict[Any, list[Decimal]]:
    sums: defaultdict[Any, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * len(costs))
    for row in found:
        key = tuple(row[name] for name in by)
        sums[key] = [had + row[cost] for had, cost in zip(sums[key], costs, strict=True)]
    return dict(sums)


def refusal(books: Books, out: Path, **given: Any) -> CopsError:
    with pytest.raises(CopsError) as refused:
        focus.export(books, SEPTEMBER, out, **{"side": "cost", "version": "1.4", **given})
    return refused.value


def stale(books: Books) -> Any:
    (verdict,) = handed_out.exports(books, SEPTEMBER)
    return verdict.figures["stale"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, Path]:
    folder = tmp_path_factory.mktemp("wide")
    books = made_month.wide(folder)
    for side in ("cost", "sell"):
        focus.export(books, SEPTEMBER, folder / f"{side}-1.4", side=side, version="1.4")  # type: ignore[arg-type]
    return books, folder


def test_the_cost_side_is_the_ledger_by_service_class_and_tenant_in_every_cost(
    wide: tuple[Books, Path],
) -> None:
    books, folder = wide
    posted = {tuple(row[:3]): list(row[3:]) for row in answer(books, LEDGER)}
    assert total(rows(folder / "cost-1.4"), "x_ServiceCode", "x_CostClass", "x_TenantId") == posted


def test_the_same_books_give_the_same_bytes_and_are_recorded_once(
    wide: tuple[Books, Path], tmp_path: Path
) -> None:
    books, folder = wide
    again = focus.export(books, SEPTEMBER, tmp_path / "again", side="cost", version="1.4")
    assert not again.is_news
    assert {one.name: one.read_bytes() for one in (tmp_path / "again").rglob("*.*")} == {
        one.name: one.read_bytes() for one in (folder / "cost-1.4").rglob("*.*")
    }
    with books.admin.read() as con:
        assert record.made(con, "focus_cost_1_4", SEPTEMBER).sha256 == again.sha256


def test_a_month_that_moved_and_came_back_leaves_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the newest move stands in the files; only the state stood in what they were made from."""
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    for number, there in enumerate(("delayed", "provisional", "delayed", "provisional")):
        day = datetime(2030, 10, 20 + number)  # each move takes a day
        monkeypatch.setattr("cops_dagster.ledger.lock.now", lambda day=day: day)
        periods.mark(books, SEPTEMBER, there, reason=f"move {number}")
        if there == "provisional":
            out = tmp_path / f"out-{number}"
            assert focus.export(books, SEPTEMBER, out, side="sell", version="1.4").is_news


@pytest.mark.long
def test_a_document_that_came_after_the_close_leaves_in_a_new_export_of_its_month(tmp_path: Path) -> None:
    """It was refused for ever: no run and no reconciliation of a closed month tells of it."""
    books = ready(tmp_path)
    close_by_two(books, SEPTEMBER)
    given: dict[str, Any] = {"side": "sell", "version": "1.4"}
    focus.export(books, SEPTEMBER, tmp_path / "out", **given)
    focus.export(books, SEPTEMBER, tmp_path / "cost", side="cost", version="1.4")
    give(books, tmp_path, invoice_detail=LATE)
    assert stale(books) == "focus_sell_1_4"
    assert focus.export(books, SEPTEMBER, tmp_path / "out", **given).is_news
    assert stale(books) == "none"
    assert [row["BilledCost"] for row in rows(tmp_path / "out") if row["InvoiceId"] == "CN-1"] == [-1]
    assert not focus.export(books, SEPTEMBER, tmp_path / "out", **given).is_news


@pytest.mark.long
def test_the_advice_for_a_stale_month_that_is_final_works(tmp_path: Path) -> None:
    """It said to materialize, which a final month refuses."""
    books = ready(tmp_path)
    periods.mark(books, SEPTEMBER, "final", reason="all is in")
    give(books, tmp_path, invoice_detail=LATE)
    advice = refusal(books, tmp_path / "out").next_step
    assert advice.startswith("run `cops period mark-provisional 2025-09 --reason …`, then `cops materialize")
    periods.mark(books, SEPTEMBER, "provisional", reason="a document came")
    run(books)
    assert focus.export(books, SEPTEMBER, tmp_path / "out", side="cost", version="1.4").is_news


def test_ratios_sum_to_exactly_1_and_parts_to_their_origin(wide: tuple[Books, Path]) -> None:
    shared: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(wide[1] / "cost-1.4"):
        if row["x_SplitOriginId"]:
            shared[row["x_SplitOriginId"]].append(row)
    assert len(shared) > 8
    for parts in shared.values():
        details = [
            json.loads(one["AllocatedMethodDetails"], parse_float=Decimal, parse_int=Decimal) for one in parts
        ]
        assert sum(one["Elements"][0]["AllocatedRatio"] for one in details) == 1
        assert {one["x_SplitOriginCost"] for one in parts} == {sum(one["BilledCost"] for one in parts)}
        assert len({one["AllocatedResourceId"] for one in parts}) == len(parts)
        assert len({one["AllocatedMethodId"] for one in parts}) == 1


def test_what_a_rule_holds_has_a_method_and_no_resource_and_lines_have_neither(
    wide: tuple[Books, Path],
) -> None:
    found = rows(wide[1] / "cost-1.4")
    (held,) = [row for row in found if row["x_TenantId"] == "__unallocated__"]
    assert (held["AllocatedMethodId"], held["AllocatedResourceId"]) == ("tax@1", None)
    direct = [row for row in found if row["x_Grain"] == "line"]
    assert len(direct) > 5
    assert {(row["AllocatedMethodId"], row["AllocatedResourceId"]) for row in direct} == {(None, None)}


def test_a_fee_is_billed_when_bought_and_what_nobody_used_is_effective(wide: tuple[Books, Path]) -> None:
    fees = [row for row in rows(wide[1] / "cost-1.4") if row["x_CostClass"] == "commitment_fee"]
    assert {row["EffectiveCost"] for row in fees if row["ChargeCategory"] == "Purchase"} == {Decimal(0)}
    assert {row["BilledCost"] for row in fees if row["ChargeCategory"] == "Usage"} == {Decimal(0)}
    assert sum(row["EffectiveCost"] for row in fees) == Decimal("1.7")


def test_every_invoice_adds_up_to_its_lines_though_a_pool_stands_on_two(wide: tuple[Books, Path]) -> None:
    billed = total(rows(wide[1] / "cost-1.4"), "InvoiceId", costs=("BilledCost",))
    spoken = total(rows(wide[1] / "cost-1.4", "invoice-detail"), "InvoiceId", costs=("BilledCost",))
    assert billed == spoken
    of_lines = answer(
        wide[0], "SELECT bill_invoice_id, SUM(line_item_unblended_cost) FROM fact_cost_raw GROUP BY 1"
    )
    assert {key[0]: cost for key, (cost,) in billed.items()} == dict(of_lines)


def test_the_sell_side_is_the_statement_and_the_documents_of_each_tenant(wide: tuple[Books, Path]) -> None:
    books, folder = wide
    found = rows(folder / "sell-1.4")
    sums = total(
        found, "BillingAccountId", "BillingCurrency", costs=("EffectiveCost", "PricingCurrencyEffectiveCost")
    )
    said = statement.statement(books, SEPTEMBER).rows
    assert sums == {(row["tenant_id"], row["currency"]): [row["total"], row["total_usd"]] for row in said}
    billed = total([row for row in found if row["BilledCost"]], "InvoiceId", costs=("BilledCost",))
    assert billed == {("T-1",): [Decimal(40)], ("C-1",): [Decimal(-5)], ("T-2",): [Decimal(30)]}
    credit = next(row for row in rows(folder / "sell-1.4", "invoice-detail") if row["InvoiceId"] == "C-1")
    assert credit["ReferenceInvoiceId"] == "T-1"


def test_text_of_tags_is_no_formula_in_the_csv_and_itself_in_parquet(wide: tuple[Books, Path]) -> None:
    with (wide[1] / "sell-1.4" / "csv" / "cost-and-usage.csv").open(encoding="utf-8", newline="") as file:
        names = {row["BillingAccountName"] for row in csv.DictReader(file)}
    assert "'=Acme, Inc" in names
    assert "=Acme, Inc" in {row["BillingAccountName"] for row in rows(wide[1] / "sell-1.4")}
    tags = [json.loads(row["Tags"]) for row in rows(wide[1] / "cost-1.4") if row["Tags"]]
    assert {"=1+1", "@;=x"} <= {one.get("name") for one in tags}


def test_a_version_without_commitments_has_no_column_of_them(tmp_path: Path) -> None:
    books = ready(tmp_path)
    focus.export(books, SEPTEMBER, tmp_path / "out", side="cost", version="1.2")
    names = set(rows(tmp_path / "out")[0])
    assert "CommitmentDiscountStatus" not in names
    assert {"ProviderName", "PricingQuantity"} <= names


def test_a_month_that_is_not_reconciled_leaves_as_a_marked_draft_alone(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    books = home(tmp_path)
    run(books)
    give(books, tmp_path, invoice_detail=(
        "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        "T-1,acme,2025-09,14.10,USD,issued,invoice\n"))  # fmt: skip
    assert refusal(books, tmp_path / "out").code == "E-EXPORT-STALE"
    assert not (tmp_path / "out").exists()
    done = focus.export(books, SEPTEMBER, tmp_path / "out", side="cost", version="1.4", draft=True)
    assert done.is_draft
    assert {row["x_Draft"] for row in rows(tmp_path / "out")} == {"draft"}
    with books.admin.read() as con:
        assert record.made(con, "focus_cost_1_4", SEPTEMBER) is None
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        focus.export(books, OCTOBER, tmp_path / "o", side="cost", version="1.4")


def test_a_service_without_a_category_is_refused_with_its_money_until_a_line_says_it(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH + "Usage MadeUpService 111111111111 acme team api 5\n")])
    books = home(tmp_path)
    run(books)
    refused = refusal(books, tmp_path / "out")
    assert (refused.code, refused.details) == (
        "E-FOCUS-UNMAPPED", {"unmapped": [["MadeUpService", "5.000000000000000000"]]}
    )  # fmt: skip
    own = tmp_path / "own.csv"
    own.write_text(
        "service,service_name,service_category,service_subcategory\nMadeUpService,Made,Compute,Containers\n",
        encoding="utf-8",
    )
    told = books.settings.model_copy(update={"exports": Exports(focus_services=own)})
    focus.export(replace(books, settings=told), SEPTEMBER, tmp_path / "out", side="cost", version="1.2")
    assert ("Made", "Compute") in {
        (row["ServiceName"], row["ServiceCategory"]) for row in rows(tmp_path / "out")
    }


def test_corrections_of_a_closed_month_are_rows_of_the_open_one_and_the_seal_keeps_digests(
    tmp_path: Path,
) -> None:
    books = ready(tmp_path)
    first = focus.export(books, SEPTEMBER, tmp_path / "09", side="cost", version="1.4")
    made_month.corrected(tmp_path, books)
    focus.export(books, OCTOBER, tmp_path / "10", side="cost", version="1.4")
    corrections = [row for row in rows(tmp_path / "10") if row["ChargeClass"] == "Correction"]
    assert sum(row["BilledCost"] for row in corrections) == Decimal(5)
    assert {
        (row["ChargePeriodStart"].month, row["BillingPeriodStart"].month, row["InvoiceId"])
        for row in corrections
    } == {(9, 10, None)}
    assert rows(tmp_path / "10", "billing-period")[0]["BillingPeriodStatus"] == "Open"
    with books.admin.read() as con:
        sealed = con.execute(sa.select(t.evidence_index).where(t.evidence_index.c.kind == "bound_rows")).one()
    bound = json.loads(chain.read(books, sealed.evidence_seq))
    (kept,) = bound["tables"]["export_record"]
    assert (kept["export_name"], kept["sha256"]) == ("focus_cost_1_4", first.sha256)
    closed = focus.export(books, SEPTEMBER, tmp_path / "09", side="cost", version="1.4")
    assert closed.is_news
    assert rows(tmp_path / "09", "billing-period")[0]["BillingPeriodStatus"] == "Closed"


def test_entries_that_today_s_lines_do_not_make_leave_as_a_whole_with_their_amounts(tmp_path: Path) -> None:
    """A run that was taken back posts the entries of the one before: the register is the later one's."""
    books = ready(tmp_path)
    ended = "tenant_id,name,plan_id,active_from,active_to\nglobex,Globex,team,2025-01-01,2025-02-01\n"
    give(books, tmp_path, tenants=ended, replace=True)
    run(books)
    with books.admin.read() as con:
        head = month.head(con, month.ALLOCATED, SEPTEMBER)
    assert head is not None
    reverse.reverse(books, head.run_id, reason="globex is there")
    reconcile.reconcile(books, SEPTEMBER)
    done = focus.export(books, SEPTEMBER, tmp_path / "out", side="cost", version="1.4")
    assert len(done.apart) == 1
    posted = {tuple(row[:3]): list(row[3:]) for row in answer(books, LEDGER)}
    found = total(rows(tmp_path / "out"), "x_ServiceCode", "x_CostClass", "x_TenantId")
    assert found == {key: costs for key, costs in posted.items() if any(costs)}
