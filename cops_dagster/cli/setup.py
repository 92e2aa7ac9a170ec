"""`cops init`: a new user's first command: asks, writes `cops.toml` and default inputs, checks access."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cops_dagster.settings import Settings


def init(
    cur: Annotated[
        str | None,
        typer.Option(help="Where AWS delivers: a folder or s3://bucket/prefix; asked if left out."),
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Who is recorded with every decision.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON; asks nothing.")] = False,
) -> None:
    """Make the home; on a terminal ask what is not set, write cops.toml and inputs/, check access."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.graph.launch import dagster_home
    from cops_dagster.ledger import home, setup
    from cops_dagster.ledger.books import existing_books, open_books

    current = settings.current()
    if existing_books(current) is None and (refusal := home.torn(current)):
        raise refusal  # before anything is asked or written
    asks = sys.stdin.isatty() and not json
    written: list[Path] = []
    if not current.cur and (cur or asks):
        cur = cur or typer.prompt("Where does AWS deliver the report? a folder or s3://bucket/prefix")
        if not cur.startswith(("s3://", "file:")):
            cur = str(Path(cur).expanduser().absolute())  # the next command may start elsewhere
        actor = actor or (
            typer.prompt("Who decides?", default=current.actor_name) if asks else current.actor_name
        )
        first = current.first_period or _first(current.model_copy(update={"cur": cur}))
        if setup.write_config(
            Path("cops.toml"), cur=cur, home=str(current.home), actor=actor, first_period=first
        ):
            written.append(Path("cops.toml"))
        written += setup.write_inputs(Path("inputs"), first_period=first, actor=actor)
        current = current.model_copy(update={"cur": cur, "actor": actor, "first_period": first})
    books = open_books(current)
    dagster_home(books.settings.home)
    reached = setup.reach(books)
    if json:
        output.as_json(
            {
                "home": str(current.home),
                "written": [str(path) for path in written],
                "reached": [asdict(one) for one in reached],
            }
        )
    else:
        output.table(
            "",
            ["what", "", "found", "what to do"],
            [[one.what, "ok" if one.is_good else "NOT", one.found, one.next_step] for one in reached],
        )
        for path in written:
            output.say(f"written: {path}")
        output.say(f"home ready: {current.home}")
        if written:
            output.say(
                "next: put your tenants into inputs/tenants.csv; cops admin load inputs; cops materialize"
                f" {current.first_period}"
            )
    if not all(one.is_good for one in reached if one.what != "report roots" or current.cur):
        raise typer.Exit(1)


def _first(current: Settings) -> str:
    """The oldest month that lies in the report roots; this month while there is none."""
    from datetime import UTC, datetime

    from cops_dagster.errors import CopsError
    from cops_dagster.ledger import deliver
    from cops_dagster.ledger.books import open_books

    try:
        months = deliver.months(open_books(current))
    except CopsError:
        months = []
    return str(months[0].period) if months else f"{datetime.now(UTC):%Y-%m}"
