"""`cops approve`: a second person's yes."""

from __future__ import annotations

from typing import Annotated

import typer


def approve(
    subject: Annotated[str, typer.Argument(metavar="ID", help="Id of what waits, or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why it is right; kept beside the approval.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Approve what the books hold back: a month that shrank, an adjustment. Not by the one who asked."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import approve as act
    from cops_dagster.ledger.books import require_books

    books = require_books(settings.current())
    done = act.approve(books, subject, reason=reason)
    if done.subject_type == act.ADJUSTMENT and done.was_new:
        from cops_dagster.cli import runs

        runs.settle(books, done.period)
    if json:
        output.as_json({**asdict(done), "period": str(done.period)})
        return
    before = f" by {done.approved_by}, {done.approved_at:%Y-%m-%d %H:%M} UTC" if done.approved_at else ""
    said = "approved" if done.was_new else f"was approved before{before}"
    output.say(f"{done.period}: {done.what} {said} ({done.identity})")
    output.say(f"next: {done.next_step}")
