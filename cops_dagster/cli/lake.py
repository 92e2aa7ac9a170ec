"""`cops lake`: the published files: how much they are, as views for other engines, as Iceberg tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cops_dagster.cli import desk, output

if TYPE_CHECKING:
    from cops_dagster.period import Period

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
    from cops_dagster.evidence import exports
    from cops_dagster.lake.usage import bytes_of

    books = desk.books()
    exported = exports.listed(books)
    with books.admin.read() as con:
        found = bytes_of(con, books.lake, exported)
        stale = exports.stale(con, exported)
    if json:
        output.as_json([one.__dict__ for one in found])
        return
    output.table(
        "lake",
        ["table", "month", "state", "files", "bytes"],
        [[one.table_name, one.period, one.state, str(one.files), f"{one.size_bytes:,}"] for one in found],
        right=["files", "bytes"],
    )
    _say_stale(stale)


def _say_stale(months: list[Period]) -> None:
    for month in months:
        output.say(f"the export of {month} is stale, its lines were ingested anew: cops lake export {month}")


@app.command("bill")
def bill(
    period: Annotated[str | None, typer.Argument(metavar="[PERIOD]", help="One month, YYYY-MM.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what reading lines on Trino or Athena took: statements, bytes scanned, USD."""
    from cops_dagster.lake.bill import recorded

    found = recorded(desk.books().settings.home, str(desk.month_if_given(period) or ""))
    if json:
        output.as_json(found)
        return
    names = ["ended_at", "engine", "subject", "queries", "scanned_bytes", "usd"]
    rows = [
        [f"{one[name]:,}" if isinstance(one[name], int) else one[name] for name in names] for one in found
    ]
    output.table("engine bill", names, rows, right=names[3:])


@app.command("export")
def export(
    period: Annotated[str, typer.Argument(metavar="PERIOD", help="Month, YYYY-MM.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write a month's lines as a typed copy into the Iceberg table fact_cost_raw_export."""
    from cops_dagster.evidence import exports, sweep
    from cops_dagster.lake.tables import EXPORT

    books, month = desk.books(), desk.month(period)
    with output.working(f"exporting {month}"):
        done = sweep.export(books, month)
        exported = exports.listed(books)
    with books.admin.read() as con:
        stale = exports.stale(con, exported)
    said = {
        "period": str(month),
        "table": EXPORT,
        "wrote": done.wrote,
        "run_ids": list(done.run_ids),
        "rows": done.rows,
        "bytes": done.size_bytes,
        "stale": [str(one) for one in stale],
    }
    text = f"{done.rows:,} lines of {month} in {EXPORT}, {done.size_bytes:,} bytes"
    output.told(json, said, text if done.wrote else f"nothing to do: {text}")
    if not json:
        _say_stale(stale)


@app.command("views")
def views(
    period: Annotated[str | None, typer.Argument(metavar="[PERIOD]", help="One month, YYYY-MM.")] = None,
    dialect: Annotated[
        Literal["duckdb", "trino", "athena"], typer.Option(help="Whose SQL it is.")
    ] = "duckdb",
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print the lake's tables as view statements, which another engine runs over the same files."""
    from cops_dagster.lake import opened, outside, printed

    books, month = desk.books(), desk.month_if_given(period)
    start = month.start if month else None
    with books.admin.read() as con:
        if dialect == "duckdb":
            statements = printed.views(con, books.lake, start)
        else:
            with opened.kept_files(books.settings, books.admin, month) as engine:
                statements = outside.views(con, books.lake, engine, dialect, start)
    if json:
        output.as_json({"dialect": dialect, "sql": statements})
    else:
        typer.echo(statements)


@app.command("register")
def register(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show the kept lines in the catalog, as tables and views that Athena or Trino asks by name."""
    from cops_dagster.lake import iceberg, opened, registered

    books = desk.books()
    with (
        output.working(f"registering kept files in {registered.DATABASE}"),
        books.admin.read() as con,
        opened.kept_files(books.settings, books.admin, None) as engine,
    ):
        catalog, queries = (
            iceberg.open_catalog(books.settings),
            opened.queries(books.settings, registered.DATABASE),
        )
        done = registered.register(con, books.lake, engine, catalog, queries)
    said = {"database": registered.DATABASE, **done.__dict__}
    text = f"{registered.DATABASE}: {len(done.tables)} tables of files, {len(done.views)} views over them"
    output.told(json, said, text)
