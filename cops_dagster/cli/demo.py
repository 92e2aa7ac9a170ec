"""`cops demo`: three realistic months from delivery to reconciled, the first of them closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.closing.close import Closed
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period

SECOND = "demo-second-person"
"""Who approves in the demo what its user asks for."""


def demo(
    lines: Annotated[int, typer.Option(help="CUR lines per month.")] = 20_000,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write three months of CUR with rules, keys, invoices and budgets, reconcile them, close the first."""
    from cops_dagster.cli import materialize, status
    from cops_dagster.closing import current
    from cops_dagster.demo import lines_of, write_demo
    from cops_dagster.evidence import sweep
    from cops_dagster.evidence.adoption import require_policy
    from cops_dagster.inputs.load import load
    from cops_dagster.reports import close_report

    configured = desk.settings()
    if configured.cur:
        raise CopsError(
            "E-SETTING",
            "COPS_CUR",
            expected="no report root of your own while the demo is made",
            found=configured.cur,
            next_step="unset COPS_CUR, or give the demo its own COPS_HOME",
        )
    folder = configured.home / "demo"
    known = lines_of(folder)
    if known not in (None, lines):
        raise CopsError(
            "E-DEMO-LINES",
            f"demo in {folder}",
            expected=f"{known} lines a month, as this home has",
            found=f"{lines} lines asked for",
            next_step="give the other demo its own COPS_HOME",
        )
    books = desk.new_books()  # refused where it may not be made, before anything is written
    output.say(f"writing demo deliveries and inputs to {folder}")
    months = write_demo(folder, lines=lines)
    require_policy(books, is_run=True)
    load(books, [folder / "inputs"])
    sweep.sweep(books)
    failed = []
    for period in months:
        if not current.is_current(books, period):
            output.say(f"materialising {period}")
            failed += [{"period": str(period), **check} for check in materialize.run(books, period, None)]
    first = min(months)
    sealed = _close_by_two(books, first)
    output.say(f"{first} {'closed' if sealed.wrote else 'was closed before'}, seal {sealed.seal_digest}")
    report = close_report.keep(books, first)
    typed = _next(books, first, max(months))
    if json:
        output.as_json(
            {
                "months": [str(period) for period in months],
                "failed_checks": failed,
                "closed": str(first),
                "seal_digest": sealed.seal_digest,
                "close_report": report.url,
                "next": typed,
            }
        )
        return
    if failed:
        output.table(
            "checks that do not hold (the demo has such months on purpose)",
            ["period", "check", "severity", "figures"],
            [
                [one["period"], one["check"], one["severity"], output.readable(one["figures"])]
                for one in failed
            ],
        )
    status.print_statuses(books, None)
    output.say(f"close report of {first}: {report.url}")
    output.say("next, type here:")
    for line in typed:
        output.say(f"  {line}")


def _next(books: Books, closed: Period, newest: Period) -> list[str]:
    """What to type next, such that it works as typed: in this folder, on this home, in this environment."""
    import shlex
    import shutil
    import sys
    from pathlib import Path

    typed = []
    activate = Path(sys.executable).parent / "activate"
    if shutil.which("cops") is None and activate.exists():
        place = activate.relative_to(Path.cwd()) if activate.is_relative_to(Path.cwd()) else activate
        typed.append(f". {shlex.quote(str(place))}")
    if books.settings.home_named_by == "COPS_HOME":  # it may have been set for this one command
        typed.append(f"export COPS_HOME={shlex.quote(str(books.settings.home))}")
    typed += [
        f"cops doctor {newest}",
        f"cops explain --tenant acme --period {closed}",
        f"cops report {closed} --out report",
    ]
    if Path("Makefile").exists() and Path("workspace.yaml").exists():
        typed.append("make ui")
    return typed


def _close_by_two(books: Books, period: Period) -> Closed:
    """Closes a month as two people do; the second is invented like everything else of the demo."""
    from dataclasses import replace

    from cops_dagster.closing import approve, close

    try:
        return close.close(books, period)
    except CopsError as asked:
        if asked.code != "E-SECOND-PERSON":
            raise
    output.say(f"{books.actor} wants {period} closed; {SECOND} looks and agrees")
    second = replace(books, settings=books.settings.model_copy(update={"actor": SECOND}))
    done = approve.approve(second, f"close-{period}", reason="the demo's first month is complete")
    return replace(close.close(books, period), wrote=done.was_new)
