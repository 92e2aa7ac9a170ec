"""`cops doctor`: the playbook's quick diagnostic path, with what to do."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    symptom: Annotated[
        str | None, typer.Option(help="What you see, such as no-alerts; then only what may cause it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Ask a month the six questions of the playbook; exit 1 when an answer is red."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import doctor as act
    from cops_dagster.ledger.books import open_books
    from cops_dagster.period import Period

    wanted = Period.parse(period)
    found = act.diagnose(open_books(settings.current()), wanted, symptom)
    if json:
        output.as_json([asdict(one) for one in found])
    else:
        output.table(
            f"{wanted}{f', symptom {symptom}' if symptom else ''}",
            ["", "step", "what", "found", "look closer", "next"],
            [[one.light, one.step, one.what, one.found, one.look, one.next_step] for one in found],
        )
    if any(one.light == "red" for one in found):
        raise typer.Exit(1)
