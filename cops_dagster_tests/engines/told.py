"""A life of two months that asks every statement of `sql/`, for the conformance list.

September with all that a bill has, its checks, exports, samples and reports; closed; delivered once more and
corrected in October; a rule that was wrong and taken back; one whose instances ran containers.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from cops_dagster.adjustments import one_time
from cops_dagster.allocation import allocate, reverse, unclaimed
from cops_dagster.allocation import checks as allocation_checks
from cops_dagster.exports import commitment_use, focus, margin, packs
from cops_dagster.ingestion import checks as ingestion_checks
from cops_dagster.ingestion import quarantine
from cops_dagster.lake import inlined, statements
from cops_dagster.lake.engine import Value
from cops_dagster.lake.namespace import Namespace
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.period import Period
from cops_dagster.reports import audit, explain
from cops_dagster.tagging import checks as tagging_checks
from cops_dagster.tagging import missing
from cops_dagster_tests.closing.ready import ready
from cops_dagster_tests.deliveries import SEPTEMBER, acts, home, write
from cops_dagster_tests.engines.recorded import SQL
from cops_dagster_tests.exports import made_month
from cops_dagster_tests.lake.shaped import delivered
from cops_dagster_tests.tagging import test_containers

OCTOBER = Period(2025, 10)
BUDGETS = (
    "budget_id,version,scope_type,scope_value,basis,target_usd,effective_from,owner\n"
    "all,1,total,,amortized,100,2025-01-01,kim\nacme,1,tenant,acme,amortized,10,2025-01-01,kim\n"
    "one,1,account,111111111111,amortized,10,2025-01-01,kim\n"
)


def live(folder: Path) -> None:
    """All of it, each life in a folder of its own."""
    _every_shape(folder / "shapes")
    _wide(folder / "wide")
    _closed(folder / "closed")
    _contained(folder / "contained")


def _every_shape(folder: Path) -> None:
    write(folder / "cur", [delivered(SEPTEMBER)])
    books = home(folder)
    acts(books, SEPTEMBER)
    _asked_of(books, SEPTEMBER)


def _wide(folder: Path) -> None:
    books = made_month.wide(folder)
    focus.export_all(books, SEPTEMBER)
    packs.pack(books, SEPTEMBER, folder / "packs", draft=True)
    commitment_use.rows(books, SEPTEMBER)
    _asked_of(books, SEPTEMBER)
    with books.admin.read() as con:
        newest = head(con, allocate.TABLE, SEPTEMBER)
    assert newest is not None
    reverse.reverse(books, newest.run_id, reason="wrong")
    allocation_checks.allocated(books, SEPTEMBER)
    unclaimed.unclaimed(books, SEPTEMBER)


def _closed(folder: Path) -> None:
    books = ready(folder)
    made_month.corrected(folder, books)
    audit.sample(books, SEPTEMBER, n=2, seed="1", out=folder / "sample")
    margin.margins(books, SEPTEMBER, draft=True)
    with books.admin.read() as con:
        one_time.posted(books, con, SEPTEMBER)
    focus.export_all(books, OCTOBER)
    packs.pack(books, OCTOBER, folder / "packs", draft=True)
    for period in (SEPTEMBER, OCTOBER):
        _asked_of(books, period)


def _contained(folder: Path) -> None:
    """A month that is split, and one row of each fault beside it."""
    faulty = [
        row for number, (rows, fault, _) in enumerate(test_containers.BAD.values()) if fault
        for row in _elsewhere(rows, number)
    ]  # fmt: skip
    folder.mkdir()
    books = test_containers.given(
        folder, test_containers.a_month() + faulty, namespaces={"prod/team-g": "globex"}
    )
    tagging_checks.tagged(books, SEPTEMBER)
    allocation_checks.keys(books, SEPTEMBER)
    allocate.allocate(books, SEPTEMBER)
    focus.export(books, SEPTEMBER, folder / "out", side="cost", version="1.4", draft=True)


def _elsewhere(rows: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The same rows of other instances, so that one fault hides none."""
    named = "line_item_resource_id", "split_line_item_parent_resource_id"
    return [row | {name: f"{row[name]}-{number}" for name in named if row.get(name)} for row in rows]


def _asked_of(books: Books, period: Period) -> None:
    """What checks, reports and the playbook ask of a month."""
    for check in (
        ingestion_checks.delivery, ingestion_checks.raw, ingestion_checks.quarantined, tagging_checks.tagged,
        tagging_checks.named, allocation_checks.keys, allocation_checks.allocated, missing.missing,
        quarantine.quarantined, unclaimed.unclaimed,
    ):  # fmt: skip
        check(books, period)
    rows, _ = explain.entries(books, period, "acme")
    explain.entry(books, rows[0]["entry_id"])
    with books.admin.read() as con, books.lines(period) as engine:
        names = books.namespace(engine, con, period)
        names.provide(["fact_cost_allocated", "cost_as_reported", "cost_restated", "missing_tenant_tags"])
        names.lines_by("line_item_usage_account_id", "line_item_usage_start_date")
        start = {"period_start": period.start}
        engine.fetch("fetch_cost_by_account", start)
        names.provide(["fact_cost_raw"])
        engine.fetch("measure_fact_cost_raw", start)
        engine.fetch("fetch_allocated_by_scope", start)
        engine.fetch("fetch_usage_by_day", {**start, "period_end": period.end})
        for name in ("cost_as_reported", "cost_restated", "missing_tenant_tags"):
            engine.fetch(statements.parsed(name))
        _diagnosed(names, period)


def _diagnosed(names: Namespace, period: Period) -> None:
    given: dict[str, Value] = {
        "start": Period(2025, 1).start, "end": period.end, "period_start": period.start,
        "today": date(2025, 10, 3),
    }  # fmt: skip
    for path in sorted((SQL / "diagnostics").glob("*.sql")):
        name = f"diagnostics/{path.stem}"
        tree = statements.parsed(name)
        names.provide(inlined.asked_names(tree))
        names.engine.fetch(name, given)
