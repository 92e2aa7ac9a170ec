"""`cops commitments`: what each reservation and savings plan was worth in a month."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cops_dagster.cli import desk, output

_USD = ("bought_usd", "used_usd", "unused_usd", "on_demand_usd", "saved_usd")
_PCT = ("utilisation_pct", "coverage_pct", "savings_rate_pct")


def commitments(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print the account of each reservation and savings plan: bought, used by whom, unused, borne by whom."""
    from cops_dagster.exports import commitment_use

    books, month = desk.books(), desk.month(period)
    rows = commitment_use.rows(books, month)
    if json:
        output.as_json(rows)
        return
    titles = [name.rsplit("_", 1)[0].replace("_", " ") for name in (*_USD, *_PCT)]
    output.table(
        f"{month}: commitments, USD amortised and percent",
        ["commitment", "tenant", *titles],
        [_told(row) for row in rows],
        right=titles,
    )


def _told(row: dict[str, Any]) -> list[str]:
    name = row["commitment"].rsplit("/", 1)[-1] if row["by"] != "tenant" else ""
    tenant = (row["tenant_id"] or "by rules") if row["by"] == "tenant" else ""
    return [name, tenant, *(output.usd(row[one]) for one in (*_USD, *_PCT))]
