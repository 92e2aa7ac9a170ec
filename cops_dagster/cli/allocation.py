"""`cops allocate` and `cops reverse`: runs that people ask for, each ending in a new reconciliation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period

STEPS = ["allocation_key_snapshot", "fact_cost_allocated", "unallocated_cost", "recon_summary"]
"""What `cops allocate` materialises."""


def allocate(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    rules_as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="Follow the rules in force on this day.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="Run note: why.")] = None,
    evidence: Annotated[str | None, typer.Option(metavar="LINKS", help="What proves the cause.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Allocate a tagged month again, under the rules of another day when asked; then reconcile it."""
    from datetime import date

    from cops_dagster.allocation import rule_date
    from cops_dagster.cli import materialize
    from cops_dagster.evidence import sweep

    wanted = desk.month(period)
    try:
        day = date.fromisoformat(rules_as_of) if rules_as_of else None
    except ValueError:
        raise CopsError(
            "E-PARAM",
            "--rules-as-of",
            expected="a day written YYYY-MM-DD",
            found=repr(rules_as_of),
            next_step="write it like --rules-as-of 2025-09-01",
        ) from None
    books = desk.books()
    sweep.sweep(books)
    if day or note or evidence:
        rule_date.decide(books, wanted, day, note=note, evidence_links=evidence)
    failed = materialize.run(books, wanted, STEPS)
    _variances(books, wanted, as_json=json, outcome={"failed_checks": failed})
    if not json:
        materialize.tell(failed)
    materialize.exit_by(failed)


def reverse(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The newest allocation of its month.")],
    reason: Annotated[str, typer.Option(help="Why it is taken back; kept beside the run.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Take a run back: its entries are negated and those of the run before it stand again."""
    from cops_dagster.allocation import reverse
    from cops_dagster.cli import materialize
    from cops_dagster.evidence import sweep

    books = desk.books()
    sweep.sweep(books)
    done = reverse.reverse(books, run_id, reason=reason)
    failed = settle(books, done.period)
    if not json:
        stands = (
            f"the lines of run {done.reposted_run_id[:16]} stand again"
            if done.reposted_run_id
            else "its cost is unallocated until the month is allocated again"
        )
        output.say(
            f"{done.period}: run {done.reversed_run_id[:16]} taken back by {done.run_id[:16]}; {stands}"
        )
    _variances(
        books,
        done.period,
        as_json=json,
        outcome={
            "run_id": done.run_id,
            "reversed_run_id": done.reversed_run_id,
            "reposted_run_id": done.reposted_run_id,
            "failed_checks": failed,
        },
    )
    if not json:
        materialize.tell(failed)
    materialize.exit_by(failed)


def settle(books: Books, period: Period) -> list[dict[str, str]]:
    """What follows a run outside the graph; the checks of the month that do not hold."""
    from cops_dagster.graph.launch import report
    from cops_dagster.operations import month_run

    return month_run.settle(books, period, report)


def _variances(books: Books, period: Period, *, as_json: bool, outcome: dict[str, object]) -> None:
    """The reconciliation before and after: what the run did to the variance."""
    from cops_dagster.money import footing
    from cops_dagster.reconciliation import reconcile

    numbers = ["allocated_total_usd", "unallocated_usd", "expected_usd", "invoiced_total_usd", "variance_usd"]
    words = ["allocated", "nobody bears yet", "billable", "invoiced", "over-billed"]
    rows = [dict(row._mapping) for row in reconcile.trend(books, period)]
    if as_json:
        kept = ["recon_id", "run_id", "status", *numbers]
        output.as_json({**outcome, "reconciliations": [{name: row[name] for name in kept} for row in rows]})
        return
    output.table(
        f"{period}: reconciliation before and after",
        ["run", "status", *words, "at (UTC)"],
        [
            [
                (row["run_id"] or "")[:16],
                row["status"],
                output.usd(row["allocated_total_usd"]),
                output.usd(row["unallocated_usd"]),
                expected,
                invoiced,
                variance,
                f"{row['reconciled_at']:%Y-%m-%d %H:%M:%S}",
            ]
            for row in rows
            for expected, variance, invoiced in [
                footing.told(
                    [
                        ("level", row["expected_usd"]),
                        ("change", row["variance_usd"]),
                        ("level", row["invoiced_total_usd"]),
                    ]
                )
            ]
        ],
        right=words,
    )
