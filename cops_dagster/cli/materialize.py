"""`cops materialize` and `cops deliver`: a month from delivery to reconciled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.operations.month_run import Done
    from cops_dagster.period import Period


def materialize(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    select: Annotated[
        list[str] | None, typer.Option(help="Only these assets (may be given several times).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Take one month from delivery to reconciled; exit 1 while a check of it does not hold (ERROR)."""
    from cops_dagster.operations import month_run

    wanted = desk.month(period)
    books = desk.new_books()
    done = month_run.materialise(
        books, wanted, lambda run_id: run(books, wanted, select, run_id=run_id), whole=not select
    )
    if done.made is None:
        _tell_complete(wanted, done, json)
    elif json:
        output.as_json(
            {
                "period": str(wanted),
                "outcome": "materialised",
                "failed_checks": done.failed,
                "wrote": done.made.wrote,
                **({"written_by": done.made.by, "written_at": done.made.at} if done.made.by else {}),
            }
        )
    else:
        report(books, wanted, done.failed)
        if done.made.by:
            output.say(
                f"another run was first: published by {done.made.by}, {done.made.at:%Y-%m-%d %H:%M} UTC"
            )
    exit_by(done.failed)


def _tell_complete(period: Period, done: Done, json: bool) -> None:
    """A month that needed no run, and its booked sources that are gone."""
    if json:
        output.as_json(
            {
                "period": str(period),
                "outcome": "nothing to do",
                "failed_checks": done.failed,
                "wrote": False,
                "sources_without_a_place": done.placeless,
            }
        )
        return
    output.say(f"{period}: nothing to do, the ledger was made from these inputs")
    tell(done.failed)
    for name in done.placeless:
        output.say(
            f"source {name} is booked and lies in no report root: name its root in COPS_CUR again,"
            f" or cops source retire {name} --reason '…'"
        )


def exit_by(failed: list[dict[str, str]]) -> None:
    """The exit code of a month's state: 1 while an ERROR check of it does not hold, whatever was done now."""
    if any(check["severity"] == "ERROR" for check in failed):
        raise typer.Exit(1)


def run(
    books: Books, period: Period, select: list[str] | None, *, run_id: str | None = None
) -> list[dict[str, str]]:
    """Runs the Dagster job in this process; the checks of the month that do not hold.

    Raises:
        CopsError: the refusal that stopped the run, as the ledger gave it.
    """
    from cops_dagster.evidence.adoption import require_policy

    require_policy(books, is_run=True)
    with output.working(f"{period}: from delivery to reconciled") as step:
        from cops_dagster.graph.launch import launch

        return launch(books, period, select, run_id=run_id, step=step)


def report(books: Books, period: Period, failed: list[dict[str, str]]) -> None:
    """What a person wants to know after a run: the month in one line, then what did not hold."""
    from cops_dagster.cli import status

    status.print_statuses(books, period)
    tell(failed)
    _say_no_statement(books, period)


def _say_no_statement(books: Books, period: Period) -> None:
    """Why nothing can be invoiced from this month, such as a missing rate: no check asks for it."""
    from cops_dagster.reconciliation import statement

    try:
        statement.statement(books, period)
    except CopsError as refusal:
        if refusal.code != "E-PERIOD-UNKNOWN":
            output.say(f"no statement yet, {refusal.code}: {refusal.found}; next: {refusal.next_step}")


def tell(failed: list[dict[str, str]]) -> None:
    """The checks of a month that do not hold, as a table."""
    if failed:
        output.table(
            "checks that do not hold",
            ["check", "severity", "figures"],
            [[check["check"], check["severity"], output.readable(check["figures"])] for check in failed],
        )


def deliver(
    period: Annotated[str, typer.Option(help="Billing month, YYYY-MM.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="CUR files of one month: Parquet, or CSV (plain, gz, zip).")
    ] = None,
    source: Annotated[str, typer.Option(help="Name of the source.")] = "manual",
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take what was handed over for this month out again.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is taken out; kept, with evidence.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Make a delivery of CUR files that came without a manifest, or take one out of an open month again."""
    from cops_dagster.ingestion import deliver

    wanted = desk.month(period)
    deliver.require_name(source)
    if bool(files) == withdraw:
        raise CopsError(
            "E-PARAM",
            "files",
            expected="files to hand over, or --withdraw and none",
            found="both" if withdraw else "neither",
            next_step="name the CUR files of one month",
        )
    if withdraw:
        from cops_dagster.cli.source import tell_decision
        from cops_dagster.ingestion import source_decisions

        done = source_decisions.withdraw(desk.books(), source, wanted, reason=reason)
        tell_decision("withdrawn", done, json)
        return
    assert files is not None
    books = desk.new_books()
    manifest = deliver.deliver(books, files, wanted, source_id=source)
    output.told(
        json,
        {"period": str(wanted), "source": source, "files": len(files), "manifest": str(manifest)},
        f"{wanted}: {len(files)} file(s) delivered as {source}, manifest {manifest.name}",
        f"next: {_after_delivery(books)}cops materialize {wanted}",
    )


def _after_delivery(books: Books) -> str:
    """What comes before the run on the first day: nobody has said yet which tag names the tenant."""
    from cops_dagster.operations import first_day

    return "" if first_day.has_rules(books) or books.settings.config_file.is_file() else "cops init, then "
