"""The journal: by which accounts it is booked, and the entries that finance was given, line by line."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cops_dagster.stores.columns import Money
from cops_dagster.stores.migrations import guards

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Adds the account map, which takes versions only, and entries with their lines, insert-only.

    A closed month gets entries: what it finally came to is booked after its close.
    """
    op.create_table(
        "gl_accounts",
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("effective_from", sa.Date, nullable=False),
        sa.Column("effective_to", sa.Date, nullable=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("follows", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("purpose", "tenant_id", "service", "version", name=op.f("pk_gl_accounts")),
    )
    op.create_table(
        "journal_entry",
        sa.Column("entry_seq", _SEQUENCE, nullable=False, autoincrement=True),
        sa.Column("entry_id", sa.Text, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("posting_date", sa.Date, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reverses_entry_id", sa.Text, nullable=True),
        sa.Column("content_digest", sa.Text, nullable=False),
        sa.Column("recon_id", sa.Text, nullable=False),
        sa.Column("line_count", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("exported_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("entry_seq", name=op.f("pk_journal_entry")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_journal_entry_entry_id")),
        sa.CheckConstraint(
            "kind IN ('accrual','reversal','actual','document','undo')", name=op.f("ck_journal_entry_kind")
        ),
    )
    op.create_index("ix_journal_entry_period_start", "journal_entry", ["period_start"])
    op.create_table(
        "journal_line",
        sa.Column("entry_id", sa.Text, nullable=False),
        sa.Column("line_no", sa.BigInteger, nullable=False),
        sa.Column("period_start", sa.Date, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("account_name", sa.Text, nullable=False),
        sa.Column("account_kind", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("usage_period_start", sa.Date, nullable=True),
        sa.Column("document_id", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", Money, nullable=False),
        sa.PrimaryKeyConstraint("entry_id", "line_no", name=op.f("pk_journal_line")),
    )
    guards.insert_only("gl_accounts", "journal_entry", "journal_line")
    guards.counted("journal_entry", "entry_seq")
    # lines come before their entry, in its transaction: an entry that is there gets no further line
    guards.whole(
        "journal_entry",
        "journal_line",
        "entry_id",
        message="E-APPEND-ONLY a line of the journal belongs to an entry that is written with it",
    )
