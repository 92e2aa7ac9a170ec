"""`cops evidence`: whether the proof still proves, and a month made again from it."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

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
    """Verify the chain and its objects, closed months, registers, the guards: ok, or exit 1."""
    from dataclasses import asdict

    from cops_dagster.closing import proof
    from cops_dagster.stores.admin import now

    wanted = desk.known_month(period) if period else None
    books = desk.books()  # a fresh home would verify as ok, and a mistyped one with it
    with output.working("reading the evidence, and every closed month anew"):
        found = proof.verify(books, wanted)
    steps = found.next_steps
    if json:
        output.as_json({**asdict(found), "next_step": steps[0] if steps else "", "next_steps": steps})
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
        output.say(found.anchors.told(now()))
        if found.anchors.is_late:
            output.say(
                "next: entries have had no anchor for two days: start dagster-daemon, or run"
                " cops controls --evaluate each day"
            )
        for month, binds in found.months.items():
            wrong = any(month in one.what for one in found.findings)
            output.say(f"{month}: {'NOT as sealed' if wrong else 'as sealed'}; its seal binds {binds}")
        for step in steps:
            output.say(f"next: {step}")
        clock = "check the machine's clock; the chain goes by its numbers, not by times"
        for step in dict.fromkeys(one.next_step or clock for one in found.warnings):
            output.say(f"next: {step}")
    if found.status != "ok":
        raise typer.Exit(1)


@app.command("restored")
def restored(
    reason: Annotated[str, typer.Option(help="Which backup was restored, and why; kept for ever.")],
    json: _Json = False,
) -> None:
    """Say that the database was restored from a backup: the entries since are lost, the chain goes on."""
    from dataclasses import asdict

    from cops_dagster.evidence import restored

    done = restored.accept(desk.books(), reason)
    if json:
        output.as_json(asdict(done))
    else:
        output.say(
            f"the chain goes on after entry {done.ended_at}; anchors up to entry {done.reached} are of what"
            " was lost. Next: cops evidence verify, then cops materialize the months since"
        )


@app.command("replay")
def replay(
    period: Annotated[str, typer.Argument(help="A closed month, YYYY-MM.")],
    json: _Json = False,
) -> None:
    """Make a closed month again from the evidence store alone, and compare it with its seal."""
    from dataclasses import asdict

    from cops_dagster.adjustments import restate
    from cops_dagster.stores.places import open_objects

    current, wanted = desk.settings(), desk.month(period)
    with output.working(f"{wanted}: made again from the evidence"):
        done = restate.replay(current.home, open_objects(current.evidence_uri), wanted, current)
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
