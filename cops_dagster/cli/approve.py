"""`cops approve`: a second person's yes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.closing.approve import Approved
    from cops_dagster.ledger.books import Books


def approve(
    subject: Annotated[str, typer.Argument(metavar="ID", help="Id of what waits, or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why it is right; kept beside the approval.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Approve what the books hold back: a month that shrank, an adjustment, a close. Not by who asked."""
    from dataclasses import asdict

    from cops_dagster.cli.close import print_missing
    from cops_dagster.closing import approve
    from cops_dagster.evidence import sweep

    books = desk.books()
    if subject.startswith("close-"):
        sweep.sweep(books)  # a close wants nothing left over, as `cops close` does
    try:
        with output.working(f"{subject}: approving"):
            done = approve.approve(books, subject, reason=reason)
    except CopsError as problem:
        if problem.code != "E-NOT-READY":
            raise
        print_missing(problem, as_json=json)
        raise typer.Exit(1) from None
    further = _further(books, done)
    if json:
        output.as_json({**asdict(done), "period": str(done.period), **further})
        return
    if done.was_new:
        output.say(f"{done.period}: {done.what} approved by {done.approved_by} ({done.identity})")
    else:
        output.say(
            f"{done.period}: {done.what} was approved before, by {done.approved_by}"
            f" ({done.identity}) on {done.approved_at:%Y-%m-%d %H:%M} UTC"
        )
    for name, value in further.items():
        output.say(f"{name.replace('_', ' ')}: {value}")
    output.say(f"next: {done.next_step}")


def _further(books: Books, done: Approved) -> dict[str, object]:
    """What follows at once: the month that an adjustment was booked in settles, a closed month's report."""
    from cops_dagster.evidence import consent

    if done.subject_type == consent.ADJUSTMENT and done.was_new:
        from cops_dagster.cli.allocation import settle

        settle(books, done.period)
    if done.subject_type == consent.CLOSE:
        from cops_dagster.cli.close import sealed
        from cops_dagster.closing import close

        return sealed(books, close.close(books, done.period))
    return {}
