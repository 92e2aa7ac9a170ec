"""Which day's rules a period follows: its first day, unless people decided otherwise (design rule 5.5).

Belongs here: the decisions in `allocation_rule_date` and who took them. The newest counts, none is ever
changed; a run is computed from the decision that stands when it is planned.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import signatures, signed_decisions
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def newest(con: sa.Connection, period: Period) -> Any:
    """The decision that stands: `rules_as_of`, `note`, `evidence_links`, `actor`; or `None`."""
    dates = t.allocation_rule_date
    return con.execute(
        sa.select(dates)
        .where(dates.c.period_start == period.start)
        .order_by(dates.c.decision_seq.desc())
        .limit(1)
    ).one_or_none()


def decide(
    books: Books,
    period: Period,
    rules_as_of: date | None,
    *,
    note: str | None = None,
    evidence_links: str | None = None,
) -> date:
    """Records which day's rules the period follows from its next run on; that day.

    Args:
        rules_as_of: without it the day that stands is confirmed, with the note and links given.
        note: why. Required for a day after the first of the period: rules that begin within a period rule
            the next one, unless a run note asks otherwise.

    Raises:
        CopsError: `E-RUN-NOTE`, `E-PARAM` (no such rules yet on that day, or the period has ended before
            it), `E-PERIOD-CLOSED`.
    """
    require_policy(books)
    with books.admin.write() as con:
        _require_writable(con, period)
        before = newest(con, period)
        day = rules_as_of or (before.rules_as_of if before else period.start)
        if day >= period.end:
            raise CopsError(
                "E-PARAM",
                f"rules of {period} as of {day}",
                expected=f"a day before {period.end}",
                found=str(day),
                next_step="rules of a later month cannot rule this one; adjust it instead",
            )
        if day > period.start and not (note or "").strip():
            raise CopsError(
                "E-RUN-NOTE",
                f"rules of {period} as of {day}",
                expected="a run note, since a change within the month rules the next month",
                found="none",
                next_step="add --note '…' that says why this month follows it",
            )
        rules = t.allocation_rules
        if not con.execute(sa.select(rules.c.rule_id).where(rules.c.effective_from <= day).limit(1)).first():
            raise CopsError(
                "E-PARAM",
                f"rules of {period} as of {day}",
                expected="a day on which rules are in force",
                found="none yet",
                next_step="see `cops rules check` for the days on which rules begin",
            )
        con.execute(
            sa.insert(t.allocation_rule_date).values(
                period_start=period.start,
                decision_seq=(before.decision_seq if before else 0) + 1,
                rules_as_of=day,
                note=(note or "").strip() or f"rules as of {day}",
                evidence_links=evidence_links,
                actor=books.actor,
                decided_at=now(),
            )
        )
        made = newest(con, period)
        signatures.require(
            books,
            con,
            "rule_date",
            ("rules", f"{period}/{made.decision_seq}"),
            signed_decisions.of_rule_date(made),
            period_start=period.start,
        )
    return day


def _require_writable(con: sa.Connection, period: Period) -> None:
    lock = t.period_lock
    state = con.execute(
        sa.select(lock.c.state).where(lock.c.period_start == period.start)
    ).scalar_one_or_none()
    if state in ("final", "closing", "closed"):
        raise CopsError(
            "E-PERIOD-CLOSED",
            f"period {period}",
            expected="a period that takes runs",
            found=f"period is {state}",
            next_step=f"if it is final, `cops period mark-provisional {period} --reason …` first; if it is "
            "closed, adjust it in an open period",
        )
