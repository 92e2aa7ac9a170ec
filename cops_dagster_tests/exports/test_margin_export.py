"""`cops margin` of a real month: what is refused, what is left out, its files, and its floors."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cops_dagster import settings
from cops_dagster.cli.main import app
from cops_dagster.errors import CopsError
from cops_dagster.exports import margin, margin_files, record
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reconciliation import checks, statement
from cops_dagster.reconciliation.verdicts import margin_above_floor
from cops_dagster.reports import close_report
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER, adopt, give, home

RECOMPUTED = Path(__file__).resolve().parents[2] / "benchmarks" / "margin.sql"
NOTE = (
    "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
    "CN-1,acme,2025-09,-3,USD,issued,credit_note,T-1\n"
)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return ready(tmp_path)


def steps(books: Books) -> dict[str, Decimal]:
    return {row["step"]: row["amount_usd"] for row in statement.bridge(books, SEPTEMBER)}


@pytest.mark.parametrize("by", margin.BYS)
def test_the_lines_add_up_to_the_bridge_by_whatever(books: Books, by: margin.By) -> None:
    rows, bridge = margin.rows(margin.margins(books, SEPTEMBER), by), steps(books)

    def total(column: str) -> Decimal:
        return sum((row[column] for row in rows), Decimal(0))

    assert total("charged_usd") == bridge["expected"]
    assert total("direct_usd") == bridge["direct"]
    assert total("shared_usd") == bridge["shared"]
    assert total("markup_usd") == bridge["markup"]
    assert total("own_cost_usd") == -bridge["operator"]
    assert total("unallocated_usd") == -bridge["unallocated"]
    assert total("cost_usd") == bridge["aws_billed"]
    assert total("margin_usd") == bridge["expected"] - bridge["aws_billed"]
    if by == "tenant":
        assert total("invoiced_usd") == bridge["invoiced"]
    else:
        assert {row["invoiced_usd"] for row in rows} == {None}


def test_a_closed_month_keeps_its_margin_when_a_document_comes_later(books: Books, tmp_path: Path) -> None:
    close_by_two(books)
    before = margin_files.contents(margin.margins(books, SEPTEMBER))
    give(books, tmp_path, invoice_detail=NOTE)
    assert margin_files.contents(margin.margins(books, SEPTEMBER)) == before


def test_a_month_that_changed_since_its_reconciliation_is_refused_and_a_draft_says_so(
    books: Books, tmp_path: Path
) -> None:
    give(books, tmp_path, invoice_detail=NOTE)
    with pytest.raises(CopsError, match="E-NOT-RECONCILED"):
        margin.margins(books, SEPTEMBER)
    made = margin.margins(books, SEPTEMBER, draft=True)
    assert {row["status"] for row in margin.rows(made, "tenant")} == {"DRAFT"}
    assert "not shown" in next(
        one.note for one in close_report.gather(books, SEPTEMBER).tables if one.name == "margin"
    )


def test_a_month_without_any_reconciliation_is_refused_or_left_out_of_a_trend(books: Books) -> None:
    with pytest.raises(CopsError, match="E-NOT-RECONCILED"):
        margin.margins(books, Period(2025, 10))
    made = margin.margins(books, SEPTEMBER, months=2)
    assert ([one.period for one in made.months], made.left_out) == ([SEPTEMBER], [Period(2025, 8)])
    assert margin.newest_month(books) == SEPTEMBER


def test_books_without_a_reconciled_month_have_no_newest_one(tmp_path: Path) -> None:
    with pytest.raises(CopsError, match="E-PERIOD-UNKNOWN"):
        margin.newest_month(home(tmp_path))


def test_a_floor_tells_of_a_tenant_below_it_and_of_none_at_it() -> None:
    tenants = [
        ("acme", Decimal(5), Decimal(1)),
        ("globex", Decimal("4.9"), Decimal(1)),
        ("x", None, Decimal(0)),
    ]

    def judged(month: str | None, month_floor: int | None, tenant_floor: int | None) -> bool | None:
        return margin_above_floor(
            None if month is None else Decimal(month), tenants,
            month_floor=None if month_floor is None else Decimal(month_floor),
            tenant_floor=None if tenant_floor is None else Decimal(tenant_floor),
        ).passed  # fmt: skip

    assert (judged("5", None, None), judged("5", 5, None), judged("4.99", 5, None)) == (None, True, False)
    assert (judged("5", None, 4), judged("5", None, 5), judged(None, 5, None)) == (True, False, True)


def test_the_floors_are_of_the_policy_and_the_check_reads_them(tmp_path: Path) -> None:
    books = ready(tmp_path, margin={"month_floor_pct": 50})
    (verdict,) = checks.earned(books, SEPTEMBER)
    assert (verdict.passed, verdict.figures["month_floor_pct"]) == (False, Decimal(50))
    lower = home(tmp_path, inputs=None, margin={"month_floor_pct": -50})
    (verdict,) = checks.earned(adopt(lower), SEPTEMBER)
    assert verdict.passed is True


def test_the_command_prints_what_adds_up_and_writes_every_view(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPS_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    done = CliRunner().invoke(app, ["margin", "--by", "plan", "--format", "csv"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["name"] for row in rows} == {"team", "__operator__", "__unallocated__"}
    done = CliRunner().invoke(app, ["margin", "2025-09", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"margin_by_{by}.csv" for by in (*margin.BYS, "month")), "margin_cells.csv", "unit_costs.csv",
        "SHA256SUMS",
    }  # fmt: skip
    refused = CliRunner().invoke(app, ["margin", "2025-10"]).exception
    assert isinstance(refused, CopsError)
    assert refused.code == "E-NOT-RECONCILED"


def test_the_bytes_of_each_month_are_recorded_once(books: Books, tmp_path: Path) -> None:
    made = margin.margins(books, SEPTEMBER)
    for out in ("one", "two"):
        margin_files.write(books, made, tmp_path / out)
    with books.admin.read() as con:
        assert record.made(con, "margin", SEPTEMBER).export_seq == 1


def test_a_draft_is_written_and_not_recorded(books: Books, tmp_path: Path) -> None:
    margin_files.write(books, margin.margins(books, SEPTEMBER, draft=True), tmp_path / "out")
    with books.admin.read() as con:
        assert record.made(con, "margin", SEPTEMBER) is None


@pytest.mark.long
def test_sqlite_alone_recomputes_every_line_from_the_files(tmp_path: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("apt-get install sqlite3")
    books = ready(tmp_path)
    margin_files.write(books, margin.margins(books, SEPTEMBER), tmp_path / "out")
    with RECOMPUTED.open() as script:
        done = subprocess.run(
            ["sqlite3", ":memory:"], stdin=script, cwd=tmp_path / "out", capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    lines = len([row for by in margin.BYS for row in margin.rows(margin.margins(books, SEPTEMBER), by)])
    assert (done.stderr, done.stdout) == (
        "", f"{lines + 1} lines recomputed, 0 differ, of {lines + 1} exported\n",
    )  # fmt: skip
