"""How the command line speaks: Rich tables on a terminal, JSON when asked, text from data escaped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from cops_dagster.errors import CopsError
from cops_dagster.money import amount


def printable(value: object) -> str:
    """Any value as one safe line: control characters and line breaks are shown, not obeyed."""
    if value is None:
        return ""
    text = amount.plain(value) if isinstance(value, Decimal) else str(value)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def usd(value: Decimal | None, places: int = 2) -> str:
    """An amount for people, rounded half-even, thousands separated; amounts that add up: `footing.told`."""
    return "" if value is None else amount.shown(value, places)


def as_json(value: Any) -> None:
    """One JSON document on standard output; amounts and times as exact text."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + "\n")


def plain(text: str) -> None:
    """Text that another program reads, on standard output as it is."""
    sys.stdout.write(text)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """A Rich table; numbers in the columns of `right` stand flush right."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*[escape(printable(value)) for value in row])
    console = Console()
    if not console.is_terminal:  # a pipe has no width: do not fold what another program reads
        console = Console(width=240)
    console.print(made)


def say(text: str) -> None:
    """One line for people, on standard error, so that output stays output."""
    from rich.console import Console

    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def say_ignored(names: Sequence[str]) -> None:
    """Secrets in the environment that belong to no receiver."""
    for name in names:
        say(f"ignored: {name} names a receiver that no [notify] setting describes")


@contextmanager
def working(text: str) -> Iterator[None]:
    """On a terminal, while long work goes on: what, and for how long already. Elsewhere nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(text, total=None)
        yield


def told(json: bool, facts: Mapping[str, Any], *lines: str) -> None:
    """What an act did: its facts as JSON for scripts, else in words for people."""
    if json:
        as_json(facts)
        return
    for line in lines:
        say(line)


def print_refusal(refusal: CopsError) -> None:
    """The five facts of a refusal; as one JSON line when standard error is no terminal."""
    if not sys.stderr.isatty():
        sys.stderr.write(json.dumps({"level": "error", **refusal.as_dict()}, default=str) + "\n")
        return
    say(
        f"{refusal.code}: {printable(refusal.subject)}\n"
        f"  expected  {printable(refusal.expected)}\n"
        f"  found     {printable(refusal.found)}\n"
        f"  next      {printable(refusal.next_step)}"
    )


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return amount.plain(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
