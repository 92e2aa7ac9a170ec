"""`cops admin`: loading what people decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Tenants, rules, keys, invoices, budgets.")


@app.callback()
def _group() -> None:
    """Tenants, rules, keys, invoices, budgets."""


@app.command("load")
def load(
    paths: Annotated[list[Path], typer.Argument(help="CSV files named after their table, or folders.")],
    replace: Annotated[bool, typer.Option(help="Replace descriptive columns of open periods.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Load CSV files, validated, all or nothing; an identical row is nothing to do."""
    from dataclasses import asdict

    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.ledger.books import open_books
    from cops_dagster.ledger.load import load as act
    from cops_dagster.ledger.policy import require_policy

    books = open_books(settings.current())
    require_policy(books)
    done = act(books.admin, paths, actor=books.actor, replace=replace, tags=books.policy.tags)
    if json:
        output.as_json(asdict(done))
        return
    output.table(
        "",
        ["table", "inserted", "unchanged", "replaced"],
        [[name, one.inserted, one.unchanged, len(one.replaced)] for name, one in done.tables.items()],
        right=["inserted", "unchanged", "replaced"],
    )
    for name, one in done.tables.items():
        for kind, count in one.left_out.items():
            output.say(f"{name}: {count} {kind} left out, it is no invoice")
