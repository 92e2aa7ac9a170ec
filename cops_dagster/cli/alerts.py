"""`cops alerts`: what is wrong, who was told, and taking it."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

app = typer.Typer(no_args_is_help=True, help="What is wrong, who was told, and taking it.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """What is wrong, who was told, and taking it."""


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the gravest first.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
    json: _Json = False,
) -> None:
    """List alerts that fire or wait to fire, the gravest first; exit 1 while one of P1 to P3 fires."""
    from dataclasses import asdict

    from cops_dagster.alerts import board

    configured = desk.settings()
    with desk.books().admin.read() as con:
        count = board.counted(con, everything=everything)
        found = board.alerts(con, everything=everything, limit=limit, offset=offset)
        told = board.told(con, found)
    if json:
        output.as_json(
            [
                {**asdict(one), "period": str(one.period or ""), "told": told.get(one.fingerprint, [])}
                for one in found
            ]
        )
    else:
        output.table(
            "alerts",
            ["id", "priority", "state", "since (UTC)", "what", "measured", "next", "taken by", "told"],
            [
                [
                    one.fingerprint[:16],
                    one.severity,
                    f"{one.state} {one.episode or ''}".strip(),
                    f"{one.fired_at or one.since:%Y-%m-%d %H:%M}",
                    one.title,
                    output.readable(one.measured or ""),
                    one.next_step,
                    one.acked_by,
                    ", ".join(told.get(one.fingerprint, [])),
                ]
                for one in found
            ],
        )
        output.say_ignored(configured.ignored_secrets)
        if not configured.notify.receivers:
            output.say("nobody is told: no receiver is set in [notify] (cops docs budgets-alerts)")
    total = sum(count.values())
    if len(found) < total:
        rest = f"; the next: --offset {offset + len(found)}" if offset + len(found) < total else ""
        output.say(f"{len(found)} of {total} shown{rest}")
    if any(state == "firing" and severity != "P4" for state, severity in count):
        raise typer.Exit(1)


@app.command("ack")
def ack(
    alert: Annotated[str, typer.Argument(metavar="ID", help="Id of a firing alert, or its beginning.")],
    note: Annotated[str, typer.Option(help="What you are doing about it.")] = "",
    json: _Json = False,
) -> None:
    """Take an alert: it is not repeated for 8 hours, unless it gets graver or fires anew."""
    from cops_dagster.alerts import board
    from cops_dagster.evidence.people import is_same_person

    books = desk.books()
    taken = board.acknowledge(books, alert, note=note)
    was_new = is_same_person(taken.acked_by or "", books.actor)
    output.told(
        json,
        {
            "alert": taken.fingerprint,
            "acked_by": taken.acked_by,
            "ack_expires_at": taken.ack_expires_at,
            "was_new": was_new,
        },
        f"{taken.title}: {'taken' if was_new else 'was taken already'} by {taken.acked_by}"
        f" until {taken.ack_expires_at:%Y-%m-%d %H:%M} UTC",
    )


@app.command("silence")
def silence(
    hours: Annotated[int, typer.Option(help="For how long; at most 168.")],
    reason: Annotated[str, typer.Option(help="Why; kept for ever.")],
    severity: Annotated[str, typer.Option(help="The gravest priority that it covers: P2, P3 or P4.")] = "P3",
    rule: Annotated[str | None, typer.Option(help="Only alerts of this rule.")] = None,
    period: Annotated[str | None, typer.Option(help="Only alerts about this month.")] = None,
    json: _Json = False,
) -> None:
    """Keep messages back for a while; alerts go on, and a P1 is never silenced."""
    from typing import cast

    from cops_dagster.alerts import board
    from cops_dagster.alerts.lifecycle import RANK, Severity
    from cops_dagster.operations import meant

    if severity not in RANK:
        raise CopsError(
            "E-PARAM",
            f"severity {severity!r}",
            expected="P2, P3 or P4",
            found=repr(severity),
            next_step="name the gravest priority to keep back",
        )
    books = desk.books()
    made = board.silence(
        books,
        rule=rule,
        period=desk.month_if_given(period),
        severity=cast("Severity", severity),
        hours=hours,
        reason=reason,
    )
    output.told(json, {"silence": made, "hours": hours}, f"silence {made} for {hours} h")
    if rule is not None and (instead := meant.alert_rule(books, rule)) is not None:
        output.say(
            f"no alert was ever of rule {rule}: it keeps nothing back"
            + (f"; did you mean {instead}?" if instead else "; `cops docs checks` lists them")
        )


@app.command("test")
def try_out(
    receiver: Annotated[str | None, typer.Argument(help="Only this receiver.")] = None, json: _Json = False
) -> None:
    """Send a test message to every receiver and say what came of it; exit 1 when one did not take it."""
    from cops_dagster.alerts import trial

    output.say_ignored(desk.settings().ignored_secrets)
    found = trial.try_out(desk.settings(), receiver)
    if json:
        output.as_json(found)
    else:
        output.table(
            "",
            ["receiver", "kind", "", "answer", "what else is known"],
            [
                [
                    one["receiver"],
                    one["kind"],
                    "accepted" if one["accepted"] else "NOT accepted",
                    one["answer"],
                    "; ".join(one["found"]),
                ]
                for one in found
            ],
        )
    if not all(one["accepted"] for one in found):
        raise typer.Exit(1)


@app.command("tick")
def tick(json: _Json = False) -> None:
    """Send what is due now. The daemon does it; this is for cron, and for homes without a daemon."""
    from cops_dagster.operations import messages

    done = messages.send(desk.books())
    output.told(
        json,
        {"accepted": done.accepted, "failed": done.failed, "busy": done.busy},
        "another tick is running" if done.busy else f"{done.accepted} sent, {done.failed} not accepted",
    )
    if done.failed:
        raise typer.Exit(1)
