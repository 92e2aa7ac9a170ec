"""One cost, one source: what people decided about sources, and the exports that are no CUR."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Adds both tables; decisions are append-only."""
    op.create_table(
        "foreign_export",
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("location_json", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "period_start", name=op.f("pk_foreign_export")),
    )
    op.create_table(
        "source_event",
        sa.Column("event_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("first_period", sa.Date, nullable=True),
        sa.Column("last_period", sa.Date, nullable=True),
        sa.Column("delivery_id", sa.Text, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("event_seq", name=op.f("pk_source_event")),
        sa.CheckConstraint(
            "event IN ('retired','restored','withdrawn')",
            name=op.f("ck_source_event_event"),
        ),
    )
    if op.get_context().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    # before INSERT too: a REPLACE of a connection without recursive triggers deletes past the other ones
    op.execute(
        "CREATE TRIGGER source_event_new BEFORE INSERT ON source_event "
        "WHEN EXISTS (SELECT 1 FROM source_event e WHERE e.event_seq = NEW.event_seq) "
        "BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY source_event takes no REPLACE'); END"
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER source_event_no_{verb.lower()} BEFORE {verb} ON source_event "
            f"BEGIN SELECT RAISE(ABORT, 'E-APPEND-ONLY source_event takes no {verb}'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER source_event_no_change BEFORE UPDATE OR DELETE ON source_event "
        "FOR EACH ROW EXECUTE FUNCTION cops_append_only()"
    )
    op.execute(
        "CREATE TRIGGER source_event_no_truncate BEFORE TRUNCATE ON source_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION cops_append_only()"
    )
