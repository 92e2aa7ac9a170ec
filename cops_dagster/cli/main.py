"""Entry point of `cops`: the commands, and the one place where a coded error becomes an exit code.

Exit codes: 0 good, 1 a check or control failed, 2 bad input with a coded error. Start-up counts:
nothing but Typer is imported here (`--help` in less than half a second).
"""

from __future__ import annotations

import gc
import sys

import typer

from cops_dagster.cli import (
    adjust,
    admin,
    alerts,
    approve,
    aws,
    budgets,
    controls,
    demo,
    docs,
    doctor,
    evidence,
    exceptions,
    explain,
    freeze,
    lake,
    materialize,
    period,
    query,
    report,
    rules,
    runs,
    setup,
    show,
    statement,
    tags,
)
from cops_dagster.errors import CopsError

app = typer.Typer(
    name="cops",
    help="COPS, the AWS cost ledger: delivered → tagged → allocated → reconciled → closed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would take 0.2 s of the half second that --help may take
)
app.command("materialize")(materialize.materialize)
app.command("deliver")(materialize.deliver)
app.command("sql")(query.sql)
app.command("status")(show.status)
app.command("docs")(docs.docs)
app.command("doctor")(doctor.doctor)
app.command("runs")(show.runs)
app.command("allocate")(runs.allocate)
app.command("reverse")(runs.reverse)
app.command("explain")(explain.explain)
app.command("statement")(statement.statement)
app.command("bridge")(statement.bridge)
app.command("report")(report.report)
app.command("close")(period.close)
app.command("controls")(controls.controls)
app.command("approve")(approve.approve)
app.command("init")(setup.init)
app.command("demo")(demo.demo)
app.add_typer(admin.app, name="admin")
app.add_typer(alerts.app, name="alerts")
app.add_typer(adjust.app, name="adjust")
app.add_typer(aws.athena, name="athena")
app.add_typer(budgets.app, name="budgets")
app.add_typer(aws.crawler, name="crawler")
app.add_typer(evidence.app, name="evidence")
app.add_typer(exceptions.app, name="exceptions")
app.add_typer(freeze.app, name="freeze")
app.add_typer(lake.app, name="lake")
app.add_typer(period.app, name="period")
app.add_typer(rules.app, name="rules")
app.add_typer(tags.app, name="tags")


def main() -> None:
    """Runs a command; a refusal is printed with its code and ends with 2."""
    # A command is a short process: collecting garbage while it imports took 15 % of its time (measured).
    gc.set_threshold(100_000, 50, 50)
    try:
        app()
    except CopsError as refusal:
        from cops_dagster.cli.output import print_refusal

        print_refusal(refusal)
        sys.exit(2)


if __name__ == "__main__":
    main()
