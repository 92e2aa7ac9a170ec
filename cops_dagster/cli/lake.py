"""`cops lake`: the Iceberg projection of the published files."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The Iceberg tables for other engines.")


@app.callback()
def _group() -> None:
    """The Iceberg tables for other engines."""


@app.command("rebuild")
def rebuild(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Make the Iceberg tables anew from the published files; nothing is rewritten."""
    from cops_dagster import settings
    from cops_dagster.cli import output
    from cops_dagster.evidence import sweep
    from cops_dagster.evidence.home import require_books

    with output.working("projecting every published run"):
        done = sweep.rebuild(require_books(settings.current()))
    output.told(json, {"runs": done}, f"Iceberg tables rebuilt from {done} published runs")
