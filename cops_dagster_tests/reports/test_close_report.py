"""The close report: one self-contained page, the same for the same books, safe to open and to import."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, verify
from cops_dagster.ledger.books import Books
from cops_dagster.operations import controls
from cops_dagster.reports import charts, close_report, close_tables, sheet
from cops_dagster.reports.sheet import Table
from cops_dagster.settings_sections import Exports
from cops_dagster.stores import csv_cells
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, home, lines, run, write

HOSTILE = '=HYPERLINK("http://evil")<script>alert(1)</script>'


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page(books: Books) -> Page:
    return Page(close_report.render(close_report.gather(books, SEPTEMBER)).decode())


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return ready(tmp_path)


@pytest.mark.long
def test_the_page_says_everything_a_close_is_about(books: Books) -> None:
    controls.evaluate(books)
    text = page(books).text
    for needed in (
        "2025-09 close report", "reconciliation ok", "From AWS's bill to our invoices", "Tag coverage",
        "Tenants: what is billable and what was invoiced", "Top movers", "Exceptions",
        "Reconciliations of this month",
        "Preventive controls", "Runs that this month consists of", "Proof", "run certificate", "acme",
        "globex", "40.88", "42.31",
    ):  # fmt: skip
        assert needed in text, needed


@pytest.mark.long
def test_the_page_needs_nothing_but_itself(books: Books) -> None:
    made = page(books)
    assert not {"script", "link", "iframe", "img", "object"} & set(made.tags)
    assert all(link.startswith(("data:text/csv;base64,", "#")) for link in made.links)


@pytest.mark.long
def test_the_same_books_give_the_same_bytes_and_keep_one_copy(books: Books) -> None:
    first, second = close_report.keep(books, SEPTEMBER), close_report.keep(books, SEPTEMBER)
    assert first == second
    entries = t.evidence_index
    with books.admin.read() as con:
        kept = con.execute(sa.select(entries).where(entries.c.kind == close_report.KIND)).all()
    assert len(kept) == 1
    assert chain.read(books, first.evidence_seq) == close_report.render(close_report.gather(books, SEPTEMBER))
    assert Path(first.url.removeprefix("file://")).read_bytes() == chain.read(books, first.evidence_seq)


@pytest.mark.long
def test_a_closed_months_report_holds_its_seal_and_the_evidence_verifies(books: Books) -> None:
    sealed = close_by_two(books, SEPTEMBER)
    close_report.keep(books, SEPTEMBER)
    made = page(books)
    assert sealed.seal_digest in made.text
    assert "period closed" in made.text
    assert verify.verify(books, SEPTEMBER).status == "ok"


def test_a_month_that_was_never_reconciled_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        close_report.gather(home(tmp_path), SEPTEMBER)


def test_text_from_data_is_text_on_the_page_and_in_a_spreadsheet(tmp_path: Path) -> None:
    books = ready(tmp_path)
    with books.admin.write() as con:
        con.execute(
            sa.insert(t.recon_exceptions).values(
                {
                    "exception_id": "x", "period_start": SEPTEMBER.start, "class": "variance_note",
                    "amount_usd": Decimal("-12.5"), "opened_by": "@kim", "note": HOSTILE,
                    "opened_at": now(),
                }
            )
        )  # fmt: skip
    made = page(books)
    assert "script" not in made.tags
    assert HOSTILE in made.text
    found = next(
        table for table in close_report.gather(books, SEPTEMBER).tables if table.name == "exceptions"
    )
    (row,) = [row for row in csv.DictReader(io.StringIO(found.csv())) if row["id"] == "x"]
    assert row["what"] == f"'{HOSTILE}"
    assert row["decided_by"] == "'@kim"
    assert Decimal(row["amount_usd"]) == Decimal("-12.5")  # a number stays a number


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", '"=1', "'=1", "\u00a0=1", "|cmd", "%0A"],
)
def test_text_that_looks_like_a_formula_is_marked_as_text(text: str) -> None:
    assert csv_cells.cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (Decimal("-12.50"), "-12.50"),
        (-3, "-3"),
        (None, ""),
        ("acme", "acme"),
        ("a=b", "a=b"),
        (SEPTEMBER.start, "2025-09-01"),
    ],
)
def test_numbers_and_plain_text_stay_as_they_are(value: object, cell: str) -> None:
    assert csv_cells.cell(value) == cell


@pytest.mark.long
def test_the_csv_inside_the_page_is_the_table_to_the_last_digit(books: Books) -> None:
    report = close_report.gather(books, SEPTEMBER)
    made = Page(close_report.render(report).decode())
    decoded = [
        base64.b64decode(link.split(",", 1)[1]).decode() for link in made.links if link.startswith("data:")
    ]
    assert decoded == [table.csv() for table in report.tables if table.rows]
    (tenants,) = [text for text in decoded if text.startswith("tenant,direct")]
    total = sum(Decimal(row["expected_usd"]) for row in csv.DictReader(io.StringIO(tenants)))
    assert total == report.recon.expected_usd


def test_files_are_written_for_people(books: Books, tmp_path: Path) -> None:
    files = close_report.write(books, SEPTEMBER, tmp_path / "out")
    assert [file.name for file in files[:2]] == ["close_report_2025-09.html", "bridge_2025-09.csv"]
    assert all(file.is_file() for file in files)


@pytest.mark.long
def test_a_month_of_500_tenants_is_a_page_below_two_megabytes(tmp_path: Path) -> None:
    names = [f"tenant-with-a-long-name-{number:03d}" for number in range(500)]
    rows = "\n".join(
        f"Usage AmazonEC2 111111111111 {name} team api {10 + at}.{at}" for at, name in enumerate(names)
    )
    shared = "Usage AmazonEC2 111111111111 . . . 77.7"
    write(tmp_path / "cur", [lines(f"type service account tenant plan component cost\n{rows}\n{shared}")])
    tenants = "tenant_id,name,plan_id,active_from\n" + "".join(
        f"{name},{name},team,2025-01-01\n" for name in names
    )
    usage = "period_start,tenant_id,value,refreshed_at\n" + "".join(
        f"2025-09,{name},1,2025-10-01T03:00:00Z\n" for name in names
    )
    invoices = "invoice_id,tenant_id,period_start,amount,currency,status,document_type\n" + "".join(
        f"T-{name},{name},2025-09,5,USD,issued,invoice\n" for name in names
    )
    books = home(
        tmp_path,
        inputs=INPUTS | {"tenants": tenants, "tenant_network_usage": usage, "invoice_detail": invoices},
    )
    run(books)
    kept = close_report.keep(books, SEPTEMBER)
    assert kept.size_bytes < 2_000_000
    assert (
        len(re.findall(r"<tr>", chain.read(books, kept.evidence_seq).decode())) > 1000
    )  # tenants and exceptions


@pytest.mark.long
def test_a_folder_that_cannot_be_written_to_is_refused(books: Books, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CopsError, match="E-PARAM"):
        close_report.write(books, SEPTEMBER, tmp_path / "taken")


def test_rows_and_bridge_of_the_page_add_up_as_displayed() -> None:
    """All three bridges of the demo were a cent off, and so were the cards."""
    movers = Table(
        "movers", "", ("tenant", "before_usd", "now_usd", "change_usd"),
        [("acme", Decimal("1.005"), Decimal("2.0104"), Decimal("1.0054"))],
        foots=(("level", "before_usd"), ("change", "change_usd"), ("level", "now_usd")),
    )  # fmt: skip
    assert [*movers.shown] == [["acme", "1.00", "2.01", "1.01"]]
    assert "1.0054" in movers.csv()
    told = close_tables.bridge_told(
        [("aws_billed", "level", Decimal("51516.0541"), Decimal(0)),
         ("amortisation", "change", Decimal("-121.9149"), Decimal(0)),
         ("amortised", "level", Decimal("51394.1392"), Decimal(0))]
    )  # fmt: skip
    assert [*told.values()] == ["51,516.05", "-121.91", "51,394.14"]


def test_what_rounded_rows_leave_to_their_total_is_a_row_and_none_where_they_leave_nothing() -> None:
    def made(*cents: str) -> Table:
        rows = [(f"t{at}", Decimal(one)) for at, one in enumerate(cents)]
        return Table("x", "", ("tenant", "cost_usd"), rows, total=("total", sum(row[1] for row in rows)))

    assert made("0.004", "0.004", "0.004").foot == [["rounding", "0.01"], ["total", Decimal("0.012")]]
    assert made("0.010", "0.020").foot == [["total", Decimal("0.030")]]
    assert Table("x", "", ("tenant", "cost_usd"), []).foot == []


def displayed(table: Table, column: str) -> list[Decimal]:
    at = table.columns.index(column)
    told = [sheet.text(row[at]) for row in (*table.shown, *table.foot)]
    return [Decimal(one.replace(",", "")) for one in told if one]


def test_every_table_cards_and_bridge_foot_as_displayed_and_with_each_other(books: Books) -> None:
    report = close_report.gather(books, SEPTEMBER)
    tables = {table.name: table for table in report.tables}
    for table in tables.values():
        if table.total is None:
            continue
        for column in table.columns:
            if column.endswith("_usd") and (shown := displayed(table, column)):
                assert sum(shown[:-1]) == shown[-1], (table.name, column)
    bars = {bar.told: bar.usd.lstrip("+") for bar in report.bars}
    cards = dict(report.facts)
    total = dict(zip(tables["tenants"].columns, tables["tenants"].foot[-1], strict=True))
    assert cards["billable"] == bars["billable"] == total["expected_usd"] == "42.31"
    assert cards["invoiced"] == bars["invoiced"] == total["invoiced_usd"]
    assert displayed(tables["margin"], "charged_usd")[-1] == Decimal("42.31")
    assert displayed(tables["documents"], "amount_usd")[-1] == Decimal(cards["invoiced"])
    assert "on accrual basis (amortised)" not in bars or report.recon.charge_basis != "unblended"


def test_a_month_that_is_not_closed_is_a_draft_and_a_closed_one_says_who_signed_it(books: Books) -> None:
    books = replace(
        books, settings=books.settings.model_copy(update={"exports": Exports(issuer="Example <GmbH>")})
    )
    controls.evaluate(books)
    draft = page(books)
    assert "DRAFT" in draft.text
    assert "SEALED" not in draft.text
    assert "nobody asked to close it yet" in draft.text
    sealed = close_by_two(books, SEPTEMBER)
    signed = close_report.gather(books, SEPTEMBER)
    said = dict(signed.signed.lines)
    assert said["Legal entity"] == "Example <GmbH>"
    assert said["Prepared by"].startswith(books.actor)
    assert said["Approved by"].startswith("second, ")
    assert said["Approved by"].endswith(": looked at the list")
    assert said["Closed by"].startswith("second (claimed), ")
    assert said["Seal"] == sealed.seal_digest
    shown = page(books).text
    assert "DRAFT" not in shown
    assert "SEALED" in shown
    tables = {table.name: table for table in signed.tables}
    assert {row[1] for row in tables["readiness"].rows} == {"ok"}
    assert [row[0] for row in tables["moves"].rows] == ["open", "provisional", "final", "closing", "closed"]
    assert [row[0] for row in tables["documents"].rows] == ["T-1", "T-2"]
    assert [row[0] for row in tables["aws_invoices"].rows] == ["I-1"]
    was = tables["controls"].rows
    controls.evaluate(books)
    assert close_report.render(close_report.gather(books, SEPTEMBER)) == close_report.render(signed)
    assert was


def test_the_bars_of_the_bridge_are_labelled_in_whole_dollars_that_add_up() -> None:
    drawn = charts.waterfall(
        [("a", "level", Decimal("10.4"), Decimal("10.4")), ("b", "change", Decimal("0.4"), Decimal("10.8")),
         ("c", "level", Decimal("10.8"), Decimal("10.8")), ("d", "change", Decimal("-0.1"), Decimal("10.7")),
         ("e", "level", Decimal("10.7"), Decimal("10.7"))]
    ).svg()  # fmt: skip
    labels = re.findall(r">([+-]?\d+)</text>", drawn)
    assert labels == ["10", "+1", "11", "0", "11"]
