"""How the command line speaks: Rich tables on a terminal, JSON when asked, text from data escaped."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cops_dagster.cli import layout
from cops_dagster.errors import CopsError
from cops_dagster.money import amount

if TYPE_CHECKING:
    from rich.console import Console


def printable(value: object) -> str:
    """Any value as one safe line: control characters and line breaks are shown, not obeyed."""
    if value is None:
        return ""
    text = amount.plain(value) if isinstance(value, Decimal) else str(value)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def usd(value: Decimal | None, places: int = 2) -> str:
    """An amount for people, rounded half-even, thousands separated; amounts that add up: `footing.told`."""
    return "" if value is None else amount.shown(value, places)


def readable(figures: str) -> str:
    """Figures of a check for people: what stands there with 18 decimals is an amount, and reads as one."""
    return _EXACT.sub(lambda found: amount.shown(Decimal(found[0])), figures)


_EXACT = re.compile(r"-?\b\d+\.\d{18}\b")


def as_json(value: Any) -> None:
    """One JSON document on standard output; amounts and times as exact text."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + "\n")


def plain(text: str) -> None:
    """Text that another program reads, on standard output as it is."""
    sys.stdout.write(text)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """A table, or one record per row where it does not fit; "none" where there is no row.

    Args:
        right: columns of numbers, flush right.
        spare: columns that are left out as far as there is no room for them, the first of them first.
    """
    from rich.cells import cell_len
    from rich.text import Text

    console, width = _console(stderr=False)
    if not rows:
        console.print(Text(f"{title}: none" if title else "none"))
        return
    cells = [[printable(value) for value in row] for row in rows]
    grid = layout.fitted(columns, cells, width, cell_len, right=right, spare=spare)
    if title:
        console.print(Text(title, "italic"), soft_wrap=True)
    if grid is not None:
        _print_grid(console, grid, columns, cells, right)
        return
    shown = layout.records(columns, cells, console.width, cell_len, right=right)
    for lines in shown:
        console.print(Text(lines[0] if lines else "", "bold"), soft_wrap=True)
        for line in lines[1:]:
            console.print(Text(line), soft_wrap=True)
        if lines is not shown[-1]:
            console.print()


def _print_grid(
    console: Console,
    grid: layout.Grid,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[str],
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        header_style="bold",
        box=box.HEAVY_HEAD if grid.has_lines else box.SIMPLE_HEAD,
        show_edge=grid.has_lines,
        padding=(0, 1) if grid.has_lines else (0, 1, 0, 0),
    )
    for at, width in zip(grid.shown, grid.widths, strict=True):
        justify = "right" if columns[at] in right else "left"
        made.add_column(Text(columns[at]), justify=justify, width=width, overflow="fold")  # type: ignore[arg-type]
    for row in cells:
        made.add_row(*[Text(row[at]) for at in grid.shown])
    console.print(made)


def _console(*, stderr: bool) -> tuple[Console, int | None]:
    """A console, and how wide it is; `None` of a pipe that nobody gave a width (`watch` sets `COLUMNS`)."""
    from shutil import get_terminal_size

    from rich.console import Console

    console = Console(stderr=stderr)
    if console.is_terminal or get_terminal_size((0, 0)).columns:
        return console, console.width
    return Console(stderr=stderr, width=10_000), None


def say(text: str) -> None:
    """What people are told, on standard error: output stays output. On a terminal, lines end at blanks."""
    from rich.cells import cell_len

    if not sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")
        return
    console, width = _console(stderr=True)
    for line in text.split("\n"):
        hang = len(line) - len(line.lstrip(" "))
        for part in layout.wrapped(line, width or console.width, cell_len, hang=hang + len(layout.INDENT)):
            console.print(part, markup=False, highlight=False, emoji=False, soft_wrap=True)


def say_ignored(names: Sequence[str]) -> None:
    """Secrets in the environment that belong to no receiver."""
    for name in names:
        say(f"ignored: {name} names a receiver that no [notify] setting describes")


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """On a terminal, while long work goes on: what, which step, and for how long already. Elsewhere nothing.

    What is given is told the name of each step as it begins.
    """
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(text, total=None)
        yield lambda step: shown.update(task, description=f"{text}: {step}")


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
