"""`cops focus export`: a month as FOCUS files, the cost side or the sell side."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(name="focus", help="FOCUS files of a month.", no_args_is_help=True, rich_markup_mode=None)


class Side(StrEnum):
    """Whose bill it is: AWS's to us, or ours to the tenants."""

    cost = "cost"
    sell = "sell"


class Version(StrEnum):
    """Of the FOCUS specification."""

    v1_2 = "1.2"
    v1_4 = "1.4"


@app.command()
def export(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    out: Annotated[Path, typer.Option(help="Folder to write; an export that stands there is replaced.")],
    side: Annotated[
        Side, typer.Option(help="cost: what AWS billed us. sell: what tenants are charged and billed.")
    ] = Side.cost,
    version: Annotated[Version, typer.Option(help="Version of FOCUS.")] = Version.v1_4,
    draft: Annotated[
        bool, typer.Option("--draft", help="Write a month that is not reconciled; every row says so.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write a month as FOCUS files: Cost and Usage, and in 1.4 invoices, periods and commitments."""
    from cops_dagster.exports import focus

    books, month = desk.books(), desk.month(period)
    with output.working(f"exporting {month}"):
        done = focus.export(books, month, out, side=side.value, version=version.value, draft=draft)
    facts: dict[str, Any] = {
        "period": str(month), "export": done.name, "folder": str(done.folder), "sha256": done.sha256,
        "rows": done.rows, "draft": done.is_draft, "entries_apart": list(done.apart),
        "unknown_commitments": list(done.unknown_commitments),
    }  # fmt: skip
    told = [f"{month}: {done.rows:,} charges in {done.folder}, sha256 {done.sha256}"]
    if done.is_draft:
        told.append("a draft: every row says so, and nothing was recorded")
    if done.apart:
        told.append(
            f"{len(done.apart)} direct entries left as a whole: today's register tells their lines otherwise"
        )
    if done.unknown_commitments:
        told.append(
            f"{len(done.unknown_commitments)} commitments are not in Contract Commitment:"
            " the bill does not say begin, end, term and payment of them"
        )
    output.told(json, facts, *told)
