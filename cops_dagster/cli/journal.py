"""`cops journal`: the entries that finance books, and the accounts that they are booked by."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="The journal for finance, and its account map.")


class Format(StrEnum):
    """How a journal is printed."""

    csv = "csv"
    beancount = "beancount"
    hledger = "hledger"


@app.command("export")
def export(
    periods: Annotated[list[str], typer.Argument(help="Billing months, YYYY-MM.", metavar="PERIOD...")],
    as_: Annotated[Format, typer.Option("--format", help="What is printed without --out.")] = Format.csv,
    out: Annotated[Path | None, typer.Option(help="Folder for all three formats.")] = None,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="Mark it as a draft and record nothing; asks for no reconciliation."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --out: what was written, as JSON.")] = False,
) -> None:
    """Write the journal of months: accrued while they are open, as they came to once they are closed."""
    import sys

    from cops_dagster.exports import journal, journal_files, journal_text

    books, months = desk.books(), [desk.month(text) for text in periods]

    def give_out() -> list[journal.Journal]:
        if draft:
            return [journal.draft(books, one) for one in dict.fromkeys(months)]
        made = journal.exports(books, months)
        journal_files.keep(books, made)
        return made

    if out is None:
        made = give_out()
        write = {
            "csv": journal_text.csv,
            "beancount": journal_text.beancount,
            "hledger": journal_text.hledger,
        }
        sys.stdout.write(write[as_.value](made))
    else:
        made = list(journal_files.write(give_out, out))
    facts = {
        "months": [
            {"period": str(one.period), "entries": len(one.posted), "new": one.new, "is_draft": one.is_draft}
            for one in made
        ],
        "folder": str(out) if out else None,
    }
    lines = [
        f"{one.period}: {len(one.posted)} entries, "
        + ("a DRAFT: nothing was recorded" if one.is_draft else f"{one.new} of them new")
        for one in made
    ]
    output.told(json and out is not None, facts, *lines)


@app.command("accounts")
def accounts(
    default: Annotated[
        bool,
        typer.Option(
            "--default",
            help="Print the map that is shipped, to look through and load; rows that are loaded as they are.",
        ),
    ] = False,
    period: Annotated[
        str | None, typer.Option(help="The month whose first day counts; by default this one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show by which accounts the journal of a month is booked."""
    import sys

    from cops_dagster.exports import accounts
    from cops_dagster.period import Period
    from cops_dagster.stores.admin import now

    if default:
        actor, there = desk.settings().actor_name, desk.books_if_any()
        if there is None:
            sys.stdout.write(accounts.default(actor))
            return
        with there.admin.read() as con:
            sys.stdout.write(accounts.default(actor, con))
        return
    month = desk.month(period) if period else Period.of(now().date())
    with desk.books().admin.read() as con:
        rows = accounts.shown(con, month)
    if json:
        output.as_json(rows)
        return
    columns = ["purpose", "tenant", "service", "account", "name", "kind", "what"]
    output.table(f"accounts of {month}", columns, [[row[name] for name in columns] for row in rows])
