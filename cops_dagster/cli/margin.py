"""`cops margin`: what is left of what tenants are charged, by tenant, plan or service, over months."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cops_dagster.cli import desk, output


class By(StrEnum):
    """What a line is about."""

    tenant = "tenant"
    plan = "plan"
    service = "service"


class Format(StrEnum):
    """How the margin is printed."""

    table = "table"
    csv = "csv"
    json = "json"


_SHOWN = {
    "charged_usd": "billable", "invoiced_usd": "invoiced", "direct_usd": "direct", "shared_usd": "shared",
    "adjustments_usd": "prior-period", "markup_usd": "markup", "own_cost_usd": "own cost",
    "unallocated_usd": "nobody bears yet", "unused_commitments_usd": "unused commitments",
    "margin_usd": "margin",
}  # fmt: skip


def margin(
    period: Annotated[
        str | None, typer.Argument(help="Billing month, YYYY-MM; by default the newest reconciled one.")
    ] = None,
    by: Annotated[By, typer.Option(help="tenant, plan or service.")] = By.tenant,
    months: Annotated[int, typer.Option(min=1, max=120, help="So many months up to this one.")] = 1,
    units: Annotated[bool, typer.Option("--units", help="What a unit of each usage key costs.")] = False,
    per: Annotated[int, typer.Option(min=1, help="With --units: of so many, such as 1000000.")] = 1,
    service: Annotated[str | None, typer.Option(help="With --units: the cost of this service alone.")] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="As the month stands, with or without a reconciliation.")
    ] = False,
    as_: Annotated[Format, typer.Option("--format", help="table, csv or json.")] = Format.table,
    out: Annotated[Path | None, typer.Option(help="Folder for every view of it as CSV.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print the margin: what tenants are charged and invoiced, what it costs, and what is left."""
    import sys

    from cops_dagster.exports import margin, margin_files
    from cops_dagster.stores.csv_cells import write_records

    books = desk.books()
    month = desk.month_if_given(period) or margin.newest_month(books)
    made = margin.margins(books, month, months, draft=draft)
    for one in made.left_out:
        output.say(f"{one} was never reconciled here and is left out")
    if made.is_draft:
        output.say("DRAFT: no reconciliation stands behind these figures")
    if out is not None:
        margin_files.write(books, made, out)
        output.say(f"written: {out}")
        return
    rows = margin.units(made, by.value, per=per, service=service) if units else margin.rows(made, by.value)
    if json or as_ is Format.json:
        output.as_json(rows)
    elif as_ is Format.csv:
        write_records(sys.stdout, rows)
    elif units:
        columns = ["units", "cost_usd", "unit_cost_usd", "unit_charge_usd"]
        output.table(
            f"{month}: unit costs by {by.value}"
            + (f", per {per:,} units" if per > 1 else "")
            + (f", of {service}" if service else ""),
            ["month", by.value, "key", *columns],
            [
                [f"{row['period_start']:%Y-%m}", row["name"], row["key_name"]]
                + [output.usd(row[name], 2 if name == "cost_usd" else 6) for name in columns]
                for row in rows
            ],
            right=columns,
        )
    else:
        total = [row | {"name": "total"} for row in margin.totals(made)]
        output.table(
            f"{'DRAFT ' if made.is_draft else ''}{month}: margin by {by.value}, USD",
            ["month", by.value, *_SHOWN.values(), "%"],
            [_told(row) for row in [*rows, *total]],
            right=[*_SHOWN.values(), "%"],
        )


def _told(row: dict[str, Any]) -> list[str]:
    """A line for people: what is charged is the sum of the cents that it is shown as made of."""
    from cops_dagster.money import footing

    parts = ("direct_usd", "shared_usd", "adjustments_usd", "markup_usd")
    shown = {name: output.usd(row[name]) for name in _SHOWN}
    if row["charged_usd"] is not None:
        steps: Any = [*(("change", row[name]) for name in parts), ("level", row["charged_usd"])]
        shown |= dict(zip((*parts, "charged_usd"), footing.told(steps), strict=True))
    pct = "" if row["margin_pct"] is None else output.usd(row["margin_pct"])
    return [f"{row['period_start']:%Y-%m}", row["name"] or "none", *shown.values(), pct]
