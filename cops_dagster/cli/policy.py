"""`cops policy`: what decides numbers and verdicts: shown, compared with what is set, changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.evidence.adoption import Given
    from cops_dagster.policy import Difference

app = typer.Typer(no_args_is_help=True, help="What decides numbers and verdicts, as the books keep it.")

_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_File = Annotated[
    Path | None, typer.Argument(help="A settings file; without it, the settings of this process.")
]


@app.callback()
def _group() -> None:
    """What decides numbers and verdicts, as the books keep it."""


@app.command("show")
def show(json: _Json = False) -> None:
    """Show the policy in force: every value, who adopted it and when, and the versions before."""
    from cops_dagster.policy import nested, shown
    from cops_dagster.stores import policies

    books = desk.books()
    with books.admin.read() as con:
        versions = policies.history(con)
    values = (versions[0].policy if versions else books.policy).values
    told = [
        {
            "version": one.version,
            "adopted_by": one.adopted_by,
            "adopted_at": one.adopted_at,
            "origin": one.origin,
            "note": one.note,
            "digest": one.policy.digest,
        }
        for one in versions
    ]
    if json:
        version = versions[0].version if versions else None
        output.as_json({"version": version, "policy": nested(values), "history": told})
        return
    title = f"policy version {versions[0].version}" if versions else "no policy yet: the first run adopts"
    output.table(title, ["setting", "value"], [[name, shown(name, one)] for name, one in values.items()])
    if versions:
        output.table(
            "versions",
            ["version", "adopted by", "at (UTC)", "from", "note"],
            [
                [one.version, one.adopted_by, f"{one.adopted_at:%Y-%m-%d %H:%M}", one.origin, one.note]
                for one in versions
            ],
            right=["version"],
        )


@app.command("diff")
def diff(file: _File = None, json: _Json = False) -> None:
    """Compare what is set, here or in a file, with the policy in force; exit 1 when they differ."""
    from dataclasses import asdict

    from cops_dagster.evidence import adoption

    given, _ = _given(file)
    found = adoption.compare(desk.books(), given)
    if json:
        output.as_json([asdict(one) for one in found])
    elif found:
        _table(found)
    else:
        output.say("no difference: what is set is in force")
    if found:
        raise typer.Exit(1)


@app.command("adopt")
def adopt(
    file: _File = None,
    note: Annotated[str | None, typer.Option(help="Why; kept with the version.")] = None,
    json: _Json = False,
) -> None:
    """Put what is set, here or in a file, in force; what is not set stays, closed months do not change."""
    from dataclasses import asdict

    from cops_dagster.evidence import adoption

    given, origin = _given(file)
    done = adoption.adopt(desk.books(), given, origin=origin, note=note)
    if json:
        changes = [asdict(one) for one in done.changes]
        output.as_json(
            {
                "version": done.version,
                "was_new": done.wrote,
                "changes": changes,
                "adopted_by": done.adopted_by,
                "adopted_at": done.adopted_at,
                "identity": done.identity,
            }
        )
        return
    if done.changes:
        _table(done.changes)
    since = f"adopted by {done.adopted_by}, {done.adopted_at:%Y-%m-%d %H:%M} UTC"
    output.say(
        f"policy version {done.version} "
        + (f"adopted ({done.identity})" if done.wrote else f"stays: nothing set differs from it ({since})")
    )
    if done.wrote:
        output.say("next: cops materialize each open month; closed ones stay as they are")


def _given(file: Path | None) -> tuple[Given, str]:
    """What is set in a file, or in this process, and where that is, in words."""
    if file is not None:
        place = file.expanduser().absolute()
        from cops_dagster.settings import policy_of

        return policy_of(place), str(place)
    given = desk.settings().given_policy
    files = sorted({origin.split(", [")[0] for _, origin in given.values()})
    return given, ", ".join(files) or "defaults"


def _table(found: list[Difference]) -> None:
    output.table(
        "",
        ["setting", "in force", "set", "where"],
        [[one.name, one.adopted, one.given, one.origin] for one in found],
    )


def said_afterwards(context: typer.Context) -> None:
    """COPS, the AWS cost ledger: delivered → tagged → allocated → reconciled → closed."""
    if context.invoked_subcommand != "policy":  # which is about them
        context.call_on_close(_say_differences)


def _say_differences() -> None:
    """One line when the settings here are not those in force: what was shown follows the books."""
    settings: Any = sys.modules.get("cops_dagster.settings")
    if settings is None or not settings.current.cache_info().currsize:
        return  # the command asked for no settings

    if isinstance(sys.exc_info()[1], CopsError) or not desk.settings().given_policy:
        return
    from cops_dagster.evidence.adoption import differences, told

    try:
        books = desk.books_if_any()
        found = differences(books) if books else []
    except CopsError:
        return  # the command has said why the books cannot be read
    if found:
        output.say(
            f"settings here differ from the policy of the books: {told(found)}; see `cops policy diff`"
        )
