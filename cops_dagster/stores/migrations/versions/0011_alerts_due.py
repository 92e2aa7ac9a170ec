"""Which alerts are to be looked at, and when the clock went back: so that a tick reads what is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_INDEXES = {
    "ix_alert_state_due": ("alert_state", ["state", "severity", "due_at"]),
    "ix_alert_state_looked": ("alert_state", ["state", "severity", "looked_at"]),
    "ix_alert_state_looked_for": ("alert_state", ["state", "severity", "looked_for"]),
    "ix_alert_state_listed": ("alert_state", ["state", "severity", "since", "fingerprint"]),
    "ix_alert_state_period": ("alert_state", ["period_start", "state", "severity"]),
    "ix_notification_log_alert": ("notification_log", ["fingerprint", "receiver", "notification_seq"]),
    "ix_notification_log_sent": ("notification_log", ["sent_at"]),
}


def upgrade() -> None:
    """Adds columns, indexes and `alert_clock`; every alert that is known is looked at once."""
    at_once = "1970-01-01 00:00:00.000000"
    op.add_column("alert_state", sa.Column("due_at", sa.DateTime, nullable=False, server_default=at_once))
    op.add_column("alert_state", sa.Column("looked_at", sa.DateTime, nullable=True))
    op.add_column("alert_state", sa.Column("looked_for", sa.Text, nullable=True))
    op.add_column("alert_state", sa.Column("version", sa.BigInteger, nullable=False, server_default="0"))
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)
    op.create_table(
        "alert_clock",
        sa.Column("clock_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.Column("notification_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("clock_seq", name=op.f("pk_alert_clock")),
    )
    if op.get_context().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    # before INSERT too: a REPLACE of a connection without recursive triggers deletes past the other ones
    op.execute(
        "CREATE TRIGGER alert_clock_new BEFORE INSERT ON alert_clock "
        "WHEN EXISTS (SELECT 1 FROM alert_clock c WHERE c.clock_seq = NEW.clock_seq) "
        "BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY alert_clock takes no REPLACE'); END"
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER alert_clock_no_{verb.lower()} BEFORE {verb} ON alert_clock "
            f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY alert_clock takes no {verb}'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER alert_clock_no_change BEFORE UPDATE OR DELETE ON alert_clock "
        "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
    )
    op.execute(
        "CREATE TRIGGER alert_clock_no_truncate BEFORE TRUNCATE ON alert_clock "
        "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
    )
