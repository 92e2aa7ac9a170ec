"""`cops doctor`: the playbook's quick diagnostic path, with what to do."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    period: Annotated[
        str | None, typer.Argument(help="Billing month, YYYY-MM; the newest open one without it.")
    ] = None,
    symptom: Annotated[
        str | None, typer.Option(help="What you see, such as no-alerts; then only what may cause it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Ask a month the six questions of the playbook; exit 1 when an answer is red."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.errors import CopsError
    from cops_dagster.evidence.home import require_books
    from cops_dagster.operations import doctor as act
    from cops_dagster.operations import home_health
    from cops_dagster.period import Period

    wanted, current = Period.parse(period) if period else None, settings.current()
    try:
        books = require_books(current)
        wanted = wanted or act.newest_open(books)
        found = act.diagnose(books, wanted, symptom)
    except CopsError as problem:
        if problem.code not in home_health.HOME_IS_ILL:
            raise
        found = home_health.without_books(current, problem)
    if json:
        output.as_json([asdict(one) for one in found])
    else:
        output.table(
            f"{wanted or 'the home'}{f', symptom {symptom}' if symptom else ''}",
            ["", "step", "what", "found", "look closer", "next"],
            [[one.light, one.step, one.what, one.found, one.look, one.next_step] for one in found],
        )
    if any(one.light == "red" for one in found):
        raise typer.Exit(1)
