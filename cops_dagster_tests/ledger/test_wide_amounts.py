"""A month of amounts with up to 38 digits: every cent and every 1e-18 arrives, from the file to the seal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from cops_dagster.ingestion import look
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.reconciliation import reconcile, record, statement
from cops_dagster_tests.closing.ready import aged, close_by_two
from cops_dagster_tests.deliveries import INPUTS, SEPTEMBER, give, home, lines, run, write
from cops_dagster_tests.shown import answer

TENANTS = ("acme", "globex")


def delivered(rows: list[tuple[str, Decimal]]) -> pa.Table:
    """Lines of a tenant (`.`: nobody's) and a cost, the cost as a decimal of 38 digits."""
    text = "type service account tenant plan component cost\n" + "\n".join(
        f"Usage AmazonEC2 111111111111 {tenant} team api 0" for tenant, _ in rows
    )
    table = lines(text)
    at = table.column_names.index("line_item_unblended_cost")
    costs = pa.array([cost for _, cost in rows], pa.decimal128(38, 18))
    return table.set_column(at, "line_item_unblended_cost", costs)


def wide(seed: int) -> list[tuple[str, Decimal]]:
    """The smallest case that was refused, two amounts of 38 digits, and others of every width."""
    chance = random.Random(seed)
    great = amount.to_decimal(chance.randrange(3 * 10**37, 4 * 10**37))
    rows = [("acme", Decimal("12345678901.5")), ("acme", Decimal("1E-18"))]
    rows += [("acme", great), (".", -great)]
    for _ in range(60):
        size = chance.randrange(1, 37)
        atto = chance.randrange(10 ** (size - 1), 10**size)
        tenant = chance.choice((*TENANTS, "."))
        sign = chance.choice((1, 1, -1)) if size < 30 else 1
        rows.append((tenant, amount.to_decimal(sign * atto)))
    return rows


ROWS = wide(15)
TOTAL = sum((cost for _, cost in ROWS), Decimal(0))


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    folder = tmp_path_factory.mktemp("wide")
    half = len(ROWS) // 2
    write(folder / "cur", [delivered(ROWS[:half]), delivered(ROWS[half:])])
    aged(folder / "cur")
    opened = home(folder, inputs=INPUTS)
    run(opened)
    documents(opened, folder)
    reconcile.reconcile(opened, SEPTEMBER)
    yield opened
    opened.admin.close()


def documents(books: Books, folder: Path) -> None:
    """What AWS billed, in cents, and what the statement says that each tenant owes."""
    before_tax = amount.shown(TOTAL).replace(",", "")
    owed = {row["tenant_id"]: row["total"] for row in statement.statement(books, SEPTEMBER).rows}
    give(
        books,
        folder,
        aws_invoices="invoice_id,period_start,payer_account_id,invoice_type,base_currency,amount_before_tax,"
        f"tax\nI-1,2025-09,111111111111,INVOICE,USD,{before_tax},0\n",
        invoice_detail="invoice_id,tenant_id,period_start,amount,currency,status,document_type\n"
        + "".join(f"T-{name},{name},2025-09,{owed[name]:f},USD,issued,invoice\n" for name in TENANTS),
    )


def tenants_total(books: Books) -> Decimal:
    return sum((row["total_usd"] for row in statement.statement(books, SEPTEMBER).rows), Decimal(0))


@pytest.mark.long
def test_the_month_is_ingested_tagged_and_allocated_to_difference_0(books: Books) -> None:
    queries = (
        "SELECT SUM(line_item_unblended_cost) FROM fact_cost_raw",
        "SELECT SUM(unblended_cost) FROM fact_cost_tagged",
        "SELECT SUM(allocated_cost_usd) FROM fact_cost_allocated",
    )
    assert [answer(books, query)[0][0] for query in queries] == [TOTAL] * 3


def test_the_statement_adds_up_to_the_last_digit(books: Books) -> None:
    assert tenants_total(books) == TOTAL
    for row in statement.statement(books, SEPTEMBER).rows:
        parts = row["direct"] + row["shared"] + row["adjustments"] + row["markup"]
        assert (row["total"], row["total"] - row["rounding"]) == (parts, row["total_usd"])


def test_the_invoices_that_the_statement_says_reconcile(books: Books) -> None:
    with books.admin.read() as con:
        newest = record.newest(con, SEPTEMBER)
    assert newest is not None
    assert newest.status == "ok"


def test_the_month_is_closed_by_two_digests_that_agree(books: Books) -> None:
    """The second reader stopped at amounts of more than 28 digits: they have no 18 decimals there."""
    assert close_by_two(books, SEPTEMBER).wrote


@pytest.mark.parametrize(
    ("each", "said"),
    [("33333333333333333333.3", "taken"), ("33333333333333333333.333333333333333334", "E-COST-RANGE")],
    ids=["just below 10^20", "10^20 and more"],
)
def test_a_month_is_taken_as_far_as_its_sum_has_20_digits(tmp_path: Path, each: str, said: str) -> None:
    """A sum beyond was refused as `E-SQL`, with the advice to correct the query."""
    write(tmp_path / "cur", [delivered([("acme", Decimal(each))] * 3)])
    opened = home(tmp_path, inputs=None)
    (seen,) = look.look(opened, SEPTEMBER)
    assert [one.code for one in seen.refusals] == ([] if said == "taken" else [said])
    opened.admin.close()
