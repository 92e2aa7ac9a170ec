"""Input for a closed month: refused with the way out, or taken and an exception in the oldest open month."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.inputs import closed_months, columns
from cops_dagster.ledger.books import Books
from cops_dagster.operations import doctor
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions
from cops_dagster.stores import tables as t
from cops_dagster_tests.closing.ready import DOCUMENTS, unresolved
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, force_state, give, home

OCTOBER = Period(2025, 10)
RULES = INPUTS["allocation_rules"].splitlines()[0]
INVOICES = "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id"
PAPERS = DOCUMENTS["aws_invoices"].splitlines()[0] + ",corrects_invoice_id"

REFUSED = {
    # what: (table, header, a row of closed September, the same for an open month)
    "an invoice": ("invoice_detail", INVOICES, "T-9,acme,{month},5,USD,issued,invoice,"),
    "a bill of AWS": ("aws_invoices", PAPERS, "I-9,{month},111111111111,INVOICE,USD,5,0,"),
    "a rate": ("fx_rates", "base,quote,period_start,rate", "EUR,USD,{month},1.1"),
    "key figures": ("tenant_storage_usage", "period_start,tenant_id,value,refreshed_at",
                    "{month},acme,1,2025-10-01T03:00:00Z"),
    "a rule": ("allocation_rules", RULES, "late,1,{day},90,,,even,,,fail,kim"),
    "an alias": ("tag_aliases", "tag_name,alias,effective_from,canonical", "tenant_id,ACME Inc,{day},acme"),
    "an account": ("account_tenants", "usage_account_id,effective_from,tenant_id", "222222222222,{day},acme"),
    "a tenant": ("tenants", "tenant_id,name,plan_id,active_from", "late,Late,team,{day}"),
    "a plan": ("plans", "plan_id,effective_from,markup_bps", "gold,{day},100"),
    "a budget": ("budgets", "budget_id,version,scope_type,effective_from,basis,target_usd",
                 "b,1,total,{day},unblended,100"),
}  # fmt: skip


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = home(tmp_path, inputs=INPUTS | DOCUMENTS)
    with opened.admin.write() as con:
        force_state(con, "closed", SEPTEMBER)
    yield opened
    opened.admin.close()


def stored(books: Books) -> dict[str, int]:
    with books.admin.read() as con:
        return {
            name: con.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in t.metadata.tables.items()
        }


def refusal(books: Books, folder: Path, **tables: str) -> CopsError:
    before = stored(books)
    with pytest.raises(CopsError) as found:
        give(books, folder, **tables)
    assert stored(books) == before
    return found.value


@pytest.mark.long
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_about_a_closed_month_is_refused_and_says_where_it_goes(
    what: str, tmp_path: Path, books: Books
) -> None:
    table, header, row = REFUSED[what]
    told = row.format(month=SEPTEMBER, day=SEPTEMBER.start)
    found = refusal(books, tmp_path, **{table: f"{header}\n{told}\n"})
    assert (found.code, "2025-09" in found.found) == ("E-PERIOD-CLOSED", True)
    assert what == "a rate" or "2025-10" in found.next_step


@pytest.mark.parametrize("what", REFUSED)
def test_the_same_about_the_oldest_open_month_is_taken(what: str, tmp_path: Path, books: Books) -> None:
    table, header, row = REFUSED[what]
    give(books, tmp_path, **{table: f"{header}\n{row.format(month=OCTOBER, day=OCTOBER.start)}\n"})
    with books.admin.read() as con:
        assert exceptions.current(con, OCTOBER) == []


def test_a_load_with_one_row_about_a_closed_month_is_refused_whole(tmp_path: Path, books: Books) -> None:
    rows = "T-8,acme,2025-10,5,USD,issued,invoice,\nT-9,acme,2025-09,5,USD,issued,invoice,\n"
    assert refusal(books, tmp_path, invoice_detail=f"{INVOICES}\n{rows}").code == "E-PERIOD-CLOSED"


def test_what_is_stored_already_may_be_loaded_again(tmp_path: Path, books: Books) -> None:
    give(books, tmp_path, **(INPUTS | DOCUMENTS))


def test_an_alias_without_a_date_says_nothing_of_a_closed_month(tmp_path: Path, books: Books) -> None:
    give(books, tmp_path, tag_aliases="tag_name,alias,canonical\ntenant_id,ACME Inc,acme\n")


CORRECTIONS = {
    "a credit note": ("invoice_detail", f"{INVOICES}\nC-1,acme,2025-09,-5,USD,issued,credit_note,T-1\n"),
    "a reissue": ("invoice_detail", f"{INVOICES}\nT-1b,acme,2025-09,14,USD,issued,invoice,T-1\n"),
    "a credit memo of AWS": ("aws_invoices", f"{PAPERS}\nM-1,2025-09,111111111111,CREDIT_MEMO,USD,-5,0,\n"),
    "a corrected bill of AWS": ("aws_invoices", f"{PAPERS}\nI-2,2025-09,111111111111,INVOICE,USD,5,0,I-1\n"),
}


@pytest.mark.parametrize("what", CORRECTIONS)
def test_a_correction_of_a_closed_month_is_taken_and_waits_in_the_oldest_open_one(
    what: str, tmp_path: Path, books: Books
) -> None:
    table, rows = CORRECTIONS[what]
    give(books, tmp_path, **{table: rows})
    with books.admin.read() as con:
        (found,) = unresolved(con, OCTOBER)
        assert unresolved(con, SEPTEMBER) == []
    assert (found.stage, found.kind, found.status) == ("document", "late_change", "open")
    assert "corrects 2025-09, which is closed" in found.note


@pytest.mark.parametrize("asked", [SEPTEMBER, OCTOBER], ids=["the closed month", "the open one"])
def test_the_doctor_names_a_correction_of_a_closed_month_whatever_month_is_asked_for(
    asked: Period, tmp_path: Path, books: Books
) -> None:
    table, rows = CORRECTIONS["a reissue"]
    give(books, tmp_path, **{table: rows})
    (found,) = [one for one in doctor.diagnose(books, asked) if "T-1b corrects 2025-09" in one.found]
    assert found.look == "cops exceptions list 2025-10"


def test_a_correction_loaded_again_opens_no_second_exception(tmp_path: Path, books: Books) -> None:
    table, rows = CORRECTIONS["a credit note"]
    give(books, tmp_path, **{table: rows})
    give(books, tmp_path, **{table: rows})
    with books.admin.read() as con:
        assert len(unresolved(con, OCTOBER)) == 1


def test_the_exception_of_a_correction_stays_when_its_month_is_reconciled(
    tmp_path: Path, books: Books
) -> None:
    table, rows = CORRECTIONS["a credit note"]
    give(books, tmp_path, **{table: rows})
    with books.admin.write() as con:
        (before,) = unresolved(con, OCTOBER)
        exceptions.replace(con, OCTOBER, 1, [])
        assert unresolved(con, OCTOBER) == [before]


def test_the_table_of_decisions_names_every_input() -> None:
    assert list(closed_months.DECISIONS) == list(columns.FIELDS)
