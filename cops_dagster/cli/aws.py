"""`cops crawler` and `cops athena`: the playbook's two questions to AWS, and its one act."""

from __future__ import annotations

from typing import Annotated

import typer

from cops_dagster.cli import desk, output

crawler = typer.Typer(no_args_is_help=True, help="The Glue crawler of [controls]: how it stands, start it.")
athena = typer.Typer(no_args_is_help=True, help="Queries of Athena: how one is going.")


@crawler.callback()
def _crawler_group() -> None:
    """The Glue crawler of [controls]: how it stands, start it."""


@athena.callback()
def _athena_group() -> None:
    """Queries of Athena: how one is going."""


@crawler.command("status")
def status(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show the last crawl, and delivered months that its table does not have; exit 1 if it should run."""
    from cops_dagster.operations import crawl
    from cops_dagster.stores.admin import now

    seen = crawl.look(desk.books(), now())
    if seen is None:
        output.as_json({"crawler": None}) if json else output.say(
            "no crawler is set in [controls]; COPS needs none: it reads manifests"
        )
        return
    told = {
        "crawler": seen.crawler.name, "state": seen.crawler.state, "last_status": seen.crawler.last_status,
        "last_started_at": seen.crawler.last_started_at, "missing": [str(one) for one in seen.missing],
        "should_run_because": seen.reason,
    }  # fmt: skip
    if json:
        output.as_json(told)
    else:
        shown = told | {"missing": ", ".join(map(str, seen.missing))}
        output.table("", ["what", "is"], list(shown.items()))
        if seen.reason and not seen.is_running:
            output.say("next: cops crawler start")
    if seen.reason:
        raise typer.Exit(1)


@crawler.command("start")
def start(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Start the crawler; nothing happens when it runs."""
    from cops_dagster.operations import crawl

    started = crawl.start(desk.books())
    output.told(json, {"started": started}, "started" if started else "it is running already")


@athena.command("status")
def execution(
    query_execution_id: Annotated[str, typer.Argument(help="Id of a query execution.")],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show how a query execution is going; exit 1 if it failed."""
    from dataclasses import asdict

    from cops_dagster.stores.aws import athena

    seen = athena.execution(query_execution_id)
    if json:
        output.as_json(asdict(seen))
    else:
        output.table("", ["what", "is"], list(asdict(seen).items()))
    if seen.has_failed:
        raise typer.Exit(1)
