"""Tenant packs: what stands in them is the ledger's to the last digit, one tenant's alone, and comes back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from pyarrow import parquet
from pypdf import PdfReader

from cops_dagster.closing import approve, periods
from cops_dagster.errors import CopsError
from cops_dagster.exports import packs
from cops_dagster.exports.packs import Packed
from cops_dagster.inputs.load import load
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import exceptions, reconcile, statement
from cops_dagster.stores import tables as t
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER, late_delivery, somebody_else
from cops_dagster_tests.cli.called import cops, cops_json, ran
from cops_dagster_tests.closing.ready import aged, close_by_two, month, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

MANY = """
type    service          account       tenant      plan  component  cost
Usage   AmazonEC2        111111111111  acme        team  api        10.10
Usage   AmazonEC2        111111111111  acme-eu     team  Glo/bex    20.20
Usage   AmazonS3         111111111111  Glo/bex     team  data       77.7770000001
Usage   AmazonEC2        111111111111  .           .     .          3.01
Usage   AWSDataTransfer  111111111111  .           .     Glo/bex    9.000000001
Tax     AmazonEC2        111111111111  .           .     .          0.07
Credit  AmazonEC2        111111111111  .           .     .          -1.5
"""
NAMES = {"acme": '=SUM(A1) "Acme"', "acme-eu": "אקמה שירותים", "Glo/bex": "Globex #strike[$x$]"}
GIVEN = INPUTS | {
    "plans": "plan_id,effective_from,markup_bps\nteam,2025-01-01,1234\n",
    "tenants": (
        "tenant_id,name,plan_id,active_from,currency\n"
        'acme,"=SUM(A1) ""Acme""",team,2025-01-01,USD\nacme-eu,אקמה שירותים,team,2025-01-01,KWD\n'
        "Glo/bex,Globex #strike[$x$],team,2025-01-01,JPY\n"
    ),
    "fx_rates": "base,quote,period_start,rate\nJPY,USD,2025-09,0.0068493\nKWD,USD,2025-09,3.2468\n",
    "allocation_rules": INPUTS["allocation_rules"].replace("transfer,", "acme-eu-transfer,"),
    "tenant_network_usage": (
        "period_start,tenant_id,value,refreshed_at\n2025-09,acme,1.5,2025-10-01T03:00:00Z\n"
        "2025-09,acme-eu,2.25,2025-10-01T03:00:00Z\n2025-09,Glo/bex,4.75,2025-10-01T03:00:00Z\n"
    ),
    "aws_invoices": (
        "invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,tax\n"
        "I-1,2025-09,111111111111,INVOICE,USD,118.59,0.07\n"
    ),
}
FILES = {
    "README.txt", "SHA256SUMS", "corrections.csv", "direct.csv", "disputes.csv", "documents.csv",
    "shared.csv", "statement.csv", "statement.pdf",
    *(f"focus/{kind}/{name}.{kind}" for kind in ("csv", "parquet")
      for name in ("billing-period", "cost-and-usage", "invoice-detail")),
}  # fmt: skip


@dataclass
class Handed:
    """A month that was handed out, and what was."""

    books: Books
    packs: dict[str, Packed]


def invoiced(folder: Path) -> Books:
    """September, every tenant invoiced what its statement says."""
    write(folder / "cur", [lines(MANY)])
    aged(folder / "cur")
    books = home(folder, inputs=GIVEN)
    run(books)
    rows = statement.statement(books, SEPTEMBER).rows
    give(
        books,
        folder,
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        + "".join(
            f"T-{at},{row['tenant_id']},2025-09,{row['total']},{row['currency']},issued,invoice\n"
            for at, row in enumerate(rows)
        ),
    )
    reconcile.reconcile(books, SEPTEMBER)
    assert periods.advance(books, SEPTEMBER) == "final"
    return books


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handed]:
    folder = tmp_path_factory.mktemp("packs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPS_HOME", str(folder / "home"))
        books = invoiced(folder)
        made = packs.pack(books, SEPTEMBER, folder / "out")
        yield Handed(books, {one.tenant_id: one for one in made})
        books.admin.close()


def rows(pack: Packed, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((pack.folder / name).read_text(encoding="utf-8"))))


def pages(pack: Packed) -> list[str]:
    return [page.extract_text() for page in PdfReader(pack.folder / "statement.pdf").pages]


def text(pack: Packed) -> str:
    """Everything that a pack says, as text: words of a PDF, rows of Parquet, lines of any other, names."""
    found = ["\n".join(pages(pack)), str(PdfReader(pack.folder / "statement.pdf").metadata)]
    for name in sorted(files_of(pack)):
        path = pack.folder / name
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
            found += [str(table.schema.metadata), *map(str, table.to_pylist())]
        found += [name] if path.suffix in (".pdf", ".parquet") else [name, path.read_text(encoding="utf-8")]
    return "\n".join(found)


def files_of(pack: Packed) -> set[str]:
    return {path.relative_to(pack.folder).as_posix() for path in pack.folder.rglob("*") if path.is_file()}


def test_every_amount_of_the_statement_stands_on_its_pages(handed: Handed) -> None:
    for pack in handed.packs.values():
        shown = " ".join(pages(pack)).replace(",", "")
        for row in rows(pack, "statement.csv"):
            for value in (row["amount_usd"], row["amount"]):
                assert value in shown, (pack.tenant_id, row["line"])


def test_the_files_of_a_pack_add_up_to_the_ledger_to_the_last_digit(handed: Handed) -> None:
    with handed.books.admin.read() as con:
        stored = {
            row["tenant_id"]: row
            for row in con.execute(
                sa.select(t.recon_run_statement).order_by(t.recon_run_statement.c.recon_seq)
            ).mappings()
        }
    assert set(stored) == set(handed.packs) == set(NAMES)
    for tenant, pack in handed.packs.items():
        said = {row["line"]: row for row in rows(pack, "statement.csv")}
        for line in ("direct", "shared", "adjustments", "markup", "total"):
            assert Decimal(said[line]["amount_usd"]) == stored[tenant][f"{line}_usd"]
            assert Decimal(said[line]["amount"]) == stored[tenant][line]
        for name, line in (("direct", "direct"), ("shared", "shared"), ("corrections", "adjustments")):
            charged = sum((Decimal(row["charged_usd"]) for row in rows(pack, f"{name}.csv")), Decimal(0))
            assert charged == stored[tenant][f"{line}_usd"]
        (document,) = rows(pack, "documents.csv")
        assert Decimal(document["amount"]) == stored[tenant]["total"]


def test_focus_in_a_pack_comes_to_the_statement_and_to_the_documents(handed: Handed) -> None:
    for pack in handed.packs.values():
        (said,) = [row for row in rows(pack, "statement.csv") if row["line"] == "total"]
        (document,) = rows(pack, "documents.csv")
        table = parquet.read_table(pack.folder / "focus" / "parquet" / "cost-and-usage.parquet").to_pylist()
        assert sum(row["EffectiveCost"] for row in table) == Decimal(said["amount"])
        assert sum(row["BilledCost"] for row in table) == Decimal(document["amount"])
        assert {(row["BillingAccountId"], row["BillingCurrency"]) for row in table} == {
            (pack.tenant_id, said["currency"])
        }
        assert {row["x_Draft"] for row in table} == {None}


def test_a_tenant_can_recompute_its_shares(handed: Handed) -> None:
    seen = 0
    for pack in handed.packs.values():
        for row in rows(pack, "shared.csv"):
            value, total, pool = (
                Decimal(row[name]) for name in ("key_value", "key_total", "pool_unblended_usd")
            )
            off = Decimal(row["share_unblended_usd"]) * total - pool * value
            assert abs(off) <= total * Decimal("1e-18")
            seen += 1
    assert seen == 6


def test_a_pack_holds_nothing_of_another_tenant(handed: Handed) -> None:
    """Ids and names as whole words, for acme is how acme-eu begins; every amount of some digits."""
    for tenant, pack in handed.packs.items():
        said = text(pack)
        own = re.sub(r"acme-eu", "", said) if tenant == "acme-eu" else said
        raw = b"".join(path.read_bytes() for path in pack.folder.rglob("*") if path.is_file())
        assert files_of(pack) == FILES
        for other, elsewhere in handed.packs.items():
            if other == tenant:
                continue
            for called in (other, NAMES[other]):
                assert not re.search(rf"(?<!\w){re.escape(called)}(?!\w)", own, re.IGNORECASE), (
                    tenant,
                    called,
                )
            if not other.startswith("acme"):
                assert other.encode() not in raw
            amounts = {
                cell
                for name in ("statement", "direct", "shared", "documents")
                for row in rows(elsewhere, f"{name}.csv")
                for column, cell in row.items()
                if column in ("amount_usd", "amount", "charged_usd", "share_unblended_usd", "key_value")
            }
            mine = {
                cell
                for name in ("statement", "direct", "shared")
                for row in rows(pack, f"{name}.csv")
                for cell in row.values()
            }
            for amount in amounts - mine:
                if len(amount.strip("0.-")) > 3:
                    assert amount not in said, (tenant, other, amount)


def test_a_rule_named_after_another_tenant_is_shown_by_its_digest(handed: Handed) -> None:
    shown = {
        tenant: next(row for row in rows(pack, "shared.csv") if row["service"] == "AWSDataTransfer")
        for tenant, pack in handed.packs.items()
    }
    assert shown["acme-eu"]["rule"] == "acme-eu-transfer@1"
    assert shown["acme"]["rule"] == shown["Glo/bex"]["rule"] != "acme-eu-transfer@1"
    assert shown["Glo/bex"]["service_component"] == "Glo/bex"
    assert "Glo" not in shown["acme"]["service_component"]


def test_a_component_named_after_another_tenant_is_shown_by_its_digest_in_direct_cost(handed: Handed) -> None:
    shown = {
        tenant: next(row for row in rows(handed.packs[tenant], "direct.csv") if row["service"] == "AmazonEC2")
        for tenant in ("acme", "acme-eu")
    }
    assert shown["acme"]["service_component"] == "api"
    assert re.fullmatch(r"name [0-9a-f]{12}", shown["acme-eu"]["service_component"])
    assert shown["acme-eu"]["service_component"] in " ".join(pages(handed.packs["acme-eu"])).replace(
        "\n", " "
    )


def test_names_are_text_wherever_they_stand(handed: Handed) -> None:
    (first, *_) = rows(handed.packs["acme"], "statement.csv")
    assert first["name"] == "'" + NAMES["acme"]
    assert NAMES["acme"] in pages(handed.packs["acme"])[0]
    assert NAMES["Glo/bex"] in pages(handed.packs["Glo/bex"])[0]
    assert set("אקמהשירותים") <= set(pages(handed.packs["acme-eu"])[0])


def test_the_same_books_give_the_same_bytes_for_all_or_for_one(handed: Handed, tmp_path: Path) -> None:
    again = packs.pack(handed.books, SEPTEMBER, tmp_path)
    assert [one.sha256 for one in again] == [one.sha256 for one in handed.packs.values()]
    (one,) = packs.pack(handed.books, SEPTEMBER, tmp_path / "one", tenant_id="acme")
    assert one.sha256 == handed.packs["acme"].sha256
    assert [path.name for path in one.folder.parent.iterdir()] == ["acme"]


def records(books: Books) -> list[tuple[str, str]]:
    """Name and digest of every export that was recorded, the oldest first."""
    found = t.export_record
    with books.admin.read() as con:
        made = con.execute(sa.select(found).order_by(found.c.export_seq))
        return [(row.export_name, row.sha256) for row in made]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_draft_of_a_settled_month_is_marked_apart_and_recorded_nowhere(
    handed: Handed, tmp_path: Path
) -> None:
    before = records(handed.books)
    made = packs.pack(handed.books, SEPTEMBER, tmp_path, draft=True)
    assert {one.folder.parent for one in made} == {tmp_path / "pack_2025-09_draft"}
    for one in made:
        assert all("DRAFT" in page for page in pages(one))
        readme = (one.folder / "README.txt").read_text(encoding="utf-8")
        assert "DRAFT" in readme
        assert "change no more" not in readme
        sold = parquet.read_table(one.folder / "focus" / "parquet" / "cost-and-usage.parquet").to_pylist()
        assert {row["x_Draft"] for row in sold} == {"draft"}
    assert records(handed.books) == before


def test_other_bytes_from_the_same_books_replace_no_pack_at_all(
    handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs.pack(handed.books, SEPTEMBER, tmp_path)
    packs.pack(handed.books, SEPTEMBER, tmp_path)  # the same ones take their places
    stands, before = bytes_of(tmp_path), records(handed.books)
    monkeypatch.setattr(packs, "_readme", lambda *_: "other words")
    with pytest.raises(CopsError, match="E-EXPORT-DIFFERS"):
        packs.pack(handed.books, SEPTEMBER, tmp_path)
    assert bytes_of(tmp_path) == stands
    assert records(handed.books) == before


def test_an_empty_tenant_is_not_everybody(
    handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(handed.books.settings.home))
    for name in ("", " "):
        with pytest.raises(CopsError, match="E-PARAM") as refused:
            ran("pack", "2025-09", "--tenant", name, "--out", str(tmp_path / "out"))
        assert refused.value.next_step == "leave --tenant out for all of them"
    assert not (tmp_path / "out").exists()
    assert len(cops_json("pack", "2025-09", "--out", str(tmp_path / "out"))["packs"]) == 3


def test_a_tenant_that_is_the_beginning_of_another_is_asked_for_whole(handed: Handed, tmp_path: Path) -> None:
    for name in ("acm", "acme-", "ACME", "__operator__"):
        with pytest.raises(CopsError, match="E-TENANT-UNKNOWN"):
            packs.pack(handed.books, SEPTEMBER, tmp_path / "out", tenant_id=name)
    assert not (tmp_path / "out").exists()


def test_a_dispute_that_was_filled_in_is_loaded_and_has_an_owner(handed: Handed, tmp_path: Path) -> None:
    form = (handed.packs["acme-eu"].folder / "disputes.csv").read_text(encoding="utf-8")
    filled = tmp_path / "disputes.csv"
    filled.write_text(form, encoding="utf-8")
    with pytest.raises(CopsError, match="E-LOAD-VALUE"):
        load(handed.books, [filled])
    header, row = form.splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True)) | {
        "amount": "1.125",
        "reason": "not ours",
    }
    filled.write_text(f"{header}\n{','.join(cells.values())}\n", encoding="utf-8")
    load(handed.books, [filled])
    with handed.books.admin.read() as con:
        (found,) = [one for one in exceptions.current(con, SEPTEMBER) if one.kind == "dispute"]
    assert (found.tenant_id, found.owner, found.status) == ("acme-eu", "billing operations", "open")
    with pytest.raises(CopsError, match="E-EXPORT-STALE"):
        packs.pack(handed.books, SEPTEMBER, tmp_path)
    reconcile.reconcile(handed.books, SEPTEMBER)
    assert len(packs.pack(handed.books, SEPTEMBER, tmp_path)) == 3


def test_a_month_that_is_not_settled_is_refused_and_a_draft_says_so_on_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cur", [lines(MANY)])
    books = home(tmp_path, inputs=GIVEN)
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        packs.pack(books, SEPTEMBER, tmp_path, draft=True)
    run(books)
    with pytest.raises(CopsError, match="E-EXPORT-DRAFT"):
        packs.pack(books, SEPTEMBER, tmp_path)
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    said = cops_json("pack", "2025-09", "--draft", "--tenant", "acme", "--out", str(tmp_path / "out"))
    folder = Path(said["packs"][0]["folder"])
    assert folder == tmp_path / "out" / "pack_2025-09_draft" / "acme"
    shown = pages(Packed("acme", folder, ""))
    assert all("DRAFT" in page and "incomplete" in page for page in shown)
    assert "DRAFT" in (folder / "README.txt").read_text(encoding="utf-8")
    sold = parquet.read_table(folder / "focus" / "parquet" / "cost-and-usage.parquet").to_pylist()
    assert {row["x_Draft"] for row in sold} == {"draft"}


def test_a_month_that_somebody_holds_provisional_is_refused_until_it_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ready(tmp_path)
    monkeypatch.setenv("COPS_HOME", str(books.settings.home))
    periods.advance(books, SEPTEMBER)
    assert len(packs.pack(books, SEPTEMBER, tmp_path / "out")) == 2
    before = records(books)
    periods.mark(books, SEPTEMBER, "provisional", reason="AWS announced a refund")
    with pytest.raises(CopsError, match="E-EXPORT-DRAFT") as refused:
        packs.pack(books, SEPTEMBER, tmp_path / "out")
    assert "provisional" in refused.value.found
    assert "`cops close 2025-09 --dry-run`" in refused.value.next_step
    assert "marked by test" in " ".join(cops("close", "2025-09", "--dry-run", code=1).split())
    for one in packs.pack(books, SEPTEMBER, tmp_path / "out", draft=True):
        assert all("DRAFT" in page and "provisional" in page for page in pages(one))
        assert "change no more" not in (one.folder / "README.txt").read_text(encoding="utf-8")
    assert records(books) == before
    periods.mark(books, SEPTEMBER, "final", reason="it came")
    assert len(packs.pack(books, SEPTEMBER, tmp_path / "out")) == 2


def test_a_pack_of_a_closed_month_carries_its_seal_and_one_before_says_that_there_is_none(
    tmp_path: Path,
) -> None:
    """The close report named the seal, what tenants get did not: nobody could tell a sealed statement."""
    books = ready(tmp_path)
    periods.advance(books, SEPTEMBER)
    for one in packs.pack(books, SEPTEMBER, tmp_path):
        said = [" ".join(page.split()) for page in pages(one)]
        assert all("SETTLED 2025-09 is not closed yet" in page for page in said)
        assert not any("SEALED" in page or "DRAFT" in page for page in said)
    close_by_two(books, SEPTEMBER)
    with books.admin.read() as con:
        seal = con.execute(sa.select(t.period_lock.c.seal_digest)).scalar_one()
    for one in packs.pack(books, SEPTEMBER, tmp_path):
        said = [" ".join(page.split()) for page in pages(one)]
        assert all(f"SEALED 2025-09 is closed, seal {seal}" in page for page in said)
        assert not any("SETTLED" in page or "DRAFT" in page for page in said)
        assert f"SEALED: 2025-09 is closed, seal {seal}." in (one.folder / "README.txt").read_text()
    for one in packs.pack(books, SEPTEMBER, tmp_path, draft=True):
        said = [" ".join(page.split()) for page in pages(one)]
        assert all("DRAFT no statement" in page and "SEALED" not in page for page in said)


def test_a_credit_note_after_the_close_gives_a_new_pack_and_a_new_record(tmp_path: Path) -> None:
    books = ready(tmp_path)
    close_by_two(books, SEPTEMBER)
    for tenant in ("acme", "globex"):
        packs.pack(books, SEPTEMBER, tmp_path, tenant_id=tenant)
    first = {one.tenant_id: one.sha256 for one in packs.pack(books, SEPTEMBER, tmp_path)}
    give(
        books,
        tmp_path,
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type,"
        "corrects_invoice_id\nCN-1,acme,2025-09,-1.00,USD,issued,credit_note,T-1\n",
    )
    made = packs.pack(books, SEPTEMBER, tmp_path)
    again = {one.tenant_id: one.sha256 for one in made}
    assert again["acme"] != first["acme"]
    assert again["globex"] == first["globex"]
    (acme,) = [one for one in made if one.tenant_id == "acme"]
    assert [row["invoice_id"] for row in rows(acme, "documents.csv")] == ["CN-1", "T-1"]
    names = [name for name, _ in records(books)]
    assert [names.count(name) for name in ("pack", "pack acme", "pack globex")] == [2, 2, 1]
    packs.pack(books, SEPTEMBER, tmp_path)
    assert len(records(books)) == len(names), "the same books again are no news"


@pytest.mark.long
def test_corrections_of_a_closed_month_stand_in_the_packs_of_those_they_concern(tmp_path: Path) -> None:
    books = ready(tmp_path)
    close_by_two(books, SEPTEMBER)
    month(tmp_path, MONTH, period=OCTOBER, assembly="october")
    give(books, tmp_path, tenant_network_usage=INPUTS["tenant_network_usage"].replace("2025-09", "2025-10"))
    run(books, OCTOBER)
    made = late_delivery(books, tmp_path, MONTH.replace("10.10", "12.60"))
    approve.approve(somebody_else(books), made, reason="seen AWS's notice")
    run(books, OCTOBER)
    found = {one.tenant_id: one for one in packs.pack(books, OCTOBER, tmp_path / "out", draft=True)}
    direct = [row for row in rows(found["acme"], "corrections.csv") if row["service"] == "AmazonEC2"]
    assert Decimal("2.5") in [Decimal(row["charged_usd"]) for row in direct]
    assert {row["usage_month"] for row in direct} == {"2025-09"}
    for pack in found.values():
        said = {row["line"]: row for row in rows(pack, "statement.csv")}
        charged = [Decimal(row["charged_usd"]) for row in rows(pack, "corrections.csv")]
        assert sum(charged, Decimal(0)) == Decimal(said["adjustments"]["amount_usd"])
    assert "2025-09" in pages(found["acme"])[-1]


@pytest.mark.long
def test_a_service_named_after_another_tenant_is_shown_by_its_digest(tmp_path: Path) -> None:
    named = MANY.replace("AmazonS3", "acme-eu ").replace("AWSDataTransfer", "acme-eu/net    ")
    write(tmp_path / "cur", [lines(named)])
    books = home(tmp_path, inputs=GIVEN | {"allocation_rules": INPUTS["allocation_rules"]})
    run(books)
    found = {one.tenant_id: one for one in packs.pack(books, SEPTEMBER, tmp_path / "out", draft=True)}
    assert "acme-eu" not in text(found["Glo/bex"])
    assert "acme-eu/net" in text(found["acme-eu"])


@pytest.mark.long
def test_a_tenant_whose_currency_has_no_rate_has_no_pack_and_nobody_else_one(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MANY)])
    books = home(tmp_path, inputs=GIVEN | {"tenants": GIVEN["tenants"].replace("KWD", "CHF")})
    run(books)
    with pytest.raises(CopsError, match="E-FX"):
        packs.pack(books, SEPTEMBER, tmp_path / "out", draft=True)
    assert not (tmp_path / "out").exists()
