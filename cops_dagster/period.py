"""A billing month. Belongs here: parsing, ordering and the dates of a period. UTC, half-open.

`2025-09` is the only spelling accepted from outside; everything past the edge holds a `Period`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from cops_dagster.errors import CopsError

_SPELLING = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, order=True)
class Period:
    """One billing month, e.g. `Period(2025, 9)`; `str()` gives `2025-09`."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Period:
        """The period written `YYYY-MM`. Raises `E-PERIOD` for any other text."""
        match = _SPELLING.fullmatch(text)
        if not match or not 2000 <= int(match[1]) < 9999:
            raise CopsError(
                "E-PERIOD",
                f"period {text!r}",
                expected="a billing month written YYYY-MM, 2000-01 or later, such as 2025-09",
                found=repr(text),
                next_step="give the month as YYYY-MM",
            )
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, day: date) -> Period:
        """The period that holds `day`."""
        return cls(day.year, day.month)

    @property
    def start(self) -> date:
        """First day: the value of every `period_start` column."""
        return date(self.year, self.month, 1)

    @property
    def end(self) -> date:
        """First day of the next period (exclusive end)."""
        return self.next().start

    def next(self) -> Period:
        """The following month."""
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> Period:
        """The month before."""
        return Period(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"
