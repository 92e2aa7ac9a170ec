"""`cops evidence`: whether the proof still proves, and a month made again from it."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The evidence store and its chain.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """The evidence store and its chain."""


@app.command("verify")
def verify(
    period: Annotated[str | None, typer.Argument(help="Only this month's objects, YYYY-MM.")] = None,
    json: _Json = False,
) -> None:
    """Verify the chain and every object: ok, mismatch, or incomplete when something cannot be read."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import evidence, months
    from cops_dagster.ledger.books import require_books
    from cops_dagster.period import Period

    wanted = Period.parse(period) if period else None
    books = require_books(settings.current())  # a fresh home would verify as ok, and a mistyped one with it
    if wanted:
        with books.admin.read() as con:
            months.require_known(con, wanted)
    with output.working("reading every object of the evidence"):
        found = evidence.verify(books, wanted)
    if json:
        output.as_json({**asdict(found), "next_step": found.next_step})
    else:
        if found.findings or found.warnings:
            output.table(
                "",
                ["entry", "status", "what", "expected", "found"],
                [
                    [one.seq or "chain", one.status, one.what, one.expected, one.found]
                    for one in found.findings
                ]
                + [[one.seq, "warning", one.what, one.expected, one.found] for one in found.warnings],
            )
        output.say(f"{found.status}: {found.entries} entries of the chain, {found.objects} objects read")
        if found.next_step:
            output.say(f"next: {found.next_step}")
        if found.warnings:
            output.say("next: check the machine's clock; the chain goes by its numbers, not by times")
    if found.status != "ok":
        raise typer.Exit(1)


@app.command("replay")
def replay(
    period: Annotated[str, typer.Argument(help="A closed month, YYYY-MM.")],
    json: _Json = False,
) -> None:
    """Make a closed month again from the evidence store alone, and compare it with its seal."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import replay as act
    from cops_dagster.period import Period
    from cops_dagster.stores.objects import open_objects

    current, wanted = settings.current(), Period.parse(period)
    with output.working(f"{wanted}: made again from the evidence"):
        done = act.replay(current.home, open_objects(current.evidence_uri), wanted)
    if json:
        output.as_json({**asdict(done), "period": str(wanted), "agrees": done.agrees})
    else:
        output.say(
            f"{wanted}: {done.entry_count} entries made again, "
            + ("as sealed" if done.agrees else "NOT as sealed")
            + f": {done.replayed_digest}"
        )
    if not done.agrees:
        raise typer.Exit(1)
