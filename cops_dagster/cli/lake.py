"""`cops lake`: the Iceberg projection of the published files."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="The Iceberg tables for other engines.")


@app.callback()
def _group() -> None:
    """The Iceberg tables for other engines."""


@app.command("rebuild")
def rebuild(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Make the Iceberg tables anew from the published files; nothing is rewritten."""
    from cops_dagster.evidence import sweep

    with output.working("projecting every published run"):
        done = sweep.rebuild(desk.books())
    output.told(json, {"runs": done}, f"Iceberg tables rebuilt from {done} published runs")
