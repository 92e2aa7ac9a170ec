"""`cops period` and `cops close`: where a month stands, what people mark, and the end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cops_dagster.closing.close import Closed
    from cops_dagster.closing.readiness import Requirement
    from cops_dagster.errors import CopsError
    from cops_dagster.ledger.books import Books

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
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.closing import periods
    from cops_dagster.evidence.home import require_books
    from cops_dagster.ledger import month
    from cops_dagster.period import Period

    wanted, books = Period.parse(period), require_books(settings.current())
    with books.admin.read() as con:
        month.require_known(con, wanted)
    moves = periods.history(books, wanted)
    if json:
        output.as_json(moves)
        return
    output.table(
        "",
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
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.closing import periods
    from cops_dagster.evidence.home import require_books
    from cops_dagster.period import Period

    wanted = Period.parse(period)
    moved = periods.mark(require_books(settings.current()), wanted, there, reason=reason, evidence=evidence)
    output.told(
        json,
        {"period": str(wanted), "state": there, "has_moved": moved},
        f"{wanted}: {'now' if moved else 'already'} {there}",
    )


def close(
    period: _Period,
    dry_run: Annotated[bool, typer.Option(help="Only print the readiness list.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Close a month for ever, once everything on the readiness list holds and a second person agrees."""
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.closing import checklist, close
    from cops_dagster.errors import CopsError
    from cops_dagster.evidence import sweep
    from cops_dagster.evidence.home import require_books
    from cops_dagster.ledger import month
    from cops_dagster.period import Period

    wanted = Period.parse(period)
    books = require_books(settings.current())
    with books.admin.read() as con:
        month.require_known(con, wanted)
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
    from cops_dagster.cli import output

    if as_json:
        told = {"code": problem.code, "found": problem.found, "next_step": problem.next_step}
        output.as_json({"period": period, "ready": True, **told, **problem.details})
        return
    output.say(f"{problem.code}: everything on the readiness list of {period} holds, nothing is closed yet")
    output.say(f"{problem.found}; next: {problem.next_step}")


def _print(period: str, found: list[Requirement], *, as_json: bool) -> None:
    from cops_dagster.cli import output

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
                one.found,
                one.owner,
                "" if one.holds else one.next_step,
            ]
            for one in found
        ],
    )
