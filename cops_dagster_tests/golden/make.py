"""Makes a golden home with the code as it stands. From the top of the checkout, once for a schema version:

    .venv/bin/python -m cops_dagster_tests.golden.make

It takes some minutes and writes `schema_NNNN/` (NNNN: the newest migration) beside this file. Commit that
folder and never change it again; `test_golden.py` finds it by itself. A folder that exists is refused: remove
it to make it anew, which is right only while its version is not released.

The product is driven by its commands alone, over SQLite; the books are then copied into a PostgreSQL whose
schema the migrations made. Kept are:

    home.tar.xz         deliveries, lake, evidence, what was converted, and `admin.db`
    admin.sql.xz        the same books as a dump that restores into an empty PostgreSQL
    digests.json        size, modification time (ns) and SHA-256 of every file of the home
    books.json          what commands say of the finished home: states, seals, runs, sums
    statement-P.csv     `cops statement P --format csv`

Times are kept beside the files, since the books tell a delivered file by size and time and a checkout keeps
no times. Dagster's folder is left out: it is history of runs, and the ledger needs none of it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cops_dagster.money.amount import ROUNDING
from cops_dagster.period import Period
from cops_dagster.stores.admin import HEAD
from cops_dagster_tests import layouts
from cops_dagster_tests.deliveries import lines
from cops_dagster_tests.golden import given, stored
from cops_dagster_tests.golden.given import AUGUST, INPUTS, JULY, JUNE, SEPTEMBER
from cops_dagster_tests.golden.stored import Home

PAYER = "111111111111"
PLACE = Path(tempfile.gettempdir()) / "cops-golden"
"""Where homes are made: the books remember where a manifest lay."""

_COSTS = (
    "SUM(allocated_cost_usd) AS unblended, SUM(allocated_amortized_cost_usd) AS amortized,"
    " SUM(allocated_net_amortized_cost_usd) AS net_amortized"
)
ANSWERS = {
    "sums_of_entries": f"""SELECT period_start, entry_type, COUNT(*) AS entries, {_COSTS}
        FROM fact_cost_allocated GROUP BY 1, 2 ORDER BY 1, 2""",
    "sums_of_tenants": f"""SELECT period_start, tenant_id, charge_class, {_COSTS}
        FROM fact_cost_allocated GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    "sums_of_lines": """SELECT period_start, COUNT(*) AS line_count,
        SUM(line_item_unblended_cost) AS unblended, SUM(net_unblended_cost) AS net_unblended,
        SUM(amortized_cost) AS amortized, SUM(net_amortized_cost) AS net_amortized
        FROM fact_cost_raw GROUP BY 1 ORDER BY 1""",
    "adjustments": f"""SELECT period_start, usage_period_start, tenant_id, COUNT(*) AS entries, {_COSTS}
        FROM fact_cost_adjustment GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    "as_reported": f"""SELECT period_start, tenant_id, {_COSTS}
        FROM cost_as_reported GROUP BY 1, 2 ORDER BY 1, 2""",
    "restated": f"""SELECT usage_period_start, tenant_id, {_COSTS}
        FROM cost_restated GROUP BY 1, 2 ORDER BY 1, 2""",
    "documents": """SELECT period_start, tenant_id, document_type, COUNT(*) AS documents,
        SUM(amount) AS amount FROM invoice_detail GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
    "heads": """SELECT period_start, table_name, source_id, run_id
        FROM period_head ORDER BY 1, 2, 3""",
    "journal": """SELECT journal_seq, period_start, table_name, run_id, cost_usd
        FROM publish_journal ORDER BY 1""",
    "chain": "SELECT evidence_seq, entry_hash FROM evidence_index ORDER BY 1",
    "approvals": "SELECT subject_type, subject_id, approved_by FROM approval ORDER BY 1, 2",
    "decisions": """SELECT period_start, stage, subject_id, amount_usd, decision
        FROM recon_exceptions WHERE decision IS NOT NULL ORDER BY 1, 2, 3""",
}
"""What `cops sql` is asked of a finished home, and must answer alike in every later version."""


def main() -> int:
    """Makes the home of the newest schema version; 2 when it has one already."""
    target = stored.HERE / f"schema_{HEAD}"
    if target.exists():
        sys.stderr.write(f"{target} exists; a golden home is never changed\n")
        return 2
    shutil.rmtree(PLACE, ignore_errors=True)
    home, made = Home(PLACE / "home"), PLACE / "made"
    home.folder.mkdir(parents=True)
    live_through(home)
    stored.keep(home, made)
    describe(home, made)
    shutil.move(made, target)
    shutil.rmtree(PLACE)
    sys.stdout.write(f"{target}: {sum(path.stat().st_size for path in target.iterdir()):,} bytes\n")
    return 0


# --- what happens in the home ---------------------------------------------------------------------------


def live_through(home: Home) -> None:
    """Four months, from the first load to the state they are kept in."""
    wrong_key = INPUTS["tenant_network_usage"].replace(f"{JUNE},globex,200,", f"{JUNE},globex,100,")
    load(home, INPUTS | {"tenant_network_usage": wrong_key})

    hand_over(home, given.LINES[JUNE], JUNE, "june", datetime(2025, 7, 9, tzinfo=UTC))
    materialise(home, JUNE)
    load(home, {"tenant_network_usage": INPUTS["tenant_network_usage"]}, "--replace")
    materialise(home, JUNE)  # reverses the run with the wrong key
    invoice(home, JUNE)
    close(home, JUNE)

    hand_over(home, given.LINES[JULY], JULY, "july", datetime(2025, 8, 9, tzinfo=UTC))
    materialise(home, JULY)
    invoice(home, JULY, off={"acme": Decimal("3.00")})
    close(home, JULY)

    hand_over(home, given.LINES[AUGUST], AUGUST, "august", datetime(2025, 9, 9, tzinfo=UTC))
    materialise(home, AUGUST)
    invoice(home, AUGUST, off={"globex": Decimal("-6.00")}, corrected={"acme": Decimal("120.00")})
    decide(home, AUGUST, approved=False)

    hand_over(home, given.LINES[SEPTEMBER], SEPTEMBER, "september", datetime(2025, 10, 2, tzinfo=UTC))
    materialise(home, SEPTEMBER)

    hand_over(home, given.LATE, JULY, "july", datetime(2025, 9, 20, tzinfo=UTC))
    why = ("--reason", "the contract says so", "--evidence", "TICKET-7")
    book(home, home.told("adjust", "propose", JULY)["id"])
    tax = ("--from", "__unallocated__", "--to", "acme=40", "--to", "globex=60", "--charge-class", "tax")
    book(home, home.told("adjust", "move", JULY, *tax, *why)["id"])
    book(home, home.told("adjust", "note", JULY, "--tenant", "hooli", "--amount-usd", "0.01", *why)["id"])
    storage = ("--from", "acme", "--to", "hooli=100", "--service", "AmazonS3")
    home.told("adjust", "move", JULY, *storage, *why)  # waits for a second person
    materialise(home, SEPTEMBER)


def materialise(home: Home, period: Period) -> None:
    """`cops materialize`; some checks do not hold, and that is part of a real home."""
    home.cops("materialize", period, codes=(0, 1))


def close(home: Home, period: Period) -> None:
    """`cops close` and another's yes, after what does not tie out was decided and approved."""
    decide(home, period)
    materialise(home, period)
    home.cops("close", period, codes=(1,))  # asks for a second person
    home.cops("approve", f"close-{period}", "--reason", "seen the list", actor="lee")


def decide(home: Home, period: Period, *, approved: bool = True) -> None:
    """Every open exception is explained by one person, and approved by another unless that is to come."""
    for one in home.told("exceptions", "list", period, codes=(0, 1)):
        if one["status"] == "open":
            said = ("--decision", "explained to the customer", "--evidence", "TICKET-8")
            home.cops("exceptions", "decide", one["exception_id"], *said)
            if approved:
                home.cops("approve", one["exception_id"], "--reason", "seen the ticket", actor="lee")


def book(home: Home, adjustment: str) -> None:
    """A second person's yes."""
    home.cops("approve", adjustment, "--reason", "checked", actor="lee")


# --- what is handed in ----------------------------------------------------------------------------------


def hand_over(home: Home, text: str, period: Period, name: str, delivered: datetime) -> None:
    """`cops deliver` of one file, July's as CSV; what lies in the home is as old as `delivered`."""
    table = lines(text, period)
    ids = [f"{period}-{number:03d}" for number in range(table.num_rows)]
    table = table.append_column("identity_line_item_id", pa.array(ids))
    table = table.append_column("bill_payer_account_id", pa.array([PAYER] * table.num_rows))
    with tempfile.TemporaryDirectory() as folder:
        if period == JULY:
            file = Path(folder, f"{name}.csv.gz")
            header = [layouts.csv_header(column) for column in table.column_names]
            body = layouts.csv_text(header, [list(line.values()) for line in table.to_pylist()])
            file.write_bytes(layouts.packed(body, "gzip", file.name))
        else:
            file = Path(folder, f"{name}.parquet")
            pq.write_table(table, file)
        before = set(home.folder.rglob(file.name))
        manifest = Path(home.told("deliver", file, "--period", period)["manifest"])
        for path in (manifest, *(set(home.folder.rglob(file.name)) - before)):
            os.utime(path, (delivered.timestamp(), delivered.timestamp()))


def load(home: Home, tables: Mapping[str, str], *options: str) -> None:
    """`cops admin load` of tables given as CSV text; those with a header alone are left out."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tables.items():
            if text.count("\n") > 1:
                Path(folder, f"{name}.csv").write_text(text, encoding="utf-8")
        home.cops("admin", "load", folder, *options)


def invoice(
    home: Home,
    period: Period,
    *,
    off: Mapping[str, Decimal] | None = None,
    corrected: Mapping[str, Decimal] | None = None,
) -> None:
    """AWS's invoice of the month and ours, as the statement says; then the month is reconciled again.

    Args:
        off: tenant → by how much its invoice is wrong.
        corrected: tenant → by how much its invoice was too high until its credit note.
    """
    table = lines(given.LINES[period], period)
    costs = [Decimal(repr(cost)) for cost in table["line_item_unblended_cost"].to_pylist()]
    kinds = table["line_item_line_item_type"].to_pylist()
    tax = sum(cost for cost, kind in zip(costs, kinds, strict=True) if kind == "Tax")
    before_tax = (sum(costs) - tax).quantize(Decimal("0.01"), context=ROUNDING)
    documents = f"{table['bill_invoice_id'][0]},{period},{PAYER},INVOICE,USD,{before_tax:f},{tax:f}\n"
    rows = []
    for row in csv.DictReader(io.StringIO(home.cops("statement", period, "--format", "csv"))):
        tenant, name = row["tenant_id"], f"INV-{period}-{row['tenant_id']}"
        about = f"{tenant},{period}"
        more = (corrected or {}).get(tenant, Decimal(0))
        amount = Decimal(row["total"]) + (off or {}).get(tenant, Decimal(0)) + more
        rows.append(f"{name},{about},{amount:.2f},{row['currency']},issued,invoice,\n")
        if more:
            rows.append(f"CN-{name},{about},{-more:.2f},{row['currency']},issued,credit_note,{name}\n")
    load(
        home,
        {
            "aws_invoices": INPUTS["aws_invoices"] + documents,
            "invoice_detail": INPUTS["invoice_detail"] + "".join(rows),
        },
    )
    materialise(home, period)


# --- what is said of it ---------------------------------------------------------------------------------


def describe(home: Home, target: Path) -> None:
    """Writes what commands say of the finished home."""
    for period in given.LINES:
        said = home.cops("statement", period, "--format", "csv")
        (target / f"statement-{period}.csv").write_text(said, encoding="utf-8")
    closed = [one["period"] for one in home.told("status") if one["state"] == "closed"]
    books = {
        "schema": HEAD,
        "states": {one["period"]: one["state"] for one in home.told("status")},
        "evidence": home.told("evidence", "verify"),
        "replayed": {period: home.told("evidence", "replay", period) for period in closed},
        "answers": {
            name: home.cops("sql", "-q", query, "--format", "csv").splitlines()
            for name, query in ANSWERS.items()
        },
    }
    (target / "books.json").write_text(json.dumps(books, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
