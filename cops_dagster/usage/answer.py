"""What a source answered of one day: names with figures, what exactly was asked, and what was read. Pure.

Belongs here: the answer's shape, and the refusals that several sources share. Does not belong here: getting
one (`usage/sources.py`), what becomes of it (`usage/judged.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from cops_dagster.errors import CopsError

ROWS_MAX = 100_000
"""More names than this are no tenants: the query groups by something else."""


@dataclass(frozen=True)
class Seen:
    """When within the day a source saw each name, in seconds since 1970.

    Attributes:
        stretches: by name; start, end: of the day; longest: how many seconds of silence are none.
    """

    stretches: Mapping[str, Sequence[tuple[int, int]]]
    start: int
    end: int
    longest: int


@dataclass(frozen=True)
class Answer:
    """The rows of one day.

    Attributes:
        rows: a name and its figure as the source gave them, not yet believed.
        query: what was asked, word for word.
        read: what was read for it, for the evidence: files with digests, or series and samples.
        may_repeat: names may come more than once, and are added up.
        seen: when, of a source that says so.
    """

    rows: Sequence[tuple[Any, Any]]
    query: str
    read: Mapping[str, Any] = field(default_factory=dict)
    may_repeat: bool = False
    seen: Seen | None = None


def subject(measure: str, day: date) -> str:
    """A day of a measure, for messages."""
    return f"measure {measure} of {day}"


def refused(code: str, measure: str, day: date, expected: str, found: str, next_step: str) -> CopsError:
    """A day whose answer is not taken; nothing of it is written but that."""
    shown = found[:300].encode("utf-8", "backslashreplace").decode()  # JSON may hold half of a sign
    return CopsError(code, subject(measure, day), expected=expected, found=shown, next_step=next_step)


def two_columns(measure: str, day: date, columns: Sequence[str]) -> None:
    """A query gives names and figures, and nothing else. Raises `E-USAGE-QUERY`."""
    if len(columns) != 2:
        raise refused(
            "E-USAGE-QUERY", measure, day, "two columns: a name and a figure",
            f"{len(columns)}: {', '.join(columns)}", "select the tenant's name, then its figure of the day",
        )  # fmt: skip
