"""The journal of real months: what is given out, what stays, and what a change gives."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cops_dagster.closing import approve
from cops_dagster.errors import CopsError
from cops_dagster.exports import accounts, journal, journal_files, journal_text
from cops_dagster.exports.journal import Journal
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation import margin_cells, statement
from cops_dagster.stores import tables as t
from cops_dagster_tests import postgres
from cops_dagster_tests.adjustments.late_deliveries import late_delivery, somebody_else
from cops_dagster_tests.closing.ready import DOCUMENTS, aged, close_by_two, month, ready
from cops_dagster_tests.deliveries import INPUTS, MONTH, SEPTEMBER, give, home, lines, run, write

OCTOBER = Period(2025, 10)
USAGE = "period_start,tenant_id,value,refreshed_at\n2025-09,acme,{},2025-10-01T03:00:00Z\n"
USED_IN_OCTOBER = USAGE.format(1).replace("2025-10", "2025-11").replace("2025-09", "2025-10")
NOTE = (
    "invoice_id,tenant_id,period_start,amount,currency,status,document_type,corrects_invoice_id\n"
    "CN-1,acme,2025-09,-3,USD,issued,credit_note,T-1\n"
)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A September that is reconciled and could be closed, and accounts to book it by."""
    made = ready(tmp_path)
    give(made, tmp_path, gl_accounts=accounts.default("kim"))
    return made


def sums(*journals: Journal) -> dict[str, Decimal]:
    """Purpose → sum in USD over every entry, of what is not 0."""
    found: defaultdict[str, int] = defaultdict(int)
    for one in journals:
        for posted in one.posted:
            for line in posted.entry.lines:
                found[line.purpose] += line.amount if line.currency == "USD" else 0
    return {purpose: amount.to_decimal(usd) for purpose, usd in found.items() if usd}


def exported(books: Books, period: Period) -> Journal:
    """The journal of one month, given out."""
    (made,) = journal.exports(books, [period])
    return made


def kinds(one: Journal) -> list[str]:
    return [posted.entry.kind for posted in one.posted]


def step(books: Books, name: str, of: Period = SEPTEMBER) -> Decimal:
    """One step of a month's bridge."""
    (found,) = [row for row in statement.bridge(books, of) if row["step"] == name]
    usd: Decimal = found["amount_usd"]
    return usd


def text(one: Journal) -> str:
    return journal_text.csv([one])


def test_an_open_month_is_accrued_on_its_last_day_and_taken_back_on_the_next(books: Books) -> None:
    made = exported(books, SEPTEMBER)
    assert kinds(made) == ["accrual", "reversal"] * 3  # the cost, and what each tenant is charged
    assert {(one.entry.kind, str(one.entry.posted)) for one in made.posted} == {
        ("accrual", "2025-09-30"), ("reversal", "2025-10-01"),
    }  # fmt: skip
    assert sums(made) == {}
    accrued = Journal(SEPTEMBER, [one for one in made.posted if one.entry.kind == "accrual"], 0)
    assert sums(accrued)["aws_accrual"] == -step(books, "aws_billed")
    assert sums(accrued)["income_accrual"] == step(books, "expected")


def test_a_closed_month_leaves_nothing_accrued_and_its_accounts_are_the_bridge_to_the_last_digit(
    books: Books,
) -> None:
    exported(books, SEPTEMBER)
    close_by_two(books)
    made = exported(books, SEPTEMBER)
    assert (kinds(made)[6:], {str(one.entry.posted) for one in made.posted[6:]}) == (
        ["actual"] * 3, {"2025-10-01"},
    )  # fmt: skip
    found = sums(made)
    assert "aws_accrual" not in found
    assert "income_accrual" not in found
    assert found["recharge_cost"] == step(books, "allocated") == -found["recharge_income"]
    assert found["own_cost"] == -step(books, "operator")
    assert found["suspense"] == -step(books, "unallocated")
    assert found["receivable"] == step(books, "invoiced") == Decimal("42.31")
    assert found["aws_payable"] == Decimal("-40.88")
    assert sum(found.values()) == 0
    # everything that differs is the rounding of documents
    assert {"billing_difference", "aws_difference"} & set(found) == set()


def test_a_month_that_was_never_accrued_is_booked_in_itself(books: Books) -> None:
    close_by_two(books)
    assert {str(one.entry.posted) for one in exported(books, SEPTEMBER).posted} == {"2025-09-30"}


def test_a_second_export_is_the_same_bytes_and_records_nothing(books: Books, tmp_path: Path) -> None:
    first = exported(books, SEPTEMBER)
    again = exported(books, SEPTEMBER)
    assert (first.new, again.new) == (6, 0)
    for name in ("one", "two"):
        made = exported(books, SEPTEMBER)
        journal_files.keep(books, [made])
        journal_files.write(lambda made=made: [made], tmp_path / name)
    for name in (*journal_files.NAMES, "SHA256SUMS"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with books.admin.read() as con:
        assert len(con.execute(sa.select(t.export_record)).all()) == 1


def test_of_months_of_which_one_is_refused_nothing_is_recorded(books: Books) -> None:
    with pytest.raises(CopsError):
        journal.exports(books, [SEPTEMBER, SEPTEMBER.next()])
    with books.admin.read() as con:
        assert con.execute(sa.select(t.journal_entry)).all() == []


def test_entries_that_cannot_be_handed_out_are_not_recorded(books: Books, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CopsError, match="E-OUT"):
        journal_files.write(lambda: [exported(books, SEPTEMBER)], tmp_path)
    with books.admin.read() as con:
        assert con.execute(sa.select(t.journal_entry)).all() == []


def test_a_change_gives_the_opposite_of_what_was_given_out_and_the_new_entry(
    books: Books, tmp_path: Path
) -> None:
    first = exported(books, SEPTEMBER)
    give(books, tmp_path, replace=True, tenant_network_usage=USAGE.format(5))
    run(books)
    made = exported(books, SEPTEMBER)
    assert made.posted[:6] == first.posted  # what was given out stays as it was
    # both tenants bear other shares, and the cost is borne by others: each undone with its reversal
    assert kinds(made)[6:] == ["undo", "undo", "accrual", "reversal"] * 3
    assert sums(made) == {}
    undone = [one for one in made.posted if one.entry.kind == "undo"]
    for one in undone:
        (there,) = [old for old in first.posted if old.entry_id == one.reverses]
        assert one.entry.lines == there.entry.opposite("undo", there.entry.posted).lines
        assert one.entry.posted == there.entry.posted
    accrued = [one for one in made.posted if one.entry.kind == "accrual"][3:]
    assert sums(Journal(SEPTEMBER, accrued, 0))["income_accrual"] == step(books, "expected")


def test_what_comes_back_to_an_earlier_value_is_an_entry_of_its_own(books: Books, tmp_path: Path) -> None:
    exported(books, SEPTEMBER)
    for value in (5, 1):
        give(books, tmp_path, replace=True, tenant_network_usage=USAGE.format(value))
        run(books)
        made = exported(books, SEPTEMBER)
    assert len({one.entry_id for one in made.posted}) == len(made.posted) == 6 + 12 + 12
    assert sums(made) == {}
    assert exported(books, SEPTEMBER).new == 0


def test_another_account_is_a_change_and_the_ledger_is_none_the_less_the_same(
    books: Books, tmp_path: Path
) -> None:
    close_by_two(books)
    before = exported(books, SEPTEMBER)
    version = "own_cost,2,2025-09-01,6200,Own,expense,kim\n"
    give(
        books,
        tmp_path,
        gl_accounts=f"purpose,version,effective_from,account,name,kind,approved_by\n{version}",
    )
    after = exported(books, SEPTEMBER)
    assert kinds(after)[len(before.posted) :] == ["undo", "actual"]  # the cost alone knows of it
    assert {str(one.entry.posted) for one in after.posted[len(before.posted) :]} == {"2025-10-01"}
    assert sums(after) == sums(before)


def test_a_month_without_a_reconciliation_of_what_stands_is_refused_and_a_draft_says_that_it_is_one(
    books: Books, tmp_path: Path
) -> None:
    with pytest.raises(CopsError, match="E-NOT-RECONCILED"):
        exported(books, OCTOBER)
    give(books, tmp_path, invoice_detail=NOTE)
    with pytest.raises(CopsError, match=r"E-NOT-RECONCILED.*invoiced of acme"):
        exported(books, SEPTEMBER)
    draft = journal.draft(books, SEPTEMBER)
    assert {row["status"] for row in csv.DictReader(io.StringIO(text(draft)))} == {"DRAFT"}
    for made in (journal_text.beancount([draft]), journal_text.hledger([draft])):
        heads = [line for line in made.splitlines() if line.startswith("2025-")]
        assert heads
        assert all(" ! " in line and "DRAFT" in line for line in heads)
        assert made.splitlines()[0].startswith("; DRAFT")
    with books.admin.read() as con:
        assert con.execute(sa.select(t.journal_entry)).first() is None
    run(books)
    assert exported(books, SEPTEMBER).new == 6


def test_a_document_that_corrects_a_closed_month_is_booked_in_the_month_that_bears_it(
    books: Books, tmp_path: Path
) -> None:
    close_by_two(books)
    closed = exported(books, SEPTEMBER)
    give(books, tmp_path, invoice_detail=NOTE)
    assert exported(books, SEPTEMBER).posted == closed.posted
    month(tmp_path, MONTH, period=OCTOBER, assembly="o1")
    give(books, tmp_path, tenant_network_usage=USED_IN_OCTOBER)
    run(books, OCTOBER)
    made = exported(books, OCTOBER)
    (note,) = [one for one in made.posted if one.entry.kind == "document"]
    assert {(line.purpose, line.amount, line.document_id, str(line.usage)) for line in note.entry.lines} == {
        ("receivable", -3 * amount.ATTO, "CN-1", "2025-09-01"),
        ("billing_difference", 3 * amount.ATTO, "CN-1", "2025-09-01"),
    }  # fmt: skip
    assert sums(made) == {"receivable": Decimal(-3), "billing_difference": Decimal(3)}
    # no bridge counts it: neither that of the month that bears it nor that of its own
    others = Journal(OCTOBER, [one for one in made.posted if one is not note], 0)
    assert sums(others).get("receivable", 0) == step(books, "invoiced", OCTOBER) == 0
    assert sums(closed)["receivable"] == step(books, "invoiced") == Decimal("42.31")


def test_corrections_of_a_closed_month_are_lines_of_their_own_that_name_it(
    books: Books, tmp_path: Path
) -> None:
    close_by_two(books)
    more = "Usage AmazonS3 111111111111 acme team api 5\nCredit AmazonEC2 111111111111 . . . -2\n"
    proposed = late_delivery(books, tmp_path, MONTH + more)
    approve.approve(somebody_else(books), proposed, reason="looked at the lines")
    month(tmp_path, MONTH, period=OCTOBER, assembly="o1")
    give(books, tmp_path, tenant_network_usage=USED_IN_OCTOBER)
    run(books, OCTOBER)
    made = exported(books, OCTOBER)
    accrued = [one for one in made.posted if one.entry.kind == "accrual"]
    late = [line for one in accrued for line in one.entry.lines if line.usage is not None]
    assert {f"{line.usage}" for line in late} == {"2025-09-01"}
    found = sums(Journal(OCTOBER, accrued, 0))
    assert found["correction_cost"] == Decimal(3)  # our credit of -2 among it
    assert found["correction_income"] == Decimal(-5)
    assert found["income_accrual"] == step(books, "expected", OCTOBER)
    assert found["aws_accrual"] == -step(books, "aws_billed", OCTOBER) - 3
    with books.admin.read() as con:
        earned = margin_cells.read(books, con, OCTOBER).total
    assert amount.to_decimal(earned.charged_adjustments) == step(books, "adjustments", OCTOBER) == 5
    assert amount.to_decimal(earned.adjustments) == 3


def test_a_document_in_euros_is_balanced_in_euros_and_in_dollars(tmp_path: Path) -> None:
    write(tmp_path / "cur", [lines(MONTH)])
    aged(tmp_path / "cur")
    tenants = (
        "tenant_id,name,plan_id,active_from,currency\n"
        "acme,Acme,team,2025-01-01,EUR\nglobex,Globex,team,2025-01-01,USD\n"
    )
    documents = DOCUMENTS["invoice_detail"].replace("14.10,USD", "12.82,EUR")
    books = home(
        tmp_path,
        inputs=INPUTS | DOCUMENTS | {
            "tenants": tenants, "invoice_detail": documents, "gl_accounts": accounts.default("kim"),
            "fx_rates": "base,quote,period_start,rate\nEUR,USD,2025-09,1.1\n",
        },
    )  # fmt: skip
    run(books)
    close_by_two(books)
    made = exported(books, SEPTEMBER)
    euros = [
        (line.purpose, amount.to_decimal(line.amount))
        for posted in made.posted
        for line in posted.entry.lines
        if line.currency == "EUR"
    ]
    assert euros == [("receivable", Decimal("12.82")), ("fx", Decimal("-12.82"))]
    assert sums(made)["fx"] == Decimal("14.102")
    assert sums(made)["receivable"] == Decimal("28.21")
    assert "billing_difference" not in sums(made)  # 14.102 of 14.103… expected: the rounding of a cent


@pytest.mark.long
def test_three_months_accrued_and_closed_leave_nothing_in_the_accrual_accounts(tmp_path: Path) -> None:
    books = home(tmp_path, inputs=INPUTS | {"gl_accounts": accounts.default("kim")})
    months = [Period(2025, one) for one in (9, 10, 11)]
    for number, one in enumerate(months, start=1):
        head, *rest = MONTH.strip().splitlines()
        bill = [f"{head}  invoice", *(f"{line}  I-{number}" for line in rest)]
        month(tmp_path, "\n".join(bill), period=one, assembly=f"a{number}")
        documents = {
            name: csv_text.replace("2025-09", str(one))
            .replace("I-1,", f"I-{number},")
            .replace("T-", f"T{number}-")
            for name, csv_text in DOCUMENTS.items()
        }
        used = "".join(f"{one},{name},{of},2026-01-01T00:00\n" for name, of in (("acme", 1), ("globex", 2)))
        usage = f"period_start,tenant_id,value,refreshed_at\n{used}"
        more = {} if one == SEPTEMBER else {"tenant_network_usage": usage}
        give(books, tmp_path, **documents, **more)
        run(books, one)
        exported(books, one)
    aged(tmp_path / "cur", datetime(2026, 1, 9, tzinfo=UTC))
    for one in months:
        run(books, one)
        close_by_two(books, one)
    made = [exported(books, one) for one in months]
    assert {kind for one in made for kind in kinds(one)} == {"accrual", "reversal", "actual"}
    found = sums(*made)
    assert {"aws_accrual", "income_accrual"} & set(found) == set()
    assert found["receivable"] == 3 * Decimal("42.31")
    assert found["aws_payable"] == 3 * Decimal("-40.88")


@pytest.mark.long
def test_postgresql_takes_the_same_entries_and_none_of_them_changes(tmp_path: Path) -> None:
    books = ready(tmp_path, admin_db=postgres.database())
    give(books, tmp_path, gl_accounts=accounts.default("kim"))
    first = exported(books, SEPTEMBER)
    give(books, tmp_path, replace=True, tenant_network_usage=USAGE.format(5))
    run(books)
    made = exported(books, SEPTEMBER)
    assert (made.posted[:6], len(made.posted), sums(made)) == (first.posted, 18, {})
    assert exported(books, SEPTEMBER).posted == made.posted
    line = t.journal_line
    columns = [one + 90 if one.name == "line_no" else one for one in line.c]
    more = sa.insert(line).from_select([one.name for one in line.c], sa.select(*columns))
    for change in (more, sa.update(line).values(amount=Decimal(0)), sa.delete(t.journal_entry)):
        with pytest.raises(sa.exc.DBAPIError, match="E-APPEND-ONLY"), books.admin.write() as con:
            con.execute(change)


HOSTILE = ("=HYPERLINK(1)", '"quoted" \\ back', "\u202eesrever", "\u05d7\u05e9\u05d1\u05d5\u05df", "a;b | c")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_a_formula_or_turns_the_text_around_is_harmless_in_every_format(
    books: Books, name: str
) -> None:
    made = named(journal.draft(books, SEPTEMBER), name)
    for row in csv.DictReader(io.StringIO(text(made))):
        for cell in (row["account_name"], row["service"], row["document_id"]):
            assert cell.removeprefix("'") == name
            assert cell[:1] not in "=+-@"
    for written in (journal_text.beancount([made]), journal_text.hledger([made])):
        assert "\u202e" not in written
        assert ("<U+202E>" in written) is ("\u202e" in name)
        told = json.dumps(name.replace("\u202e", "<U+202E>"), ensure_ascii=False)
        assert f"service: {told}" in written or f"service:{told}" in written


def named(made: Journal, name: str) -> Journal:
    """The same entries with a name wherever text of data stands."""
    posted = [
        replace(
            one,
            entry=replace(
                one.entry,
                lines=tuple(
                    replace(line, service=name, document_id=name, account=replace(line.account, name=name))
                    for line in one.entry.lines
                ),
            ),
        )
        for one in made.posted
    ]
    return replace(made, posted=posted)


BEAN_CHECK = Path(__file__).resolve().parents[2] / ".ledgers" / "bin" / "bean-check"


@pytest.mark.long
@pytest.mark.parametrize("name", ["Own cloud cost", *HOSTILE])
def test_beancount_and_hledger_find_nothing_wrong(books: Books, tmp_path: Path, name: str) -> None:
    """Their own programs: `make ledgers`, and the package hledger of the system."""
    exported(books, SEPTEMBER)
    close_by_two(books)
    made = named(exported(books, SEPTEMBER), name)
    both = [made, named(journal.draft(books, SEPTEMBER), name)]
    journal_files.write(lambda: both, tmp_path / "out")
    commands = [
        [str(BEAN_CHECK), str(tmp_path / "out" / "journal.beancount")],
        ["hledger", "-f", str(tmp_path / "out" / "journal.hledger"), "check", "--strict", "ordereddates"],
    ]
    there = [command for command in commands if shutil.which(command[0])]
    for command in there:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    if len(there) < len(commands):
        pytest.skip("make ledgers, and apt-get install hledger")
