"""The states of a billing period, and what must hold before it may be final and before it may close.

Belongs here: the state machine and the readiness list, pure. Does not belong here: reading the facts and
writing the state (`ledger/periods.py`, `ledger/close.py`).

    open ⇄ delayed → provisional ⇄ final → closing → closed          closing → final only when no seal could
                                                                      be made; closed → nothing, ever
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.rules.verdicts import Verdict

State = Literal["open", "delayed", "provisional", "final", "closing", "closed"]

WRITABLE: tuple[State, ...] = ("open", "delayed", "provisional")
"""States in which runs are published."""

MOVES: frozenset[tuple[State, State]] = frozenset(
    {
        ("open", "delayed"), ("delayed", "open"), ("open", "provisional"), ("delayed", "provisional"),
        ("provisional", "delayed"), ("provisional", "final"), ("final", "provisional"),
        ("final", "closing"), ("closing", "final"), ("closing", "closed"),
    }
)  # fmt: skip
"""Every move there is."""

FINAL_DAY = 8
"""Support fees of a month land on the 6th and 7th of the next (CUR guide), so nothing is final before."""
UNCHANGED_FOR = timedelta(hours=72)
"""How long AWS must not have delivered other bytes."""


MONTH_IS_OVER = "the month is over and reconciled for the first time"
IS_FINAL = "everything that makes a month final holds"
OTHER_BYTES = "AWS delivered other bytes"
DELIVERED_AGAIN = "a newer delivery arrived"
DELIVERY_IS_LATE = "AWS has delivered nothing within the lag that is allowed"
AUTOMATIC = (MONTH_IS_OVER, IS_FINAL, OTHER_BYTES, DELIVERED_AGAIN, DELIVERY_IS_LATE)
"""Reasons that COPS gives itself; any other reason is a person's."""


@dataclass(frozen=True)
class Requirement:
    """One line of the readiness list: a sentence that must hold, what was found, who can change it."""

    name: str
    holds: bool
    found: str
    owner: str
    next_step: str = ""


@dataclass(frozen=True)
class Delivered:
    """One source's shown delivery."""

    source_id: str
    delivered_at: datetime
    is_invoiced: bool


@dataclass(frozen=True)
class Facts:
    """What is known of a period when somebody asks whether it is final. Times UTC, amounts in USD.

    Attributes:
        waiting: why newer deliveries are refused or wait for approval.
        marked_by: who marked the period provisional since its newest delivery, if anybody.
        is_delayed: another delivery is waited for, since COPS or a person says so.
        gap_usd: allocated − newest delivery; `None` when nothing is allocated.
        reconciled: status of the newest reconciliation, or `None`.
    """

    period: Period
    now: datetime
    deliveries: Sequence[Delivered]
    waiting: Sequence[str]
    quarantined_lines: int
    gap_usd: Decimal | None
    reconciled: str | None
    marked_by: str | None
    is_delayed: bool = False


@dataclass(frozen=True)
class ClosingFacts:
    """What a close asks beyond finality.

    Attributes:
        is_current: the heads were made from today's inputs, and nothing waits to be projected.
        verdicts: those on the allocated and the reconciled month, asked again now.
        unexplained: tenants whose variance exceeds tolerance by more than their exceptions explain.
        evidence: ok, mismatch or incomplete, with what was found.
    """

    is_current: bool
    earlier_open: Sequence[Period]
    verdicts: Sequence[Verdict]
    unexplained: Sequence[str]
    frozen_by: str | None
    evidence: str


def may_move(here: str, there: str) -> bool:
    """Whether the state machine has this move."""
    return (here, there) in MOVES


def order(state: str) -> int:
    """How far a state is on the way to closed."""
    return ("open", "delayed", "provisional", "final", "closing", "closed").index(state)


def first_final_moment(period: Period) -> datetime:
    """Midnight UTC of the 8th of the next month."""
    return datetime.combine(period.end.replace(day=FINAL_DAY), datetime.min.time())


def is_late(period: Period, deliveries: Sequence[Delivered], at: datetime, lag: timedelta) -> bool:
    """Whether AWS should have delivered a running or just ended month by now, and has not.

    AWS refreshes a report at least once a day until it has invoiced the month (CUR guide). A month is
    waited for until the month after is over; what it lacks then, its readiness list says.
    """
    begun = datetime.combine(period.start, datetime.min.time())
    if not begun + lag < at < datetime.combine(period.next().end, datetime.min.time()):
        return False
    if not deliveries:
        return True
    return any(not one.is_invoiced and at - one.delivered_at > lag for one in deliveries)


def finality(facts: Facts) -> list[Requirement]:
    """What makes a month final: the month is over and settled, and AWS has said its last word for now."""
    newest = max((one.delivered_at for one in facts.deliveries), default=None)
    age = facts.now - newest if newest else None
    open_sources = [one.source_id for one in facts.deliveries if not one.is_invoiced]
    first = first_final_moment(facts.period)
    rest = "wait" if newest is None else f"wait until {newest + UNCHANGED_FOR:%Y-%m-%d %H:%M} UTC"
    run = f"run `cops materialize {facts.period}`"
    return [
        Requirement(
            "support_fees_have_arrived", facts.now >= first, f"today is {facts.now:%Y-%m-%d}", "time",
            f"wait until {first:%Y-%m-%d}",
        ),
        Requirement(
            "delivery_is_complete", bool(facts.deliveries) and not facts.waiting,
            "; ".join(facts.waiting) or f"{len(facts.deliveries)} source(s) delivered", "data engineering",
            f"see `cops status {facts.period}`",
        ),
        Requirement(
            "no_delivery_is_waited_for", not facts.is_delayed,
            "the month is delayed" if facts.is_delayed else "none is", "data engineering",
            f"wait for it, or `cops period mark-provisional {facts.period} --reason …`",
        ),
        Requirement(
            "every_cost_line_has_an_invoice", bool(facts.deliveries) and not open_sources,
            f"open: {', '.join(open_sources)}" if open_sources else "all of them", "AWS",
            "wait for AWS's invoice, then for the next delivery",
        ),
        Requirement(
            "delivery_unchanged_for_72_hours", age is not None and age >= UNCHANGED_FOR,
            f"unchanged for {_hours(age)}" if age is not None else "no delivery", "time", rest,
        ),
        Requirement(
            "no_line_is_quarantined", facts.quarantined_lines == 0,
            f"{facts.quarantined_lines} line(s)", "data engineering",
            "see `cops docs cur-ingestion`: AWS must deliver these lines again",
        ),
        Requirement(
            "everything_delivered_is_allocated", facts.gap_usd == 0,
            "nothing allocated" if facts.gap_usd is None else f"gap {facts.gap_usd:f} USD",
            "data engineering", run,
        ),
        Requirement(
            "period_is_reconciled", facts.reconciled not in (None, "failed", "incomplete"),
            facts.reconciled or "never", "finance", "see `cops docs reconciliation`",
        ),
        Requirement(
            "nobody_holds_it_provisional", facts.marked_by is None,
            f"marked by {facts.marked_by}" if facts.marked_by else "nobody does", "finance",
            f"`cops period mark-final {facts.period} --reason …`, or wait for the next delivery",
        ),
    ]  # fmt: skip


def readiness(facts: Facts, closing: ClosingFacts) -> list[Requirement]:
    """Everything a close needs, finality first. What is not met blocks it, with who can change it."""
    period = facts.period
    return [
        *finality(facts),
        Requirement(
            "earlier_periods_are_closed", not closing.earlier_open,
            ", ".join(map(str, closing.earlier_open)) or "all of them", "finance",
            f"`cops close {closing.earlier_open[0]}` first" if closing.earlier_open else "",
        ),
        Requirement(
            "ledger_was_made_from_todays_inputs", closing.is_current,
            "yes" if closing.is_current else "inputs changed since, or a run was not finished",
            "data engineering", f"run `cops materialize {period}`",
        ),
        *(_asked_again(closing, *check) for check in _CHECKS),
        Requirement(
            "variance_within_tolerance", not closing.unexplained,
            "; ".join(closing.unexplained) or "within tolerance or explained", "finance",
            "correct rules or invoices, or explain the difference in recon_exceptions with evidence",
        ),
        Requirement(
            "invoices_are_not_frozen", closing.frozen_by is None, closing.frozen_by or "they are not",
            "finance", "find and release the cause of the freeze",
        ),
        Requirement(
            "evidence_is_intact", closing.evidence == "ok", closing.evidence, "data engineering",
            "see `cops evidence verify`",
        ),
    ]  # fmt: skip


_CHECKS = (
    ("allocated_equals_pool", "data engineering", "stop: this must never happen; keep everything as it is"),
    ("unallocated_within_2_pct", "billing operations", "see `cops docs allocation-rules`: keys, then rules"),
    ("aws_invoice_matches_cur", "finance", "load the month's aws_invoices.csv, or ask AWS why they differ"),
    ("exceptions_explained", "finance", "decide the open exceptions, with evidence"),
)


def _asked_again(closing: ClosingFacts, check: str, owner: str, next_step: str) -> Requirement:
    """A check's verdict as a line of the list: at close nothing is only a warning."""
    verdict = next(one for one in closing.verdicts if one.check == check)
    figures = ", ".join(
        f"{name.replace('_', ' ')} {_told(value)}"
        for name, value in verdict.figures.items()
        if value not in ("", [])
    )
    judged = verdict.passed if verdict.passed is not None else check == "unallocated_within_2_pct"
    return Requirement(check, judged, figures, owner, next_step)


def _told(value: object) -> str:
    """A figure for people: of a list the first three rows, of an amount its cents."""
    if isinstance(value, Decimal):
        return amount.show(amount.from_decimal(value))
    if not isinstance(value, (list, tuple)):
        return str(value)
    rows = ["/".join(_told(cell) for cell in row.values()) for row in value[:3]]
    return f"{'; '.join(rows)}{f' and {len(value) - 3} more' if len(value) > 3 else ''}"


def unmet(requirements: Sequence[Requirement]) -> list[Requirement]:
    """What blocks."""
    return [one for one in requirements if not one.holds]


def open_before(period: Period, closed: Sequence[date], known: Sequence[date]) -> list[Period]:
    """Earlier periods of the books that are not closed, oldest first: months close in order.

    Args:
        closed: first days of the closed periods.
        known: first days of the periods that were ever delivered; the first of them is the beginning.
    """
    if not known or period.start <= min(known):
        return []
    at, found = Period.of(min(known)), []
    while at < period:
        if at.start not in closed:
            found.append(at)
        at = at.next()
    return found


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"
