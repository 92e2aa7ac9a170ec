"""`cops tags`: tags before they cost anything, in a provisioning CI and in the payer account."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="Tags of resources, and cost allocation tags of the payer.")

_ROWS_MAX = 1000  # of a table; --json has all


@app.callback()
def _group() -> None:
    """Tags of resources, and cost allocation tags of the payer."""


@app.command("validate")
def validate(
    file: Annotated[Path, typer.Argument(help="Terraform plan as JSON, JSON list of resources, or CSV.")],
    strict: Annotated[bool, typer.Option(help="Warnings fail as well.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check the tags of resources against [tags] and, where there is a home, tenants and plans."""
    from dataclasses import asdict

    from cops_dagster.stores.admin import now
    from cops_dagster.tagging import files, policy

    resources = files.resources(file)
    current, known = desk.settings(), None
    books = desk.books_if_any()
    if books:
        with books.admin.read() as con:
            known = policy.registry(con)
    tags = books.policy.tags if books else current.tags
    found = policy.judge(resources, tags, known, today=now().date())
    errors = sum(finding.severity == "error" for finding in found)
    counts = {"resources": len(resources), "errors": errors, "warnings": len(found) - errors}
    if json:
        output.as_json({**counts, "has_registry": bool(books), "findings": [asdict(one) for one in found]})
    else:
        if found:
            output.table(
                "",
                ["severity", "finding", "resource", "key", "value", "what to do"],
                [
                    [one.severity, one.finding, one.resource, one.key, one.value, one.next_step]
                    for one in found[:_ROWS_MAX]
                ],
            )
        if len(found) > _ROWS_MAX:
            output.say(f"{len(found) - _ROWS_MAX} more findings: --json shows all")
        output.say(", ".join(f"{count} {what}" for what, count in counts.items()))
        if not books:
            output.say("no home: keys and the form of values were checked, tenants and plans were not")
    if errors or (strict and found):
        raise typer.Exit(1)


@app.command("active")
def active(
    file: Annotated[
        Path | None,
        typer.Argument(help="What `aws ce list-cost-allocation-tags` printed; asks AWS without it."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare [tags] with the payer's active cost allocation tags, and keep the list."""
    from dataclasses import asdict

    from cops_dagster.tagging import active, files

    current = desk.settings()
    tags = files.cost_tags(file) if file else active.listed()
    books = desk.books_if_any()
    if books:
        active.record(books, tags)
    found = active.compare(tags, books.policy.tags if books else current.tags)
    if json:
        output.as_json(
            {"listed": len(tags), "is_kept": bool(books), "findings": [asdict(one) for one in found]}
        )
    else:
        output.table(
            "[tags] and active keys",
            ["severity", "finding", "in [tags]", "used for", "active keys", "what to do"],
            [
                [
                    one.severity,
                    one.finding,
                    one.column,
                    ", ".join(one.mapped_to),
                    ", ".join(one.keys),
                    one.next_step,
                ]
                for one in found
            ],
        )
        output.say(f"{len(tags)} tags listed, {'kept in the home' if books else 'not kept: no home'}")
    if any(one.severity == "error" for one in found):
        raise typer.Exit(1)
