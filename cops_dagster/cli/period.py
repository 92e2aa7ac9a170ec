"""`cops period`: where a month stands, and what people mark."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="The state of a month and its history.")

_Period = Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")]
_Reason = Annotated[str, typer.Option(help="Why; kept in the month's history.")]
_Evidence = Annotated[str | None, typer.Option(metavar="LINK", help="What proves it.")]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """The state of a month and its history."""


@app.command("show")
def show(
    period: _Period, json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False
) -> None:
    """Show every move of a month: when, by whom, why."""
    from cops_dagster.closing import periods

    wanted, books = desk.known_month(period), desk.books()
    moves = periods.history(books, wanted)
    if json:
        output.as_json(moves)
        return
    output.table(
        f"{wanted}: moves",
        ["seq", "from", "to", "at (UTC)", "by", "why", "evidence"],
        [
            [
                one["state_seq"],
                one["from_state"],
                one["to_state"],
                f"{one['changed_at']:%Y-%m-%d %H:%M:%S}",
                one["actor"],
                one["reason"],
                one["evidence_id"],
            ]
            for one in moves
        ],
        right=["seq"],
    )


@app.command("mark-delayed")
def mark_delayed(period: _Period, reason: _Reason, evidence: _Evidence = None, json: _Json = False) -> None:
    """Say that AWS has not delivered what it should have; the next delivery takes it back."""
    _mark(period, "delayed", reason, evidence, json)


@app.command("mark-provisional")
def mark_provisional(
    period: _Period, reason: _Reason, evidence: _Evidence = None, json: _Json = False
) -> None:
    """Keep a month from being final, or open a final one again for runs, until the next delivery."""
    _mark(period, "provisional", reason, evidence, json)


@app.command("mark-final")
def mark_final(period: _Period, reason: _Reason, evidence: _Evidence = None, json: _Json = False) -> None:
    """Say that nothing is expected any more; refused while anything that makes a month final is missing."""
    _mark(period, "final", reason, evidence, json)


def _mark(period: str, there: str, reason: str, evidence: str | None, json: bool) -> None:
    from cops_dagster.closing import periods

    wanted = desk.month(period)
    moved = periods.mark(desk.books(), wanted, there, reason=reason, evidence=evidence)
    output.told(
        json,
        {"period": str(wanted), "state": there, "has_moved": moved},
        f"{wanted}: {'now' if moved else 'already'} {there}",
    )
