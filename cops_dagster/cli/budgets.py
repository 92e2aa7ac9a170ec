"""`cops budgets`: targets, what was spent, where the month is heading."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

app = typer.Typer(no_args_is_help=True, help="Targets, what was spent, where the month is heading.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """Targets, what was spent, where the month is heading."""


@app.command("refresh")
def refresh(json: _Json = False) -> None:
    """Measure every active budget now, AWS Budgets beside it where set; exit 1 while one is critical."""
    from cops_dagster.operations import budgets

    done = budgets.refresh(desk.books())
    if json:
        output.as_json(
            {
                "budgets": done.budgets,
                "period": str(done.period or ""),
                "aws_budgets": done.aws_budgets,
                "aws_refusal": done.aws_refusal,
                "critical": list(done.critical),
            }
        )
    else:
        output.say(f"{done.budgets} budget(s) of {done.period or 'no month'} refreshed")
        if done.aws_budgets is not None:
            output.say(f"{done.aws_budgets} AWS budget(s) read")
        if done.aws_refusal:
            output.say(f"AWS Budgets as read before: {done.aws_refusal}")
        if done.critical:
            output.say(f"critical: {', '.join(done.critical)}; see cops budgets list")
    if done.critical:
        raise typer.Exit(1)


@app.command("list")
def list_(json: _Json = False) -> None:
    """List budgets as last refreshed, the tightest first; exit 1 while one is critical."""
    from cops_dagster.operations import budgets

    with desk.books().admin.read() as con:
        rows, aws = budgets.standing(con), budgets.of_aws(con)
        without = budgets.without_budget(con)
    rows.sort(key=lambda row: ("critical", "warning", "ok").index(row["level"]))
    if json:
        output.as_json({"budgets": rows, "aws_budgets": aws, "tenants_without_budget": without})
    else:
        _print(rows, aws, without)
    if any(row["level"] == "critical" for row in rows):
        raise typer.Exit(1)


def _print(rows: list[dict[str, object]], aws: list[dict[str, object]], without: list[str]) -> None:
    from decimal import Decimal
    from typing import cast

    from cops_dagster.money import currency

    def usd(value: object, places: int = 2) -> str:
        return output.usd(cast("Decimal | None", value), places)

    def in_unit(value: object, row: dict[str, object]) -> str:
        # a budget of AWS may also be in hours or GB, which are no currency
        code = str(row["currency"])
        return usd(value, currency.places(code) if currency.is_known(code) else 2)

    output.table(
        "budgets",
        [
            "budget",
            "scope",
            "of",
            "month",
            "level",
            "actual USD",
            "target USD",
            "forecast USD",
            "±",
            "how",
            "refreshed (UTC)",
        ],
        [
            [
                row["budget_id"],
                row["scope_type"],
                row["scope_value"],
                f"{row['period_start']:%Y-%m}",
                row["level"],
                usd(row["actual_usd"]),
                usd(row["target_usd"]),
                usd(row["forecast_usd"]),
                usd(row["forecast_error_usd"]),
                row["forecast_method"],
                f"{row['last_refreshed_at']:%Y-%m-%d %H:%M}",
            ]
            for row in rows
        ],
        right=["actual USD", "target USD", "forecast USD", "±"],
    )
    if without:
        output.say(f"no budget: {', '.join(without)}")
    if aws:
        output.table(
            "AWS Budgets, as read",
            ["budget", "type", "unit", "limit", "actual", "forecast", "currency", "read (UTC)"],
            [
                [
                    row["budget_name"],
                    row["budget_type"],
                    row["time_unit"],
                    *(in_unit(row[f"{name}_amount"], row) for name in ("limit", "actual", "forecast")),
                    row["currency"],
                    f"{row['fetched_at']:%Y-%m-%d %H:%M}",
                ]
                for row in aws
            ],
            right=["limit", "actual", "forecast"],
        )
