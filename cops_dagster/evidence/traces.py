"""Decisions and states against the log that they came from: neither may say what the other does not.

Belongs here: what two tables of the books must agree on, whoever wrote them: an approval and what it
approved, an alert and its events. Does not belong here: closed months (`evidence/month_proof.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cops_dagster.evidence import consent, decisions
from cops_dagster.evidence.standing import Finding
from cops_dagster.stores import tables as t

NEXT = (
    "find out who wrote it: no command of COPS does; restore the admin database from its backup, or undo it,"
    " then: cops evidence verify"
)
DELIVERY, ADJUSTMENT, NOTE = "cur_delivery", "adjustment", "variance_note"
EXCEPTION, FREEZE, CLOSE = "exception", "invoice_freeze", "close"
"""Kinds of subjects that an approval may have."""

_LEADS_TO = {"pending": "pending", "cleared": "inactive", "firing": "firing", "resolved": "resolved"}
"""Events that move an alert, and the state that each leaves it in."""


def findings(con: sa.Connection) -> list[Finding]:
    """Everything that stands without what it must have come from."""
    return [*_approvals(con), *_alerts(con)]


def _note(what: str, expected: str, found: str) -> Finding:
    return Finding(0, what, expected, found, next_step=NEXT)


def _approvals(con: sa.Connection) -> list[Finding]:
    approvals = t.approval
    given = {(row.subject_type, row.subject_id): row for row in con.execute(sa.select(approvals))}
    decided = _decided(con, given)
    found = []
    for key, by in decided.items():
        row = given.get(key)
        if row is None:
            found.append(_note(f"{key[0]} {key[1][:16]}", "an approval of it", "none, though it is done"))
        elif by is not None and row.approved_by != by:
            found.append(_note(f"approval of {key[0]} {key[1][:16]}", f"by {by}", f"by {row.approved_by}"))
    for (kind, subject), row in given.items():
        if (kind, subject) not in decided:
            found.append(_note(f"approval of {kind} {subject[:16]}", "something that it approved", "nothing"))
        if row.approved_by == row.requested_by:
            found.append(_note(f"approval of {kind} {subject[:16]}", "two people", row.approved_by))
    return found


def _decided(con: sa.Connection, given: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], str | None]:
    """What only an approval leads to, and who must have given it, where the decision says so.

    Of a held delivery, and of a close that was asked for, the approval alone is the decision.
    """
    exceptions, freezes, bookings, holds = (
        t.recon_exceptions,
        t.invoice_freeze,
        t.adjustment_booking,
        t.cur_delivery_hold,
    )
    found: dict[tuple[str, str], str | None] = {}
    resolved: Any = con.execute(sa.select(exceptions).where(exceptions.c.resolved_at.is_not(None)))
    for row in resolved:
        if row.resolved_by == decisions.SETTLED_BY and row.resolved_at == row.opened_at:
            continue  # a reconciliation settled it as it opened it, by the rules
        kind = NOTE if row.stage is None else EXCEPTION
        found[(kind, row.exception_id)] = row.resolved_by
    for row in con.execute(sa.select(freezes).where(freezes.c.released_at.is_not(None))):
        found[(FREEZE, consent.name_of(row))] = row.released_by
    for row in con.execute(sa.select(bookings)):
        found[(ADJUSTMENT, row.adjustment_id)] = row.booked_by
    asked = [(DELIVERY, sa.select(holds.c.delivery_id))]
    if (closes := t.metadata.tables.get("close_request")) is not None:
        asked.append((CLOSE, sa.select(closes.c.subject_id)))
    return found | {
        (kind, subject): None
        for kind, query in asked
        for subject in con.execute(query).scalars()
        if (kind, subject) in given
    }


def _alerts(con: sa.Connection) -> list[Finding]:
    alerts, events = t.alert_state, t.alert_event
    newest = (
        sa.select(events.c.fingerprint, sa.func.max(events.c.alert_seq).label("seq"))
        .where(events.c.event.in_(_LEADS_TO))
        .group_by(events.c.fingerprint)
        .subquery()
    )
    rows = con.execute(
        sa.select(alerts.c.fingerprint, alerts.c.alert_rule, alerts.c.state, events.c.event)
        .outerjoin(newest, newest.c.fingerprint == alerts.c.fingerprint)
        .outerjoin(events, events.c.alert_seq == newest.c.seq)
    ).all()
    found = [
        _note(
            f"alert_state {row.alert_rule} {row.fingerprint[:16]}",
            f"{_LEADS_TO[row.event]}, by its log" if row.event else "an event of its log",
            row.state,
        )
        for row in rows
        if row.event is None or _LEADS_TO[row.event] != row.state
    ]
    lost = con.execute(
        sa.select(events.c.fingerprint)
        .where(events.c.fingerprint.not_in(sa.select(alerts.c.fingerprint)))
        .distinct()
    ).scalars()
    return found + [_note(f"alert_event {one[:16]}", "a row of alert_state", "none") for one in lost]
