"""The answer of a check: whether it holds, how grave it is if not, and the exact figures that show it. Pure.

Belongs here: what every step, the graph, the alerts and the documents read of a check. Does not belong here:
when a check holds (the `verdicts` of its step).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from cops_dagster.money import amount

Severity = Literal["WARN", "ERROR"]
Figure = str | int | Decimal | None | Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Verdict:
    """One check's answer. `passed=None` means there was nothing to judge (no denominator)."""

    check: str
    passed: bool | None
    severity: Severity
    figures: Mapping[str, Figure] = field(default_factory=dict)
    blocking: bool = False

    @property
    def refuses(self) -> bool:
        """A blocking ERROR that does not hold: nothing is published."""
        return self.blocking and self.passed is False and self.severity == "ERROR"

    def texts(self) -> dict[str, str]:
        """The figures as short exact texts; of a list its length and first row. Nothing to judge says so."""
        found = {name: _text(value) for name, value in self.figures.items() if value not in (None, [], ())}
        return found if self.passed is not None else {**found, "verdict": "nothing to judge in this period"}


def _text(value: Figure) -> str:
    if isinstance(value, Decimal):
        return amount.plain(value)
    if value is None or isinstance(value, (str, int)):
        return f"{value}"
    first = ", ".join(
        amount.plain(cell) if isinstance(cell, Decimal) else "" if cell is None else f"{cell}"
        for cell in value[0].values()
    )
    return f"{len(value)} ({first}{', …' if len(value) > 1 else ''})"


def equal(check: str, left: Decimal, right: Decimal, figures: Mapping[str, Figure]) -> Verdict:
    """Blocking: two amounts in USD agree to the last digit; their difference stands in the figures."""
    return Verdict(check, left == right, "ERROR", {**figures, "difference_usd": left - right}, blocking=True)


def percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """A part in percent of a whole; `None` of nothing."""
    return amount.percent(amount.from_decimal(part), amount.from_decimal(whole))
