"""`cops statement`, what a billing system writes invoices from; `cops bridge`, from AWS's bill to ours."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cops_dagster.cli import desk, output


class Format(StrEnum):
    """How a statement is printed."""

    table = "table"
    csv = "csv"
    json = "json"


_Period = Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")]
_As = Annotated[Format, typer.Option("--format", help="table, csv or json.")]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def statement(period: _Period, as_: _As = Format.table, json: _Json = False) -> None:
    """Print what every tenant owes for a month, in whole minor units of their currency."""
    from cops_dagster.reconciliation import statement

    as_ = Format.json if json else as_
    found = statement.statement(desk.books(), desk.month(period))
    if found.status in ("provisional", "failed"):
        output.say(f"{period} is {found.status}: these amounts may still change")
    if as_ is not Format.table:
        _plain(found.rows, as_)
        return
    from cops_dagster.money import amount

    shown = ("direct", "shared", "adjustments", "markup", "rounding", "total")
    output.table(
        f"{period}: statement ({found.status}, charge basis {found.basis})",
        ["tenant", "total USD", "rate", "currency", *shown],
        [
            [
                row["tenant_id"],
                output.usd(row["total_usd"]),
                f"{row['fx_rate'].normalize():f}",
                row["currency"],
                *(
                    # rounding is less than the unit that amounts are rounded to: four decimals more
                    amount.shown(row[name], -row["total"].as_tuple().exponent + 4 * (name == "rounding"))
                    for name in shown
                ),
            ]
            for row in found.rows
        ],
        right=["total USD", "rate", *shown],
    )


def bridge(
    period: _Period,
    tenant: Annotated[str, typer.Option(help="Of one tenant instead of the whole month.")] = "",
    as_: _As = Format.table,
    json: _Json = False,
) -> None:
    """Print the steps from AWS's bill to our invoices."""
    from cops_dagster.money import footing
    from cops_dagster.reconciliation import statement

    as_ = Format.json if json else as_
    rows = statement.bridge(desk.books(), desk.month(period), tenant)
    if as_ is not Format.table:
        _plain(rows, as_)
        return
    amounts = footing.told([(row["kind"], row["amount_usd"]) for row in rows])
    output.table(
        f"{period}: from AWS's bill to our invoices{f' ({tenant})' if tenant else ''}",
        ["step", "USD", ""],
        [
            [
                row["step"].replace("_", " "),
                ("+" if row["kind"] == "change" and usd.strip("-0.") and usd[0] != "-" else "") + usd,
                {"level": "=", "part": "of which", "change": ""}[row["kind"]],
            ]
            for row, usd in zip(rows, amounts, strict=True)
        ],
        right=["USD"],
    )


def _plain(rows: list[dict[str, object]], as_: Format) -> None:
    import sys

    from cops_dagster.stores.csv_cells import write_records

    if as_ is Format.json:
        output.as_json(rows)
    else:
        write_records(sys.stdout, rows)
