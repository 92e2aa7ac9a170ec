"""`cops lake`: the published files: how much they are, as views for other engines, as Iceberg tables."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="The lake's files, and its tables for other engines.")


@app.callback()
def _group() -> None:
    """The lake's files, and its tables for other engines."""


@app.command("rebuild")
def rebuild(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Make the Iceberg tables anew from the published files; nothing is rewritten."""
    from cops_dagster.evidence import sweep

    with output.working("projecting every published run"):
        done = sweep.rebuild(desk.books())
    output.told(json, {"runs": done}, f"Iceberg tables rebuilt from {done} published runs")


@app.command("usage")
def usage(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show how many bytes the lake's files are, by table, month and state."""
    from cops_dagster.lake.usage import bytes_of

    books = desk.books()
    with books.admin.read() as con:
        found = bytes_of(con, books.lake)
    if json:
        output.as_json([one.__dict__ for one in found])
        return
    output.table(
        "lake",
        ["table", "month", "state", "files", "bytes"],
        [[one.table_name, one.period, one.state, str(one.files), f"{one.size_bytes:,}"] for one in found],
        right=["files", "bytes"],
    )


@app.command("views")
def views(
    period: Annotated[str | None, typer.Argument(metavar="[PERIOD]", help="One month, YYYY-MM.")] = None,
    dialect: Annotated[Literal["duckdb"], typer.Option(help="Whose SQL it is.")] = "duckdb",
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print the lake's tables as view statements, which another engine runs over the same files."""
    from cops_dagster.lake import printed

    books, month = desk.books(), desk.month_if_given(period)
    with books.admin.read() as con:
        statements = printed.views(con, books.lake, month.start if month else None)
    if json:
        output.as_json({"dialect": dialect, "sql": statements})
    else:
        typer.echo(statements)
