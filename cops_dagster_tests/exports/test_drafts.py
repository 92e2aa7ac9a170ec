"""Drafts on the way: read from the books, written, issued, loaded back unchanged, and nothing is missing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports import drafts
from cops_dagster.inputs.load import load
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import reconcile
from cops_dagster.stores import tables as t
from cops_dagster_tests.cli.called import cops, ran
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

HEADER = "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
WRONG = HEADER + "=T-1,acme,2025-09,37,USD,issued,invoice,\nT-2,globex,2025-09,3125,JPY,issued,invoice,\n"
"""Acme is billed far too much, by a document whose name a spreadsheet would compute; globex in yen."""


def invoiced(folder: Path, documents: str | None) -> Books:
    """September, reconciled with these documents of tenants; globex is billed in yen."""
    write(folder / "cur", [lines(MONTH)])
    aged(folder / "cur")
    inputs = INPUTS | {
        "tenants": "tenant_id,name,plan_id,active_from,currency\nacme,Acme,team,2025-01-01,USD\n"
        "globex,Globex,team,2025-01-01,JPY\n",
        "fx_rates": "base,quote,period_start,rate\nJPY,USD,2025-09,0.0068493\n",
        "aws_invoices": DOCUMENTS["aws_invoices"],
    }
    books = home(folder, inputs=inputs | ({"invoice_detail": documents} if documents else {}))
    run(books)
    return books


def stands(books: Books) -> dict[str, tuple[Decimal, str]]:
    """Tenant → what its documents lack of its statement in its own currency, and the tenant's status."""
    made = drafts.corrections(books, SEPTEMBER)
    lacks = {one.tenant_id: one.difference for one in made.corrections}
    with books.admin.read() as con:
        newest = sa.select(sa.func.max(t.recon_run.c.recon_seq)).scalar_subquery()
        tenants = t.recon_run_tenant
        rows: list[Any] = list(con.execute(sa.select(tenants).where(tenants.c.recon_seq == newest)))
    return {row.tenant_id: (lacks.get(row.tenant_id, Decimal(0)), row.status) for row in rows}


def test_drafts_are_loaded_back_unchanged_and_the_month_reconciles(tmp_path: Path) -> None:
    books = invoiced(tmp_path, WRONG)
    assert reconcile.reconcile(books, SEPTEMBER).status == "failed"
    folder = drafts.write(drafts.corrections(books, SEPTEMBER), tmp_path / "out")
    text = (folder / "invoice_detail.csv").read_text(encoding="utf-8")
    assert text == HEADER + (
        "CN1-=T-1,acme,2025-09-01,-37.00,USD,issued,credit_note,'=T-1\n"
        "RE1-=T-1,acme,2025-09-01,14.10,USD,issued,invoice,'=T-1\n"
        "CN1-T-2,globex,2025-09-01,-3125,JPY,issued,credit_note,T-2\n"
        "RE1-T-2,globex,2025-09-01,4118,JPY,issued,invoice,T-2\n"
    )
    load(books, [folder])
    assert reconcile.reconcile(books, SEPTEMBER).status == "ok"
    assert set(stands(books).values()) == {(Decimal(0), "ok")}
    assert load(books, [folder]).load_id is None, "loaded twice, it is there already"


def test_a_month_without_documents_is_invoiced_from_its_statement(tmp_path: Path) -> None:
    books = invoiced(tmp_path, None)
    (tmp_path / "new").mkdir()
    made = drafts.csv_of(drafts.first_invoices(books, SEPTEMBER))
    (tmp_path / "new" / "invoice_detail.csv").write_text(made, encoding="utf-8")
    load(books, [tmp_path / "new"])
    assert reconcile.reconcile(books, SEPTEMBER).status == "ok"
    assert drafts.csv_of(drafts.first_invoices(books, SEPTEMBER)) == HEADER


@pytest.mark.long
def test_drafts_of_one_tenant_have_the_ids_that_they_have_among_all(tmp_path: Path) -> None:
    books = invoiced(tmp_path, WRONG)
    every = drafts.corrections(books, SEPTEMBER).rows
    for tenant in ("acme", "globex"):
        rows = drafts.corrections(books, SEPTEMBER, tenant).rows
        assert rows == [row for row in every if row["tenant_id"] == tenant]
    with pytest.raises(CopsError, match="E-TENANT-UNKNOWN"):
        drafts.corrections(books, SEPTEMBER, "acm")


def test_the_commands_print_write_and_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = invoiced(tmp_path, WRONG)
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    out = tmp_path / "drafts"
    cops("statement", "--correct", "2025-09", "--tenant", "globex", "--out", str(out))
    written = (out / "drafts_2025-09" / "invoice_detail.csv").read_text(encoding="utf-8")
    assert written == cops(
        "statement", "2025-09", "--correct", "--tenant", "globex", "--format", "invoice_detail"
    )
    assert written.count("globex") == 2
    assert "acme" not in written
    assert cops("statement", "2025-09", "--format", "invoice_detail") == HEADER
    with pytest.raises(CopsError, match="E-PARAM"):
        ran("statement", "2025-09", "--tenant", "globex")
    with pytest.raises(CopsError, match="E-PARAM") as refused:
        ran("statement", "2025-09", "--correct", "--tenant", "", "--out", str(tmp_path / "all"))
    with pytest.raises(CopsError, match="E-PARAM"):
        ran("bridge", "2025-09", "--tenant", "")
    assert refused.value.next_step == "leave --tenant out for all of them"
    assert not (tmp_path / "all").exists()
    assert "acme" in cops("statement", "2025-09", "--correct", "--format", "invoice_detail")


@pytest.mark.long
def test_documents_that_came_since_are_reconciled_before_anything_is_drafted(tmp_path: Path) -> None:
    books = invoiced(tmp_path, WRONG)
    give(books, tmp_path, invoice_detail=HEADER + "CN-9,acme,2025-09,-1,USD,issued,credit_note,=T-1\n")
    with pytest.raises(CopsError, match="E-EXPORT-STALE"):
        drafts.corrections(books, SEPTEMBER)
    reconcile.reconcile(books, SEPTEMBER)
    rows = drafts.corrections(books, SEPTEMBER, "acme").rows
    assert [row["amount"] for row in rows] == [Decimal(-36), Decimal("14.10")]


@pytest.mark.long
def test_a_document_in_conflict_is_decided_on_before_anything_is_drafted(tmp_path: Path) -> None:
    books = invoiced(tmp_path, WRONG)
    with pytest.raises(CopsError, match="E-INV-CONFLICT"):
        give(books, tmp_path, invoice_detail=HEADER + "=T-1,acme,2025-09,16,USD,issued,invoice,\n")
    reconcile.reconcile(books, SEPTEMBER)
    with pytest.raises(CopsError, match="E-INV-CONFLICT"):
        drafts.corrections(books, SEPTEMBER)


@pytest.mark.long
def test_a_closed_month_is_corrected_in_an_open_one(tmp_path: Path) -> None:
    books = ready(tmp_path)
    assert drafts.corrections(books, SEPTEMBER).rows == []
    close_by_two(books, SEPTEMBER)
    with pytest.raises(CopsError, match="E-PERIOD-CLOSED"):
        drafts.corrections(books, SEPTEMBER)


@pytest.mark.long
def test_less_than_nothing_without_an_invoice_is_refused_for_that_tenant_alone(tmp_path: Path) -> None:
    text = MONTH + "Credit AmazonEC2 111111111111 acme team api -90\n"
    write(tmp_path / "cur", [lines(text)])
    books = home(tmp_path, inputs=INPUTS)
    run(books)
    with pytest.raises(CopsError, match="E-INV-LINK"):
        drafts.corrections(books, SEPTEMBER)
    assert len(drafts.corrections(books, SEPTEMBER, "globex").rows) == 1
