"""`cops admin`: loading what people decide, and what was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output

if TYPE_CHECKING:
    from cops_dagster.inputs.load import LoadReport
    from cops_dagster.inputs.load_log import Logged

app = typer.Typer(no_args_is_help=True, help="Tenants, rules, keys, invoices, budgets.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """Tenants, rules, keys, invoices, budgets."""


@app.command("load")
def load(
    paths: Annotated[list[Path], typer.Argument(help="CSV files named after their table, or folders.")],
    replace: Annotated[bool, typer.Option(help="Replace descriptive columns of open periods.")] = False,
    json: _Json = False,
) -> None:
    """Load CSV files, validated, all or nothing; an identical row is nothing to do."""
    from cops_dagster.inputs import load

    done = load.load(desk.new_books(), paths, replace=replace)
    if json:
        output.as_json(_told(done))
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
        if one.proved:
            output.say(
                f"{name}: {len(one.proved)} row(s) that no load had written stand as given, says this one"
            )
    if done.load_id:
        output.say(f"load {done.load_id[:16]} by {done.actor} ({done.identity}); see cops admin log")


def _told(done: LoadReport) -> dict[str, Any]:
    """The report as JSON; inserted rows are counted here, and stand whole in the evidence."""
    return {
        "actor": done.actor, "identity": done.identity, "loaded_at": done.loaded_at, "load_id": done.load_id,
        "tables": {
            name: {
                "inserted": one.inserted, "unchanged": one.unchanged,
                "replaced": [vars(each) for each in one.replaced], "left_out": one.left_out,
            }
            for name, one in done.tables.items()
        },
    }  # fmt: skip


@app.command("log")
def log(
    table: Annotated[str | None, typer.Option(help="Only loads of this table.")] = None, json: _Json = False
) -> None:
    """Show what was loaded: who, when, from which files, and both versions of every replaced row."""
    from dataclasses import asdict

    from cops_dagster.inputs import load_log

    with desk.books().admin.read() as con:
        found = load_log.history(con, table)
    if json:
        output.as_json([asdict(one) for one in found])
        return
    output.table(
        "loads",
        ["load", "at (UTC)", "by", "identity", "table", "inserted", "replaced", "files"],
        [
            [
                one.load_id[:16],
                f"{one.loaded_at:%Y-%m-%d %H:%M:%S}",
                one.actor,
                one.identity,
                one.table,
                one.inserted,
                len(one.replaced),
                ", ".join(f"{file['name']} {file['sha256'][:16]}" for file in one.files),
            ]
            for one in found
        ],
        right=["inserted", "replaced"],
    )
    changes = [row for one in found for row in _changes(one)]
    if changes:
        output.table("replaced", ["load", "table", "row", "column", "before", "after"], changes)


def _changes(one: Logged) -> list[list[object]]:
    return [
        [
            one.load_id[:16],
            one.table,
            ", ".join(f"{name}={value}" for name, value in each["key"].items()),
            column,
            before,
            each["new"][column],
        ]
        for each in one.replaced
        for column, before in each["old"].items()
    ]
