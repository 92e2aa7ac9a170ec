"""The tables of alerts: what is the case, what became of it, who was told, and who must be looked after next.

Belongs here: columns, keys and indexes, once, for both dialects; everybody reads them as names of
`stores/tables.py`. Does not belong here: any query; what a state means (`alerts/lifecycle.py`).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from cops_dagster.stores.columns import date_column as _date
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata
from cops_dagster.stores.columns import seq_column as _seq
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time

AT_ONCE, NEVER = datetime.fromisoformat("1970-01-01"), datetime.fromisoformat("9999-12-31")
"""When an alert is looked at: at the next tick, and not before it changes (`alert_state.due_at`)."""

# fmt: off
alert_state = sa.Table(
    "alert_state", metadata,
    _key("fingerprint"), _text("alert_rule", null=False), _text("scope", null=False), _date("period_start"),
    _text("state", null=False), _text("severity", null=False), _int("episode", null=False),
    _int("step", null=False), _text("title", null=False), _text("measured"), _text("detail", null=False),
    _text("next_step", null=False), _text("dagster_run_id"),
    _time("since", null=False), _time("since_data", null=False), _time("fired_at"), _time("resolved_at"),
    _text("resolved_because"), _time("last_data_at", null=False), _time("last_evaluated_at", null=False),
    _text("acked_by"), _time("ack_expires_at"),
    sa.Column("due_at", sa.DateTime, nullable=False, server_default=AT_ONCE.isoformat(" ", "microseconds")),
    _time("looked_at"), _text("looked_for"),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("state IN ('inactive','pending','firing','resolved')", name="state"),
    sa.CheckConstraint("severity IN ('P1','P2','P3','P4')", name="severity"),
)
"""`due_at`: before it no receiver is due anything about the alert, as it was looked at (`looked_at`) for the
receivers of then (`looked_for`, a digest); `version` rises with every change that may be worth a message."""
for _name, _last in {
    "due": ("due_at",), "looked": ("looked_at",), "looked_for": ("looked_for",),
    "listed": ("since", "fingerprint"),
}.items():
    sa.Index(
        f"ix_alert_state_{_name}", alert_state.c.state, alert_state.c.severity,
        *(alert_state.c[column] for column in _last),
    )
sa.Index("ix_alert_state_period", alert_state.c.period_start, alert_state.c.state, alert_state.c.severity)
alert_event = sa.Table(
    "alert_event", metadata,
    _seq("alert_seq"), _text("fingerprint", null=False), _int("episode", null=False),
    _text("event", null=False), _text("severity"), _text("actor"), _text("detail"),
    _time("occurred_at", null=False),
)
alert_silence = sa.Table(  # P1 is never silenced; a silence ends within seven days
    "alert_silence", metadata,
    _key("silence_id"), _text("alert_rule"), _date("period_start"), _text("severity", null=False),
    _text("reason", null=False), _text("actor", null=False), _time("starts_at", null=False),
    _time("ends_at", null=False),
)
notification_log = sa.Table(  # one row per alert and receiver, written after the receiver answered
    "notification_log", metadata,
    _seq("notification_seq"), _text("fingerprint", null=False), _int("episode", null=False),
    _text("receiver", null=False), _text("reason", null=False), _text("retried_reason"),
    _text("severity", null=False), _int("step", null=False), _text("status", null=False), _text("detail"),
    _time("sent_at", null=False),
)
sa.Index(
    "ix_notification_log_alert", notification_log.c.fingerprint, notification_log.c.receiver,
    notification_log.c.notification_seq,
)
sa.Index("ix_notification_log_sent", notification_log.c.sent_at)
alert_clock = sa.Table(  # rows of the log up to that number were sent by then, whatever time they name
    "alert_clock", metadata,
    _seq("clock_seq"), _time("seen_at", null=False), _int("notification_seq", null=False),
)
# fmt: on
