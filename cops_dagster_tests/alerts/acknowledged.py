"""An acknowledgement at a time of the test's own, as the database takes it: the event first."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from cops_dagster.stores import tables as t


def acknowledge(
    con: sa.Connection, which: sa.ColumnElement[bool], until: datetime, *, by: str = "kim"
) -> None:
    """Acknowledges the alerts that fire among these."""
    alerts = t.alert_state
    for row in con.execute(sa.select(alerts).where(which, alerts.c.state == "firing")).all():
        con.execute(
            sa.insert(t.alert_event).values(
                fingerprint=row.fingerprint, episode=row.episode, event="acknowledged", severity=row.severity,
                actor=by, occurred_at=until,
            )
        )  # fmt: skip
        con.execute(
            sa.update(alerts)
            .where(alerts.c.fingerprint == row.fingerprint)
            .values(acked_by=by, ack_expires_at=until)
        )
