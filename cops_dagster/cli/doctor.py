"""`cops doctor`: the playbook's quick diagnostic path, with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period


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

    from cops_dagster.operations import doctor, home_health

    wanted, current = desk.month_if_given(period), desk.settings()
    try:
        books = desk.books()
        if wanted is None:
            wanted = doctor.newest_open(books)
            output.say(f"no month was named: {wanted}, the newest {_kind(books, wanted)}")
        found = doctor.diagnose(books, wanted, symptom)
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
            [
                [one.light, one.step, one.what, output.readable(one.found), one.look, one.next_step]
                for one in found
            ],
        )
    if any(one.light == "red" for one in found):
        raise typer.Exit(1)


def _kind(books: Books, period: Period) -> str:
    from cops_dagster.ledger import lock

    with books.admin.read() as con:
        return "one; every month is closed" if lock.is_sealed(con, period) else "open one"
