"""`cops close`: the end of a month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.closing.close import Closed
    from cops_dagster.closing.readiness import Requirement
    from cops_dagster.ledger.books import Books


def close(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    dry_run: Annotated[bool, typer.Option(help="Only print the readiness list.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Close a month for ever, once everything on the readiness list holds and a second person agrees."""
    from cops_dagster.closing import checklist, close
    from cops_dagster.evidence import sweep

    wanted = desk.known_month(period)
    books = desk.books()
    if dry_run:
        found = checklist.requirements(books, wanted)
        _print(str(wanted), found, as_json=json)
        raise typer.Exit(0 if all(one.holds for one in found) else 1)
    sweep.sweep(books)
    try:
        with output.working(f"{wanted}: closing"):
            done = close.close(books, wanted)
    except CopsError as problem:
        if problem.code == "E-SECOND-PERSON":
            _print_unanswered(str(wanted), problem, as_json=json)
            raise typer.Exit(1) from None
        if problem.code != "E-NOT-READY":
            raise
        print_missing(problem, as_json=json)
        raise typer.Exit(1) from None
    told = sealed(books, done)
    if json:
        output.as_json({"period": str(wanted), **told, "was_new": done.wrote})
        return
    before = f"was closed already by {done.closed_by}, {done.closed_at:%Y-%m-%d %H:%M} UTC"
    output.say(f"{wanted}: {'closed' if done.wrote else before} ({done.identity}), seal {done.seal_digest}")
    output.say(f"report: {told['close_report']}")


def print_missing(problem: CopsError, *, as_json: bool) -> None:
    """The readiness list of an `E-NOT-READY`."""
    from cops_dagster.closing.readiness import Requirement

    listed = [Requirement(**one) for one in problem.details["readiness"]]
    _print(problem.subject.removeprefix("period "), listed, as_json=as_json)


def sealed(books: Books, done: Closed) -> dict[str, object]:
    """What is told of a closed month: its seal, and the report that is made again on it."""
    from cops_dagster.reports import close_report

    return {
        "state": "closed", "close_report": close_report.keep(books, done.period).url,
        "seal_digest": done.seal_digest, "journal_seq": done.journal_seq,
        "closed_by": done.closed_by, "closed_at": done.closed_at, "identity": done.identity,
    }  # fmt: skip


def _print_unanswered(period: str, problem: CopsError, *, as_json: bool) -> None:
    if as_json:
        told = {"code": problem.code, "found": problem.found, "next_step": problem.next_step}
        output.as_json({"period": period, "ready": True, **told, **problem.details})
        return
    output.say(f"{problem.code}: everything on the readiness list of {period} holds, nothing is closed yet")
    output.say(f"{problem.found}; next: {problem.next_step}")


def _print(period: str, found: list[Requirement], *, as_json: bool) -> None:
    if as_json:
        ready = all(one.holds for one in found)
        output.as_json({"period": period, "ready": ready, "readiness": [one.__dict__ for one in found]})
        return
    output.table(
        f"{period}: what a close needs",
        ["", "must hold", "found", "owner", "next"],
        [
            [
                "ok" if one.holds else "NO",
                one.name.replace("_", " "),
                output.readable(one.found),
                one.owner,
                "" if one.holds else one.next_step,
            ]
            for one in found
        ],
    )
