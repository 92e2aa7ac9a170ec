"""`cops audit`: what an auditor takes along, and redoes with programs of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="Samples for auditors.")


@app.callback()
def _group() -> None:
    """Samples for auditors."""


@app.command("sample")
def sample(
    period: Annotated[str, typer.Argument(help="A closed month, YYYY-MM.")],
    seed: Annotated[str, typer.Option(help="By the auditor, as 2025-4711; the same chooses the same.")],
    n: Annotated[int, typer.Option("--n", help="How many entries are chosen.")] = 25,
    out: Annotated[Path, typer.Option(help="Folder below which the sample is written.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Write every entry of a closed month, its proof, a sample with the evidence behind it, and a script."""
    from dataclasses import asdict

    from cops_dagster.money import amount
    from cops_dagster.reports import audit

    wanted, books = desk.month(period), desk.books()
    with output.working(f"{wanted}: reading every entry and its evidence"):
        done = audit.sample(books, wanted, n=n, seed=seed, out=out)
    output.told(
        json,
        asdict(done),
        f"{done.folder}: {done.chosen} of {done.population} entries, {amount.plain(done.allocated_usd)} USD",
        f"SHA-256 of its {audit.SUMS}: {done.digest}",
        f"next: sh {done.folder / audit.SCRIPT}",
    )
