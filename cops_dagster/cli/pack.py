"""`cops pack`: a folder for each tenant, with its statement and how every amount came."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cops_dagster.cli import desk, output


def pack(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    tenant: Annotated[str | None, typer.Option(help="The pack of one tenant instead of all.")] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Also of a month that is not settled; every page says so.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write a folder for each tenant of a month: statement, FOCUS, shared amounts, how to dispute."""
    from cops_dagster.exports import packs

    with output.working(f"packs of {period}"):
        made = packs.pack(desk.books(), desk.month(period), out, tenant_id=tenant, draft=draft)
    facts = [{"tenant_id": one.tenant_id, "folder": str(one.folder), "sha256": one.sha256} for one in made]
    output.told(json, {"packs": facts}, *(str(one.folder) for one in made))
