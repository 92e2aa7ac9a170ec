"""`cops keys`: usage keys that come by themselves: how they stand, asking for them, what hangs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output

if TYPE_CHECKING:
    from datetime import date

    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period
    from cops_dagster.usage.declared import Measure

app = typer.Typer(
    no_args_is_help=True, help="Usage keys: how they stand, asking for them, what hangs on them."
)

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_Measure = Annotated[str | None, typer.Argument(metavar="MEASURE", help="One that keys.toml declares.")]
_Period = Annotated[str | None, typer.Option("--period", help="The month; by default the newest open one.")]


@app.callback()
def _group() -> None:
    """Usage keys: how they stand, asking for them, what hangs on them."""


@app.command("init")
def init(json: _Json = False) -> None:
    """Write a keys.toml with an example of every kind of source, commented out."""
    from cops_dagster.usage import begin

    file = begin.begin(desk.settings())
    if json:
        output.as_json({"file": str(file)})
    else:
        output.say(f"{file} is written; take the # away of what you have, then: cops keys list")


@app.command("list")
def list_(period: _Period = None, json: _Json = False) -> None:
    """List every measure: source, last day, version, state; exit 1 while a pipeline is late or refused."""
    from cops_dagster.usage import standing

    books = desk.books()
    month = _month(books, period)
    found = standing.standings(books, month)
    if json:
        output.as_json([{"period": str(month), **one.__dict__} for one in found])
    else:
        output.table(
            f"usage keys of {month}",
            [
                "measure",
                "source",
                "unit",
                "state",
                "last day",
                "version",
                "days",
                "due",
                "refreshed (UTC)",
                "why",
            ],
            [
                [
                    one.measure,
                    one.source,
                    one.unit,
                    one.state,
                    one.last_day,
                    one.version,
                    one.days,
                    one.due,
                    f"{one.refreshed_at:%Y-%m-%d %H:%M}" if one.refreshed_at else "never",
                    one.why,
                ]
                for one in found
            ],
            right=["version", "days", "due"],
        )
    if any(one.starves for one in found):
        raise typer.Exit(1)


@app.command("refresh")
def refresh_(
    measure: _Measure = None,
    day: Annotated[str | None, typer.Option("--day", help="This day, also when it was taken.")] = None,
    period: Annotated[str | None, typer.Option("--period", help="Every day that the month lacks.")] = None,
    json: _Json = False,
) -> None:
    """Ask for the days that are complete and missing; exit 1 when one was refused."""
    from cops_dagster.usage import declared, refresh, standing

    books = desk.books()
    wanted = (
        [declared.measure(books.settings, measure)]
        if measure
        else [one for one in declared.measures(books.settings).values() if one.asks]
    )
    if day is not None:
        asked = [(one, _day(day)) for one in wanted]
    else:
        asked = refresh.waiting(books, wanted, desk.month(period) if period else standing.newest_month(books))
    told = [_ask(books, one, of) for one, of in asked]
    if json:
        output.as_json(told)
    else:
        for one in told:
            output.say(f"{one['measure']} of {one['day']}: {one['told']}")
        if not told:
            output.say("no day is missing that is complete")
    if any(one["error_code"] for one in told):
        raise typer.Exit(1)


def _ask(books: Books, measure: Measure, day: date) -> dict[str, Any]:
    """What became of one day; a refusal is told, and the next day is asked."""
    from cops_dagster.errors import CopsError
    from cops_dagster.usage import refresh

    said: dict[str, Any] = {"measure": measure.name, "day": day, "version": None, "wrote": False, "month": ""}
    try:
        done = refresh.refresh(books, measure, day)
    except CopsError as refusal:
        return {**said, "told": str(refusal), "error_code": refusal.code}
    told = f"version {done.version.version}" if done.wrote else f"as in version {done.version.version}"
    return {
        **said,
        "version": done.version.version,
        "wrote": done.wrote,
        "month": done.month.state,
        "told": f"{told}; the month: {done.month.state}",
        "error_code": "",
    }


@app.command("explain")
def explain(measure: _Measure, period: _Period = None, json: _Json = False) -> None:
    """Show which rules a measure feeds, how much money they split by it, and every version of its days."""
    from cops_dagster.usage import declared, standing

    books = desk.books()
    month = _month(books, period)
    told = standing.explain(books, declared.measure(books.settings, str(measure)), month)
    if json:
        parts = {
            "standing": told.standing.__dict__,
            "rules": [one.__dict__ for one in told.rules],
            "days": [one.__dict__ for one in told.days],
        }
        output.as_json({**told.__dict__, **parts, "period": str(month)})
        return
    stands = told.standing
    output.say(f"{stands.measure} of {month}: {stands.state}" + (f": {stands.why}" if stands.why else ""))
    output.say(f"source {stands.source}, unit {stands.unit}, keys {', '.join(told.keys) or 'none'}")
    if told.hanging_usd is None:
        output.say("no month of this name is tagged: what hangs on it is not known")
    else:
        output.say(f"{output.usd(told.hanging_usd)} USD are split by it")
    output.table(
        "rules",
        ["rule", "version", "key", "service", "class", "USD", "if the key is empty"],
        [
            [
                one.rule_id,
                one.rule_version,
                one.key_name,
                one.service,
                one.charge_class,
                output.usd(one.pool_usd),
                one.on_zero_key,
            ]
            for one in told.rules
        ],
        right=["version", "USD"],
    )
    output.table(
        "days",
        ["day", "version", "tenants", "held", "month was", "taken (UTC)", "evidence", "by"],
        [
            [
                one.day,
                one.version,
                one.tenants,
                one.held,
                one.month_state,
                f"{one.taken_at:%Y-%m-%d %H:%M}",
                one.evidence_id,
                one.actor,
            ]
            for one in told.days
        ],
        right=["version", "tenants", "held"],
    )
    if told.query:
        output.say(told.query.strip())


def _month(books: Books, text: str | None) -> Period:
    from cops_dagster.usage import standing

    return desk.month(text) if text else standing.newest_month(books)


def _day(text: str) -> date:
    from datetime import date

    from cops_dagster.errors import CopsError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CopsError(
            "E-PARAM",
            f"--day {text}",
            expected="a day written YYYY-MM-DD",
            found=repr(text),
            next_step="write it like 2025-09-30",
        ) from None
