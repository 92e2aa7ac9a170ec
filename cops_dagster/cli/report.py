"""`cops report`: a month's close report as one file, with its tables as CSV beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cops_dagster.cli import desk, output


def report(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write the close report of a month: one page to read, mail or print, and its tables as CSV."""
    from cops_dagster.reports import close_report

    files = close_report.write(desk.books(), desk.month(period), out)
    output.told(json, {"files": [str(file) for file in files]}, *map(str, files))
