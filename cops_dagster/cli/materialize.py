"""`cops materialize` and `cops deliver`: a month from delivery to reconciled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period


def materialize(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    select: Annotated[
        list[str] | None, typer.Option(help="Only these assets (may be given several times).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Take one month from delivery to reconciled; exit 1 while a check of it does not hold (ERROR)."""
    import uuid

    from cops_dagster.closing import current, repair
    from cops_dagster.evidence import sweep
    from cops_dagster.evidence.adoption import require_policy
    from cops_dagster.ingestion import look, places, sources
    from cops_dagster.operations import consequences

    wanted = desk.month(period)
    books = desk.new_books()
    require_policy(books, is_run=True)
    sweep.sweep(books)
    repair.require_mendable(books, wanted)
    if not select and current.is_current(books, wanted):
        failed = consequences.complete(books, wanted)
        gone = [one.source_id for one in sources.placeless(books, wanted)]
        if json:
            output.as_json(
                {
                    "period": str(wanted),
                    "outcome": "nothing to do",
                    "failed_checks": failed,
                    "wrote": False,
                    "sources_without_a_place": gone,
                }
            )
        else:
            output.say(f"{wanted}: nothing to do, the ledger was made from these inputs")
            tell(failed)
        for name in gone if not json else ():
            output.say(
                f"source {name} is booked and lies in no report root: name its root in COPS_CUR again,"
                f" or cops source retire {name} --reason '…'"
            )
        exit_by(failed)
        return
    if not any(month.period == wanted for month in places.months(books.settings)):
        look.look(books, wanted)  # refuses with what is there instead
    before, run_id = current.newest(books, wanted), str(uuid.uuid4())
    failed = run(books, wanted, select, run_id=run_id)
    made = current.made_since(books, wanted, before, run_id)
    if json:
        output.as_json(
            {
                "period": str(wanted),
                "outcome": "materialised",
                "failed_checks": failed,
                "wrote": made.wrote,
                **({"written_by": made.by, "written_at": made.at} if made.by else {}),
            }
        )
    else:
        report(books, wanted, failed)
        if made.by:
            output.say(f"another run was first: published by {made.by}, {made.at:%Y-%m-%d %H:%M} UTC")
    exit_by(failed)


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
    with output.working(f"{period}: from delivery to reconciled"):
        from cops_dagster.graph.launch import launch

        return launch(books, period, select, run_id=run_id)


def report(books: Books, period: Period, failed: list[dict[str, str]]) -> None:
    """What a person wants to know after a run: the month in one line, then what did not hold."""
    from cops_dagster.cli import status

    status.print_statuses(books, period)
    tell(failed)


def tell(failed: list[dict[str, str]]) -> None:
    """The checks of a month that do not hold, as a table."""
    if failed:
        output.table(
            "checks that do not hold",
            ["check", "severity", "figures"],
            [[check["check"], check["severity"], check["figures"]] for check in failed],
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
    if not source.replace("-", "").replace("_", "").isalnum() or not source.isascii():
        raise CopsError(
            "E-PARAM",
            f"source {source!r}",
            expected="letters, digits, - and _",
            found=repr(source),
            next_step="name the source with those",
        )
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
        from cops_dagster.ingestion import decisions

        done = decisions.withdraw(desk.books(), source, wanted, reason=reason)
        tell_decision("withdrawn", done, json)
        return
    assert files is not None
    books = desk.new_books()
    manifest = deliver.deliver(books, files, wanted, source_id=source)
    output.told(
        json,
        {"period": str(wanted), "source": source, "files": len(files), "manifest": str(manifest)},
        f"{wanted}: {len(files)} file(s) delivered as {source}, manifest {manifest.name}",
        f"next: cops materialize {wanted}",
    )
