"""What left COPS: a row for each export that was made, of which books, with the digest of its bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.migrations import guards

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Adds `export_record`, insert-only; a closed month may be exported again."""
    op.create_table(
        "export_record",
        sa.Column("export_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("export_name", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("made_from", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("export_seq", name=op.f("pk_export_record")),
    )
    op.create_index("ix_export_record_export_name", "export_record", ["export_name", "period_start"])
    guards.insert_only("export_record")
    guards.counted("export_record", "export_seq")
