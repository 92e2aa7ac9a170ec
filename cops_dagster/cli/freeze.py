"""`cops freeze`: may new invoices be issued, and letting them again."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="Whether new invoices may be issued.")

_Period = Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")]


@app.callback()
def _group() -> None:
    """Whether new invoices may be issued."""


@app.command("check")
def check(
    period: _Period, json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False
) -> None:
    """Ask before issuing an invoice of a month: exit 0 if it may be issued, 1 if frozen, 2 if unknown."""
    from cops_dagster.evidence import consent
    from cops_dagster.ledger import month
    from cops_dagster.reconciliation import freeze

    wanted = desk.month(period)
    with desk.books().admin.read() as con:
        found = freeze.in_force(con, wanted)
        if not found:  # whoever asks is let through by nothing but a month that these books know
            month.require_known(con, wanted)
    if json:
        output.as_json(
            {
                "period": str(wanted),
                "frozen": bool(found),
                "freezes": [{"name": consent.name_of(row), **row._mapping} for row in found],
            }
        )
    elif not found:
        output.say(f"{wanted}: invoices are not frozen")
    for row in () if json else found:
        output.say(f"{wanted}: {consent.name_of(row)} since {row.set_at:%Y-%m-%d %H:%M} UTC: {row.reason}")
        if row.release_requested_by:
            output.say(f"  release asked for by {row.release_requested_by}: {row.release_reason}")
    if found:
        raise typer.Exit(1)


@app.command("release")
def release(
    period: _Period,
    reason: Annotated[str, typer.Option(help="Why it may end.")],
    evidence: Annotated[str, typer.Option(metavar="LINK", help="What proves it.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Ask for the end of a month's freeze, once it reconciles again; a second person approves it."""
    from cops_dagster.evidence import consent, signatures
    from cops_dagster.reconciliation import freeze

    wanted = desk.known_month(period)
    books = desk.books()
    names = freeze.request_release(books, wanted, reason=reason, evidence=evidence)
    with books.admin.read() as con:
        ever = {consent.name_of(row): row for row in freeze.of(con, wanted)}
        identity = {name: signatures.told(con, "request", (consent.FREEZE, name)) for name in names}
    lines = [f"{wanted}: no freeze of this month is in force"] if not names else []
    for name, row in ever.items() if not names else ():
        lines.append(f"{name} was released by {row.released_by}, {row.released_at:%Y-%m-%d %H:%M} UTC")
    for name, was_new in names.items():
        by = f"{' already' * (not was_new)} by {ever[name].release_requested_by} ({identity[name]})"
        lines.append(f"{wanted}: release of {name} was asked for{by}; now a second person:")
        lines.append(f"cops approve {name} --reason '…'")
    asked = {name: ever[name].release_requested_by for name in names}
    output.told(
        json,
        {
            "period": str(wanted),
            "to_approve": list(names),
            "requested_by": asked,
            "identity": identity,
            "was_new": any(names.values()),
        },
        *lines,
    )
