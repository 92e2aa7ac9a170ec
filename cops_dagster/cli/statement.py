"""`cops statement`, what a billing system writes invoices from, and drafts; `cops bridge`, from AWS to us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.exports.drafts import Drafts


class Format(StrEnum):
    """How a bridge is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class StatementFormat(StrEnum):
    """How a statement is printed; `invoice_detail` as the documents that are to be issued."""

    table = "table"
    csv = "csv"
    json = "json"
    invoice_detail = "invoice_detail"


_Period = Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")]
_As = Annotated[Format, typer.Option("--format", help="table, csv or json.")]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def statement(
    period: _Period,
    as_: Annotated[
        StatementFormat,
        typer.Option("--format", help="table, csv, json, or invoice_detail: what `cops admin load` takes."),
    ] = StatementFormat.table,
    correct: Annotated[
        bool, typer.Option("--correct", help="Draft the documents that are still to be issued.")
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="Drafts of one tenant, with --correct.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the drafts below this folder, with --correct.")
    ] = None,
    json: _Json = False,
) -> None:
    """Print what every tenant owes for a month, in whole minor units of their currency."""
    as_ = StatementFormat.json if json else as_
    if correct:
        _drafts(period, tenant, out, as_)
        return
    if tenant is not None or out is not None:
        raise CopsError(
            "E-PARAM",
            "statement",
            expected="--tenant and --out with --correct",
            found="one of them without it",
            next_step=f"write it like `cops statement {period} --correct --out build/drafts`",
        )
    if as_ is StatementFormat.invoice_detail:
        from cops_dagster.exports import drafts

        made = drafts.first_invoices(desk.books(), desk.month(period))
        _say_of_drafts(made)
        output.plain(drafts.csv_of(made))
        return
    from cops_dagster.reconciliation import statement

    found = statement.statement(desk.books(), desk.month(period))
    _say_status(period, found.status)
    if as_ is not StatementFormat.table:
        _plain(found.rows, Format(as_))
        return
    from cops_dagster.reports import close_tables

    output.table(
        f"{period}: statement ({found.status}, charge basis {found.basis})",
        ["tenant", "billable USD", "rate", "currency", *_WORDS],
        [
            *(
                [
                    row["tenant_id"],
                    output.usd(row["total_usd"]),
                    close_tables.rate_told(row),
                    row["currency"],
                    *(_own(row, name) for name in _AMOUNTS),
                ]
                for row in found.rows
            ),
            *_totals(found.rows),
        ],
        right=["billable USD", "rate", *_WORDS],
    )


_AMOUNTS = ("direct", "shared", "adjustments", "markup", "rounding", "total")
_WORDS = ("direct", "shared", "prior-period", "markup", "rounding", "billable")


def _own(row: Mapping[str, Any], name: str) -> str:
    from cops_dagster.money import amount

    # rounding is less than the unit that amounts are rounded to: four decimals more
    return amount.shown(row[name], -row["total"].as_tuple().exponent + 4 * (name == "rounding"))


def _totals(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What tenants owe in each currency, and in USD; before it what rounded rows leave to that."""
    from cops_dagster.reports import close_tables, sheet

    made = []
    for code in sorted({row["currency"] for row in rows}):
        of_it = [row for row in rows if row["currency"] == code]
        sums = {name: sum(row[name] for row in of_it) for name in _AMOUNTS}
        told = [_own(sums, name) if name != "rounding" else "" for name in _AMOUNTS]
        made.append([f"total {code}", "", "", code, *told])
    foot = close_tables.stated(rows).foot
    return made + [[str(cells[0]), sheet.text(cells[1]), "", "", *[""] * len(_WORDS)] for cells in foot]


def _drafts(period: str, tenant: str | None, out: Path | None, as_: StatementFormat) -> None:
    from cops_dagster.exports import drafts
    from cops_dagster.money import amount

    made = drafts.corrections(desk.books(), desk.month(period), tenant)
    _say_of_drafts(made)
    if out is not None:
        folder = drafts.write(made, out)
        output.say(f"{len(made.rows)} drafts in {folder}; once they are issued: cops admin load {folder}")
    if as_ is StatementFormat.invoice_detail:
        output.plain(drafts.csv_of(made))
    elif as_ is StatementFormat.json:
        output.as_json(made.rows)
    elif as_ is StatementFormat.csv:
        _plain(made.rows, Format.csv)
    else:
        output.table(
            f"{period}: documents to issue ({made.status})",
            ["tenant", "stated", "invoiced", "document", "kind", "corrects", "amount", "currency"],
            [
                [
                    one.tenant_id,
                    amount.plain(one.stated),
                    amount.plain(one.invoiced),
                    row["invoice_id"],
                    row["document_type"],
                    row["corrects_invoice_id"],
                    amount.plain(row["amount"]),
                    row["currency"],
                ]
                for one in made.corrections
                for row in one.rows
            ],
            right=["stated", "invoiced", "amount"],
        )


def _say_of_drafts(made: Drafts) -> None:
    _say_status(str(made.period), made.status)
    if made.frozen and any(row["corrects_invoice_id"] is None for row in made.rows):
        output.say(f"invoices are frozen, so that a first invoice is not taken: {made.frozen}")
    if not made.rows:
        output.say("nothing to issue: every document is as the statement says")


def _say_status(period: str, status: str) -> None:
    if status in ("provisional", "failed"):
        output.say(f"{period} is {status}: these amounts may still change")


def bridge(
    period: _Period,
    tenant: Annotated[str | None, typer.Option(help="Of one tenant instead of the whole month.")] = None,
    as_: _As = Format.table,
    json: _Json = False,
) -> None:
    """Print the steps from AWS's bill to our invoices."""
    from cops_dagster.exports import settled
    from cops_dagster.money import footing
    from cops_dagster.reconciliation import statement
    from cops_dagster.reconciliation.bridge import is_shown, told

    as_ = Format.json if json else as_
    settled.require_some(f"bridge of {period}", tenant)
    rows = statement.bridge(desk.books(), desk.month(period), tenant or "")
    if as_ is not Format.table:
        _plain(rows, as_)
        return
    exact = {row["step"]: row["amount_usd"] for row in rows}
    rows = [row for row in rows if is_shown(row["step"], exact)]
    amounts = footing.told([(row["kind"], row["amount_usd"]) for row in rows])
    output.table(
        f"{period}: from AWS's bill to our invoices{f' ({tenant})' if tenant else ''}",
        ["step", "USD", ""],
        [
            [
                told(row["step"], row["amount_usd"]),
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
