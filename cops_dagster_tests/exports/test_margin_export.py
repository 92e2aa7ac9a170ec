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
from cops_dagster.reconciliation.margin import MarginLine
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


def line(charged: int, cost: int, *, name: str = "acme", is_priced: bool = True) -> MarginLine:
    """A line that charges so many atto-dollars for what costs so many."""
    return MarginLine(name, direct=cost, markup=charged - cost, is_priced=is_priced)


def holds(line: MarginLine, floor: str) -> bool | None:
    """Whether a month of that line holds its floor, and a tenant of it, which is the same."""
    of_month, of_tenant = (
        margin_above_floor(total, tenants, month_floor=month_floor, tenant_floor=tenant_floor).passed
        for total, tenants, month_floor, tenant_floor in (
            (line, [], Decimal(floor), None),
            (None, [line], None, Decimal(floor)),
        )
    )
    assert of_month is of_tenant
    return of_month


def test_a_floor_tells_of_a_margin_below_it_and_of_none_at_it() -> None:
    assert (holds(line(100, 95), "5"), holds(line(100, 96), "5")) == (True, False)
    assert (holds(line(100, 105), "-5"), holds(line(100, 106), "-5")) == (True, False)
    assert margin_above_floor(line(1, 9), [line(1, 9)], month_floor=None, tenant_floor=None).passed is None
    tenants = [line(100, 96, name="globex"), line(100, 95), line(0, 0, name="x")]
    told = margin_above_floor(None, tenants, month_floor=None, tenant_floor=Decimal(5)).figures
    assert [one["tenant_id"] for one in told["tenants_below"]] == ["globex"]  # type: ignore[index, union-attr]


def test_a_margin_below_its_floor_by_less_than_a_percent_shows_is_below() -> None:
    """Percents of six decimals were compared: 4.9999999 was 5."""
    assert holds(line(10**12, 95 * 10**10 + 1), "5") is False
    assert holds(line(10**12, 95 * 10**10), "5") is True


def test_where_nothing_can_be_charged_a_loss_is_below_every_floor() -> None:
    """A loss of 110 where tenants got 10 back was 1,100 percent; where nothing was charged it was none."""
    assert (holds(line(-10, 100), "5"), holds(line(0, 100), "-50"), holds(line(0, 0), "5")) == (
        False, False, True,
    )  # fmt: skip
    assert holds(line(-10, -11), "5") is True
    assert holds(line(-10, 100, is_priced=False), "5") is True, "nobody can say what is charged"


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
