"""Reports on which AWS issues no invoice, and AWS's documents judged by what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import checklist, periods, status
from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.lock import state_of
from cops_dagster.operations import doctor
from cops_dagster.reconciliation import checks, exceptions, reconcile, record
from cops_dagster.stores import tables as t
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two, month, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

NOT_INVOICED = "\n".join(
    f"{line}  {'invoice' if at == 0 else '.'}" for at, line in enumerate(MONTH.strip().splitlines())
)
TENANTS = {"invoice_detail": DOCUMENTS["invoice_detail"]}
AWS = "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"


def of_aws(books: Books) -> dict[str, tuple[str, str]]:
    with books.admin.read() as con:
        return {
            one.subject_id: (one.kind, one.status)
            for one in exceptions.current(con, SEPTEMBER)
            if one.stage == "aws_invoice"
        }


@pytest.fixture(scope="module")
def pro_forma(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, dict[str, object]]:
    """A month without any invoice id, before and after a person made it final; then it closes."""
    folder = tmp_path_factory.mktemp("pro_forma")
    write(folder / "cur", [lines(NOT_INVOICED)])
    aged(folder / "cur")
    books = home(folder, inputs=INPUTS | TENANTS)
    run(books)
    periods.advance(books, SEPTEMBER)
    seen: dict[str, object] = {
        "status": status.statuses(books, SEPTEMBER)[0].is_final,
        "invoicing": [one.invoicing for one in status.deliveries(books, SEPTEMBER)],
        "doctor": [one.what for one in doctor.diagnose(books, SEPTEMBER, None) if "pro forma" in one.what],
        "next": next(
            one.next_step for one in checklist.requirements(books, SEPTEMBER)
            if one.name == "every_cost_line_has_an_invoice"
        ),
    }  # fmt: skip
    periods.mark(books, SEPTEMBER, "final", reason="pro forma report: AWS issues no invoice on it")
    seen["final"] = status.statuses(books, SEPTEMBER)[0]
    seen["exceptions"] = of_aws(books)
    seen["verdict"] = next(
        one for one in checks.reconciled(books, SEPTEMBER) if one.check == "aws_invoice_matches_cur"
    )
    seen["unmet"] = [one.name for one in checklist.requirements(books, SEPTEMBER) if not one.holds]
    return books, seen


@pytest.mark.long
def test_a_pro_forma_report_is_recognised_and_said(pro_forma: tuple[Books, dict[str, object]]) -> None:
    _, seen = pro_forma
    assert (seen["status"], seen["invoicing"]) == (False, ["pro forma"])
    assert seen["doctor"]
    assert "cops period mark-final 2025-09" in str(seen["next"])


def test_a_month_that_a_person_made_final_is_reconciled_as_final(
    pro_forma: tuple[Books, dict[str, object]],
) -> None:
    """It stood provisional for ever, since AWS never fills the invoice column of a pro forma report."""
    _, seen = pro_forma
    final = seen["final"]
    assert isinstance(final, status.PeriodStatus)
    assert (final.state, final.is_final, final.recon_status) == ("final", True, "ok")


def test_a_pro_forma_source_is_never_matched_with_an_aws_invoice(
    pro_forma: tuple[Books, dict[str, object]],
) -> None:
    _, seen = pro_forma
    assert seen["exceptions"] == {}
    assert getattr(seen["verdict"], "passed", None) is True


def test_a_pro_forma_month_closes(pro_forma: tuple[Books, dict[str, object]]) -> None:
    books, seen = pro_forma
    assert seen["unmet"] == []
    assert close_by_two(books, SEPTEMBER).wrote
    with books.admin.read() as con:
        assert record.newest(con, SEPTEMBER).status == "ok"


@pytest.mark.long
def test_a_later_delivery_with_invoices_takes_the_word_back(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(NOT_INVOICED)])
    aged(tmp_path / "cur")
    books = home(tmp_path, inputs=INPUTS | TENANTS)
    run(books)
    periods.mark(books, SEPTEMBER, "final", reason="no invoice will come")
    month(tmp_path, MONTH, assembly="a2")
    run(books)
    with books.admin.read() as con:
        assert state_of(con, SEPTEMBER) == "provisional"
    give(books, tmp_path, aws_invoices=DOCUMENTS["aws_invoices"])
    assert reconcile.reconcile(books, SEPTEMBER).status == "ok"
    assert not set(of_aws(books).values()) - {("rounding", "resolved")}


@pytest.mark.long
def test_a_month_that_aws_has_begun_to_invoice_cannot_be_said_final(tmp_path: Path) -> None:
    begun = NOT_INVOICED.replace("20.20  .", "20.20  I-1")
    write(tmp_path / "cur", [lines(begun)])
    aged(tmp_path / "cur")
    books = home(tmp_path, inputs=INPUTS | TENANTS)
    run(books)
    with pytest.raises(CopsError, match="E-NOT-FINAL") as refused:
        periods.mark(books, SEPTEMBER, "final", reason="enough", evidence="T-1")
    assert "every cost line has an invoice" in refused.value.expected
    with books.admin.read() as con:
        assert state_of(con, SEPTEMBER) == "open"


@pytest.fixture(scope="module")
def invoiced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, Path]:
    folder = tmp_path_factory.mktemp("documents")
    return ready(folder), folder


@pytest.mark.long
@pytest.mark.parametrize("kind", ["PAYMENT_RECEIPT", "Payment receipt", "PRO_FORMA", "TAX_INVOICE"])
def test_a_receipt_is_no_invoice_and_doubles_nothing(invoiced: tuple[Books, Path], kind: str) -> None:
    """Its own number or the invoice's: it is left out, and the load says so."""
    books, folder = invoiced
    before = of_aws(books)
    for number in ("R-1", "I-1"):
        give(books, folder, aws_invoices=AWS + f"{number},2025-09,111111111111,{kind},USD,40.81,0.07\n")
    assert not reconcile.reconcile(books, SEPTEMBER).wrote
    assert of_aws(books) == before
    with books.admin.read() as con:
        assert con.execute(sa.select(t.aws_invoices.c.invoice_id)).scalars().all() == ["I-1"]


@pytest.mark.parametrize(
    ("table", "row", "code", "named"),
    [
        ("aws", "I-7,2025-09,111111111111,INVOISE,USD,1,0", "E-LOAD-VALUE", "INVOICE"),
        ("aws", "I-7,2025-09,111111111111,PARKING_TICKET,USD,1,0", "E-LOAD-VALUE", "CREDIT_MEMO"),
        ("aws", "C-7,2025-09,111111111111,CREDIT_MEMO,USD,1,0", "E-INV-LINK", "0 or less"),
        ("aws", "I-7,2025-09,111111111111,INVOICE,JPY,1459.85,0", "E-CCY-SCALE", "JPY"),
        ("aws", "I-7,2025-09,111111111111,INVOICE,USD,1,0.001", "E-CCY-SCALE", "2 decimals"),
        ("aws", "I-7,2025-09,111111111111,INVOICE,YEN,1,0", "E-CCY-UNKNOWN", "ISO 4217"),
        ("own", "T-7,acme,2025-09,1459.85,JPY,issued,invoice", "E-CCY-SCALE", "no decimals"),
        ("own", "T-7,acme,2025-09,3.0801,KWD,issued,invoice", "E-CCY-SCALE", "3 decimals"),
        ("own", "T-7,acme,2025-09,10,JPX,issued,invoice", "E-CCY-UNKNOWN", "JPY"),
    ],
)
def test_a_document_that_cannot_be_is_refused(
    invoiced: tuple[Books, Path], table: str, row: str, code: str, named: str
) -> None:
    books, folder = invoiced
    given = {
        "aws": {"aws_invoices": f"{AWS}{row}\n"},
        "own": {
            "fx_rates": "base,quote,period_start,rate\nJPY,USD,2025-09,0.00685\nKWD,USD,2025-09,3.2467\n",
            "invoice_detail": DOCUMENTS["invoice_detail"].splitlines()[0] + f"\n{row}\n",
        },
    }[table]
    with pytest.raises(CopsError, match=code) as refused:
        give(books, folder, **given)
    assert named in f"{refused.value.expected} {refused.value.next_step}"
    with books.admin.read() as con:
        assert not con.execute(sa.select(t.fx_rates)).all()


@pytest.mark.long
def test_documents_in_yen_and_dinar_are_taken_stated_and_tied(tmp_path: Path) -> None:
    """10 USD were stated as 1459.85 JPY, which nobody can pay."""
    write(tmp_path / "cur", [lines("""
        type   service    account       tenant  plan  component  cost
        Usage  AmazonEC2  111111111111  acme    team  api        10
        Usage  AmazonEC2  111111111111  globex  team  api        10
    """)])  # fmt: skip
    aged(tmp_path / "cur")
    tenants = INPUTS["tenants"].replace("active_from\n", "active_from,currency\n")
    tenants = tenants.replace("acme,Acme,team,2025-01-01", "acme,Acme,team,2025-01-01,JPY")
    tenants = tenants.replace("globex,Globex,team,2025-01-01", "globex,Globex,team,2025-01-01,KWD")
    rates = "base,quote,period_start,rate\nJPY,USD,2025-09,0.00685\nKWD,USD,2025-09,3.2467\n"
    books = home(tmp_path, inputs=INPUTS | {"tenants": tenants, "fx_rates": rates})
    run(books)
    from cops_dagster.reconciliation.statement import statement

    stated = {row["tenant_id"]: row for row in statement(books, SEPTEMBER).rows}
    assert {name: f"{row['total']:f}" for name, row in stated.items()} == {"acme": "1460", "globex": "3.080"}
    assert f"{stated['acme']['direct']:f}" == "1460"
    header = DOCUMENTS["invoice_detail"].splitlines()[0]
    give(
        books, tmp_path,
        invoice_detail=f"{header}\nT-1,acme,2025-09,1460.00,JPY,issued,invoice\n"
        "T-2,globex,2025-09,3.080,KWD,issued,invoice\n",
    )  # fmt: skip
    reconcile.reconcile(books, SEPTEMBER)
    with books.admin.read() as con:
        found = [one for one in exceptions.current(con, SEPTEMBER) if one.stage == "tenant_invoice"]
    assert {(one.tenant_id, one.kind, one.status) for one in found} == {
        ("acme", "rounding", "resolved"), ("globex", "rounding", "resolved"),
    }  # fmt: skip
