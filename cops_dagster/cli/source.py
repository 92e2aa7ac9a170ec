"""`cops source`: where cost comes from, and which sources a person lets count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output

if TYPE_CHECKING:
    from cops_dagster.ingestion.source_decisions import Decided

app = typer.Typer(no_args_is_help=True, help="Where cost comes from, and which sources count.")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The source, as `cops source list` names it.")]
_Reason = Annotated[str, typer.Option(help="Why; kept beside the decision, with evidence.")]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """Where cost comes from, and which sources count."""


@app.command("list")
def list_(json: _Json = False) -> None:
    """List every source: its place, payers, accounts, months, newest delivery, and whether it counts."""
    from cops_dagster.ingestion import sources

    found = sources.sources(desk.books())
    if json:
        output.as_json([one.__dict__ for one in found])
        return
    output.table(
        "sources",
        ["source", "state", "why", "payer", "accounts", "months", "USD", "newest delivery", "root", "report"],
        [
            [
                one.source_id,
                one.state,
                one.why,
                _few(one.payers),
                _few(one.accounts),
                _few(one.months),
                output.usd(one.cost_usd) if one.months else "",
                f"{one.newest_delivery:%Y-%m-%d %H:%M}" if one.newest_delivery else "",
                one.root,
                one.report,
            ]
            for one in found
        ],
        right=["USD"],
    )


def _few(values: list[str]) -> str:
    shown = [value or "(none named)" for value in values]
    return ", ".join(shown) if len(shown) < 4 else f"{shown[0]} … {shown[-1]} ({len(shown)})"


@app.command("retire")
def retire(
    name: _Name,
    reason: _Reason,
    first: Annotated[
        str | None, typer.Option("--from", metavar="PERIOD", help="From this month on; else every month.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--until", metavar="PERIOD", help="Up to this month, inclusive.")
    ] = None,
    json: _Json = False,
) -> None:
    """Let a source no longer count: its open months are taken back by the next run, closed ones stay."""
    from cops_dagster.ingestion import source_decisions

    done = source_decisions.retire(
        desk.books(),
        name,
        reason=reason,
        first=desk.month_if_given(first),
        last=desk.month_if_given(last),
    )
    tell_decision("retired", done, json)


@app.command("restore")
def restore(name: _Name, reason: _Reason, json: _Json = False) -> None:
    """Let a retired source count again: the next run takes what lies there, unless another bills it."""
    from cops_dagster.ingestion import source_decisions

    tell_decision("restored", source_decisions.restore(desk.books(), name, reason=reason), json)


def tell_decision(what: str, done: Decided, json: bool) -> None:
    """What a decision about a source means for its months."""
    facts: dict[str, Any] = {
        "source": done.source_id, "event": what, "was_new": done.was_new,
        "open_months": [str(period) for period in done.open_months],
        "closed_months": [str(period) for period in done.closed_months],
    }  # fmt: skip
    lines = [f"{done.source_id}: {what}" if done.was_new else f"{done.source_id}: was {what} already"]
    if done.closed_months:
        lines.append(f"closed, stays as it is: {', '.join(facts['closed_months'])}")
    lines += [f"next: cops materialize {period}" for period in done.open_months]
    output.told(json, facts, *lines)
