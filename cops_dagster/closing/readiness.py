"""What must hold before a billing period may be final, and before it may close. Pure.

Belongs here: the readiness list and which moves it allows. Does not belong here: reading the facts and
writing the state (`closing/periods.py`, `closing/close.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from cops_dagster.allocation.verdicts import (
    ALLOCATED_EQUALS_POOL,
    KEY_SHARES_STEADY,
    UNALLOCATED_WITHIN_2_PCT,
)
from cops_dagster.ingestion.verdicts import (
    DELIVERY_IS_COMPLETE,
    EACH_PAYER_HAS_ONE_SOURCE,
    EVERY_SOURCE_HAS_ITS_PLACE,
)
from cops_dagster.ledger.states import first_final_moment
from cops_dagster.money import amount
from cops_dagster.period import Period
from cops_dagster.reconciliation.verdicts import (
    AWS_INVOICE_MATCHES_CUR,
    EXCEPTIONS_EXPLAINED,
    PLANS_HAVE_A_MARKUP,
    VARIANCE_WITHIN_TOLERANCE,
)
from cops_dagster.tagging.verdicts import NEGATIONS_FOLLOW_USAGE, PLANS_ARE_KNOWN, TENANTS_ARE_KNOWN
from cops_dagster.verdict import Check, Verdict

UNCHANGED_FOR = timedelta(hours=72)
"""How long AWS must not have delivered other bytes."""


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
    """One source's shown delivery.

    Attributes:
        is_invoiced: every line that AWS will invoice names its invoice.
        names_invoices: some line does. ever_named: some line of some delivery of the source, of any month.
    """

    source_id: str
    delivered_at: datetime
    is_invoiced: bool
    names_invoices: bool = True
    ever_named: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of a period when somebody asks whether it is final. Times UTC, amounts in USD.

    Attributes:
        waiting: why newer deliveries are refused or wait for approval.
        marked_by: who marked the period provisional since its newest delivery, if anybody.
        is_delayed: another delivery is waited for, since COPS or a person says so.
        gap_usd: allocated − newest delivery; `None` when nothing is allocated.
        reconciled: status of the newest reconciliation, or `None`.
        once_final: what it would be for tenants and documents if the month were final.
        said_by: who made the month final, if it is.
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
    once_final: str | None = None
    said_by: str | None = None


@dataclass(frozen=True)
class ClosingFacts:
    """What a close asks beyond finality.

    Attributes:
        is_current: the heads were made from today's inputs, and nothing waits to be projected.
        verdicts: those on the allocated and the reconciled month, asked again now.
        unexplained: tenants whose variance exceeds tolerance by more than their exceptions explain.
        evidence: ok, mismatch or incomplete, with what was found.
        booked_twice: sources that bill the same cost, two by two.
        placeless: booked sources that lie in no report root any more.
        unproven: what of closed months, guards and decisions is not as it was sealed or made.
    """

    is_current: bool
    earlier_open: Sequence[Period]
    verdicts: Sequence[Verdict]
    unexplained: Sequence[str]
    frozen_by: str | None
    evidence: str
    booked_twice: Sequence[str] = ()
    placeless: Sequence[str] = ()
    unproven: Sequence[str] = ()


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
    end = datetime.combine(period.end, datetime.min.time())
    settled = at >= first_final_moment(period)
    return any(
        at - one.delivered_at > lag
        and not one.is_invoiced
        # what was never invoiced may never be (pro forma): a whole month of it, settled, is all there is
        and (one.ever_named or one.delivered_at < end or not settled)
        for one in deliveries
    )


def finality(facts: Facts) -> list[Requirement]:
    """What makes a month final: the month is over and settled, and AWS has said its last word for now."""
    newest = max((one.delivered_at for one in facts.deliveries), default=None)
    age = facts.now - newest if newest else None
    waiting = [one for one in facts.deliveries if not one.is_invoiced]
    open_sources = ", ".join(one.source_id for one in waiting)
    first = first_final_moment(facts.period)
    is_unchanged = age is not None and age >= UNCHANGED_FOR
    said_last = f"; its last word, says {facts.said_by}" if facts.said_by and not is_unchanged else ""
    run = f"run `cops materialize {facts.period}`"
    return [
        Requirement(
            "support_fees_have_arrived", facts.now >= first, f"today is {facts.now:%Y-%m-%d}", "time",
            f"wait until {first:%Y-%m-%d}",
        ),
        Requirement(
            DELIVERY_IS_COMPLETE.name, bool(facts.deliveries) and not facts.waiting,
            "; ".join(facts.waiting) or f"{len(facts.deliveries)} source(s) delivered", "data engineering",
            f"see `cops status {facts.period}`",
        ),
        Requirement(
            "no_delivery_is_waited_for", not facts.is_delayed,
            "the month is delayed" if facts.is_delayed else "none is", "data engineering",
            f"wait for it, or `cops period mark-provisional {facts.period} --reason …`",
        ),
        Requirement(
            INVOICED, bool(facts.deliveries) and (not waiting or facts.said_by is not None),
            f"none is to come for {open_sources}, says {facts.said_by}" if waiting and facts.said_by
            else f"open: {open_sources}" if waiting else "all of them", "AWS",
            _until_invoiced(facts, waiting),
        ),
        Requirement(
            UNCHANGED, is_unchanged or (age is not None and facts.said_by is not None),
            f"unchanged for {_hours(age)}{said_last}" if age is not None else "no delivery", "time",
            _until_unchanged(facts, newest),
        ),
        Requirement(
            "no_line_is_quarantined", facts.quarantined_lines == 0,
            f"{facts.quarantined_lines} line(s)", "data engineering",
            "see `cops docs cur-ingestion`: AWS must deliver these lines again",
        ),
        Requirement(
            "everything_delivered_is_allocated", facts.gap_usd == 0,
            "nothing allocated" if facts.gap_usd is None else f"gap {amount.plain(facts.gap_usd)} USD",
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


INVOICED = "every_cost_line_has_an_invoice"
UNCHANGED = "delivery_unchanged_for_72_hours"


def _until_unchanged(facts: Facts, newest: datetime | None) -> str:
    if newest is None:
        return "wait"
    wait = f"wait until {newest + UNCHANGED_FOR:%Y-%m-%d %H:%M} UTC"
    if not may_be_said_last(facts, has_evidence=True):
        return wait
    mark = f"`cops period mark-final {facts.period} --reason … --evidence LINK`"
    return f"{wait}; or, of files that AWS finished earlier, {mark}"


def _until_invoiced(facts: Facts, waiting: Sequence[Delivered]) -> str:
    """What helps a month whose lines name no invoice."""
    wait = "wait for AWS's invoice, then for the next delivery"
    if not waiting or any(one.names_invoices for one in waiting):
        return wait
    proof = " --evidence LINK" if any(one.ever_named for one in waiting) else ""
    mark = f"`cops period mark-final {facts.period} --reason …{proof}`"
    return f"{wait}; if AWS issues none on this report (pro forma), {mark}"


def may_be_said_final(facts: Facts, *, has_evidence: bool) -> bool:
    """Whether a person's word may stand for AWS's invoices: a pro forma report never names one.

    It may not where AWS has begun to invoice the month, since the rest will come; where it invoiced an
    earlier month of the source, the word needs evidence.
    """
    waiting = [one for one in facts.deliveries if not one.is_invoiced]
    return not any(one.names_invoices or (one.ever_named and not has_evidence) for one in waiting)


def may_be_said_last(facts: Facts, *, has_evidence: bool) -> bool:
    """Whether a person's word, with evidence, may stand for the 72 hours: files out of an archive.

    Only where a delivery could have stood for so long since the month was settled: AWS changes a bill most
    just after it.
    """
    return has_evidence and facts.now >= first_final_moment(facts.period) + UNCHANGED_FOR


def against_marking(facts: Facts, *, has_evidence: bool) -> list[Requirement]:
    """What keeps a person from marking a month final, beyond what they may say themselves."""
    said = {"nobody_holds_it_provisional"}
    if may_be_said_final(facts, has_evidence=has_evidence):
        said.add(INVOICED)
    if may_be_said_last(facts, has_evidence=has_evidence) and facts.deliveries:
        said.add(UNCHANGED)
    missing = [one for one in unmet(finality(facts)) if one.name not in said]
    is_reconciled = all(one.name != "period_is_reconciled" for one in missing)
    if is_reconciled and facts.reconciled == "provisional" and facts.once_final == "failed":
        missing.append(
            Requirement(
                "period_is_reconciled",
                holds=False,
                found="failed, once it is final",
                owner="finance",
                next_step="see `cops docs reconciliation`",
            )
        )
    return missing


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
        Requirement(
            EACH_PAYER_HAS_ONE_SOURCE.name, not closing.booked_twice,
            "; ".join(closing.booked_twice) or "each has", "data engineering",
            f"`cops source list`, `cops source retire NAME --reason …`, then `cops materialize {period}`",
        ),
        Requirement(
            EVERY_SOURCE_HAS_ITS_PLACE.name, not closing.placeless,
            f"in no report root: {', '.join(closing.placeless)}" if closing.placeless else "every one has",
            "data engineering",
            "name its root in COPS_CUR again, or `cops source retire NAME --reason …`",
        ),
        *(_asked_again(closing, *check) for check in _CHECKS),
        *(_no_error(closing, *check) for check in _ERRORS_BLOCK),
        *_to_look_at(closing, period),
        Requirement(
            VARIANCE_WITHIN_TOLERANCE.name, not closing.unexplained,
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
        Requirement(
            "closed_months_match_their_seals", not closing.unproven,
            "; ".join(closing.unproven[:3]) or "they do, and the database's guards stand", "finance",
            "stop: `cops evidence verify` names what was changed, and what to do",
        ),
    ]  # fmt: skip


_CHECKS = (
    (ALLOCATED_EQUALS_POOL, "data engineering", "stop: this must never happen; keep everything as it is"),
    (UNALLOCATED_WITHIN_2_PCT, "billing operations", "see `cops docs allocation-rules`: keys, then rules"),
    (AWS_INVOICE_MATCHES_CUR, "finance", "load the month's aws_invoices.csv, or ask AWS why they differ"),
    (EXCEPTIONS_EXPLAINED, "finance", "decide the open exceptions, with evidence"),
)


_ERRORS_BLOCK = (
    (TENANTS_ARE_KNOWN, "billing operations", "load tenants.csv or tag_aliases.csv, then materialise"),
    (PLANS_ARE_KNOWN, "finance", "load plans.csv or tag_aliases.csv for the plan tag, then materialise"),
    (PLANS_HAVE_A_MARKUP, "finance", "load plans.csv with a row in force on the month's first day"),
    (
        NEGATIONS_FOLLOW_USAGE,
        "data engineering",
        "find the usage that each negation takes back, or have it delivered: cops docs cur-ingestion",
    ),
)
"""Checks whose warnings may stand at a close, and whose errors may not."""


def _no_error(closing: ClosingFacts, check: Check, owner: str, next_step: str) -> Requirement:
    verdict = next((one for one in closing.verdicts if one.of == check), None)
    if verdict is None:
        return Requirement(check.name, True, "not asked: the month is not reconciled", owner, next_step)
    return Requirement(
        check.name,
        verdict.passed is not False or verdict.severity != "ERROR",
        _figures(verdict),
        owner,
        next_step,
    )


def _to_look_at(closing: ClosingFacts, period: Period) -> list[Requirement]:
    """What moved since last month is shown to who closes, and blocks nothing: usage may well have moved."""
    verdict = next((one for one in closing.verdicts if one.of == KEY_SHARES_STEADY), None)
    if verdict is None:
        return []
    told = {None: "no month before to compare with", True: "steady"}.get(
        verdict.passed, f"look before you close: {_figures(verdict)}"
    )
    return [
        Requirement(
            verdict.check, True, told, "billing operations", f"`cops doctor {period}`: are the figures right?"
        )
    ]


def _asked_again(closing: ClosingFacts, check: Check, owner: str, next_step: str) -> Requirement:
    """A check's verdict as a line of the list: at close nothing is only a warning."""
    verdict = next(one for one in closing.verdicts if one.of == check)
    judged = verdict.passed if verdict.passed is not None else check == UNALLOCATED_WITHIN_2_PCT
    return Requirement(check.name, judged, _figures(verdict), owner, next_step)


def _figures(verdict: Verdict) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {_told(value)}"
        for name, value in verdict.figures.items()
        if value not in ("", [])
    )


def _told(value: object) -> str:
    """A figure for people: of a list the first three rows, of an amount its cents."""
    if isinstance(value, Decimal):
        return amount.shown(value)
    if not isinstance(value, (list, tuple)):
        return str(value)
    rows = ["/".join(_told(cell) for cell in row.values()) for row in value[:3]]
    return f"{'; '.join(rows)}{f' and {len(value) - 3} more' if len(value) > 3 else ''}"


def unmet(requirements: Sequence[Requirement]) -> list[Requirement]:
    """What blocks."""
    return [one for one in requirements if not one.holds]


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"
