"""How wide a table's columns are on a terminal of some width, and what is shown where it is too narrow. Pure.

Belongs here: widths, records, lines that wrap. A line breaks at a blank and nowhere else, and never within a
number, a time or a month: what is broken can be neither read nor copied. Does not belong here: which columns
there are, colours, where it is printed (`cli/output.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COMFORT = 24
"""A column of sentences is never narrower: below it, a sentence is a stack of words."""
INDENT = "  "
_SOLID = re.compile(r"[-+±≈]?\d[\d.,:%+\-/ ]*( UTC| h| USD)?")
_COMMAND = re.compile(r"`[^`]*`|(?<=next: )cops .*")
_HELD = "\u2007"  # a blank at which no line breaks, while wrapping

Measure = Callable[[str], int]


@dataclass(frozen=True)
class Grid:
    """The columns that are shown, by their place, how wide each is, and whether lines stand between them."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]
    has_lines: bool


def least(cells: Sequence[str], heading: str, measure: Measure, *, is_number: bool) -> int:
    """How narrow a column may be: nothing solid is broken, and sentences have room."""
    units = [measure(part) for cell in cells for part in _parts(cell, is_number=is_number)]
    words = [measure(word) for word in heading.split()]
    found = max([*units, *words], default=0)
    is_text = not is_number and any(len(_parts(cell)) > 1 for cell in cells)
    return max(found, min(COMFORT, _natural(cells, heading, measure))) if is_text else found


def _parts(cell: str, *, is_number: bool = False) -> list[str]:
    """What of a cell must stay on one line."""
    return [cell] if is_number or _SOLID.fullmatch(cell) else cell.split()


def _natural(cells: Sequence[str], heading: str, measure: Measure) -> int:
    return max(measure(text) for text in (heading, *cells))


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    measure: Measure,
    *,
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> Grid | None:
    """The grid that fits: with lines, else without. `None`: none does.

    Args:
        spare: columns that are left out as far as there is no room, the first of them first.
        width: of the terminal; `None` of what has no width, where the lines are as long as they must be.
    """
    cells = [[row[at] for row in rows] for at in range(len(columns))]
    narrow = [least(cells[at], name, measure, is_number=name in right) for at, name in enumerate(columns)]
    wide = [_natural(cells[at], name, measure) for at, name in enumerate(columns)]
    for left_out in range(len(spare) + 1):
        shown = [at for at, name in enumerate(columns) if name not in spare[:left_out]]
        for has_lines in (True, False):
            frame = 3 * len(shown) + 1 if has_lines else 2 * len(shown)
            smallest = sum(narrow[at] for at in shown)
            room = max(240 - frame, smallest) if width is None else width - frame
            if smallest <= room:
                widths = _shrunk([wide[at] for at in shown], [narrow[at] for at in shown], room)
                return Grid(tuple(shown), tuple(widths), has_lines)
    return None


def _shrunk(widths: list[int], smallest: list[int], room: int) -> list[int]:
    """The widest give way first, none below what it needs."""
    while sum(widths) > room:
        at = max((one for one in range(len(widths)) if widths[one] > smallest[one]), key=widths.__getitem__)
        widths[at] -= 1
    return widths


def records(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    measure: Measure,
    *,
    right: Sequence[str] = (),
) -> list[list[str]]:
    """Each row as lines of `name  value`, without what is empty; numbers flush right among each other."""
    label = max(map(measure, columns))
    numbers = [at for at, name in enumerate(columns) if name in right]
    digits = max((measure(row[at]) for row in rows for at in numbers), default=0)
    made = []
    for row in rows:
        lines: list[str] = []
        for at, (name, value) in enumerate(zip(columns, row, strict=True)):
            if not value:
                continue
            if not at and not name:  # a mark, such as the light of a finding: the heading of its record
                lines.append(value)
                continue
            start = name + " " * (label - measure(name)) + INDENT
            shown = " " * (digits - measure(value)) + value if at in numbers else value
            if value.startswith("cops ") or _SOLID.fullmatch(value):
                shown = shown.replace(" ", _HELD)
            lines += wrapped(start + shown, width, measure, hang=len(INDENT) + label)
        made.append(lines)
    return made


def wrapped(text: str, width: int, measure: Measure, *, hang: int = 0) -> list[str]:
    """A text as lines that break at blanks; what follows the first begins `hang` further right.

    A word that is longer than a line stands whole in one of its own, and so does a command, which is there to
    be copied.
    """
    held = _COMMAND.sub(lambda found: found[0].replace(" ", _HELD), text)
    lines, line, blanks = [], "", ""
    for word in re.findall(r" +|[^ ]+", held):
        if word.isspace() and word != _HELD:
            blanks = word
        elif line.strip() and measure(line + blanks + word) > width:
            lines.append(line)
            line, blanks = " " * (hang if hang + measure(word) <= width else len(INDENT)) + word, ""
        else:
            line, blanks = line + blanks + word, ""
    return [one.replace(_HELD, " ") for one in [*lines, line]]
