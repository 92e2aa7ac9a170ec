"""`cops controls`: the preventive controls, as last judged."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output


def controls(
    evaluate: Annotated[bool, typer.Option(help="Judge them now instead of showing the last time.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the preventive controls with evidence and age; exit 1 when one failed or none was judged."""
    from cops_dagster.operations import controls
    from cops_dagster.stores.admin import now

    books = desk.books()
    if evaluate:
        controls.evaluate(books)
    with books.admin.read() as con:
        rows = controls.newest(con)
    if json:
        output.as_json([dict(row._mapping) for row in rows])
    elif rows:
        at = now()
        output.table(
            f"controls, judged {rows[0].evaluated_at:%Y-%m-%d %H:%M} UTC",
            ["control", "status", "target", "measured", "evidence", "age", "owner", "next"],
            [
                [
                    row.control.replace("_", " "),
                    row.status,
                    row.target,
                    output.readable(row.measured or ""),
                    row.evidence,
                    f"{(at - row.measured_at).total_seconds() / 3600:.1f} h" if row.measured_at else "",
                    row.owner,
                    "" if row.status == "ok" else row.next_step,
                ]
                for row in rows
            ],
        )
    else:
        output.say("never judged: the daemon does it hourly, or `cops controls --evaluate` now")
    if not rows or any(row.status == "failed" for row in rows):
        raise typer.Exit(1)
