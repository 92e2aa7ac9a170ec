"""`cops approve`: a second person's yes."""

from __future__ import annotations

from typing import Annotated

import typer


def approve(
    subject: Annotated[str, typer.Argument(metavar="ID", help="Id of what waits, or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why it is right; kept beside the approval.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Approve what the books hold back, such as a month that shrank. Not by the one who brought it in."""
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger import approve as act
    from cops_dagster.ledger.books import open_books

    books = open_books(settings.current())
    waiting, is_new = act.approve(books, subject, reason=reason)
    if json:
        output.as_json({"subject_id": waiting.subject_id, "period": str(waiting.period), "was_new": is_new})
        return
    said = "approved" if is_new else f"approved before, by {waiting.approved_by}"
    output.say(f"{waiting.period}: delivery {waiting.subject_id[:16]} of {waiting.source_id} {said}")
    output.say(f"next: cops materialize {waiting.period}")
