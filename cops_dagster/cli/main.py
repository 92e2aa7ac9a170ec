"""The commands of `cops`; how they start and end is in `cli/start.py`.

Start-up counts: nothing but Typer is imported here, and a process builds only what its command line names
(`named`): to make parameters of all functions takes as long as everything else that `--help` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import typer

from cops_dagster.cli import (
    adjust,
    admin,
    alerts,
    allocation,
    approve,
    audit,
    aws,
    budgets,
    close,
    commitments,
    controls,
    demo,
    docs,
    doctor,
    evidence,
    exceptions,
    explain,
    focus,
    freeze,
    init,
    journal,
    keys,
    lake,
    margin,
    materialize,
    pack,
    period,
    policy,
    report,
    rules,
    security,
    source,
    sql,
    statement,
    status,
    tags,
)

app = typer.Typer(
    name="cops",
    help="COPS, the AWS cost ledger: delivered → tagged → allocated → reconciled → closed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would take 0.2 s of the half second that --help may take
)
app.callback()(policy.said_afterwards)
app.command("materialize")(materialize.materialize)
app.command("deliver")(materialize.deliver)
app.command("sql")(sql.sql)
app.command("status")(status.status)
app.command("docs")(docs.docs)
app.command("doctor")(doctor.doctor)
app.command("runs")(status.runs)
app.command("allocate")(allocation.allocate)
app.command("reverse")(allocation.reverse)
app.command("explain")(explain.explain)
app.command("statement")(statement.statement)
app.command("bridge")(statement.bridge)
app.command("margin")(margin.margin)
app.command("commitments")(commitments.commitments)
app.command("report")(report.report)
app.command("pack")(pack.pack)
app.command("close")(close.close)
app.command("controls")(controls.controls)
app.command("approve")(approve.approve)
app.command("init")(init.init)
app.command("demo")(demo.demo)
app.add_typer(admin.app, name="admin")
app.add_typer(alerts.app, name="alerts")
app.add_typer(adjust.app, name="adjust")
app.add_typer(aws.athena, name="athena")
app.add_typer(audit.app, name="audit")
app.add_typer(budgets.app, name="budgets")
app.add_typer(aws.crawler, name="crawler")
app.add_typer(evidence.app, name="evidence")
app.add_typer(exceptions.app, name="exceptions")
app.add_typer(focus.app, name="focus")
app.add_typer(freeze.app, name="freeze")
app.add_typer(journal.app, name="journal")
app.add_typer(keys.app, name="keys")
app.add_typer(lake.app, name="lake")
app.add_typer(period.app, name="period")
app.add_typer(policy.app, name="policy")
app.add_typer(rules.app, name="rules")
app.add_typer(security.app, name="security")
app.add_typer(source.app, name="source")
app.add_typer(tags.app, name="tags")


def named(arguments: Sequence[str]) -> typer.Typer:
    """What `app` is for one command line: the command or group that it names, or the first page of help."""
    first = arguments[0] if arguments else ""
    commands = [one for one in app.registered_commands if one.name == first]
    groups = [one for one in app.registered_groups if one.name == first]
    if list(arguments) == ["--help"]:  # it names groups and shows nothing of what is in them
        commands, groups = app.registered_commands, []
        for one in app.registered_groups:
            outline, group = copy(one), copy(one.typer_instance)
            assert group
            outline.typer_instance, group.registered_commands = group, []
            groups.append(outline)
    elif not (commands or groups):
        return app  # a wrong name is answered with those that are near, a shell completes any
    built = copy(app)
    built.registered_commands, built.registered_groups = commands, groups
    return built
