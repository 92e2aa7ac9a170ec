"""Usage keys: each answer to the question of a day, what a month was loaded from, what was refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.columns import Money
from cops_dagster.stores.migrations import guards

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Adds days with their figures, months, refusals, and what a frozen key was made of, all insert-only.

    A closed month gets days: one that comes late is kept and changes nothing.
    """
    op.create_table(
        "usage_day",
        sa.Column("usage_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("usage_day", sa.Date, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("source_kind", sa.Text, nullable=False),
        sa.Column("query_text", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("figures_digest", sa.Text, nullable=False),
        sa.Column("tenant_count", sa.BigInteger, nullable=False),
        sa.Column("held_count", sa.BigInteger, nullable=False),
        sa.Column("month_state", sa.Text, nullable=False),
        sa.Column("evidence_id", sa.Text, nullable=False),
        sa.Column("taken_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("usage_seq", name=op.f("pk_usage_day")),
        sa.UniqueConstraint("measure", "usage_day", "version", name=op.f("uq_usage_day_measure")),
    )
    op.create_index("ix_usage_day_period_start", "usage_day", ["period_start"])
    op.create_table(
        "usage_day_value",
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("usage_day", sa.Date, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("standing", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("value", Money, nullable=False),
        sa.PrimaryKeyConstraint(
            "measure", "usage_day", "version", "tenant_id", "standing", name=op.f("pk_usage_day_value")
        ),
        sa.CheckConstraint("standing IN ('taken','held')", name=op.f("ck_usage_day_value_standing")),
    )
    op.create_table(
        "usage_month",
        sa.Column("usage_month_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("usage_id", sa.Text, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("roll_up", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("days", sa.BigInteger, nullable=False),
        sa.Column("last_day", sa.Date, nullable=False),
        sa.Column("versions_json", sa.Text, nullable=False),
        sa.Column("figures_digest", sa.Text, nullable=False),
        sa.Column("load_id", sa.Text, nullable=True),
        sa.Column("rolled_up_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("usage_month_seq", name=op.f("pk_usage_month")),
    )
    op.create_index("ix_usage_month_period_start", "usage_month", ["period_start"])
    op.create_table(
        "usage_refusal",
        sa.Column("refusal_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("usage_day", sa.Date, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("source_kind", sa.Text, nullable=False),
        sa.Column("error_code", sa.Text, nullable=False),
        sa.Column("error_detail", sa.Text, nullable=False),
        sa.Column("refused_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("refusal_seq", name=op.f("pk_usage_refusal")),
    )
    op.create_table(
        "key_usage_version",
        sa.Column("inputs_id", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("usage_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("inputs_id", "key_name", name=op.f("pk_key_usage_version")),
    )
    guards.insert_only("usage_day", "usage_day_value", "usage_month", "usage_refusal", "key_usage_version")
    guards.counted("usage_day", "usage_seq")
    guards.counted("usage_month", "usage_month_seq")
    guards.counted("usage_refusal", "refusal_seq")
    # figures come before their day, in its transaction: a version that is there gets no further figure
    guards.whole(
        "usage_day",
        "usage_day_value",
        "measure",
        "usage_day",
        "version",
        message="E-APPEND-ONLY a figure belongs to a version of a day that is written with it",
    )
    guards.refuse(
        "key_usage_version",
        "complete",
        "INSERT",
        "EXISTS (SELECT 1 FROM publish_journal j WHERE j.inputs_id = NEW.inputs_id)",
        "E-APPEND-ONLY the keys of a published run are complete",
    )
