"""`cops init`: a new user's first command: asks, writes `cops.toml` and default inputs, checks access."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.settings import Settings


def init(
    cur: Annotated[
        str | None,
        typer.Option(help="Where AWS delivers: a folder or s3://bucket/prefix; asked if left out."),
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Who is recorded with every decision.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON; asks nothing.")] = False,
) -> None:
    """Make the home; on a terminal ask what is not set, write cops.toml and inputs/, check access."""
    from dataclasses import asdict

    from cops_dagster.evidence import home
    from cops_dagster.graph.storage import dagster_home
    from cops_dagster.operations import first_day
    from cops_dagster.settings_words import refuse_secrets
    from cops_dagster.stores import faults

    current = desk.settings()
    if desk.books_if_any() is None and (refusal := home.torn(current)):
        raise refusal  # before anything is asked or written
    asks = sys.stdin.isatty() and not json
    config = current.config_file
    is_new = not config.is_file() and not current.cur
    given = _given(current, cur, actor, asks=asks, is_new=is_new)
    refuse_secrets(config, given)
    current = current.model_copy(update={name: given[name] for name in ("cur", "actor") if name in given})
    books = home.open_books(current)
    dagster_home(books.settings.home)
    reached = first_day.reach(books)
    tags = first_day.delivered_tags(books) if all(one.is_good for one in reached) else []
    question = first_day.tag_question(books.policy.tags.tenant_id, tags)
    tag = _tag_of(question.found, tags) if question and asks else None
    written = []
    with faults.writing_to(Path.cwd(), "work in a folder of your own: cd FOLDER, then cops init"):
        if (given or is_new or tag) and first_day.write_config(
            config, given, tenant_tag=tag, has_plan_tag=bool({*books.policy.tags.plan_id} & {*tags})
        ):
            written.append(config)
        if config.is_file() and not first_day.has_rules(
            books
        ):  # set by the environment alone, it needs no files
            written += first_day.write_inputs(Path("inputs"), actor=current.actor_name)
    shown = [*reached, question] if question and not tag else reached
    if json:
        output.as_json(
            {
                "home": str(current.home),
                "written": [str(path) for path in written],
                "reached": [asdict(one) for one in shown],
            }
        )
    else:
        output.table(
            "",
            ["what", "", "found", "what to do"],
            [[one.what, "ok" if one.is_good else "NOT", one.found, one.next_step] for one in shown],
        )
        for path in written:
            output.say(f"written: {path}")
        output.say(f"home ready: {current.home}")
        if written:
            output.say(
                "next: put your tenants into inputs/tenants.csv; cops admin load inputs; cops materialize"
                f" {_first(books)}"
            )
    if not all(one.is_good for one in reached if one.what != "report root" or current.cur):
        raise typer.Exit(1)


def _given(
    current: Settings, cur: str | None, actor: str | None, *, asks: bool, is_new: bool
) -> dict[str, str]:
    """What is to be written: options, and answers to what is not set yet."""
    if asks and not cur and not current.cur:
        cur = _asked_place(current)
    if asks and not actor and is_new:
        actor = str(typer.prompt("Who decides?", default=current.actor_name))
    given = {"cur": _place(cur)} if cur else {}
    if is_new:
        given |= {"home": str(current.home), "actor": actor or current.actor_name}
    elif actor:
        given["actor"] = actor
    return {name: value for name, value in given.items() if not _stands(current, name, value)}


def _asked_place(current: Settings) -> str | None:
    """Where AWS delivers, as a person says; asked again while it is no folder. None of files handed over."""
    from cops_dagster.operations.first_day import handed_over

    question, may_skip = "Where does AWS deliver the report? a folder or s3://bucket/prefix", False
    if months := handed_over(current):
        question += f" (empty: nowhere, I handed over {months} month(s))"
        may_skip = True
    while True:
        said = str(typer.prompt(question, default="" if may_skip else None, show_default=False)).strip()
        gone = [
            one
            for one in said.split(",")
            if ":" not in one and not Path(one.rpartition("=")[2].strip()).expanduser().is_dir()
        ]
        if may_skip and not said:
            return None
        if not gone:
            return said
        output.say(f"no such folder: {', '.join(one.strip() for one in gone)}")


def _place(cur: str) -> str:
    """Report roots that the next command finds too, wherever it starts.

    Raises:
        CopsError: `E-SETTING` for a folder of nobody, or another writing of a place in S3.
    """
    from cops_dagster.settings_places import placed_roots, s3_meant

    try:
        placed = placed_roots(cur)
        meant = next((right for root in cur.split(",") if (right := s3_meant(root.strip()))), None)
        if meant is None:
            return placed
        found = f"{cur!r}: write {meant}"
    except ValueError as problem:
        found = str(problem)
    raise CopsError(
        "E-SETTING",
        "setting cur",
        expected="folders or s3://bucket/prefix, comma-separated",
        found=found,
        next_step="give --cur anew; nothing was written",
    )


def _stands(current: Settings, name: str, value: str) -> bool:
    """Whether a setting says so already; an option that contradicts what is set is refused."""
    stands = getattr(current, name) if name in ("cur", "actor") else None
    if not stands:
        return False
    if value not in (stands, _place(stands) if name == "cur" else stands):
        raise CopsError(
            "E-SETTING",
            f"setting {name}",
            expected=f"{stands!r}, as it is set already",
            found=value,
            next_step=f"correct COPS_{name.upper()} or cops.toml, or leave --{name} out",
        )
    return True


def _tag_of(said: str, tags: list[str]) -> str | None:
    """Which tag names the tenant, as a person says; an empty answer leaves it for later."""
    output.say(f"{said}\ntags of the newest delivery: {', '.join(tags)}")
    while True:
        asked = typer.prompt("Which tag names the tenant? (empty: later)", default="", show_default=False)
        if not asked or asked in tags:
            return str(asked) or None


def _first(books: Books) -> str:
    """The oldest month that lies in the report roots; this month while there is none."""
    from datetime import UTC, datetime

    from cops_dagster.ingestion import places

    try:
        months = places.months(books.settings)
    except CopsError:
        months = []
    return str(months[0].period) if months else f"{datetime.now(UTC):%Y-%m}"
