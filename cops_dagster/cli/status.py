"""`cops status` and `cops runs`: where each month stands, from the admin database alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period


def status(
    period: Annotated[str | None, typer.Argument(help="Billing month, YYYY-MM; all without it.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DELIVERY", help="What changed since this delivery of the month.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show where each month stands, and the gap to the newest delivery; of one month its deliveries too."""
    from cops_dagster.closing import status

    wanted = desk.month_if_given(period)
    books = desk.books()
    if since is not None:
        if wanted is None:
            raise CopsError(
                "E-PARAM",
                "--since",
                expected="a month with it",
                found="none",
                next_step="write it like `cops status 2025-09 --since DELIVERY`",
            )
        _changes(books, wanted, since, as_json=json)
        return
    if json:
        found = [asdict(one) for one in status.statuses(books, wanted)]
        if wanted:
            found[0]["deliveries"] = [asdict(one) for one in status.deliveries(books, wanted)]
        output.as_json(found)
        return
    print_statuses(books, wanted)
    if books.admin.only_reads:
        ill = books.admin.only_reads
        output.say(f"this home can only be read: {ill.code}: {ill.found}; next: {ill.next_step}")
    _proved(books)
    if wanted:
        _deliveries(books, wanted)


def _proved(books: Books) -> None:
    """Says what the last look at the proof found wrong; to look again is another command's work."""
    from cops_dagster.closing import status

    for row in status.unproven(books):
        output.say(f"NOT proved: {row.control.replace('_', ' ')}: {row.measured}; next: cops evidence verify")


def _deliveries(books: Books, period: Period) -> None:
    from cops_dagster.closing import status

    numbers = ["lines", "cost USD", "invoices", "not invoiced USD", "quarantined"]
    output.table(
        "deliveries",
        ["source", "delivery", "layout", "delivered (UTC)", *numbers, "waits for"],
        [
            [
                one.source_id,
                one.delivery_id[:16],
                f"{one.layout} {one.file_format}",
                f"{one.delivered_at:%Y-%m-%d %H:%M}",
                f"{one.lines:,}",
                output.usd(one.cost_usd),
                "pro forma" if one.invoicing == "pro forma" else one.invoices,
                output.usd(one.usd_without_invoice),
                f"{one.quarantined_lines:,}",
                one.waits_for or "",
            ]
            for one in status.deliveries(books, period)
        ],
        right=numbers,
        spare=["layout"],
    )


def _changes(books: Books, period: Period, since: str, *, as_json: bool) -> None:
    from cops_dagster.ingestion import compare
    from cops_dagster.money import footing

    found = compare.since(books, period, since)
    if as_json:
        rows = [{**asdict(change), "change_usd": change.change_usd} for change in found.changes]
        output.as_json({**asdict(found), "changes": rows})
        return
    output.say(
        f"{period} {found.source_id}: {found.before_id[:16]} → {found.after_id[:16]}, "
        f"{found.rows_after - found.rows_before:+,} lines, {found.usd_after - found.usd_before:+f} USD"
    )
    numbers = ["lines before", "lines after", "USD before", "USD after", "change USD"]
    output.table(
        "changes",
        ["by", "value", *numbers],
        [
            [
                one.dimension,
                one.value or "(none)",
                f"{one.rows_before:,}",
                f"{one.rows_after:,}",
                before,
                after,
                change,
            ]
            for one in found.changes
            for before, change, after in [
                footing.told(
                    [("level", one.usd_before), ("change", one.change_usd), ("level", one.usd_after)]
                )
            ]
        ],
        right=numbers,
    )


def print_statuses(books: Books, period: Period | None) -> None:
    """The status table of one or all months."""
    from cops_dagster.closing import status
    from cops_dagster.money import footing
    from cops_dagster.reconciliation import exceptions

    found = status.statuses(books, period)
    rows = [
        [
            one.period,
            one.state,
            "yes" if one.is_final else "no",
            f"{one.lines:,}",
            aws,
            allocated,
            gap,
            invoiced,
            variance,
            "" if one.coverage_pct is None else f"{one.coverage_pct:.2f}",
            one.recon_status,
            one.last_ingestion,
            one.layouts,
        ]
        for one in found
        for aws, gap, allocated in [
            footing.told([("level", one.aws_usd), ("change", one.gap_usd), ("level", one.allocated_usd)])
        ]
        for _, variance, invoiced in [
            footing.told(
                [("level", one.expected_usd), ("change", one.variance_usd), ("level", one.invoiced_usd)]
            )
        ]
    ]
    if not rows:
        output.say("no delivery seen yet: set COPS_CUR and run `cops materialize PERIOD`, or try `cops demo`")
        return
    numbers = ["lines", "AWS USD", "allocated USD", "gap", "invoiced USD", "over-billed", "coverage %"]
    output.table(
        "",
        ["period", "state", "final", *numbers, "reconciled", "last ingestion", "layout"],
        rows,
        right=numbers,
        spare=["layout", "last ingestion", "lines", "final", "invoiced USD", "allocated USD"],
    )
    for one in found:
        if one.close_asked_by:
            output.say(
                f"{one.period}: {one.close_asked_by} wants it closed; next: a second person runs"
                f" `cops approve close-{one.period} --reason …`"
            )
    with books.admin.read() as con:
        for late in exceptions.late_documents(con):
            output.say(f"{late.note}: cops exceptions list {late.period}")


def runs(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List a month's runs in journal order, and the attempts that published nothing."""
    from cops_dagster.closing import status
    from cops_dagster.ledger import month

    wanted, books = desk.month(period), desk.books()
    found = status.runs(books, wanted)
    if not found:
        with books.admin.read() as con:
            month.require_known(con, wanted)
    if json:
        output.as_json(found)
        return
    output.table(
        f"{wanted}: runs",
        ["seq", "table", "run", "replaces", "rows", "cost USD", "status", "at (UTC)", "policy", "detail"],
        [
            [
                run["journal_seq"],
                run["table_name"],
                (run["run_id"] or "")[:16],
                (run["replaces"] or "")[:16],
                "" if run["row_count"] is None else f"{run['row_count']:,}",
                output.usd(run["cost_usd"]),
                run["status"],
                f"{run['at']:%Y-%m-%d %H:%M:%S}",
                run["policy_version"],
                run["detail"][:120],
            ]
            for run in found
        ],
        right=["seq", "rows", "cost USD", "policy"],
    )
