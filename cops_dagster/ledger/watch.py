"""The state of every alert, kept in step with what is observed, in the transaction that observes it.

Belongs here: `alert_state` and `alert_event`, acknowledging, silencing. Does not belong here: what an
observation makes of an alert (`rules/alerts.py`); sending anything (`alerts/`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import freeze, recon_log
from cops_dagster.ledger.books import Books
from cops_dagster.money import amount
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.rules import alerts as rules
from cops_dagster.rules import escalation
from cops_dagster.rules.alerts import Alert, Event, Observation, Severity, Silence
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now

TEXT_MAX = 2_000
"""Characters of a detail that are kept: figures come from data, and a tag may be a novel."""


def observe(con: sa.Connection, seen: Iterable[Observation | None], *, actor: str) -> list[Alert]:
    """Applies observations in order; the alerts that changed. The same observation again changes nothing."""
    changed = []
    for one in seen:
        if one is None:
            continue
        before = _stored(con, one.fingerprint)
        after, events = rules.observe(before, one)
        if after is not None and after != before:
            _write(con, after, is_new=before is None)
            _record(con, after, events, actor)
            changed.append(after)
    return changed


def _stored(con: sa.Connection, fingerprint: str) -> Alert | None:
    row = con.execute(
        sa.select(t.alert_state).where(t.alert_state.c.fingerprint == fingerprint)
    ).one_or_none()
    return None if row is None else alert_of(row)


def alert_of(row: Any) -> Alert:
    """A row of `alert_state` as the rules know it."""
    values = dict(row._mapping)
    start = values.pop("period_start")
    return Alert(rule=values.pop("alert_rule"), period=Period.of(start) if start else None, **values)


def _write(con: sa.Connection, alert: Alert, *, is_new: bool) -> None:
    s, values = t.alert_state, asdict(alert)
    values["alert_rule"] = values.pop("rule")
    del values["period"]
    values["period_start"] = alert.period.start if alert.period else None
    values["detail"], values["title"] = _short(alert.detail), _short(alert.title)
    values["measured"] = None if alert.measured is None else _short(alert.measured)
    if is_new:
        con.execute(sa.insert(s).values(values))
    else:
        con.execute(sa.update(s).where(s.c.fingerprint == alert.fingerprint).values(values))


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]} … ({len(text)} characters)"


def _record(con: sa.Connection, alert: Alert, events: Iterable[Event], actor: str) -> None:
    for event in events:
        con.execute(
            sa.insert(t.alert_event).values(
                fingerprint=alert.fingerprint, episode=alert.episode, event=event.event,
                severity=event.severity, actor=actor, detail=_short(event.detail), occurred_at=now(),
            )
        )  # fmt: skip


def reconciled(con: sa.Connection, books: Books, period: Period, status: str) -> None:
    """The alert of a failed reconciliation and the freeze, in the transaction that records it (rule 5.13)."""
    newest = recon_log.newest(con, period)
    figures = (
        f"worst tenant {newest.worst_tenant_id or 'none'} {newest.worst_tenant_status or ''},"
        f" variance {amount.shown(newest.variance_usd)} USD of {amount.shown(newest.expected_usd)} expected"
    )
    seen = escalation.of_reconciliation(
        period, status, newest.reconciled_at, run_id=books.dagster_run_id, figures=figures
    )
    for alert in observe(con, [seen], actor=books.actor):
        if alert.state == "firing":
            freeze.put(
                con, books, period, cause=f"{alert.fingerprint[:16]}:{alert.episode}",
                reason=f"the reconciliation of {period} failed: {figures}",
            )  # fmt: skip


def end_period(con: sa.Connection, period: Period, *, because: str, actor: str) -> None:
    """Resolves what still fires or waits about a period, for a reason that is recorded."""
    _end(con, t.alert_state.c.period_start == period.start, because, actor)


def end_other_periods(con: sa.Connection, rule: str, period: Period, *, because: str) -> None:
    """Resolves a rule's alerts of every month but the one that is watched now."""
    s = t.alert_state
    _end(con, sa.and_(s.c.alert_rule == rule, s.c.period_start != period.start), because, "cops")


def _end(con: sa.Connection, which: sa.ColumnElement[bool], because: str, actor: str) -> None:
    s = t.alert_state
    for row in con.execute(sa.select(s).where(which, s.c.state.in_(("firing", "pending")))).all():
        ended, events = rules.resolve(alert_of(row), now(), because)
        _write(con, ended, is_new=False)
        _record(con, ended, events, actor)


def alerts(con: sa.Connection, *, everything: bool = False) -> list[Alert]:
    """Alerts that fire or wait, the gravest and oldest first; with `everything` resolved ones too."""
    s = t.alert_state
    query = sa.select(s)
    if not everything:
        query = query.where(s.c.state.in_(("firing", "pending")))
    found = [alert_of(row) for row in con.execute(query)]
    return sorted(found, key=lambda one: (one.state, -rules.RANK[one.severity], one.since, one.fingerprint))


def acknowledge(books: Books, name: str, *, note: str = "") -> Alert:
    """Somebody takes a firing alert: it is not repeated for 8 hours, unless it gets graver.

    Raises:
        CopsError: `E-ALERT-UNKNOWN` when the name is not one firing alert.
    """
    s, at = t.alert_state, now()
    with books.admin.write() as con:
        rows = con.execute(
            sa.select(s).where(s.c.fingerprint.startswith(name, autoescape=True), s.c.state == "firing")
        ).all() if name else []  # fmt: skip
        if len(rows) != 1:
            raise CopsError(
                "E-ALERT-UNKNOWN", f"alert {name!r}", expected="one firing alert", found=f"{len(rows)}",
                next_step="take the id from `cops alerts list`",
            )  # fmt: skip
        con.execute(
            sa.update(s)
            .where(s.c.fingerprint == rows[0].fingerprint)
            .values(acked_by=books.actor, ack_expires_at=at + rules.ACK_FOR)
        )
        taken = _stored(con, rows[0].fingerprint)
        assert taken is not None
        _record(con, taken, [Event("acknowledged", taken.severity, note)], books.actor)
        return taken


def silence(
    books: Books, *, rule: str | None, period: Period | None, severity: Severity, hours: int, reason: str
) -> str:
    """Keeps messages back for a while; states go on. The silence's id.

    Raises:
        CopsError: `E-ALERT-SILENCE` for P1, no reason, no scope, or an end that is not within seven days.
    """
    longest = int(rules.SILENCE_MAX.total_seconds()) // 3600
    if (
        severity == "P1"
        or not reason.strip()
        or not 0 < hours <= longest
        or (rule is None and period is None)
    ):
        raise CopsError(
            "E-ALERT-SILENCE", "silence",
            expected="a rule or a period, a reason, an end within 168 hours, and no P1",
            found=f"severity {severity}, {hours} h, rule {rule or 'any'}, period {period or 'any'},"
            f" reason {reason.strip() or 'none'!r}",
            next_step="a P1 can be acknowledged instead: cops alerts ack",
        )  # fmt: skip
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
    s = t.alert_silence
    return [
        Silence(
            row.alert_rule, Period.of(row.period_start) if row.period_start else None, row.severity,
            row.starts_at, row.ends_at,
        )
        for row in con.execute(sa.select(s).where(s.c.ends_at > at))
    ]  # fmt: skip


def told(con: sa.Connection) -> dict[str, list[str]]:
    """Per alert of the running episode: which receivers took a message, and which did not."""
    n, s = t.notification_log, t.alert_state
    rows = con.execute(
        sa.select(n.c.fingerprint, n.c.receiver, n.c.status)
        .join(s, sa.and_(s.c.fingerprint == n.c.fingerprint, s.c.episode == n.c.episode))
        .order_by(n.c.notification_seq)
    )
    newest = {(row.fingerprint, row.receiver): row.status for row in rows}
    found: dict[str, list[str]] = {}
    for (name, receiver), status in sorted(newest.items()):
        found.setdefault(name, []).append(receiver if status == "accepted" else f"{receiver} (not accepted)")
    return found
