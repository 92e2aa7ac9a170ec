"""The state of every alert, kept in step with what is observed, in the transaction that observes it.

Belongs here: `alert_state` and `alert_event`, acknowledging, silencing. Does not belong here: what an
observation makes of an alert (`alerts/lifecycle.py`); sending anything (`alerts/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cops_dagster.alerts import escalation, lifecycle, telling
from cops_dagster.alerts.lifecycle import Alert, Event, Observation, Severity
from cops_dagster.alerts.telling import Silence
from cops_dagster.clocks import APART
from cops_dagster.errors import CopsError, not_one
from cops_dagster.evidence.people import is_same_person
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.alert_tables import AT_ONCE, NEVER
from cops_dagster.verdict import Verdict

TEXT_MAX = 2_000
"""Characters of a detail that are kept: figures come from data, and a tag may be a novel."""
_GOES_ON = ("firing", "pending")
_OF_THE_TICK = ("due_at", "looked_at", "looked_for", "version")


def observe(
    con: sa.Connection, seen: Iterable[Observation | None], *, actor: str, at: datetime | None = None
) -> list[Alert]:
    """Applies observations in order; the alerts that changed. The same observation again changes nothing.

    Args:
        at: the time it is; by default now, UTC.
    """
    changed, moment, asked = [], at or now(), [one for one in seen if one is not None]
    known = _known(con, {one.fingerprint for one in asked})
    for one in asked:
        before = known.get(one.fingerprint)
        after, events = lifecycle.observe(before, one, moment)
        if after is not None and after != before:
            _record(con, after, events, actor)  # first: the database lets no alert move without its event
            _write(con, after, before)
            known[one.fingerprint] = after
            changed.append(after)
    return changed


def _known(con: sa.Connection, names: set[str]) -> dict[str, Alert]:
    """The states of some alerts, in one read."""
    rows = con.execute(sa.select(t.alert_state).where(t.alert_state.c.fingerprint.in_(sorted(names))))
    return {row.fingerprint: alert_of(row) for row in rows} if names else {}


def judged(
    con: sa.Connection,
    books: Books,
    period: Period,
    verdicts: Iterable[Verdict],
    *,
    at: datetime | None = None,
) -> None:
    """What verdicts make of their alerts, within the caller's write transaction.

    Args:
        at: when they were asked, by default now: a verdict asked earlier than a known one is no news.
    """
    moment = at or now()
    reach = _data_reaches(con, period) or moment
    seen = [
        one
        for verdict in verdicts
        for one in escalation.of_verdict(
            verdict, period, data_at=reach, at=moment, run_id=books.dagster_run_id
        )
    ]
    observe(con, seen, actor="cops")


def _data_reaches(con: sa.Connection, period: Period) -> datetime | None:
    """When the judged data was delivered; of a month that gets no more data, the clock counts."""
    if lock.state_of(con, period) in ("final", "closing", "closed"):
        return None
    return max((row.delivered_at for row in month.shown(con, period)), default=None)


def _stored(con: sa.Connection, fingerprint: str) -> Alert | None:
    row = con.execute(
        sa.select(t.alert_state).where(t.alert_state.c.fingerprint == fingerprint)
    ).one_or_none()
    return None if row is None else alert_of(row)


def alert_of(row: Any) -> Alert:
    """A row of `alert_state` as the rules know it."""
    values = {name: value for name, value in row._mapping.items() if name not in _OF_THE_TICK}
    return Alert(rule=values.pop("alert_rule"), period=period_of(values.pop("period_start")), **values)


def period_of(start: date | None) -> Period | None:
    """The month that an alert is about, if it is about one."""
    return Period.of(start) if start else None


def _decided_by(alert: Alert) -> tuple[object, ...]:
    """What decides whether somebody is told; without a change of it nobody is due anything new."""
    return (
        alert.state, alert.severity, alert.episode, alert.step, alert.fired_at, alert.ack_expires_at,
        alert.acked_by,
    )  # fmt: skip


def _write(con: sa.Connection, alert: Alert, before: Alert | None) -> None:
    """Keeps a state; where it decides about messages, the next tick looks at it.

    So it does at what a P1 of the month kept back, once that is over.
    """
    alerts, values = t.alert_state, asdict(alert)
    values["alert_rule"] = values.pop("rule")
    del values["period"]
    values["period_start"] = alert.period.start if alert.period else None
    values["detail"], values["title"] = _short(alert.detail), _short(alert.title)
    values["measured"] = None if alert.measured is None else _short(alert.measured)
    if before is None or _decided_by(before) != _decided_by(alert):
        values["due_at"] = AT_ONCE if alert.state in ("firing", "resolved") else NEVER
    if before is None:
        con.execute(sa.insert(alerts).values(values))
        return
    if "due_at" in values:
        values["version"] = alerts.c.version + 1
    con.execute(sa.update(alerts).where(alerts.c.fingerprint == alert.fingerprint).values(values))
    if _is_p1(before) and not _is_p1(alert):
        _look_at(
            con,
            alerts.c.period_start == values["period_start"],
            alerts.c.state == "firing",
            alerts.c.severity != "P1",
        )


def _is_p1(alert: Alert) -> bool:
    return alert.state == "firing" and alert.severity == "P1"


def _look_at(con: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
    """The next tick looks at some alerts, and one that runs now does not put them off."""
    alerts = t.alert_state
    con.execute(sa.update(alerts).where(*which).values(due_at=AT_ONCE, version=alerts.c.version + 1))


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]} … ({len(text)} characters)"


def _record(con: sa.Connection, alert: Alert, events: Iterable[Event], actor: str) -> None:
    for event in events:
        con.execute(
            sa.insert(t.alert_event).values(
                fingerprint=alert.fingerprint,
                episode=alert.episode,
                event=event.event,
                severity=event.severity,
                actor=actor,
                detail=_short(event.detail),
                occurred_at=now(),
            )
        )


def end_period(con: sa.Connection, period: Period, *, because: str, actor: str) -> None:
    """Resolves what still fires or waits about a period, for a reason that is recorded."""
    _end(con, t.alert_state.c.period_start == period.start, because, actor)


def end_other_periods(con: sa.Connection, rule: str, period: Period, *, because: str) -> None:
    """Resolves a rule's alerts of every month but the one that is watched now."""
    alerts = t.alert_state
    _end(con, sa.and_(alerts.c.alert_rule == rule, alerts.c.period_start != period.start), because, "cops")


def end_failed_runs(con: sa.Connection, period: Period, *, because: str) -> None:
    """Resolves the alerts of a month's failed runs: what they were to do is done."""
    alerts = t.alert_state
    _end(
        con,
        sa.and_(alerts.c.alert_rule == escalation.RUN, alerts.c.period_start == period.start),
        because,
        "cops",
    )


def _end(con: sa.Connection, which: sa.ColumnElement[bool], because: str, actor: str) -> None:
    alerts = t.alert_state
    for row in con.execute(sa.select(alerts).where(which, alerts.c.state.in_(("firing", "pending")))).all():
        before = alert_of(row)
        ended, events = lifecycle.resolve(before, now(), because)
        _record(con, ended, events, actor)
        _write(con, ended, before)


def alerts(
    con: sa.Connection, *, everything: bool = False, limit: int | None = None, offset: int = 0
) -> list[Alert]:
    """Alerts that fire or wait, the gravest and oldest first; with `everything` those that are over too."""
    alert_state = t.alert_state
    query = sa.select(alert_state).order_by(
        alert_state.c.state, alert_state.c.severity, alert_state.c.since, alert_state.c.fingerprint
    )
    if not everything:
        query = query.where(alert_state.c.state.in_(_GOES_ON))
    return [alert_of(row) for row in con.execute(query.limit(limit).offset(offset))]


def counted(con: sa.Connection, *, everything: bool = False) -> dict[tuple[str, str], int]:
    """How many of them there are, by state and priority."""
    alerts = t.alert_state
    query = sa.select(alerts.c.state, alerts.c.severity, sa.func.count()).group_by(
        alerts.c.state, alerts.c.severity
    )
    if not everything:
        query = query.where(alerts.c.state.in_(_GOES_ON))
    return {(state, severity): count for state, severity, count in con.execute(query)}


def of_period(con: sa.Connection, period: Period) -> list[Alert]:
    """Every alert about a month, whatever its state."""
    return [
        alert_of(row)
        for row in con.execute(sa.select(t.alert_state).where(t.alert_state.c.period_start == period.start))
    ]


def acknowledge(books: Books, name: str, *, note: str = "") -> Alert:
    """Somebody takes a firing alert: it is not repeated for 8 hours, unless it gets graver.

    One that somebody else has taken stays theirs until that runs out: the answer names who has it.

    Raises:
        CopsError: `E-ALERT-UNKNOWN` when the name is not one firing alert.
    """
    alerts, at = t.alert_state, now()
    with books.admin.write() as con:
        rows = (
            con.execute(
                sa.select(alerts).where(
                    alerts.c.fingerprint.startswith(name, autoescape=True), alerts.c.state == "firing"
                )
            ).all()
            if name
            else []
        )
        if len(rows) != 1:
            raise not_one(
                len(rows),
                "E-ALERT-UNKNOWN",
                f"alert {name!r}",
                expected="one firing alert",
                next_step="take the id from `cops alerts list`",
            )
        firing = alert_of(rows[0])
        if firing.is_acked(at) and not is_same_person(firing.acked_by or "", books.actor):
            return firing
        _record(con, firing, [Event("acknowledged", firing.severity, note)], books.actor)
        con.execute(
            sa.update(alerts)
            .where(alerts.c.fingerprint == firing.fingerprint)
            .values(acked_by=books.actor, ack_expires_at=at + lifecycle.ACK_FOR)
        )
        _look_at(con, alerts.c.fingerprint == firing.fingerprint)
        taken = _stored(con, firing.fingerprint)
        assert taken is not None
        return taken


def silence(
    books: Books, *, rule: str | None, period: Period | None, severity: Severity, hours: int, reason: str
) -> str:
    """Keeps messages back for a while; states go on. The silence's id.

    Raises:
        CopsError: `E-ALERT-SILENCE` for P1, no reason, no scope, or an end that is not within seven days.
    """
    longest = int(telling.SILENCE_MAX.total_seconds()) // 3600
    if (
        severity == "P1"
        or not reason.strip()
        or not 0 < hours <= longest
        or (rule is None and period is None)
    ):
        raise CopsError(
            "E-ALERT-SILENCE",
            "silence",
            expected="a rule or a period, a reason, an end within 168 hours, and no P1",
            found=f"severity {severity}, {hours} h, rule {rule or 'any'}, period {period or 'any'},"
            f" reason {reason.strip() or 'none'!r}",
            next_step="a P1 can be acknowledged instead: cops alerts ack",
        )
    at = now()
    values = {
        "alert_rule": rule, "period_start": period.start if period else None, "severity": severity,
        "reason": reason.strip(), "actor": books.actor, "starts_at": at,
        "ends_at": at + timedelta(hours=hours),
    }  # fmt: skip
    silence_id = digest("silence-1", *(values[name] for name in sorted(values)))[:16]
    with books.admin.write() as con:
        con.execute(sa.insert(t.alert_silence).values(silence_id=silence_id, **values))
    return silence_id


def silences(con: sa.Connection, at: datetime) -> list[Silence]:
    """Silences that have not ended at a moment, UTC."""
    alert_silence = t.alert_silence
    return [
        Silence(
            row.alert_rule,
            period_of(row.period_start),
            row.severity,
            row.starts_at,
            row.ends_at,
        )
        for row in con.execute(sa.select(alert_silence).where(alert_silence.c.ends_at > at))
    ]


def told(con: sa.Connection, alerts: Iterable[Alert]) -> dict[str, list[str]]:
    """Per alert, of its running episode: which receivers took the newest message, and which did not."""
    found: dict[str, list[str]] = {}
    for row in _newest_answers(con, [one.fingerprint for one in alerts]):
        name = row.receiver if row.status == "accepted" else f"{row.receiver} (not accepted)"
        found.setdefault(row.fingerprint, []).append(name)
    return found


def _newest_answers(con: sa.Connection, names: Sequence[str] | None) -> Sequence[Any]:
    notifications, alerts = t.notification_log, t.alert_state
    newest = (
        sa.select(sa.func.max(notifications.c.notification_seq))
        .join(
            alerts,
            sa.and_(
                alerts.c.fingerprint == notifications.c.fingerprint,
                alerts.c.episode == notifications.c.episode,
            ),
        )
        .group_by(notifications.c.fingerprint, notifications.c.receiver)
    )
    if names is not None:
        newest = newest.where(notifications.c.fingerprint.in_(names))
    return con.execute(
        sa.select(notifications.c.fingerprint, notifications.c.receiver, notifications.c.status)
        .where(notifications.c.notification_seq.in_(newest))
        .order_by(notifications.c.fingerprint, notifications.c.receiver)
    ).all()


def not_accepting(con: sa.Connection) -> list[str]:
    """Receivers that did not take the newest message about some alert."""
    return sorted({row.receiver for row in _newest_answers(con, None) if row.status != "accepted"})


def nobody_knows(con: sa.Connection) -> tuple[int, str]:
    """How many alerts of P1 to P3 fire that nothing was sent about, and the title of the gravest."""
    notifications, alerts = t.notification_log, t.alert_state
    sent = sa.exists().where(
        notifications.c.fingerprint == alerts.c.fingerprint, notifications.c.episode == alerts.c.episode
    )
    which = alerts.c.state == "firing", alerts.c.severity != "P4", ~sent
    count = con.execute(sa.select(sa.func.count()).select_from(alerts).where(*which)).scalar_one()
    first = con.execute(
        sa.select(alerts.c.title).where(*which).order_by(alerts.c.severity, alerts.c.since).limit(1)
    ).scalar()
    return count, first or ""


def judged_at(con: sa.Connection, at: datetime) -> datetime | None:
    """When the controls were last judged; a time that lies ahead only where there is no other."""
    controls = t.control_status
    newest = sa.func.max(controls.c.evaluated_at)
    past: datetime | None = con.execute(
        sa.select(newest).where(controls.c.evaluated_at <= at + APART)
    ).scalar_one_or_none()
    ahead: datetime | None = past or con.execute(sa.select(newest)).scalar_one_or_none()
    return ahead
