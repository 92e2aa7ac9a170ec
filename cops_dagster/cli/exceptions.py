"""`cops exceptions`: what does not tie out, and what was decided about it."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="What does not tie out, and what was decided about it.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """What does not tie out, and what was decided about it."""


@app.command("list")
def list_(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was settled by itself, and what went away.")
    ] = False,
    json: _Json = False,
) -> None:
    """List the exceptions of a month, open ones and large ones first; exit 1 while any is open."""
    from dataclasses import asdict

    from cops_dagster.reconciliation import exceptions

    wanted = desk.known_month(period)
    with desk.books().admin.read() as con:
        found = exceptions.current(con, wanted, everything=everything)
    settled = [one for one in found if one.status == "resolved" and one.resolved_by == exceptions.SETTLED_BY]
    shown = found if everything else [one for one in found if one not in settled]
    if json:
        output.as_json([{**asdict(one), "period": str(one.period)} for one in shown])
    else:
        output.table(
            f"{wanted}: exceptions",
            ["id", "status", "stage", "subject", "class", "USD", "owner", "what", "decision", "evidence"],
            [
                [
                    one.exception_id[:16],
                    one.status,
                    one.stage,
                    one.subject_id[:40] or one.tenant_id,
                    one.kind,
                    output.usd(one.amount_usd),
                    one.owner,
                    one.note,
                    one.decision,
                    one.evidence,
                ]
                for one in shown
            ],
            right=["USD"],
        )
        if len(found) > len(shown):
            output.say(f"{len(found) - len(shown)} more settled by themselves (see them with --all)")
    if any(one.status in ("open", "decided") for one in found):
        raise typer.Exit(1)


@app.command("decide")
def decide(
    exception_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an exception, or its beginning.")],
    decision: Annotated[str, typer.Option(help="What was decided, in words.")],
    evidence: Annotated[str, typer.Option(metavar="LINK", help="What proves it.")],
    json: _Json = False,
) -> None:
    """Decide about an exception; a second person approves it with `cops approve`."""
    from dataclasses import asdict

    from cops_dagster.evidence import consent, signatures
    from cops_dagster.reconciliation import exceptions

    books = desk.books()
    done = exceptions.decide(books, exception_id, decision=decision, evidence=evidence)
    with books.admin.read() as con:
        identity = signatures.told(con, "decide", (consent.EXCEPTION, done.exception_id))
    if json:
        output.as_json({**asdict(done), "period": str(done.period), "identity": identity})
        return
    output.say(
        f"{done.period}: exception {done.exception_id[:16]} decided by {done.decided_by} ({identity});"
        " now a second person:"
    )
    output.say(f"cops approve {done.exception_id[:16]} --reason '…'")
