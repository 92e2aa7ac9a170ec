"""`cops status` and `cops runs`: where each month stands, from the admin database alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period


def status(
    period: Annotated[str | None, typer.Argument(help="Billing month, YYYY-MM; all without it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show where each month stands, and the gap to the newest delivery."""
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import state
    from cops_dagster.ledger.books import open_books
    from cops_dagster.period import Period

    wanted = Period.parse(period) if period else None
    books = open_books(settings.current())
    if json:
        output.as_json([asdict(one) for one in state.statuses(books, wanted)])
    else:
        print_statuses(books, wanted)


def print_statuses(books: Books, period: Period | None) -> None:
    """The status table of one or all months."""
    from cops_dagster.cli import output
    from cops_dagster.ledger import state

    rows = [
        [
            one.period, one.state, "yes" if one.is_final else "no", f"{one.lines:,}", output.usd(one.aws_usd),
            output.usd(one.allocated_usd), output.usd(one.gap_usd), output.usd(one.invoiced_usd),
            output.usd(one.variance_usd), "" if one.coverage_pct is None else f"{one.coverage_pct:.2f}",
            one.recon_status, one.last_ingestion,
        ]
        for one in state.statuses(books, period)
    ]  # fmt: skip
    if not rows:
        output.say("no delivery seen yet: set COPS_CUR and run `cops materialize PERIOD`, or try `cops demo`")
        return
    numbers = ["lines", "AWS USD", "allocated USD", "gap", "invoiced USD", "variance", "coverage %"]
    output.table(
        "",
        ["period", "state", "final", *numbers, "reconciled", "last ingestion"],
        rows,
        right=numbers,
    )


def runs(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List a month's runs in journal order, and the attempts that published nothing."""
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import state
    from cops_dagster.ledger.books import open_books
    from cops_dagster.period import Period

    found = state.runs(open_books(settings.current()), Period.parse(period))
    if json:
        output.as_json(found)
        return
    output.table(
        "",
        ["seq", "table", "run", "replaces", "rows", "cost USD", "status", "at (UTC)", "detail"],
        [
            [
                run["journal_seq"], run["table_name"], (run["run_id"] or "")[:16],
                (run["replaces"] or "")[:16], run["row_count"], output.usd(run["cost_usd"]),
                run["status"], f"{run['at']:%Y-%m-%d %H:%M:%S}", run["detail"][:120],
            ]
            for run in found
        ],
        right=["seq", "rows", "cost USD"],
    )  # fmt: skip
