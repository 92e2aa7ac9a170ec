"""What tenants dispute of a month: rows that people load, each of which opens an exception."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.migrations import guards
from cops_dagster.stores.tables import Money

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds `disputes`, insert-only. One about a closed month is taken: it changes nothing of it."""
    op.create_table(
        "disputes",
        sa.Column("dispute_id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("amount", Money, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("dispute_id", name=op.f("pk_disputes")),
    )
    guards.insert_only("disputes")
