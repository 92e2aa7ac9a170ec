"""A check, and its answer: whether it holds, how grave it is if not, and the exact figures. Pure.

Belongs here: what every step, the graph, the alerts, the doctor and the documents read of a check. Does not
belong here: which checks there are and when one holds (the `verdicts` of its step), all of them together
(`operations/all_checks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from decimal import Decimal
from typing import Literal

from cops_dagster.money import amount

Severity = Literal["WARN", "ERROR"]
Figure = str | int | Decimal | None | Sequence[Mapping[str, object]]
Level = Literal["P1", "P2", "P3", "P4"]
Teams = tuple[str, ...]

OF_DATA: Teams = ("data-engineering", "platform")
OF_TAGGING: Teams = ("platform",)
OF_FINANCE: Teams = ("finance", "billing-ops")
WAIT_FOR_AWS = "wait for AWS, then: cops materialize {P}"
OF_MONTH = "cops sql @{} --param start={{P}} --param end={{P}}"
"""A query of the playbook over the month."""


@dataclass(frozen=True)
class Check:
    """What is asked of a month, and all there is to know of it but when it holds.

    Attributes:
        name: public, also in homes that exist: add, never rename.
        sentence: what is so while it holds.
        table: what it is asked about, which is the asset that shows it.
        blocks: an ERROR lets nothing be published.
        gravest: what it may be at worst; a check that only warns never stops anything.
        look, mend: commands, `{P}` is the month: to look closer, and what makes it hold again.
        whose: the teams that are told; P1 and P2 have their own (`alerts/escalation.py`).
        levels: of the alert of an ERROR and of a warning. `None`: it is told otherwise.
        lasts: an ERROR that lasts is an alert of its own.
        headline: the figure that says most, by default the first.
    """

    name: str
    sentence: str
    table: str
    _: KW_ONLY
    blocks: bool = False
    gravest: Severity = "WARN"
    look: str = "cops status {P}"
    mend: str = WAIT_FOR_AWS
    whose: Teams = OF_DATA
    levels: tuple[Level | None, Level] = ("P3", "P4")
    lasts: bool = False
    headline: str = ""

    def level(self, severity: Severity) -> Level | None:
        """How urgent its alert is when it does not hold."""
        return self.levels[0] if severity == "ERROR" else self.levels[1]


@dataclass(frozen=True)
class Verdict:
    """One check's answer. `passed=None` means there was nothing to judge (no denominator)."""

    of: Check
    passed: bool | None
    severity: Severity
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def check(self) -> str:
        """The name of the check."""
        return self.of.name

    @property
    def blocking(self) -> bool:
        """Whether an ERROR lets nothing be published."""
        return self.of.blocks

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


def equal(check: Check, left: Decimal, right: Decimal, figures: Mapping[str, Figure]) -> Verdict:
    """Blocking: two amounts in USD agree to the last digit; their difference stands in the figures."""
    return Verdict(check, left == right, "ERROR", {**figures, "difference_usd": left - right})


def percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """A part in percent of a whole; `None` of nothing."""
    return amount.percent(amount.from_decimal(part), amount.from_decimal(whole))
